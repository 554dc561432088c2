//! Signatures with a key, the way cosign makes them: ECDSA over P-256 and
//! SHA-256, of a file directly or, in a registry, of a small document that names
//! the manifest's digest.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_ASN1, ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _,
    UnparsedPublicKey,
};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{PrivatePkcs8KeyDer, SubjectPublicKeyInfoDer};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::digest::Digest;

pub(crate) const PAYLOAD: &str = "application/vnd.dev.cosign.simplesigning.v1+json";
pub(crate) const ANNOTATION: &str = "dev.cosignproject.cosign/signature";
const PAYLOAD_TYPE: &str = "cosign container image signature";

/// What stands before the point in the DER form of a P-256 key (RFC 5480).
const SPKI_PREFIX: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a,
    0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];
const POINT_BYTES: usize = 65;

#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    #[error("this is no public key in PEM; it starts with -----BEGIN PUBLIC KEY-----")]
    NotPublic,
    #[error("this is no private key in PEM; it starts with -----BEGIN PRIVATE KEY-----")]
    NotPrivate,
    #[error(
        "the private key is encrypted; `pintle plugin keygen` makes one that is not, and \
         openssl pkcs8 -topk8 -nocrypt decrypts what openssl encrypted"
    )]
    Encrypted,
    #[error("the key is not one of ECDSA over P-256 (prime256v1)")]
    NotP256,
    #[error("the system has no random numbers for a key or a signature")]
    NoRandomness,
}

/// Why nobody who is trusted vouches for something.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    #[error("it is not signed")]
    Missing,
    #[error("{0}")]
    Invalid(String),
    #[error("public key {number} is not usable")]
    Key {
        number: usize,
        #[source]
        source: KeyError,
    },
}

/// A signature and what exactly was signed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Signature {
    /// The document that was signed; empty where the component itself was.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub payload: String,
    /// Base64 of the DER form.
    pub signature: String,
}

/// What a signature has to be about.
#[derive(Debug, Clone, Copy)]
pub struct Subject<'a> {
    pub component: &'a [u8],
    /// Of the artifact's manifest, where it came from a registry.
    pub manifest: Option<&'a Digest>,
}

pub struct SigningKey {
    pair: EcdsaKeyPair,
}

impl SigningKey {
    /// A new key, and its PEM form (PKCS #8, not encrypted).
    pub fn generate() -> Result<(Self, String), KeyError> {
        let der =
            EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &SystemRandom::new())
                .map_err(|_| KeyError::NoRandomness)?;
        Ok((Self::from_der(der.as_ref())?, pem("PRIVATE KEY", der.as_ref())))
    }

    pub fn from_pem(text: &str) -> Result<Self, KeyError> {
        if text.contains("ENCRYPTED") {
            return Err(KeyError::Encrypted);
        }
        let der = PrivatePkcs8KeyDer::from_pem_slice(text.as_bytes())
            .map_err(|_| KeyError::NotPrivate)?;
        Self::from_der(der.secret_pkcs8_der())
    }

    fn from_der(der: &[u8]) -> Result<Self, KeyError> {
        EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, der, &SystemRandom::new())
            .map(|pair| Self { pair })
            .map_err(|_| KeyError::NotP256)
    }

    pub fn public_pem(&self) -> String {
        let mut der = SPKI_PREFIX.to_vec();
        der.extend(self.pair.public_key().as_ref());
        pem("PUBLIC KEY", &der)
    }

    /// Base64, as in `spec.signature` and as `cosign sign-blob` prints it.
    pub fn sign(&self, bytes: &[u8]) -> Result<String, KeyError> {
        let signature =
            self.pair.sign(&SystemRandom::new(), bytes).map_err(|_| KeyError::NoRandomness)?;
        Ok(STANDARD.encode(signature.as_ref()))
    }

    /// For a registry: about the manifest, under the name it has there.
    pub fn sign_manifest(&self, name: &str, manifest: &Digest) -> Result<Signature, KeyError> {
        let payload = json!({
            "critical": {
                "identity": {"docker-reference": name},
                "image": {"docker-manifest-digest": manifest.as_str()},
                "type": PAYLOAD_TYPE,
            },
            "optional": null,
        })
        .to_string();
        Ok(Signature { signature: self.sign(payload.as_bytes())?, payload })
    }
}

