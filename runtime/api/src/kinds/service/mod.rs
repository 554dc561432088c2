//! `Service`: one name and address for a set of pods.
//!
//! Which address a Service gets is decided elsewhere; here is what its author
//! may leave out, and what may not change afterwards.

mod addresses;
mod ports;

use serde_json::{Value, json};

use super::json::{
    age_cell, child, default_str, default_to, items, labels_cell, name_cell, or_none, remove, set,
    str_at, value_at,
};
use super::metadata;
use super::selectable::SelectableField;
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
    selectable: &[
        SelectableField::new("spec.clusterIP", "/spec/clusterIP").indexed(),
        SelectableField::new("spec.type", "/spec/type").indexed(),
    ],
    claims: Some(addresses::claims),
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
    if addresses::wants_address(spec) {
        default_str(spec, "internalTrafficPolicy", "Cluster");
    }
    if ports::is_external(spec) {
        default_str(spec, "externalTrafficPolicy", "Cluster");
    }
    if str_at(spec, &["type"]) == "LoadBalancer" {
        default_to(spec, "allocateLoadBalancerNodePorts", true);
    }
    ports::default(spec);
}

fn create(service: &mut Value) {
    set(service, "status", json!({"loadBalancer": {}}));
    if let Some(spec) = service.get_mut("spec").filter(|spec| spec.is_object()) {
        addresses::on_create(spec);
    }
}

/// What the server allocated stays when a client leaves it out, and goes when the
/// new type does not have it.
fn update(service: &mut Value, old: &Value) {
    let was = value_at(old, &["spec"]);
    let Some(spec) = service.get_mut("spec").filter(|spec| spec.is_object()) else { return };
    addresses::on_update(spec, was);
    ports::on_update(spec, was);
    addresses::drop_unwanted(spec, was);
    ports::drop_unwanted(spec, was);
    if !addresses::wants_address(spec) && addresses::wants_address(was) {
        remove(spec, "internalTrafficPolicy");
    }
}

fn validate(service: &Value, old: Option<&Value>) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let spec = value_at(service, &["spec"]);
    let mut check = Check::new(&mut errors, "spec");
    let kind = str_at(spec, &["type"]);
    let headless = str_at(spec, &["clusterIP"]) == "None";
    if items(spec, &["ports"]).is_empty() && !headless && kind != "ExternalName" {
        check.required("ports", "");
    }
    ports::validate(spec, &mut check);
    if kind.is_empty() {
        check.required("type", "");
    } else {
        check.one_of(spec, "type", TYPES);
    }
    if headless && ports::wants_node_ports(spec) {
        check.invalid(
            "clusterIPs[0]",
            "None",
            format!("may not be set to 'None' for {kind} services"),
        );
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
    }
    addresses::validate(spec, &mut check);
    for (index, ip) in items(spec, &["externalIPs"]).iter().enumerate() {
        let text = ip.as_str().unwrap_or_default();
        if text.parse::<std::net::IpAddr>().is_err() {
            let detail = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)";
            check.invalid(&format!("externalIPs[{index}]"), text, detail);
        }
    }
    metadata::labels(value_at(spec, &["selector"]), &check.path("selector"), check.errors());
    check.one_of(spec, "sessionAffinity", &["ClientIP", "None"]);
    if let Some(was) = old.map(|old| value_at(old, &["spec"])) {
        addresses::validate_update(spec, was, &mut check);
        ports::validate_update(spec, was, &mut check);
    }
    errors
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::expect_errors;

    fn check(mut spec: Value, old: Option<Value>, expect: &[&str]) {
        if spec.get("ports").is_none() {
            spec["ports"] = json!([{"port": 80}]);
        }
        let mut service = json!({ "spec": spec });
        default(&mut service);
        create(&mut service);
        let mut old = old.map(|spec| json!({ "spec": spec }));
        if let Some(old) = &mut old {
            create(old);
        }
        expect_errors(&validate(&service, old.as_ref()), expect);
    }

    #[test]
    fn defaults() {
        let mut service =
            json!({"spec": {"ports": [{"port": 80}, {"port": 443, "targetPort": "https"}]}});
        default(&mut service);
        assert_eq!(
            service["spec"],
            json!({"type": "ClusterIP", "sessionAffinity": "None", "internalTrafficPolicy": "Cluster",
                "ports": [{"port": 80, "protocol": "TCP", "targetPort": 80}, {"port": 443, "protocol": "TCP", "targetPort": "https"}]})
        );
        let mut headless = json!({"spec": {"clusterIP": "None"}});
        create(&mut headless);
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
