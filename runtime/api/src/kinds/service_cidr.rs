//! `ServiceCIDR` and `IPAddress`: from which ranges Services get their addresses,
//! and who has which.

use std::net::IpAddr;

use serde_json::{Value, json};

use super::json::{age_cell, is_set, items, name_cell, str_at, value_at};
use super::selectable::SelectableField;
use super::validation::{Check, IMMUTABLE};
use super::{Column, Hooks, Resource, Scope, Subresource};
use crate::cidr::Cidr;
use crate::names;
use crate::status::FieldError;

const GROUP: &str = "networking.k8s.io";

pub(super) const CIDR_ROW: Resource = Resource {
    group: GROUP,
    kind: "ServiceCIDR",
    plural: "servicecidrs",
    singular: "servicecidr",
    scope: Scope::Cluster,
    subresources: &[Subresource::Status],
    columns: &[
        Column::NAME,
        Column::string("CIDRs").help("The ranges, at most one of each IP family."),
        Column::AGE,
    ],
    schema: "networking.v1.ServiceCIDR",
    spec_generation: true,
    hooks: Hooks {
        cells: |object, now| {
            let ranges: Vec<&str> =
                items(object, &["spec", "cidrs"]).iter().filter_map(Value::as_str).collect();
            vec![name_cell(object), ranges.join(",").into(), age_cell(object, now)]
        },
        validate: validate_ranges,
        ..Hooks::PLAIN
    },
    ..Resource::BASE
};

pub(super) const ADDRESS_ROW: Resource = Resource {
    group: GROUP,
    kind: "IPAddress",
    plural: "ipaddresses",
    singular: "ipaddress",
    short_names: &["ip"],
    scope: Scope::Cluster,
    columns: &[
        Column::NAME,
        Column::string("ParentRef").help("The object that the address is given to."),
        Column::AGE,
    ],
    // Beyond Kubernetes: whoever looks after an object finds its addresses at once.
    selectable: &[SelectableField::new("spec.parentRef.name", "/spec/parentRef/name").indexed()],
    schema: "networking.v1.IPAddress",
    spec_generation: true,
    hooks: Hooks {
        cells: |object, now| vec![name_cell(object), parent_cell(object), age_cell(object, now)],
        validate: validate_address,
        name: address_name,
        ..Hooks::PLAIN
    },
    ..Resource::BASE
};

/// `services/default/kubernetes`, or with the group in front.
fn parent_cell(object: &Value) -> Value {
    let parent = value_at(object, &["spec", "parentRef"]);
    let resource = str_at(parent, &["resource"]);
    let resource = match str_at(parent, &["group"]) {
        "" => resource.to_owned(),
        group => format!("{resource}.{group}"),
    };
    let parts = [resource.as_str(), str_at(parent, &["namespace"]), str_at(parent, &["name"])];
    let shown: Vec<&str> = parts.into_iter().filter(|part| !part.is_empty()).collect();
    shown.join("/").into()
}

fn validate_ranges(object: &Value, old: Option<&Value>) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let mut check = Check::new(&mut errors, "spec");
    let ranges = items(object, &["spec", "cidrs"]);
    let list = || value_at(object, &["spec", "cidrs"]).clone();
    if let Some(old) = old {
        let was = items(old, &["spec", "cidrs"]);
        if ranges.len() < was.len() {
            check.invalid("cidrs", list(), IMMUTABLE);
            return errors;
        }
        for (index, (range, _)) in ranges.iter().zip(was).enumerate().filter(|(_, (a, b))| a != b) {
            check.invalid(&format!("cidrs[{index}]"), range.clone(), IMMUTABLE);
        }
    }
    if ranges.is_empty() {
        check.required("cidrs", "at least one CIDR required");
        return errors;
    }
    if ranges.len() > 2 {
        check.invalid("cidrs", list(), "may only hold up to 2 values");
        return errors;
    }
    let mut families = Vec::new();
    for (index, range) in ranges.iter().enumerate() {
        let text = range.as_str().unwrap_or_default();
        let at = format!("cidrs[{index}]");
        match text.parse::<Cidr>() {
            Ok(range) if range.to_string() != text => {
                check.invalid(&at, text, format!("must be in canonical form (\"{range}\")"));
            }
            Ok(range) => families.push(range.family()),
            Err(error) => check.invalid(&at, text, error.to_string()),
        }
    }
    if matches!(families.as_slice(), [a, b] if a == b) {
        let detail = "may specify no more than one IP for each IP family, i.e 192.168.0.0/24 and 2001:db8::/64";
        check.invalid("cidrs", list(), detail);
    }
    errors
}

