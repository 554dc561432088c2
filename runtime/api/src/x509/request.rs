//! PKCS #10 (RFC 2986): what a key's holder asks to be written into a certificate.

use std::net::IpAddr;

use super::der::{self, DerError, Element, Reader};
use super::{X509Error, field_bytes, pem};

const LABEL: &str = "CERTIFICATE REQUEST";
const ATTRIBUTES: u8 = 0xa0;
const EMAIL: u8 = 0x81;
const DNS: u8 = 0x82;
const URI: u8 = 0x86;
const ADDRESS: u8 = 0x87;

/// 1.2.840.113549.1.9.14
const EXTENSION_REQUEST: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x09, 0x0e];
/// 2.5.29.17
const SUBJECT_ALT_NAME: &[u8] = &[0x55, 0x1d, 0x11];
/// 2.5.4.3 and 2.5.4.10
const COMMON_NAME: &[u8] = &[0x55, 0x04, 0x03];
const ORGANIZATION: &[u8] = &[0x55, 0x04, 0x0a];

const RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01];
const EC: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01];
const P256: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
const P384: &[u8] = &[0x2b, 0x81, 0x04, 0x00, 0x22];
const ED25519: &[u8] = &[0x2b, 0x65, 0x70];

/// Kinds of keys that can be told apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyAlgorithm {
    Rsa,
    EcdsaP256,
    EcdsaP384,
    Ed25519,
    Other,
}

/// Whom a request names.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Subject {
    /// The last one, if there are several.
    pub common_name: String,
    pub organizations: Vec<String>,
    /// All attributes whose values are text, in order: the identifier's bytes
    /// and the value. Common names and organizations are among them.
    pub attributes: Vec<(Vec<u8>, String)>,
}

/// A certificate request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateRequest {
    pub subject: Subject,
    pub dns_names: Vec<String>,
    pub ip_addresses: Vec<IpAddr>,
    pub email_addresses: Vec<String>,
    pub uris: Vec<String>,
    pub key_algorithm: KeyAlgorithm,
    /// The `SubjectPublicKeyInfo`, as it stands there.
    pub public_key_info: Vec<u8>,
    /// The key itself.
    pub public_key: Vec<u8>,
    /// What the signature is over.
    pub signed: Vec<u8>,
    /// The identifier of the signature's algorithm.
    pub signature_algorithm: Vec<u8>,
    pub signature: Vec<u8>,
}

impl CertificateRequest {
    /// From a field of the API: base64 of PEM.
    pub fn from_field(base64: &str) -> Result<Self, X509Error> {
        Self::from_pem(&field_bytes(base64)?)
    }

    pub fn from_pem(bytes: &[u8]) -> Result<Self, X509Error> {
        let text = String::from_utf8_lossy(bytes);
        match pem::next(&text) {
            Some((block, _)) if block.label == LABEL => Self::from_der(&block.bytes),
            _ => Err(X509Error::NotARequest),
        }
    }

    pub fn from_der(bytes: &[u8]) -> Result<Self, X509Error> {
        let mut request = der::whole(bytes, der::SEQUENCE)?.reader();
        let info = request.expect(der::SEQUENCE)?;
        let algorithm = request.expect(der::SEQUENCE)?.reader().expect(der::OID)?;
        let signature = request.expect(der::BIT_STRING)?;
        request.finish()?;

        let mut body = info.reader();
        body.expect(der::INTEGER)?;
        let subject = subject(&body.expect(der::SEQUENCE)?)?;
        let key_info = body.expect(der::SEQUENCE)?;
        let attributes = body.optional(ATTRIBUTES)?;
        body.finish()?;
        let (key_algorithm, public_key) = key(&key_info)?;
        let mut found = CertificateRequest {
            subject,
            dns_names: Vec::new(),
            ip_addresses: Vec::new(),
            email_addresses: Vec::new(),
            uris: Vec::new(),
            key_algorithm,
            public_key_info: key_info.raw.to_vec(),
            public_key,
            signed: info.raw.to_vec(),
            signature_algorithm: algorithm.content.to_vec(),
            signature: der::bits(&signature)?.to_vec(),
        };
        if let Some(attributes) = attributes {
            found.take_attributes(attributes.reader())?;
        }
        Ok(found)
    }

