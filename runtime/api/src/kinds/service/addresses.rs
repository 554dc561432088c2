//! The addresses of a Service: how its linked fields follow each other, what
//! they may say, and which of them are held by one Service alone.
//!
//! Which address it gets, and of which family, is decided by admission.

use std::collections::BTreeSet;
use std::net::IpAddr;

use serde_json::{Value, json};

use super::super::claim::Claim;
use super::super::json::{int_at, is_set, items, remove, set, str_at, value_at};
use super::super::validation::Check;
use crate::status::FieldError;

const NOT_AN_ADDRESS: &str = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)";
const FAMILIES: &[&str] = &["IPv4", "IPv6"];
/// The fields that an ExternalName Service does not have.
pub(super) const FIELDS: [&str; 4] = ["clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy"];

pub(super) fn wants_address(spec: &Value) -> bool {
    str_at(spec, &["type"]) != "ExternalName"
}

fn is_headless(spec: &Value) -> bool {
    str_at(spec, &["clusterIP"]) == "None"
        || items(spec, &["clusterIPs"]).first().is_some_and(|first| first == "None")
}

/// Clients that know `clusterIP` only leave `clusterIPs` to the server.
pub(super) fn on_create(spec: &mut Value) {
    let single = str_at(spec, &["clusterIP"]).to_owned();
    if !single.is_empty() && items(spec, &["clusterIPs"]).is_empty() {
        set(spec, "clusterIPs", json!([single]));
    }
}

/// The same for an update, where they also see what the server has filled in; and
/// what was allocated stays when it is left out.
pub(super) fn on_update(spec: &mut Value, was: &Value) {
    let same_list = |spec: &Value| items(spec, &["clusterIPs"]) == items(was, &["clusterIPs"]);
    let old = str_at(was, &["clusterIP"]);
    let new = str_at(spec, &["clusterIP"]).to_owned();
    if items(spec, &["clusterIPs"]).is_empty() && new == old && is_set(was, "clusterIPs") {
        set(spec, "clusterIPs", was["clusterIPs"].clone());
    }
    if new != old && same_list(spec) {
        match new.as_str() {
            "" => remove(spec, "clusterIPs"),
            new => set(spec, "clusterIPs", json!([new])),
        }
    }
    if !wants_address(spec) || !wants_address(was) {
        return;
    }
    if str_at(spec, &["clusterIP"]).is_empty() && !old.is_empty() {
        set(spec, "clusterIP", old);
    }
    let single = str_at(spec, &["clusterIP"]).to_owned();
    if items(spec, &["clusterIPs"]).is_empty() && single == old && is_set(was, "clusterIPs") {
        set(spec, "clusterIPs", was["clusterIPs"].clone());
    }
    on_create(spec);
}

/// A Service that stops wanting addresses loses those that nobody has touched.
pub(super) fn drop_unwanted(spec: &mut Value, was: &Value) {
    if wants_address(spec) || !wants_address(was) {
        return;
    }
    let same = |field: &str| value_at(spec, &[field]) == value_at(was, &[field]);
    let dropped: Vec<&str> = FIELDS.into_iter().filter(|field| same(field)).collect();
    for field in dropped {
        remove(spec, field);
    }
}

pub(super) fn validate(spec: &Value, check: &mut Check<'_>) {
    if !wants_address(spec) {
        let none = "may not be set for ExternalName services";
        for field in ["clusterIPs", "ipFamilies"] {
            if !items(spec, &[field]).is_empty() {
                check.forbidden(field, none);
            }
        }
        if !str_at(spec, &["clusterIP"]).is_empty() && items(spec, &["clusterIPs"]).is_empty() {
            check.forbidden("clusterIPs", none);
        }
        if is_set(spec, "ipFamilyPolicy") {
            check.forbidden("ipFamilyPolicy", none);
        }
        return;
    }
    validate_families(spec, check);
    let addresses = items(spec, &["clusterIPs"]);
    let list = || value_at(spec, &["clusterIPs"]).clone();
    match (str_at(spec, &["clusterIP"]), addresses.first().and_then(Value::as_str)) {
        ("", Some(_)) => {
            check.invalid("clusterIPs", list(), "must be empty when `clusterIP` is not specified");
        }
        (_, None) if !str_at(spec, &["clusterIP"]).is_empty() => check.required("clusterIPs", ""),
        (single, Some(first)) if single != first => {
            check.invalid("clusterIPs", list(), "first value must match `clusterIP`");
        }
        _ => {}
    }
    for (index, address) in addresses.iter().enumerate() {
        let text = address.as_str().unwrap_or_default();
        let at = format!("clusterIPs[{index}]");
        if text == "None" {
            if addresses.len() > 1 {
                check.invalid(&at, text, "'None' must be the first and only value");
            }
            continue;
        }
        let Ok(parsed) = text.parse::<IpAddr>() else {
            check.invalid(&at, text, NOT_AN_ADDRESS);
            continue;
        };
        let wanted = items(spec, &["ipFamilies"]).get(index).and_then(Value::as_str);
        if let Some(wanted) = wanted.filter(|wanted| *wanted != family_of(&parsed)) {
            let article = format!("expected an {wanted} value as indicated by");
            check.invalid(&at, text, format!("{article} `ipFamilies[{index}]`"));
        }
    }
    if addresses.len() > 2 {
        check.invalid("clusterIPs", list(), "may only hold up to 2 values");
    } else if let [Some(first), Some(second)] = parsed(addresses).as_slice()
        && first.is_ipv6() == second.is_ipv6()
    {
        check.invalid("clusterIPs", list(), "may specify no more than one IP for each IP family");
    }
}

