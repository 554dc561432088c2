//! Whether whoever made a certificate request has the key that it names: a
//! request is signed with that key.

use pintle_api::x509::{CertificateRequest, KeyAlgorithm};
use ring::signature::{self, UnparsedPublicKey, VerificationAlgorithm};

/// 1.2.840.113549.1.1 and 1.2.840.10045.4.3, then the algorithm's number.
const RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01];
const ECDSA: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03];
const ED25519: &[u8] = &[0x2b, 0x65, 0x70];

const UNKNOWN: &str = "x509: cannot verify signature: algorithm unimplemented";

/// The error is what Go's `crypto/x509` would say. Keys that TLS here could not
/// use (RSA below 2048 bits, curves other than P-256 and P-384) are refused too.
pub fn check(request: &CertificateRequest) -> Result<(), &'static str> {
    let (algorithm, refused) = algorithm(request)?;
    UnparsedPublicKey::new(algorithm, &request.public_key)
        .verify(&request.signed, &request.signature)
        .map_err(|_| refused)
}

type Algorithm = (&'static dyn VerificationAlgorithm, &'static str);

fn algorithm(request: &CertificateRequest) -> Result<Algorithm, &'static str> {
    use KeyAlgorithm as Key;
    let name = &*request.signature_algorithm;
    let (family, number) = match name.split_last() {
        Some((number, family)) if name != ED25519 => (family, *number),
        _ => (ED25519, 0),
    };
    let rsa = "crypto/rsa: verification error";
    let ecdsa = "x509: ECDSA verification failure";
    Ok(match (request.key_algorithm, family, number) {
        (Key::Rsa, RSA, 5) => {
            return Err("x509: cannot verify signature: insecure algorithm SHA1-RSA");
        }
        (Key::Rsa, RSA, 11) => (&signature::RSA_PKCS1_2048_8192_SHA256, rsa),
        (Key::Rsa, RSA, 12) => (&signature::RSA_PKCS1_2048_8192_SHA384, rsa),
        (Key::Rsa, RSA, 13) => (&signature::RSA_PKCS1_2048_8192_SHA512, rsa),
        (Key::EcdsaP256, ECDSA, 2) => (&signature::ECDSA_P256_SHA256_ASN1, ecdsa),
        (Key::EcdsaP256, ECDSA, 3) => (&signature::ECDSA_P256_SHA384_ASN1, ecdsa),
        (Key::EcdsaP384, ECDSA, 2) => (&signature::ECDSA_P384_SHA256_ASN1, ecdsa),
        (Key::EcdsaP384, ECDSA, 3) => (&signature::ECDSA_P384_SHA384_ASN1, ecdsa),
        (Key::Ed25519, ED25519, 0) => (&signature::ED25519, "x509: Ed25519 verification failure"),
        _ => return Err(UNKNOWN),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(name: &str) -> CertificateRequest {
        let path = format!("{}/../api/tests/x509/{name}.csr", env!("CARGO_MANIFEST_DIR"));
        CertificateRequest::from_pem(&std::fs::read(path).unwrap()).unwrap()
    }

    #[test]
    fn requests_of_openssl_prove_their_keys() {
        fn verdict(name: &str, expect: Result<(), &str>) {
            assert_eq!(check(&request(name)), expect, "{name}");
        }
        verdict("jane", Ok(()));
        verdict("node", Ok(()));
        verdict("rsa", Ok(()));
        verdict("p521", Err(UNKNOWN));
        verdict("pss", Err(UNKNOWN));
        verdict("weak", Err("crypto/rsa: verification error"));
    }

    #[test]
    fn somebody_elses_request_is_found_out() {
        fn verdict(name: &str, expect: &str) {
            let mut request = request(name);
            let last = request.signed.len() - 1;
            request.signed[last] ^= 1;
            assert_eq!(check(&request), Err(expect));
            let mut request = self::request(name);
            request.public_key = vec![0; 5];
            assert_eq!(check(&request), Err(expect));
        }
        verdict("jane", "x509: ECDSA verification failure");
        verdict("rsa", "crypto/rsa: verification error");
        verdict("node", "x509: Ed25519 verification failure");
    }
}
