//! `Service`: one name and address for a set of pods.
//!
//! Which address a Service gets is decided elsewhere; here is what its author
//! may leave out, and what may not change afterwards.

use std::collections::BTreeSet;
use std::net::IpAddr;

use serde_json::{Value, json};

use super::json::{
    age_cell, child, default_str, default_to, is_set, items, items_mut, labels_cell, name_cell,
    or_none, remove, set, str_at, value_at,
};
use super::metadata;
use super::validation::Check;
use super::{Column, Hooks, Resource, Subresource};
use crate::names;
use crate::status::FieldError;

const TYPES: &[&str] = &["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"];
const AFFINITY_SECONDS: i64 = 10_800;

pub(super) const ROW: Resource = Resource {
    kind: "Service",
    plural: "services",
    singular: "service",
    short_names: &["svc"],
    categories: &["all"],
    subresources: &[Subresource::Status],
    columns: &[
        Column::NAME,
        Column::string("Type").help("type determines how the Service is exposed."),
        Column::string("Cluster-IP").help("clusterIP is the IP address of the service."),
        Column::string("External-IP")
            .help("The addresses outside the cluster that lead to the service."),
        Column::string("Port(s)").help("The list of ports that are exposed by this service."),
        Column::AGE,
        Column::string("Selector").wide().help("Route service traffic to pods with these labels."),
    ],
    schema: "core.v1.Service",
    hooks: Hooks {
        cells,
        default,
        validate,
        name: names::dns_label_1035,
        create,
        update,
        ..Hooks::PLAIN
    },
    ..Resource::BASE
};

fn cells(service: &Value, now_ms: i64) -> Vec<Value> {
    let spec = value_at(service, &["spec"]);
    let cluster_ip = match items(spec, &["clusterIPs"]).first().and_then(Value::as_str) {
        Some(ip) => ip,
        None => str_at(spec, &["clusterIP"]),
    };
    vec![
        name_cell(service),
        str_at(spec, &["type"]).into(),
        or_none(cluster_ip),
        external(service).into(),
        or_none(&ports(spec)),
        age_cell(service, now_ms),
        labels_cell(value_at(spec, &["selector"])),
    ]
}

fn external(service: &Value) -> String {
    let spec = value_at(service, &["spec"]);
    let listed: Vec<&str> =
        items(spec, &["externalIPs"]).iter().filter_map(Value::as_str).collect();
    match str_at(spec, &["type"]) {
        "ClusterIP" | "NodePort" if listed.is_empty() => "<none>".to_owned(),
        "ClusterIP" | "NodePort" => listed.join(","),
        "LoadBalancer" => {
            let mut all: Vec<&str> = items(service, &["status", "loadBalancer", "ingress"])
                .iter()
                .map(|ingress| match str_at(ingress, &["ip"]) {
                    "" => str_at(ingress, &["hostname"]),
                    ip => ip,
                })
                .filter(|address| !address.is_empty())
                .collect();
            all.sort_unstable();
            all.dedup();
            all.extend(listed);
            if all.is_empty() { "<pending>".to_owned() } else { all.join(",") }
        }
        "ExternalName" => str_at(spec, &["externalName"]).to_owned(),
        _ => "<unknown>".to_owned(),
    }
}

/// `80/TCP,443:30443/TCP`
fn ports(spec: &Value) -> String {
    let one = |port: &Value| {
        let number = super::json::int_at(port, &["port"]);
        let protocol = str_at(port, &["protocol"]);
        match super::json::int_at(port, &["nodePort"]) {
            0 => format!("{number}/{protocol}"),
            node_port => format!("{number}:{node_port}/{protocol}"),
        }
    };
    items(spec, &["ports"]).iter().map(one).collect::<Vec<_>>().join(",")
}

