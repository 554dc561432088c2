//! When a request has been there long enough.

use pintle_sdk::api::x509;
use pintle_sdk::prelude::*;
use pintle_sdk::time;

const HOUR_MS: i64 = 3_600_000;
const DECIDED_MS: i64 = HOUR_MS;
const PENDING_MS: i64 = 24 * HOUR_MS;

/// In milliseconds since 1970; none: it stays. An approved request waits for its
/// signer as long as that takes.
pub fn when(csr: &CertificateSigningRequest) -> Option<i64> {
    let CertificateSigningRequest { metadata, status, .. } = csr;
    if status.conditions.is_empty() {
        let made = metadata.creation_timestamp.as_deref().and_then(time::parse)?;
        return Some(made.saturating_add(PENDING_MS));
    }
    let issued = !status.certificate.is_empty();
    let decided = status
        .conditions
        .iter()
        .filter(|condition| match &*condition.r#type {
            "Approved" => issued,
            kind => matches!(kind, "Denied" | "Failed"),
        })
        .filter_map(|condition| time::parse(condition.last_update_time.as_deref()?))
        .map(|since| since.saturating_add(DECIDED_MS));
    let expired =
        if issued && status.is_approved() { not_after(&status.certificate) } else { None };
    decided.chain(expired).min()
}

/// A certificate that cannot be read does not end.
fn not_after(field: &str) -> Option<i64> {
    let pem = x509::field_bytes(field).ok()?;
    let seconds = x509::not_after_unix_seconds(&pem).ok()?;
    // The last second still counts.
    Some(seconds.saturating_add(1).saturating_mul(1000))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOON: &str = "2026-01-01T12:00:00Z";

    fn csr(conditions: &[&str], certificate: &str) -> CertificateSigningRequest {
        let mut csr = CertificateSigningRequest::default();
        csr.metadata.creation_timestamp = Some("2026-01-01T00:00:00Z".to_owned());
        csr.status.certificate = certificate.to_owned();
        for kind in conditions {
            let mut condition = Condition::new(kind, "True", "", "");
            condition.last_update_time = Some(NOON.to_owned());
            csr.status.conditions.push(condition);
        }
        csr
    }

    #[test]
    fn every_request_ends_but_one_that_waits_for_its_signer() {
        fn check(conditions: &[&str], certificate: &str, expect: Option<&str>) {
            let found = when(&csr(conditions, certificate)).map(time::format_seconds);
            assert_eq!(found.as_deref(), expect, "{conditions:?}");
        }
        check(&[], "", Some("2026-01-02T00:00:00Z"));
        check(&["Denied"], "", Some("2026-01-01T13:00:00Z"));
        check(&["Approved"], "b2s=", Some("2026-01-01T13:00:00Z"));
        check(&["Approved", "Failed"], "", Some("2026-01-01T13:00:00Z"));
        check(&["Approved"], "", None);
        check(&["Odd"], "", None);
    }

    #[test]
    fn a_certificate_may_end_before_the_hour() {
        let pem = include_bytes!("../../../runtime/api/tests/x509/ca.crt");
        let end = x509::not_after_unix_seconds(pem).unwrap();
        let mut csr = csr(&["Approved"], &x509::field_text(pem));
        assert_eq!(when(&csr).map(time::format_seconds).as_deref(), Some("2026-01-01T13:00:00Z"));
        csr.status.conditions[0].last_update_time = Some("2100-01-01T00:00:00Z".to_owned());
        assert_eq!(when(&csr), Some((end + 1) * 1000));
    }
}
