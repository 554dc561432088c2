//! `Endpoints`: the addresses behind a service, as clients read them before EndpointSlice.

use serde_json::Value;

use super::json::{age_cell, int_at, items, items_mut, name_cell, str_at};
use super::validation::Check;
use super::{Column, Hooks, Resource};
use crate::status::FieldError;

const SHOWN: usize = 3;
const PROTOCOLS: &[&str] = &["SCTP", "TCP", "UDP"];

pub(super) const ROW: Resource = Resource {
    kind: "Endpoints",
    plural: "endpoints",
    singular: "endpoints",
    short_names: &["ep"],
    columns: &[
        Column::NAME,
        Column::string("Endpoints").help("The set of all endpoints is the union of all subsets."),
        Column::AGE,
    ],
    schema: "core.v1.Endpoints",
    hooks: Hooks { cells, default, validate, ..Hooks::PLAIN },
    ..Resource::BASE
};

fn cells(object: &Value, now_ms: i64) -> Vec<Value> {
    let mut found = Vec::new();
    for subset in items(object, &["subsets"]) {
        let ports = items(subset, &["ports"]);
        for address in items(subset, &["addresses"]) {
            let ip = str_at(address, &["ip"]);
            if ports.is_empty() {
                found.push(ip.to_owned());
            }
            found.extend(ports.iter().map(|port| format!("{ip}:{}", int_at(port, &["port"]))));
        }
    }
    let text = match found.len() {
        0 => "<none>".to_owned(),
        1..=SHOWN => found.join(","),
        more => format!("{} + {} more...", found[..SHOWN].join(","), more - SHOWN),
    };
    vec![name_cell(object), text.into(), age_cell(object, now_ms)]
}

fn default(object: &mut Value) {
    for subset in items_mut(object, "subsets") {
        for port in items_mut(subset, "ports") {
            super::json::default_str(port, "protocol", "TCP");
        }
    }
}

fn validate(object: &Value, _old: Option<&Value>) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let mut check = Check::new(&mut errors, "");
    for (index, subset) in items(object, &["subsets"]).iter().enumerate() {
        let mut check = check.item("subsets", index);
        let (ready, unready) =
            (items(subset, &["addresses"]), items(subset, &["notReadyAddresses"]));
        if ready.is_empty() && unready.is_empty() {
            check.required("addresses", "must specify `addresses` or `notReadyAddresses`");
        }
        for (list, field) in [(ready, "addresses"), (unready, "notReadyAddresses")] {
            for (place, address) in list.iter().enumerate() {
                let ip = str_at(address, &["ip"]);
                if ip.parse::<std::net::IpAddr>().is_err() {
                    check.item(field, place).invalid(
                        "ip",
                        ip,
                        "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)",
                    );
                }
            }
        }
        let ports = items(subset, &["ports"]);
        for (place, port) in ports.iter().enumerate() {
            let mut check = check.item("ports", place);
            if ports.len() > 1 && str_at(port, &["name"]).is_empty() {
                check.required("name", "");
            }
            check.port(port, "port");
            check.one_of(port, "protocol", PROTOCOLS);
        }
    }
    errors
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn printed_row_and_rules() {
        let mut object = json!({"metadata": {"name": "web"}, "subsets": [{
            "addresses": [{"ip": "10.0.0.1"}, {"ip": "10.0.0.2"}], "ports": [{"name": "a", "port": 80}, {"name": "b", "port": 81}]}]});
        default(&mut object);
        assert_eq!(cells(&object, 0)[1], "10.0.0.1:80,10.0.0.1:81,10.0.0.2:80 + 1 more...");
        assert!(validate(&object, None).is_empty());
        object["subsets"][0]["addresses"][0]["ip"] = "x".into();
        assert!(validate(&object, None)[0].to_string().starts_with("subsets[0].addresses[0].ip"));
    }
}