fn parsed(addresses: &[Value]) -> Vec<Option<IpAddr>> {
    addresses.iter().map(|address| address.as_str()?.parse().ok()).collect()
}

fn family_of(address: &IpAddr) -> &'static str {
    if address.is_ipv6() { "IPv6" } else { "IPv4" }
}

fn validate_families(spec: &Value, check: &mut Check<'_>) {
    check.one_of(spec, "ipFamilyPolicy", &["SingleStack", "PreferDualStack", "RequireDualStack"]);
    let mut seen = BTreeSet::new();
    for (index, family) in items(spec, &["ipFamilies"]).iter().enumerate() {
        let text = family.as_str().unwrap_or_default();
        let at = format!("ipFamilies[{index}]");
        if !FAMILIES.contains(&text) {
            check.not_supported(&at, text, FAMILIES);
        } else if !seen.insert(text) {
            check.duplicate(&at, text);
        }
    }
}

/// What an update may not do to addresses that are given out.
pub(super) fn validate_update(spec: &Value, was: &Value, check: &mut Check<'_>) {
    let either = wants_address(spec) && wants_address(was);
    if !either || (is_headless(spec) && is_headless(was)) {
        return;
    }
    let (old, new) = (items(was, &["clusterIPs"]), items(spec, &["clusterIPs"]));
    let list = || match value_at(spec, &["clusterIPs"]) {
        Value::Null => json!([]),
        list => list.clone(),
    };
    let changed: Vec<usize> =
        old.iter().zip(new).enumerate().filter(|(_, (a, b))| a != b).map(|(at, _)| at).collect();
    let counted = if old.len() == new.len() { usize::MAX } else { 1 };
    for index in changed.into_iter().take_while(|index| *index < counted) {
        check.invalid(&format!("clusterIPs[{index}]"), list(), "may not change once set");
    }
    if old.len() <= new.len() {
        return;
    }
    if new.is_empty() {
        check.invalid("clusterIPs[0]", list(), "primary clusterIP can not be unset");
    } else if str_at(spec, &["ipFamilyPolicy"]) != "SingleStack" {
        let policy = value_at(spec, &["ipFamilyPolicy"]).clone();
        let detail = "must be set to 'SingleStack' when releasing the secondary clusterIP";
        check.invalid("ipFamilyPolicy", policy, detail);
    }
}