/// The name is the address, in the one form that two objects cannot share.
fn address_name(name: &str) -> Option<String> {
    match name.parse::<IpAddr>() {
        Err(_) => Some("must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)".to_owned()),
        Ok(address) if address.to_string() != name => {
            Some(format!("must be in canonical form (\"{address}\")"))
        }
        Ok(_) => None,
    }
}

fn validate_address(object: &Value, old: Option<&Value>) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let spec = value_at(object, &["spec"]);
    let mut check = Check::new(&mut errors, "spec");
    if !is_set(spec, "parentRef") {
        check.required("parentRef", "");
    } else {
        let parent = value_at(spec, &["parentRef"]);
        let mut check = check.field("parentRef");
        if !str_at(parent, &["group"]).is_empty() {
            check.syntax(parent, "group", names::dns_subdomain);
        }
        for field in ["resource", "name"] {
            match str_at(parent, &[field]) {
                "" => check.required(field, ""),
                _ => check.syntax(parent, field, names::path_segment),
            }
        }
        if !str_at(parent, &["namespace"]).is_empty() {
            check.syntax(parent, "namespace", names::path_segment);
        }
    }
    if let Some(old) = old {
        let was = value_at(old, &["spec", "parentRef"]);
        let is = value_at(spec, &["parentRef"]);
        if is != was {
            check.invalid(
                "parentRef",
                if is.is_null() { json!(null) } else { is.clone() },
                IMMUTABLE,
            );
        }
    }
    errors
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(errors: Vec<FieldError>, expect: &[&str]) {
        let found: Vec<String> = errors.iter().map(ToString::to_string).collect();
        assert_eq!(found, expect);
    }

    #[test]
    fn ranges_are_checked() {
        fn check(cidrs: Value, old: Option<Value>, expect: &[&str]) {
            let of = |cidrs: Value| json!({"spec": {"cidrs": cidrs}});
            said(validate_ranges(&of(cidrs), old.map(of).as_ref()), expect);
        }
        check(json!(["10.96.0.0/16", "fd00::/108"]), None, &[]);
        check(json!([]), None, &["spec.cidrs: Required value: at least one CIDR required"]);
        check(
            json!(["10.0.0.1/24"]),
            None,
            &[
                "spec.cidrs[0]: Invalid value: \"10.0.0.1/24\": must not have bits set beyond the prefix length",
            ],
        );
        check(
            json!(["FD00::/64"]),
            None,
            &[
                "spec.cidrs[0]: Invalid value: \"FD00::/64\": must be in canonical form (\"fd00::/64\")",
            ],
        );
        check(
            json!(["10.0.0.0/24", "10.0.1.0/24"]),
            None,
            &[
                "spec.cidrs: Invalid value: [\"10.0.0.0/24\",\"10.0.1.0/24\"]: may specify no more than one IP for each IP family, i.e 192.168.0.0/24 and 2001:db8::/64",
            ],
        );
        let old = || Some(json!(["10.96.0.0/16"]));
        check(json!(["10.96.0.0/16", "fd00::/108"]), old(), &[]);
        check(
            json!(["10.97.0.0/16"]),
            old(),
            &["spec.cidrs[0]: Invalid value: \"10.97.0.0/16\": field is immutable"],
        );
        check(json!([]), old(), &["spec.cidrs: Invalid value: []: field is immutable"]);
    }

    #[test]
    fn addresses_are_checked() {
        assert_eq!(address_name("10.96.0.1"), None);
        assert_eq!(address_name("fd00::1"), None);
        assert!(address_name("fd00:0::1").unwrap().contains("fd00::1"));
        assert!(address_name("web").is_some());
        let parent = |name: &str| json!({"resource": "services", "namespace": "n", "name": name});
        let of = |parent: Value| json!({"spec": {"parentRef": parent}});
        said(validate_address(&of(parent("a")), None), &[]);
        said(validate_address(&json!({}), None), &["spec.parentRef: Required value"]);
        said(
            validate_address(&of(json!({"namespace": "n"})), None),
            &["spec.parentRef.resource: Required value", "spec.parentRef.name: Required value"],
        );
        let changed = validate_address(&of(parent("b")), Some(&of(parent("a"))));
        assert!(changed[0].to_string().ends_with("field is immutable"), "{changed:?}");
    }

    #[test]
    fn an_address_shows_its_parent() {
        let of = |parent: Value| parent_cell(&json!({"spec": {"parentRef": parent}}));
        assert_eq!(
            of(json!({"resource": "services", "namespace": "default", "name": "web"})),
            "services/default/web"
        );
        assert_eq!(
            of(json!({"group": "gateway.networking.k8s.io", "resource": "gateways", "name": "g"})),
            "gateways.gateway.networking.k8s.io/g"
        );
    }
}
