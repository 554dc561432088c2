//! `Ingress`, `IngressClass` and `NetworkPolicy`: stored and checked for whoever acts on them.

use serde_json::{Value, json};

use super::json::{
    age_cell, default_str, is_set, items, items_mut, name_cell, set, str_at, value_at,
};
use super::validation::Check;
use super::{Column, Hooks, Resource, Scope, Subresource};
use crate::names;
use crate::selector::LabelSelector;
use crate::status::FieldError;

const GROUP: &str = "networking.k8s.io";
const PATH_TYPES: &[&str] = &["Exact", "ImplementationSpecific", "Prefix"];

pub(super) const INGRESS_ROW: Resource = Resource {
    group: GROUP,
    kind: "Ingress",
    plural: "ingresses",
    singular: "ingress",
    short_names: &["ing"],
    subresources: &[Subresource::Status],
    columns: &[
        Column::NAME,
        Column::string("Class").help("The name of the IngressClass resource that should be used for additional configuration"),
        Column::string("Hosts").help("Hosts that incoming requests are matched against before the ingress rule"),
        Column::string("Address").help("Address is a list containing ingress points for the load-balancer"),
        Column::string("Ports").help("Ports of TLS configurations that open"),
        Column::AGE,
    ],
    schema: "networking.v1.Ingress",
    spec_generation: true,
    hooks: Hooks {
        cells: ingress_cells,
        validate: validate_ingress,
        create: |object| set(object, "status", json!({"loadBalancer": {}})),
        ..Hooks::PLAIN
    },
    ..Resource::BASE
};

pub(super) const INGRESS_CLASS_ROW: Resource = Resource {
    group: GROUP,
    kind: "IngressClass",
    plural: "ingressclasses",
    singular: "ingressclass",
    scope: Scope::Cluster,
    columns: &[
        Column::NAME,
        Column::string("Controller").help("Controller that is responsible for handling this class"),
        Column::string("Parameters").help("A reference to a resource with additional parameters"),
        Column::AGE,
    ],
    schema: "networking.v1.IngressClass",
    spec_generation: true,
    hooks: Hooks {
        cells: |object, now| {
            let parameters = value_at(object, &["spec", "parameters"]);
            let shown = match str_at(parameters, &["name"]) {
                "" => "<none>".to_owned(),
                name => {
                    let kind = str_at(parameters, &["kind"]);
                    match str_at(parameters, &["apiGroup"]) {
                        "" => format!("{kind}/{name}"),
                        group => format!("{kind}.{group}/{name}"),
                    }
                }
            };
            vec![
                name_cell(object),
                str_at(object, &["spec", "controller"]).into(),
                shown.into(),
                age_cell(object, now),
            ]
        },
        validate: |object, old| {
            let mut errors = Vec::new();
            let mut check = Check::new(&mut errors, "spec");
            if str_at(object, &["spec", "controller"]).is_empty() {
                check.required("controller", "");
            }
            if let Some(old) = old {
                let (new, old) = (value_at(object, &["spec"]), value_at(old, &["spec"]));
                check.immutable(new, old, "controller");
            }
            errors
        },
        ..Hooks::PLAIN
    },
    ..Resource::BASE
};

pub(super) const NETWORK_POLICY_ROW: Resource = Resource {
    group: GROUP,
    kind: "NetworkPolicy",
    plural: "networkpolicies",
    singular: "networkpolicy",
    short_names: &["netpol"],
    columns: &[
        Column::NAME,
        Column::string("Pod-Selector")
            .help("Selects the pods to which this NetworkPolicy object applies."),
        Column::AGE,
    ],
    schema: "networking.v1.NetworkPolicy",
    spec_generation: true,
    hooks: Hooks {
        cells: |object, now| {
            let selector = LabelSelector::from_json(value_at(object, &["spec", "podSelector"]));
            let shown = match selector {
                Ok(selector) if !selector.requirements().is_empty() => selector.to_string(),
                _ => "<none>".to_owned(),
            };
            vec![name_cell(object), shown.into(), age_cell(object, now)]
        },
        default: default_policy,
        validate: validate_policy,
        ..Hooks::PLAIN
    },
    ..Resource::BASE
};

fn ingress_cells(object: &Value, now_ms: i64) -> Vec<Value> {
    let spec = value_at(object, &["spec"]);
    let hosts: Vec<&str> = items(spec, &["rules"])
        .iter()
        .map(|rule| str_at(rule, &["host"]))
        .filter(|host| !host.is_empty())
        .collect();
    let hosts = match hosts.len() {
        0 => "*".to_owned(),
        1..=3 => hosts.join(","),
        more => format!("{} + {} more...", hosts[..3].join(","), more - 3),
    };
    let addresses: Vec<&str> = items(object, &["status", "loadBalancer", "ingress"])
        .iter()
        .map(|point| match str_at(point, &["ip"]) {
            "" => str_at(point, &["hostname"]),
            ip => ip,
        })
        .collect();
    let class = match str_at(spec, &["ingressClassName"]) {
        "" => "<none>",
        class => class,
    };
    let ports = if items(spec, &["tls"]).is_empty() { "80" } else { "80, 443" };
    vec![
        name_cell(object),
        class.into(),
        hosts.into(),
        addresses.join(",").into(),
        ports.into(),
        age_cell(object, now_ms),
    ]
}