    fn take_attributes(&mut self, mut attributes: Reader<'_>) -> Result<(), X509Error> {
        let mut seen: Vec<Vec<u8>> = Vec::new();
        while !attributes.is_empty() {
            let mut attribute = attributes.expect(der::SEQUENCE)?.reader();
            let name = attribute.expect(der::OID)?;
            let values = attribute.expect(der::SET)?;
            attribute.finish()?;
            if name.content != EXTENSION_REQUEST {
                continue;
            }
            let mut extensions = values.reader().expect(der::SEQUENCE)?.reader();
            while !extensions.is_empty() {
                let mut extension = extensions.expect(der::SEQUENCE)?.reader();
                let name = extension.expect(der::OID)?.content;
                extension.optional(der::BOOLEAN)?;
                let value = extension.expect(der::OCTET_STRING)?;
                extension.finish()?;
                if seen.iter().any(|known| known == name) {
                    return Err(X509Error::Malformed(
                        "certificate request contains duplicate requested extensions",
                    ));
                }
                seen.push(name.to_vec());
                if name == SUBJECT_ALT_NAME {
                    self.take_names(der::whole(value.content, der::SEQUENCE)?.reader())?;
                }
            }
        }
        Ok(())
    }

    fn take_names(&mut self, mut names: Reader<'_>) -> Result<(), X509Error> {
        let text = |name: Element<'_>, malformed: &'static str| match name.content.is_ascii() {
            true => Ok(String::from_utf8_lossy(name.content).into_owned()),
            false => Err(X509Error::Malformed(malformed)),
        };
        while !names.is_empty() {
            let name = names.read()?;
            match name.tag {
                EMAIL => self.email_addresses.push(text(name, "SAN rfc822Name is malformed")?),
                DNS => self.dns_names.push(text(name, "SAN dNSName is malformed")?),
                URI => self.uris.push(text(name, "SAN uniformResourceIdentifier is malformed")?),
                ADDRESS => self.ip_addresses.push(address(name.content)?),
                // Other kinds of names are not taken over into certificates.
                _ => {}
            }
        }
        Ok(())
    }
}

fn address(bytes: &[u8]) -> Result<IpAddr, X509Error> {
    if let Ok(bytes) = <[u8; 4]>::try_from(bytes) {
        return Ok(IpAddr::from(bytes));
    }
    match <[u8; 16]>::try_from(bytes) {
        Ok(bytes) => Ok(IpAddr::from(bytes)),
        Err(_) => Err(X509Error::Address(bytes.len())),
    }
}

fn subject(name: &Element<'_>) -> Result<Subject, DerError> {
    let mut subject = Subject::default();
    let mut sets = name.reader();
    while !sets.is_empty() {
        let mut attributes = sets.expect(der::SET)?.reader();
        while !attributes.is_empty() {
            let mut attribute = attributes.expect(der::SEQUENCE)?.reader();
            let name = attribute.expect(der::OID)?.content;
            let value = attribute.read()?;
            attribute.finish()?;
            let Some(text) = der::text(&value)? else { continue };
            match name {
                COMMON_NAME => subject.common_name = text.clone(),
                ORGANIZATION => subject.organizations.push(text.clone()),
                _ => {}
            }
            subject.attributes.push((name.to_vec(), text));
        }
    }
    Ok(subject)
}