fn default(service: &mut Value) {
    let Some(spec) = service.get_mut("spec").filter(|spec| spec.is_object()) else { return };
    default_str(spec, "type", "ClusterIP");
    default_str(spec, "sessionAffinity", "None");
    if str_at(spec, &["sessionAffinity"]) == "ClientIP"
        && let Some(client) =
            child(spec, "sessionAffinityConfig").and_then(|config| child(config, "clientIP"))
    {
        default_to(client, "timeoutSeconds", AFFINITY_SECONDS);
    }
    if str_at(spec, &["sessionAffinity"]) == "None" {
        remove(spec, "sessionAffinityConfig");
    }
    let kind = str_at(spec, &["type"]).to_owned();
    if kind != "ExternalName" {
        default_str(spec, "internalTrafficPolicy", "Cluster");
        addresses(spec);
    }
    if matches!(kind.as_str(), "NodePort" | "LoadBalancer") {
        default_str(spec, "externalTrafficPolicy", "Cluster");
    }
    if kind == "LoadBalancer" {
        default_to(spec, "allocateLoadBalancerNodePorts", true);
    }
    for port in items_mut(spec, "ports") {
        default_str(port, "protocol", "TCP");
        let number = value_at(port, &["port"]).clone();
        let absent = match value_at(port, &["targetPort"]) {
            Value::Null => true,
            Value::String(name) => name.is_empty(),
            Value::Number(target) => target.as_i64() == Some(0),
            _ => false,
        };
        if absent && number.is_number() {
            set(port, "targetPort", number);
        }
    }
}

/// `clusterIP` is the first of `clusterIPs`; the family follows the address.
fn addresses(spec: &mut Value) {
    let single = str_at(spec, &["clusterIP"]).to_owned();
    if !single.is_empty() && !is_set(spec, "clusterIPs") {
        set(spec, "clusterIPs", json!([single]));
    } else if single.is_empty()
        && let Some(first) = items(spec, &["clusterIPs"]).first().cloned()
    {
        set(spec, "clusterIP", first);
    }
    let v6 = matches!(str_at(spec, &["clusterIP"]).parse(), Ok(IpAddr::V6(_)));
    default_to(spec, "ipFamilies", json!([if v6 { "IPv6" } else { "IPv4" }]));
    default_str(spec, "ipFamilyPolicy", "SingleStack");
}

fn create(service: &mut Value) {
    set(service, "status", json!({"loadBalancer": {}}));
}

/// What the server allocated stays when a client leaves it out.
fn update(service: &mut Value, old: &Value) {
    let was = value_at(old, &["spec"]);
    let external = str_at(service, &["spec", "type"]) == "ExternalName";
    let Some(spec) = service.get_mut("spec").filter(|spec| spec.is_object()) else { return };
    if external {
        for field in ["clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy"] {
            remove(spec, field);
        }
        return;
    }
    if str_at(was, &["type"]) == "ExternalName" {
        return;
    }
    for field in ["clusterIP", "clusterIPs"] {
        if is_set(was, field) {
            default_to(spec, field, was[field].clone());
        }
    }
    if !matches!(str_at(spec, &["type"]), "NodePort" | "LoadBalancer") {
        return;
    }
    for port in items_mut(spec, "ports") {
        let same = items(was, &["ports"]).iter().find(|old| {
            old.get("port") == port.get("port") && old.get("protocol") == port.get("protocol")
        });
        if let Some(node_port) = same.and_then(|old| old.get("nodePort")) {
            default_to(port, "nodePort", node_port.clone());
        }
    }
}