/// A point on P-256.
struct PublicKey(Vec<u8>);

impl PublicKey {
    fn from_pem(text: &str) -> Result<Self, KeyError> {
        let der = SubjectPublicKeyInfoDer::from_pem_slice(text.as_bytes())
            .map_err(|_| KeyError::NotPublic)?;
        match der.as_ref().strip_prefix(&SPKI_PREFIX) {
            Some(point) if point.len() == POINT_BYTES => Ok(Self(point.to_vec())),
            _ => Err(KeyError::NotP256),
        }
    }

    fn made(&self, signature: &str, bytes: &[u8]) -> bool {
        STANDARD.decode(signature.trim()).is_ok_and(|signature| {
            UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, &self.0)
                .verify(bytes, &signature)
                .is_ok()
        })
    }
}

/// Whether a text is a public key that signatures can be checked with.
pub fn check_public_key(pem: &str) -> Result<(), KeyError> {
    PublicKey::from_pem(pem).map(drop)
}

/// Ok when one of the keys made one of the signatures, and that is about this subject.
pub fn verify(
    keys: &[String],
    subject: Subject<'_>,
    signatures: &[Signature],
) -> Result<(), VerifyError> {
    let keys = keys
        .iter()
        .enumerate()
        .map(|(at, pem)| {
            PublicKey::from_pem(pem).map_err(|source| VerifyError::Key { number: at + 1, source })
        })
        .collect::<Result<Vec<_>, _>>()?;
    if signatures.is_empty() {
        return Err(VerifyError::Missing);
    }
    let mut about_other = None;
    for signature in signatures {
        let bytes = match signature.payload.as_str() {
            "" => subject.component,
            payload => payload.as_bytes(),
        };
        if !keys.iter().any(|key| key.made(&signature.signature, bytes)) {
            continue;
        }
        match about(&signature.payload, subject.manifest) {
            Ok(()) => return Ok(()),
            Err(problem) => about_other = Some(problem),
        }
    }
    Err(VerifyError::Invalid(about_other.unwrap_or_else(|| {
        let (made, given) = (signatures.len(), keys.len());
        format!("none of its signatures ({made}) was made with one of the public keys ({given})")
    })))
}

/// Whether a signed document speaks of this manifest.
fn about(payload: &str, manifest: Option<&Digest>) -> Result<(), String> {
    if payload.is_empty() {
        return Ok(());
    }
    let document: Value = serde_json::from_str(payload)
        .map_err(|error| format!("what was signed is no JSON: {error}"))?;
    let text = |pointer: &str| document.pointer(pointer).and_then(Value::as_str);
    if text("/critical/type") != Some(PAYLOAD_TYPE) {
        return Err("what was signed is no statement about an artifact".to_owned());
    }
    let signed = text("/critical/image/docker-manifest-digest").unwrap_or_default();
    match manifest {
        Some(manifest) if manifest.as_str() == signed => Ok(()),
        Some(manifest) => Err(format!("the signature is about {signed}, not about {manifest}")),
        None => Err("the signature is about an artifact in a registry, not about this file".into()),
    }
}

