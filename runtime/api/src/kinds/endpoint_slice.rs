//! `EndpointSlice`: the addresses behind a Service.

use std::net::{Ipv4Addr, Ipv6Addr};

use serde_json::Value;

use super::json::{
    age_cell, default_str, default_to, items, items_mut, name_cell, str_at, value_at,
};
use super::validation::Check;
use super::{Column, Hooks, Resource};
use crate::names;
use crate::status::FieldError;

const MAX_ENDPOINTS: usize = 1000;
const MAX_ADDRESSES: usize = 100;
const MAX_PORTS: usize = 20_000;
/// How many ports or addresses a row names before it counts.
const SHOWN: usize = 3;

pub(super) const ROW: Resource = Resource {
    group: "discovery.k8s.io",
    kind: "EndpointSlice",
    plural: "endpointslices",
    singular: "endpointslice",
    columns: &[
        Column::NAME,
        Column::string("AddressType").help("The type of address carried by this EndpointSlice."),
        Column::string("Ports").help("The ports of every endpoint of this slice."),
        Column::string("Endpoints").help("The addresses of this slice."),
        Column::AGE,
    ],
    schema: "discovery.v1.EndpointSlice",
    spec_generation: true,
    hooks: Hooks { cells, default, validate, ..Hooks::PLAIN },
    ..Resource::BASE
};

fn cells(slice: &Value, now_ms: i64) -> Vec<Value> {
    let ports =
        items(slice, &["ports"]).iter().map(|port| match value_at(port, &["port"]).as_i64() {
            Some(number) => number.to_string(),
            None => match str_at(port, &["name"]) {
                "" => "*".to_owned(),
                name => name.to_owned(),
            },
        });
    let addresses = items(slice, &["endpoints"])
        .iter()
        .flat_map(|endpoint| items(endpoint, &["addresses"]))
        .map(|address| address.as_str().unwrap_or_default().to_owned());
    vec![
        name_cell(slice),
        str_at(slice, &["addressType"]).into(),
        shortened(ports).into(),
        shortened(addresses).into(),
        age_cell(slice, now_ms),
    ]
}

fn shortened(values: impl Iterator<Item = String>) -> String {
    let values: Vec<String> = values.collect();
    match values.len() {
        0 => "<unset>".to_owned(),
        count if count > SHOWN => {
            format!("{} + {} more...", values[..SHOWN].join(","), count - SHOWN)
        }
        _ => values.join(","),
    }
}

fn default(slice: &mut Value) {
    for port in items_mut(slice, "ports") {
        default_to(port, "name", "");
        default_str(port, "protocol", "TCP");
    }
}

fn validate(slice: &Value, old: Option<&Value>) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let mut check = Check::new(&mut errors, "");
    let kind = str_at(slice, &["addressType"]);
    if kind.is_empty() {
        check.required("addressType", "");
    } else {
        check.one_of(slice, "addressType", &["FQDN", "IPv4", "IPv6"]);
    }
    if let Some(old) = old {
        check.immutable(slice, old, "addressType");
    }
    let endpoints = items(slice, &["endpoints"]);
    if endpoints.len() > MAX_ENDPOINTS {
        check.errors().push(FieldError::too_many("endpoints", endpoints.len(), MAX_ENDPOINTS));
        return errors;
    }
    for (index, endpoint) in endpoints.iter().enumerate() {
        let mut check = check.item("endpoints", index);
        let addresses = items(endpoint, &["addresses"]);
        if addresses.is_empty() {
            check.required("addresses", "must contain at least 1 address");
        } else if addresses.len() > MAX_ADDRESSES {
            let path = check.path("addresses");
            check.errors().push(FieldError::too_many(path, addresses.len(), MAX_ADDRESSES));
        }
        for (place, address) in addresses.iter().enumerate() {
            let text = address.as_str().unwrap_or_default();
            if let Some(message) = bad_address(kind, text) {
                check.invalid(&format!("addresses[{place}]"), text, message);
            }
        }
        for (field, rule) in [
            ("nodeName", names::dns_subdomain as fn(&str) -> Option<String>),
            ("hostname", names::dns_label),
        ] {
            check.syntax(endpoint, field, rule);
        }
    }
    let ports = items(slice, &["ports"]);
    if ports.len() > MAX_PORTS {
        check.errors().push(FieldError::too_many("ports", ports.len(), MAX_PORTS));
        return errors;
    }
    let mut seen = std::collections::BTreeSet::new();
    for (index, port) in ports.iter().enumerate() {
        let mut check = check.item("ports", index);
        let name = str_at(port, &["name"]);
        if !name.is_empty() {
            check.syntax(port, "name", names::dns_label);
        }
        if !seen.insert(name) {
            check.duplicate("name", name);
        }
        check.port(port, "port");
        check.one_of(port, "protocol", &["SCTP", "TCP", "UDP"]);
    }
    errors
}

fn bad_address(kind: &str, text: &str) -> Option<String> {
    match kind {
        "IPv4" if text.parse::<Ipv4Addr>().is_err() => {
            Some("must be a valid IPv4 address".to_owned())
        }
        "IPv6" if text.parse::<Ipv6Addr>().is_err() => {
            Some("must be a valid IPv6 address".to_owned())
        }
        "FQDN" => names::dns_subdomain(text),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::expect_errors;
    use serde_json::json;

    #[test]
    fn rules() {
        fn check(slice: Value, expect: &[&str]) {
            expect_errors(&validate(&slice, None), expect);
        }
        check(
            json!({"addressType": "IPv4", "endpoints": [{"addresses": ["10.0.0.1"]}], "ports": [{"port": 80}]}),
            &[],
        );
        check(json!({}), &["addressType: Required value"]);
        check(
            json!({"addressType": "IPv4", "endpoints": [{}]}),
            &["endpoints[0].addresses: Required value: must contain"],
        );
        check(
            json!({"addressType": "IPv4", "endpoints": [{"addresses": ["::1"]}]}),
            &["endpoints[0].addresses[0]: Invalid value: \"::1\": must be a valid IPv4 address"],
        );
        check(
            json!({"addressType": "IPv4", "ports": [{"port": 1}, {"port": 2}]}),
            &[r#"ports[1].name: Duplicate value: """#],
        );
    }

    #[test]
    fn rows_stay_short() {
        let slice = json!({"metadata": {"name": "s"}, "addressType": "IPv4", "ports": [{"port": 80}, {"name": "x"}, {}],
            "endpoints": [{"addresses": ["1"]}, {"addresses": ["2"]}, {"addresses": ["3"]}, {"addresses": ["4"]}, {"addresses": ["5"]}]});
        assert_eq!(cells(&slice, 0)[1..4], ["IPv4", "80,x,*", "1,2,3 + 2 more..."]);
        assert_eq!(cells(&json!({}), 0)[2..4], ["<unset>", "<unset>"]);
    }
}