fn validate(service: &Value, old: Option<&Value>) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let spec = value_at(service, &["spec"]);
    let mut check = Check::new(&mut errors, "spec");
    let kind = str_at(spec, &["type"]);
    let headless = str_at(spec, &["clusterIP"]) == "None";
    let list = items(spec, &["ports"]);
    if list.is_empty() && !headless && kind != "ExternalName" {
        check.required("ports", "");
    }
    validate_ports(list, &mut check);
    if kind.is_empty() {
        check.required("type", "");
    } else {
        check.one_of(spec, "type", TYPES);
    }
    if kind == "ExternalName" {
        match str_at(spec, &["externalName"]).trim_end_matches('.') {
            "" => check.required("externalName", ""),
            name => {
                if let Some(message) = names::dns_subdomain(name) {
                    check.invalid("externalName", name, message);
                }
            }
        }
        if !str_at(spec, &["clusterIP"]).is_empty() {
            check.forbidden("clusterIPs", "may not be set for ExternalName services");
        }
    } else {
        validate_addresses(spec, &mut check);
    }
    metadata::labels(value_at(spec, &["selector"]), &check.path("selector"), check.errors());
    check.one_of(spec, "sessionAffinity", &["ClientIP", "None"]);
    check.one_of(spec, "internalTrafficPolicy", &["Cluster", "Local"]);
    check.one_of(spec, "externalTrafficPolicy", &["Cluster", "Local"]);
    check.one_of(spec, "ipFamilyPolicy", &["SingleStack", "PreferDualStack", "RequireDualStack"]);
    if let Some(old) = old.map(|old| value_at(old, &["spec"])) {
        let was = str_at(old, &["clusterIP"]);
        let external = [kind, str_at(old, &["type"])].contains(&"ExternalName");
        if !was.is_empty() && !external && was != str_at(spec, &["clusterIP"]) {
            let now = json!([str_at(spec, &["clusterIP"])]);
            check.invalid("clusterIPs[0]", now, "may not change once set");
        }
    }
    errors
}

fn validate_ports(ports: &[Value], check: &mut Check<'_>) {
    let mut seen_names = BTreeSet::new();
    let mut seen_ports = BTreeSet::new();
    for (index, port) in ports.iter().enumerate() {
        let mut check = check.item("ports", index);
        let name = str_at(port, &["name"]);
        if name.is_empty() {
            if ports.len() > 1 {
                check.required("name", "");
            }
        } else if let Some(message) = names::dns_label(name) {
            check.invalid("name", name, message);
        } else if !seen_names.insert(name) {
            check.duplicate("name", name);
        }
        let number = value_at(port, &["port"]).as_i64().unwrap_or_default();
        if let Some(message) = names::port_number(number) {
            check.invalid("port", number, message);
        }
        let protocol = str_at(port, &["protocol"]);
        if protocol.is_empty() {
            check.required("protocol", "");
        } else {
            check.one_of(port, "protocol", &["SCTP", "TCP", "UDP"]);
        }
        check.port_or_name(port, "targetPort");
        if !seen_ports.insert((protocol, number)) {
            check.duplicate("", json!({"protocol": protocol, "port": number}));
        }
        if super::json::int_at(port, &["nodePort"]) != 0 {
            check.port(port, "nodePort");
        }
    }
}