fn pem(label: &str, der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let lines: Vec<&str> = text
        .as_bytes()
        .chunks(64)
        .map(|line| std::str::from_utf8(line).expect("base64 is ASCII"))
        .collect();
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(component: &[u8]) -> Subject<'_> {
        Subject { component, manifest: None }
    }

    #[test]
    fn a_key_survives_its_pem_form() {
        let (key, private) = SigningKey::generate().unwrap();
        let again = SigningKey::from_pem(&private).unwrap();
        assert_eq!(key.public_pem(), again.public_pem());
        let signature = Signature { payload: String::new(), signature: again.sign(b"x").unwrap() };
        verify(&[key.public_pem()], file(b"x"), &[signature]).unwrap();
    }

    /// Made with `openssl ecparam -name prime256v1 -genkey -noout | openssl pkcs8 -topk8 -nocrypt`
    /// and `openssl dgst -sha256 -sign`.
    #[test]
    fn keys_and_signatures_of_openssl_are_understood() {
        let public = OPENSSL.public.to_owned();
        let signature =
            Signature { payload: String::new(), signature: OPENSSL.signature.to_owned() };
        verify(std::slice::from_ref(&public), file(b"component"), &[signature]).unwrap();
        assert_eq!(SigningKey::from_pem(OPENSSL.private).unwrap().public_pem(), public);
    }

    #[test]
    fn what_is_not_vouched_for_says_why() {
        let (key, _) = SigningKey::generate().unwrap();
        let (other, _) = SigningKey::generate().unwrap();
        let manifest = Digest::of(b"manifest");
        let of_manifest = key.sign_manifest("r.example/x", &manifest).unwrap();
        let of_file = Signature { payload: String::new(), signature: key.sign(b"x").unwrap() };
        let keys = [key.public_pem()];
        let check = |keys: &[String], subject, signatures: &[Signature], expect: &str| {
            let said = match verify(keys, subject, signatures) {
                Ok(()) => "good".to_owned(),
                Err(error) => error.to_string(),
            };
            assert!(said.contains(expect), "{said}");
        };
        let in_registry = Subject { component: b"x", manifest: Some(&manifest) };
        let elsewhere = Digest::of(b"another");
        check(&keys, in_registry, std::slice::from_ref(&of_manifest), "good");
        check(&keys, in_registry, &[], "not signed");
        check(&keys, file(b"x"), std::slice::from_ref(&of_file), "good");
        check(&keys, file(b"y"), std::slice::from_ref(&of_file), "none of its signatures (1)");
        check(&[other.public_pem()], file(b"x"), std::slice::from_ref(&of_file), "public keys (1)");
        check(
            &[other.public_pem(), key.public_pem()],
            file(b"x"),
            std::slice::from_ref(&of_file),
            "good",
        );
        let moved = Subject { component: b"x", manifest: Some(&elsewhere) };
        check(&keys, moved, std::slice::from_ref(&of_manifest), "not about sha256:");
        check(&keys, file(b"x"), std::slice::from_ref(&of_manifest), "not about this file");
        check(&["nonsense".into()], file(b"x"), std::slice::from_ref(&of_file), "public key 1");
        let garbage = Signature { payload: String::new(), signature: "%".into() };
        check(&keys, file(b"x"), &[garbage], "none of its");
    }

    #[test]
    fn keys_of_other_kinds_are_named() {
        let check = |text: &str, expect: &str| {
            let error = SigningKey::from_pem(text).err().unwrap().to_string();
            assert!(error.contains(expect), "{error}");
        };
        check("nothing", "no private key");
        check("-----BEGIN ENCRYPTED SIGSTORE PRIVATE KEY-----\n", "encrypted");
        check("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", "P-256");
        let error =
            check_public_key("-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n");
        assert!(matches!(error, Err(KeyError::NotP256)));
    }

    struct Openssl {
        private: &'static str,
        public: &'static str,
        signature: &'static str,
    }

    /// A key that nothing else uses.
    const OPENSSL: Openssl = Openssl {
        private: "-----BEGIN PRIVATE KEY-----\nMIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgluYrSFzsu/j33Fc7\nDGTZScgB4WN1rfJdr1WCn8ez63uhRANCAAQ+V76ToxxDSPvJYx3aSrWGaDl1Y7Xx\nOaiImrTtW7x9CgvnqRYjwv5Hnd+qiukQeZimLqEUT+kmI1kSM80taOa/\n-----END PRIVATE KEY-----\n",
        public: "-----BEGIN PUBLIC KEY-----\nMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEPle+k6McQ0j7yWMd2kq1hmg5dWO1\n8TmoiJq07Vu8fQoL56kWI8L+R53fqorpEHmYpi6hFE/pJiNZEjPNLWjmvw==\n-----END PUBLIC KEY-----\n",
        signature: "MEUCIAZk61ZyHdeWh85S8oyqb4NzgnzUmo9p1+SAVjwjTGWaAiEAp4IndMhnHTkFXzyF0Wtyko6hq2rx7gpD7KPA6evMQPs=",
    };
}