/// The addresses and node ports of a Service are its own. A node port is one for
/// all protocols.
pub(super) fn claims(service: &Value) -> Vec<Claim> {
    let spec = value_at(service, &["spec"]);
    let single = [value_at(spec, &["clusterIP"]).clone()];
    let addresses = match items(spec, &["clusterIPs"]) {
        [] => single.as_slice(),
        listed => listed,
    };
    let mut claims = Vec::new();
    for address in parsed(addresses).into_iter().flatten() {
        let detail = format!("failed to allocate IP {address}: provided IP is already allocated");
        claims.push(Claim {
            key: format!("clusterIP/{address}"),
            taken: FieldError::invalid("spec.clusterIPs", json!(addresses), detail),
        });
    }
    let mut port = |number: i64, field: String| {
        if number > 0 {
            let detail = "provided port is already allocated";
            claims.push(Claim {
                key: format!("nodePort/{number}"),
                taken: FieldError::invalid(field, number, detail),
            });
        }
    };
    for (index, each) in items(spec, &["ports"]).iter().enumerate() {
        port(int_at(each, &["nodePort"]), format!("spec.ports[{index}].nodePort"));
    }
    port(int_at(spec, &["healthCheckNodePort"]), "spec.healthCheckNodePort".to_owned());
    claims
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(check: impl FnOnce(&mut Check<'_>)) -> Vec<String> {
        let mut errors = Vec::new();
        check(&mut Check::new(&mut errors, "spec"));
        errors.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn linked_fields_follow_each_other() {
        fn check(was: Value, mut spec: Value, expect: Value) {
            on_update(&mut spec, &was);
            assert_eq!(spec, expect);
        }
        let dual = json!({"clusterIP": "10.0.0.1", "clusterIPs": ["10.0.0.1", "fd00::1"]});
        check(dual.clone(), json!({}), dual.clone());
        check(dual.clone(), json!({"clusterIP": "10.0.0.1"}), dual.clone());
        check(
            dual.clone(),
            json!({"clusterIP": "10.0.0.2", "clusterIPs": ["10.0.0.1", "fd00::1"]}),
            json!({"clusterIP": "10.0.0.2", "clusterIPs": ["10.0.0.2"]}),
        );
        check(
            dual.clone(),
            json!({"clusterIP": "10.0.0.1", "clusterIPs": ["10.0.0.1"]}),
            json!({"clusterIP": "10.0.0.1", "clusterIPs": ["10.0.0.1"]}),
        );
        check(
            json!({"type": "ExternalName"}),
            json!({"clusterIP": "None"}),
            json!({"clusterIP": "None", "clusterIPs": ["None"]}),
        );
    }

    #[test]
    fn addresses_must_make_sense() {
        fn check(spec: Value, expect: &[&str]) {
            let found = said(|check| validate(&spec, check));
            assert_eq!(found.len(), expect.len(), "{found:?}");
            for (text, part) in found.iter().zip(expect) {
                assert!(text.contains(part), "{text}");
            }
        }
        let of = |list: Value| json!({"clusterIP": list[0], "clusterIPs": list});
        check(of(json!(["10.0.0.1", "fd00::1"])), &[]);
        check(of(json!(["None"])), &[]);
        check(of(json!(["nowhere"])), &["spec.clusterIPs[0]: Invalid value: \"nowhere\": must be"]);
        check(of(json!(["10.0.0.1", "10.0.0.2"])), &["no more than one IP for each IP family"]);
        check(of(json!(["None", "10.0.0.2"])), &["clusterIPs[0]: Invalid value: \"None\": 'None'"]);
        check(of(json!(["1.1.1.1", "fd00::1", "2.2.2.2"])), &["may only hold up to 2 values"]);
        check(
            json!({"clusterIPs": ["10.0.0.1"]}),
            &[
                "spec.clusterIPs: Invalid value: [\"10.0.0.1\"]: must be empty when `clusterIP` is not specified",
            ],
        );
        check(
            json!({"clusterIP": "10.0.0.2", "clusterIPs": ["10.0.0.1"]}),
            &["first value must match `clusterIP`"],
        );
        check(
            json!({"clusterIP": "10.0.0.2", "clusterIPs": ["10.0.0.2"], "ipFamilies": ["IPv6", "IPv6"]}),
            &[
                "spec.ipFamilies[1]: Duplicate value",
                "expected an IPv6 value as indicated by `ipFamilies[0]`",
            ],
        );
        check(
            json!({"type": "ExternalName", "clusterIP": "10.0.0.2", "ipFamilyPolicy": "SingleStack"}),
            &["spec.clusterIPs: Forbidden: may not be set", "spec.ipFamilyPolicy: Forbidden"],
        );
    }

    #[test]
    fn given_addresses_stay() {
        fn check(was: Value, spec: Value, expect: &[&str]) {
            assert_eq!(said(|check| validate_update(&spec, &was, check)), expect);
        }
        let of = |list: Value| json!({"clusterIP": list[0], "clusterIPs": list});
        let single = of(json!(["10.0.0.1"]));
        let dual = of(json!(["10.0.0.1", "fd00::1"]));
        check(single.clone(), single.clone(), &[]);
        check(single.clone(), dual.clone(), &[]);
        check(single.clone(), json!({"type": "ExternalName"}), &[]);
        check(
            single.clone(),
            of(json!(["10.0.0.2"])),
            &["spec.clusterIPs[0]: Invalid value: [\"10.0.0.2\"]: may not change once set"],
        );
        check(
            single.clone(),
            of(json!(["None"])),
            &["spec.clusterIPs[0]: Invalid value: [\"None\"]: may not change once set"],
        );
        check(
            single.clone(),
            json!({}),
            &["spec.clusterIPs[0]: Invalid value: []: primary clusterIP can not be unset"],
        );
        check(
            dual.clone(),
            json!({"clusterIPs": ["10.0.0.1"], "ipFamilyPolicy": "PreferDualStack"}),
            &[
                "spec.ipFamilyPolicy: Invalid value: \"PreferDualStack\": must be set to 'SingleStack' when releasing the secondary clusterIP",
            ],
        );
        check(dual, json!({"clusterIPs": ["10.0.0.1"], "ipFamilyPolicy": "SingleStack"}), &[]);
    }
}