fn validate_addresses(spec: &Value, check: &mut Check<'_>) {
    for (index, ip) in items(spec, &["clusterIPs"]).iter().enumerate() {
        let text = ip.as_str().unwrap_or_default();
        if text != "None" && text.parse::<IpAddr>().is_err() {
            let detail = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)";
            check.invalid(&format!("clusterIPs[{index}]"), text, detail);
        }
    }
    let (single, first) = (str_at(spec, &["clusterIP"]), items(spec, &["clusterIPs"]).first());
    if first.is_some_and(|first| first.as_str() != Some(single)) {
        let list = value_at(spec, &["clusterIPs"]).clone();
        check.invalid("clusterIPs", list, "first value must match `clusterIP`");
    }
    for (index, ip) in items(spec, &["externalIPs"]).iter().enumerate() {
        let text = ip.as_str().unwrap_or_default();
        if text.parse::<IpAddr>().is_err() {
            let detail = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)";
            check.invalid(&format!("externalIPs[{index}]"), text, detail);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(mut spec: Value, old: Option<Value>, expect: &[&str]) {
        if spec.get("ports").is_none() {
            spec["ports"] = json!([{"port": 80}]);
        }
        let mut service = json!({ "spec": spec });
        default(&mut service);
        let old = old.map(|spec| json!({ "spec": spec }));
        let found: Vec<String> =
            validate(&service, old.as_ref()).iter().map(ToString::to_string).collect();
        assert_eq!(found.len(), expect.len(), "{found:?}");
        for (text, start) in found.iter().zip(expect) {
            assert!(text.starts_with(start), "{text}");
        }
    }

    #[test]
    fn defaults() {
        let mut service =
            json!({"spec": {"ports": [{"port": 80}, {"port": 443, "targetPort": "https"}]}});
        default(&mut service);
        assert_eq!(
            service["spec"],
            json!({"type": "ClusterIP", "sessionAffinity": "None", "internalTrafficPolicy": "Cluster",
                "ipFamilies": ["IPv4"], "ipFamilyPolicy": "SingleStack",
                "ports": [{"port": 80, "protocol": "TCP", "targetPort": 80}, {"port": 443, "protocol": "TCP", "targetPort": "https"}]})
        );
        let mut headless = json!({"spec": {"clusterIP": "None"}});
        default(&mut headless);
        assert_eq!(headless["spec"]["clusterIPs"], json!(["None"]));
    }

    #[test]
    fn rules() {
        check(json!({}), None, &[]);
        check(json!({"ports": []}), None, &["spec.ports: Required value"]);
        check(json!({"ports": [], "clusterIP": "None"}), None, &[]);
        check(json!({"type": "Odd"}), None, &["spec.type: Unsupported value"]);
        check(
            json!({"ports": [{"port": 0, "targetPort": "web"}]}),
            None,
            &["spec.ports[0].port: Invalid value: 0: must be between"],
        );
        check(
            json!({"ports": [{"port": 1}, {"port": 2, "name": "b"}]}),
            None,
            &["spec.ports[0].name: Required value"],
        );
        check(
            json!({"clusterIP": "nowhere"}),
            None,
            &["spec.clusterIPs[0]: Invalid value: \"nowhere\": must be a valid IP"],
        );
        check(
            json!({"type": "ExternalName", "ports": []}),
            None,
            &["spec.externalName: Required value"],
        );
        check(
            json!({"clusterIP": "10.0.0.2"}),
            Some(json!({"clusterIP": "10.0.0.1"})),
            &["spec.clusterIPs[0]: Invalid value: [\"10.0.0.2\"]: may not change once set"],
        );
    }

    #[test]
    fn allocated_values_survive_an_update() {
        let old = json!({"spec": {"type": "NodePort", "clusterIP": "10.0.0.1", "clusterIPs": ["10.0.0.1"],
            "ports": [{"port": 80, "protocol": "TCP", "nodePort": 30080}]}});
        let mut new =
            json!({"spec": {"type": "NodePort", "ports": [{"port": 80, "protocol": "TCP"}]}});
        update(&mut new, &old);
        assert_eq!(new["spec"]["clusterIP"], "10.0.0.1");
        assert_eq!(new["spec"]["ports"][0]["nodePort"], 30080);
    }

    #[test]
    fn printed_row() {
        let service = json!({"metadata": {"name": "s"}, "spec": {"type": "NodePort", "clusterIP": "10.0.0.1",
            "selector": {"app": "web"}, "ports": [{"port": 80, "nodePort": 30080, "protocol": "TCP"}, {"port": 53, "protocol": "UDP"}]}});
        assert_eq!(
            cells(&service, 0),
            ["s", "NodePort", "10.0.0.1", "<none>", "80:30080/TCP,53/UDP", "<unknown>", "app=web"]
        );
        let pending = json!({"spec": {"type": "LoadBalancer"}});
        assert_eq!(cells(&pending, 0)[3..5], ["<pending>", "<none>"]);
    }
}
