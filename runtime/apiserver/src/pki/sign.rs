//! Making a certificate of a request: the names and the key that it asks for, the
//! usages and the time that somebody decided. No rule here says which requests
//! are signed; only that what is made is never an authority and ends with its issuer.

use std::net::IpAddr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use pintle_api::x509::der::{SET, UTF8_STRING};
use pintle_api::x509::{CertificateRequest, Subject};
use rcgen::{KeyPair, SigningKey};
use x509_parser::prelude::{FromDer, ParsedExtension, X509Certificate};

use super::Ca;
use super::der::{bits, element, flags, moment, octets, oid, positive, sequence};

/// What was decided about a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Terms {
    /// In the words of the API: `client auth`, `digital signature`.
    pub usages: Vec<String>,
    pub not_before_unix_seconds: i64,
    /// At most until the end of the authority.
    pub not_after_unix_seconds: i64,
}

#[derive(Debug, thiserror::Error)]
pub enum SignError {
    #[error("unrecognized usage values: {0:?}")]
    Usages(Vec<String>),
    #[error("the certificate would end before it begins")]
    Validity,
    #[error("the signer has expired: NotAfter={0}")]
    Expired(String),
    #[error("the certificate authority has a kind of key that cannot sign requests")]
    Algorithm,
    #[error("the certificate authority is not readable")]
    Authority(#[source] x509_parser::nom::Err<x509_parser::error::X509Error>),
    #[error("the certificate could not be signed")]
    Key(#[source] rcgen::Error),
}

/// Bits of the key usage extension; bit 0 is the highest.
const KEY_USAGES: &[(&str, u16)] = &[
    ("signing", 0x8000),
    ("digital signature", 0x8000),
    ("content commitment", 0x4000),
    ("key encipherment", 0x2000),
    ("data encipherment", 0x1000),
    ("key agreement", 0x0800),
    ("cert sign", 0x0400),
    ("crl sign", 0x0200),
    ("encipher only", 0x0100),
    ("decipher only", 0x0080),
];

/// 1.3.6.1.5.5.7.3.N
const fn purpose(number: u8) -> [u8; 8] {
    [0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, number]
}

/// In the order in which they are written.
const EXTENDED_KEY_USAGES: &[(&str, &[u8])] = &[
    ("any", &[0x55, 0x1d, 0x25, 0x00]),
    ("server auth", &purpose(1)),
    ("client auth", &purpose(2)),
    ("code signing", &purpose(3)),
    ("email protection", &purpose(4)),
    ("s/mime", &purpose(4)),
    ("ipsec end system", &purpose(5)),
    ("ipsec tunnel", &purpose(6)),
    ("ipsec user", &purpose(7)),
    ("timestamping", &purpose(8)),
    ("ocsp signing", &purpose(9)),
    ("microsoft sgc", &[0x2b, 0x06, 0x01, 0x04, 0x01, 0x82, 0x37, 0x0a, 0x03, 0x03]),
    ("netscape sgc", &[0x60, 0x86, 0x48, 0x01, 0x86, 0xf8, 0x42, 0x04, 0x01]),
];

/// Attributes of names that are taken over, 2.5.4.N, in the order in which they
/// are written: country, organization, unit, locality, province, street, postal
/// code, common name, serial number.
const NAME_ATTRIBUTES: &[u8] = &[6, 10, 11, 7, 8, 9, 17, 3, 5];
/// Of these there is one in a name: the last that was given.
const SINGLE_ATTRIBUTES: &[u8] = &[3, 5];

/// 2.5.29.N
const fn extension_id(number: u8) -> [u8; 3] {
    [0x55, 0x1d, number]
}

impl Ca {
    /// A certificate in PEM.
    pub fn sign_request(
        &self,
        request: &CertificateRequest,
        terms: &Terms,
    ) -> Result<String, SignError> {
        let key = self.issuer.key();
        let algorithm = algorithm(key)?;
        let (_, authority) =
            X509Certificate::from_der(&self.certificate).map_err(SignError::Authority)?;
        let end = authority.validity().not_after.timestamp();
        let until = terms.not_after_unix_seconds.min(end);
        if terms.not_before_unix_seconds >= end {
            let end = pintle_api::time::format_seconds(end.saturating_mul(1000));
            return Err(SignError::Expired(end));
        }
        if until <= terms.not_before_unix_seconds {
            return Err(SignError::Validity);
        }
        let mut extensions = usages(&terms.usages)?;
        extensions.push(extension(19, true, &sequence(&[])));
        extensions.extend(authority_key(&authority));
        let subject = subject(&request.subject);
        extensions.extend(alternative_names(request, request.subject.attributes.is_empty()));
        // 122 random bits; the first byte keeps it positive and of full length.
        let mut serial = *uuid::Uuid::new_v4().as_bytes();
        serial[0] = serial[0] & 0x3f | 0x40;
        let body = sequence(&[
            &element(0xa0, &positive(&[2])), // version 3
            &positive(&serial),
            &algorithm,
            authority.subject().as_raw(),
            &sequence(&[&moment(terms.not_before_unix_seconds), &moment(until)]),
            &subject,
            &request.public_key_info,
            &element(0xa3, &sequence(&extensions.iter().map(Vec::as_slice).collect::<Vec<_>>())),
        ]);
        let signature = key.sign(&body).map_err(SignError::Key)?;
        Ok(pem(&sequence(&[&body, &algorithm, &bits(&signature)])))
    }
}

/// The identifier of what this key signs with.
fn algorithm(key: &KeyPair) -> Result<Vec<u8>, SignError> {
    let ecdsa = |number| sequence(&[&oid(&[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, number])]);
    let rsa = |number| {
        let name = oid(&[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, number]);
        sequence(&[&name, &[0x05, 0x00]])
    };
    let used = key.algorithm();
    Ok(match used {
        _ if *used == rcgen::PKCS_ECDSA_P256_SHA256 => ecdsa(2),
        _ if *used == rcgen::PKCS_ECDSA_P384_SHA384 => ecdsa(3),
        _ if *used == rcgen::PKCS_ED25519 => sequence(&[&oid(&[0x2b, 0x65, 0x70])]),
        _ if *used == rcgen::PKCS_RSA_SHA256 => rsa(11),
        _ if *used == rcgen::PKCS_RSA_SHA384 => rsa(12),
        _ if *used == rcgen::PKCS_RSA_SHA512 => rsa(13),
        _ => return Err(SignError::Algorithm),
    })
}

fn extension(number: u8, critical: bool, value: &[u8]) -> Vec<u8> {
    let critical: &[u8] = if critical { &[0x01, 0x01, 0xff] } else { &[] };
    sequence(&[&oid(&extension_id(number)), critical, &octets(value)])
}

fn usages(names: &[String]) -> Result<Vec<Vec<u8>>, SignError> {
    let known = |name: &&String| {
        KEY_USAGES.iter().any(|(known, _)| known == name)
            || EXTENDED_KEY_USAGES.iter().any(|(known, _)| known == name)
    };
    let unknown: Vec<String> = names.iter().filter(|name| !known(name)).cloned().collect();
    if !unknown.is_empty() {
        return Err(SignError::Usages(unknown));
    }
    let asked = |known: &str| names.iter().any(|name| name == known);
    let key = KEY_USAGES.iter().filter(|(name, _)| asked(name)).fold(0, |all, (_, bit)| all | bit);
    let mut purposes: Vec<Vec<u8>> =
        EXTENDED_KEY_USAGES.iter().filter(|(name, _)| asked(name)).map(|(_, id)| oid(id)).collect();
    purposes.dedup();
    let mut extensions = Vec::new();
    if key != 0 {
        extensions.push(extension(15, true, &flags(key)));
    }
    if !purposes.is_empty() {
        let purposes: Vec<&[u8]> = purposes.iter().map(Vec::as_slice).collect();
        extensions.push(extension(37, false, &sequence(&purposes)));
    }
    Ok(extensions)
}

fn authority_key(authority: &X509Certificate<'_>) -> Option<Vec<u8>> {
    let id = authority.extensions().iter().find_map(|found| match found.parsed_extension() {
        ParsedExtension::SubjectKeyIdentifier(id) => Some(id.0),
        _ => None,
    })?;
    Some(extension(35, false, &sequence(&[&element(0x80, id)])))
}

/// Written anew from what was read, so that nobody reads another name in it.
fn subject(subject: &Subject) -> Vec<u8> {
    let mut sets = Vec::new();
    for number in NAME_ATTRIBUTES {
        let id = [0x55, 0x04, *number];
        let mut values: Vec<&str> = subject
            .attributes
            .iter()
            .filter(|(name, value)| **name == id && !value.is_empty())
            .map(|(_, value)| value.as_str())
            .collect();
        if SINGLE_ATTRIBUTES.contains(number) {
            values.drain(..values.len().saturating_sub(1));
        }
        for value in values {
            let attribute = sequence(&[&oid(&id), &element(UTF8_STRING, value.as_bytes())]);
            sets.extend(element(SET, &attribute));
        }
    }
    sequence(&[&sets])
}

/// Critical where nothing else names anybody (RFC 5280, 4.2.1.6).
fn alternative_names(request: &CertificateRequest, critical: bool) -> Option<Vec<u8>> {
    let mut names = Vec::new();
    let mut add = |tag: u8, value: &[u8]| names.extend(element(tag, value));
    request.dns_names.iter().for_each(|name| add(0x82, name.as_bytes()));
    request.email_addresses.iter().for_each(|name| add(0x81, name.as_bytes()));
    request.ip_addresses.iter().for_each(|address| match address {
        IpAddr::V4(address) => add(0x87, &address.octets()),
        IpAddr::V6(address) => add(0x87, &address.octets()),
    });
    request.uris.iter().for_each(|name| add(0x86, name.as_bytes()));
    (!names.is_empty()).then(|| extension(17, critical, &sequence(&[&names])))
}

fn pem(der: &[u8]) -> String {
    let base64 = STANDARD.encode(der);
    let mut text = String::from("-----BEGIN CERTIFICATE-----\n");
    let mut rest = &*base64;
    while !rest.is_empty() {
        let (line, after) = rest.split_at(rest.len().min(64));
        text.push_str(line);
        text.push('\n');
        rest = after;
    }
    text.push_str("-----END CERTIFICATE-----\n");
    text
}

#[cfg(test)]
mod tests {
    use rustls_pki_types::CertificateDer;
    use rustls_pki_types::pem::PemObject;

    use super::*;
    use crate::user::User;

    const HOUR: i64 = 3600;

    fn request(name: &str) -> CertificateRequest {
        let path = format!("{}/../api/tests/x509/{name}.csr", env!("CARGO_MANIFEST_DIR"));
        CertificateRequest::from_pem(&std::fs::read(path).unwrap()).unwrap()
    }

    fn now() -> i64 {
        time::OffsetDateTime::now_utc().unix_timestamp()
    }

    fn terms(usages: &[&str], not_after: i64) -> Terms {
        Terms {
            usages: usages.iter().map(|usage| (*usage).to_owned()).collect(),
            not_before_unix_seconds: now() - 300,
            not_after_unix_seconds: not_after,
        }
    }

    fn ca() -> (tempfile::TempDir, Ca) {
        let dir = tempfile::tempdir().unwrap();
        let ca = Ca::load_or_create(dir.path()).unwrap();
        (dir, ca)
    }

    #[test]
    fn a_certificate_says_what_was_asked_and_decided() {
        let (_dir, ca) = ca();
        let until = now() + HOUR;
        let usages = ["client auth", "digital signature", "s/mime", "email protection"];
        let pem = ca.sign_request(&request("node"), &terms(&usages, until)).unwrap();
        let der = CertificateDer::from_pem_slice(pem.as_bytes()).unwrap();
        let (rest, certificate) = X509Certificate::from_der(&der).unwrap();
        assert!(rest.is_empty());
        let (_, authority) = X509Certificate::from_der(ca.certificate()).unwrap();
        certificate.verify_signature(Some(authority.public_key())).unwrap();
        assert_eq!(certificate.issuer(), authority.subject());
        assert_eq!(certificate.validity().not_after.timestamp(), until);
        assert_eq!(pintle_api::x509::not_after_unix_seconds(pem.as_bytes()), Ok(until));
        assert_eq!(pintle_api::x509::check_bundle(pem.as_bytes()), Ok(()));
        let usage = certificate.key_usage().unwrap().unwrap().value;
        assert!(usage.digital_signature() && !usage.key_cert_sign());
        let purposes = certificate.extended_key_usage().unwrap().unwrap().value;
        assert!(purposes.client_auth && purposes.email_protection && !purposes.server_auth);
        assert!(!certificate.is_ca());
        let names = certificate.subject_alternative_name().unwrap().unwrap();
        assert_eq!(names.value.general_names.len(), 5);
        assert!(!names.critical);
        let user = User::from_certificate(&der).unwrap();
        assert_eq!(user.node_name(), Some("n1"));
    }

    #[test]
    fn every_group_and_one_name_is_taken_over() {
        let (_dir, ca) = ca();
        let mut jane = request("jane");
        let cn = vec![0x55, 0x04, 0x03];
        jane.subject.attributes.insert(0, (cn, "root".to_owned()));
        let pem = ca.sign_request(&jane, &terms(&["client auth"], now() + HOUR)).unwrap();
        let user = User::from_certificate(&CertificateDer::from_pem_slice(pem.as_bytes()).unwrap());
        let user = user.unwrap();
        assert_eq!(user.name, "jane");
        assert_eq!(user.groups, ["dev", "ops", "system:authenticated"]);
    }

    #[test]
    fn no_certificate_outlives_its_issuer_or_ends_before_it_begins() {
        let (_dir, ca) = ca();
        let far = now() + 100 * 365 * 24 * HOUR;
        let pem = ca.sign_request(&request("rsa"), &terms(&["client auth"], far)).unwrap();
        let (_, authority) = X509Certificate::from_der(ca.certificate()).unwrap();
        let end = authority.validity().not_after.timestamp();
        assert_eq!(pintle_api::x509::not_after_unix_seconds(pem.as_bytes()), Ok(end));
        let check = |terms: Terms, expect: &str| {
            let error = ca.sign_request(&request("rsa"), &terms).unwrap_err();
            assert!(error.to_string().starts_with(expect), "{error}");
        };
        check(terms(&["client auth"], now() - HOUR), "the certificate would end");
        check(terms(&["fly"], far), r#"unrecognized usage values: ["fly"]"#);
        let late = Terms { not_before_unix_seconds: far, ..terms(&[], far + HOUR) };
        check(late, "the signer has expired: NotAfter=");
    }
}
