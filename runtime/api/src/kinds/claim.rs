//! What an object holds for itself alone.
//!
//! A row says which claims an object makes; the write that stores the object
//! takes them in the same transaction, and its removal gives them back. Which
//! of the free ones an object gets is not decided here.

use serde_json::Value;

use super::Resource;
use crate::status::FieldError;

/// Something that at most one object of a kind holds at a time.
#[derive(Debug, Clone, PartialEq)]
pub struct Claim {
    /// Unique within the kind: `clusterIP/10.96.0.7`.
    pub key: String,
    /// What a person is told who asks for it while another object has it.
    pub taken: FieldError,
}

/// The claims of an object; several fields may make the same one.
pub type ClaimsOf = fn(&Value) -> Vec<Claim>;

impl Resource {
    /// What the object holds, each thing once.
    pub fn claims_of(&self, object: &Value) -> Vec<Claim> {
        let Some(claims) = self.claims else { return Vec::new() };
        let mut found: Vec<Claim> = Vec::new();
        for claim in claims(object) {
            if found.iter().all(|known| known.key != claim.key) {
                found.push(claim);
            }
        }
        found
    }

    /// Where the store keeps the claims of this kind: `/claims/services/`.
    pub fn claims_prefix(&self) -> String {
        self.registry_prefix().replacen("/registry/", "/claims/", 1)
    }

    /// `/claims/services/clusterIP/10.96.0.7`
    pub fn claim_key(&self, claim: &Claim) -> String {
        format!("{}{}", self.claims_prefix(), claim.key)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::Registry;
    use super::*;

    #[test]
    fn services_claim_addresses_and_ports() {
        fn check(spec: Value, expect: &[&str]) {
            let row = Registry::builtin().by_plural("", "v1", "services").unwrap();
            let claims = row.claims_of(&json!({ "spec": spec }));
            let keys: Vec<String> = claims.iter().map(|claim| row.claim_key(claim)).collect();
            assert_eq!(keys, expect);
        }
        check(json!({}), &[]);
        check(json!({"clusterIP": "None", "clusterIPs": ["None"]}), &[]);
        check(json!({"clusterIP": "10.96.0.7"}), &["/claims/services/clusterIP/10.96.0.7"]);
        check(
            json!({"clusterIP": "10.96.0.7", "clusterIPs": ["10.96.0.7", "FD00:0::7"]}),
            &["/claims/services/clusterIP/10.96.0.7", "/claims/services/clusterIP/fd00::7"],
        );
        check(json!({"type": "ExternalName", "clusterIP": ""}), &[]);
        check(
            json!({"healthCheckNodePort": 30002, "ports": [{"nodePort": 30001, "protocol": "TCP"},
                {"nodePort": 30001, "protocol": "UDP"}, {"nodePort": 0}, {"port": 80}]}),
            &["/claims/services/nodePort/30001", "/claims/services/nodePort/30002"],
        );
    }

    #[test]
    fn a_taken_claim_reads_as_kubernetes_says_it() {
        let row = Registry::builtin().by_plural("", "v1", "services").unwrap();
        let service = json!({"spec": {"clusterIP": "10.96.0.7", "clusterIPs": ["10.96.0.7"],
            "ports": [{"port": 80}, {"port": 81, "nodePort": 30001}]}});
        let said: Vec<String> =
            row.claims_of(&service).iter().map(|claim| claim.taken.to_string()).collect();
        assert_eq!(
            said,
            [
                "spec.clusterIPs: Invalid value: [\"10.96.0.7\"]: failed to allocate IP 10.96.0.7: provided IP is already allocated",
                "spec.ports[1].nodePort: Invalid value: 30001: provided port is already allocated",
            ]
        );
    }
}