fn key(info: &Element<'_>) -> Result<(KeyAlgorithm, Vec<u8>), DerError> {
    let mut parts = info.reader();
    let mut algorithm = parts.expect(der::SEQUENCE)?.reader();
    let bits = parts.expect(der::BIT_STRING)?;
    parts.finish()?;
    let name = algorithm.expect(der::OID)?.content;
    let curve = algorithm.optional(der::OID)?.map(|curve| curve.content);
    let algorithm = match (name, curve) {
        (RSA, None) => KeyAlgorithm::Rsa,
        (EC, Some(P256)) => KeyAlgorithm::EcdsaP256,
        (EC, Some(P384)) => KeyAlgorithm::EcdsaP384,
        (ED25519, None) => KeyAlgorithm::Ed25519,
        _ => KeyAlgorithm::Other,
    };
    Ok((algorithm, der::bits(&bits)?.to_vec()))
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Made with `openssl req -new -newkey ed25519`: CN `system:node:n1`, O
    /// `system:nodes`, names `n1.example`, `10.0.0.1`, `::1`, `a@b.example`, `spiffe://x/y`.
    pub(crate) const NODE: &str = include_str!("../../tests/x509/node.csr");
    /// CN `jane`, O `dev` and `ops`, a P-256 key, no names.
    const JANE: &str = include_str!("../../tests/x509/jane.csr");
    /// CN `big`, RSA of 2048 bits.
    const BIG: &str = include_str!("../../tests/x509/rsa.csr");

    #[test]
    fn a_request_says_whom_and_what_it_names() {
        let node = CertificateRequest::from_pem(NODE.as_bytes()).unwrap();
        assert_eq!(node.subject.common_name, "system:node:n1");
        assert_eq!(node.subject.organizations, ["system:nodes"]);
        assert_eq!(node.dns_names, ["n1.example"]);
        let addresses: Vec<String> = node.ip_addresses.iter().map(ToString::to_string).collect();
        assert_eq!(addresses, ["10.0.0.1", "::1"]);
        assert_eq!(node.email_addresses, ["a@b.example"]);
        assert_eq!(node.uris, ["spiffe://x/y"]);
        assert_eq!(node.key_algorithm, KeyAlgorithm::Ed25519);
        let jane = CertificateRequest::from_pem(JANE.as_bytes()).unwrap();
        assert_eq!(jane.subject.organizations, ["dev", "ops"]);
        assert_eq!(jane.key_algorithm, KeyAlgorithm::EcdsaP256);
        assert!(jane.dns_names.is_empty());
        let big = CertificateRequest::from_pem(BIG.as_bytes()).unwrap();
        assert_eq!(big.key_algorithm, KeyAlgorithm::Rsa);
    }

    #[test]
    fn garbage_is_named() {
        fn check(text: &str, expect: &str) {
            let error = CertificateRequest::from_pem(text.as_bytes()).unwrap_err();
            assert_eq!(error.to_string(), expect, "{text}");
        }
        check("", "PEM block type must be CERTIFICATE REQUEST");
        check("garbage", "PEM block type must be CERTIFICATE REQUEST");
        let block = |label: &str, body: &str| {
            format!("-----BEGIN {label}-----\n{body}\n-----END {label}-----\n")
        };
        check(&block("CERTIFICATE", "AQ=="), "PEM block type must be CERTIFICATE REQUEST");
        check(&block(LABEL, ""), "asn1: syntax error: data truncated");
        check(&block(LABEL, "AAAA"), "asn1: structure error: tags don't match");
        check(&block(LABEL, "MAAA"), "asn1: syntax error: trailing data");
        assert_eq!(CertificateRequest::from_field("!").unwrap_err(), X509Error::Base64);
    }

    proptest! {
        #[test]
        fn nothing_panics(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = CertificateRequest::from_der(&bytes);
            let _ = CertificateRequest::from_pem(&bytes);
        }

        /// A request with one byte changed is refused or read, never a panic.
        #[test]
        fn damaged_requests_are_refused_or_read(at in any::<prop::sample::Index>(), byte in any::<u8>()) {
            let (block, _) = pem::next(NODE).unwrap();
            let mut der = block.bytes;
            let at = at.index(der.len());
            der[at] = byte;
            let _ = CertificateRequest::from_der(&der);
            let cut = CertificateRequest::from_der(&der[..at]);
            prop_assert!(cut.is_err());
        }
    }
}