fn validate_ingress(object: &Value, _old: Option<&Value>) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let spec = value_at(object, &["spec"]);
    let mut check = Check::new(&mut errors, "spec");
    let rules = items(spec, &["rules"]);
    if rules.is_empty() && !is_set(spec, "defaultBackend") {
        check.invalid("rules", json!([]), "either `defaultBackend` or `rules` must be specified");
    }
    if is_set(spec, "defaultBackend") {
        backend(&spec["defaultBackend"], &mut check.field("defaultBackend"));
    }
    for (index, rule) in rules.iter().enumerate() {
        let mut check = check.item("rules", index);
        let host = str_at(rule, &["host"]);
        if host.parse::<std::net::IpAddr>().is_ok() {
            check.invalid("host", host, "must be a DNS name, not an IP address");
        } else if let Some(message) = names::dns_subdomain(host.strip_prefix("*.").unwrap_or(host))
            .filter(|_| !host.is_empty())
        {
            check.invalid("host", host, message);
        }
        if !is_set(rule, "http") {
            continue;
        }
        let mut check = check.field("http");
        let paths = items(rule, &["http", "paths"]);
        if paths.is_empty() {
            check.required("paths", "");
        }
        for (place, path) in paths.iter().enumerate() {
            let mut check = check.item("paths", place);
            let kind = str_at(path, &["pathType"]);
            match kind {
                "" => check.required("pathType", "pathType must be specified"),
                _ => check.one_of(path, "pathType", PATH_TYPES),
            }
            let text = str_at(path, &["path"]);
            if matches!(kind, "Exact" | "Prefix") && !text.starts_with('/') {
                check.invalid("path", text, "must be an absolute path");
            }
            backend(value_at(path, &["backend"]), &mut check.field("backend"));
        }
    }
    errors
}

fn backend(backend: &Value, check: &mut Check<'_>) {
    let service = value_at(backend, &["service"]);
    match (service.is_object(), is_set(backend, "resource")) {
        (true, true) => {
            check.invalid("", backend.clone(), "cannot set both resource and service backends");
        }
        (false, false) => check.required("", "resource or service backend is required"),
        (false, true) => {}
        (true, false) => {
            let mut check = check.field("service");
            match str_at(service, &["name"]) {
                "" => check.required("name", ""),
                _ => check.syntax(service, "name", names::dns_label_1035),
            }
            let port = value_at(service, &["port"]);
            let (name, number) = (str_at(port, &["name"]), is_set(port, "number"));
            if name.is_empty() && !number {
                check.required("port", "port name or number is required");
            } else if number {
                check.field("port").port(port, "number");
            }
        }
    }
}

fn default_policy(object: &mut Value) {
    let Some(spec) = object.get_mut("spec").filter(|spec| spec.is_object()) else { return };
    for (rules, _) in [("ingress", "from"), ("egress", "to")] {
        for rule in items_mut(spec, rules) {
            for port in items_mut(rule, "ports") {
                default_str(port, "protocol", "TCP");
            }
        }
    }
    if items(spec, &["policyTypes"]).is_empty() {
        let mut types = vec![Value::from("Ingress")];
        if !items(spec, &["egress"]).is_empty() {
            types.push("Egress".into());
        }
        set(spec, "policyTypes", types);
    }
}

fn validate_policy(object: &Value, _old: Option<&Value>) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let spec = value_at(object, &["spec"]);
    let mut check = Check::new(&mut errors, "spec");
    check.field("podSelector").label_selector(value_at(spec, &["podSelector"]));
    for (rules, peers) in [("ingress", "from"), ("egress", "to")] {
        for (index, rule) in items(spec, &[rules]).iter().enumerate() {
            let mut check = check.item(rules, index);
            for (place, port) in items(rule, &["ports"]).iter().enumerate() {
                let mut check = check.item("ports", place);
                check.one_of(port, "protocol", &["SCTP", "TCP", "UDP"]);
                check.port_or_name(port, "port");
            }
            for (place, peer) in items(rule, &[peers]).iter().enumerate() {
                let mut check = check.item(peers, place);
                let selects = is_set(peer, "podSelector") || is_set(peer, "namespaceSelector");
                match (is_set(peer, "ipBlock"), selects) {
                    (true, true) => {
                        check.forbidden("", "may not specify both ipBlock and another peer")
                    }
                    (false, false) => check.required("", "must specify a peer"),
                    _ => {}
                }
                for field in ["podSelector", "namespaceSelector"] {
                    check.field(field).label_selector(value_at(peer, &[field]));
                }
            }
        }
    }
    for (index, kind) in items(spec, &["policyTypes"]).iter().enumerate() {
        let text = kind.as_str().unwrap_or_default();
        if !matches!(text, "Ingress" | "Egress") {
            check.not_supported(&format!("policyTypes[{index}]"), text, &["Egress", "Ingress"]);
        }
    }
    errors
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::expect_errors;

    #[test]
    fn ingress_rules() {
        fn check(spec: Value, expect: &[&str]) {
            expect_errors(&validate_ingress(&json!({ "spec": spec }), None), expect);
        }
        check(json!({}), &["spec.rules: Invalid value: []: either"]);
        check(json!({"defaultBackend": {"service": {"name": "a", "port": {"number": 80}}}}), &[]);
        check(
            json!({"rules": [{"host": "10.0.0.1", "http": {"paths": []}}]}),
            &["spec.rules[0].host: Invalid value", "spec.rules[0].http.paths: Required value"],
        );
    }
}
