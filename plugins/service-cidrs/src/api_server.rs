//! The API server as pods find it: the Service `kubernetes` in `default` with the
//! first address of the first range, its Endpoints and its EndpointSlices.

use std::net::IpAddr;

use pintle_sdk::api::cidr::Cidr;
use pintle_sdk::prelude::*;
use serde_json::{Value, json};

use crate::{ENDPOINTS, KUBERNETES};

const NAMESPACE: &str = "default";
const PORT_NAME: &str = "https";
const SERVICE_PORT: u16 = 443;
/// So that nobody makes EndpointSlices of the Endpoints a second time.
const SKIP_MIRROR: &str = "endpointslice.kubernetes.io/skip-mirror";
const SERVICE_NAME: &str = "kubernetes.io/service-name";

/// Where the API server is reached; nowhere without addresses.
#[derive(Debug, Clone, Default, PartialEq, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ApiServer {
    pub addresses: Vec<String>,
    pub port: u16,
}

impl ApiServer {
    pub fn check(&self) -> Result<(), String> {
        for address in &self.addresses {
            match address.parse::<IpAddr>() {
                Ok(ip) if !ip.is_loopback() && !ip.is_unspecified() => {}
                _ => {
                    return Err(format!(
                        "apiServer.addresses: {address:?} cannot be reached from elsewhere"
                    ));
                }
            }
        }
        if self.port == 0 && !self.addresses.is_empty() {
            return Err("apiServer.port: must be the port of the API server".to_owned());
        }
        Ok(())
    }

    /// Creates or corrects all of it.
    pub fn keep(
        &self,
        lister: &dyn Lister,
        ranges: &[Cidr],
        outcome: &mut Outcome,
    ) -> Result<(), Error> {
        let Some(range) = ranges.first().filter(|_| self.port != 0) else { return Ok(()) };
        self.keep_service(lister, range, outcome)?;
        self.keep_endpoints(lister, outcome)?;
        self.keep_slice(lister, range.family(), outcome)
    }

    fn keep_service(
        &self,
        lister: &dyn Lister,
        range: &Cidr,
        outcome: &mut Outcome,
    ) -> Result<(), Error> {
        let ports = json!([{"name": PORT_NAME, "port": SERVICE_PORT, "protocol": "TCP", "targetPort": self.port}]);
        match lister.read::<Service>(NAMESPACE, KUBERNETES)? {
            None => {
                let address = range.address(1).to_string();
                let service = json!({
                    "metadata": metadata(json!({"component": "apiserver"})),
                    "spec": {
                        "type": "ClusterIP", "clusterIP": address, "clusterIPs": [address],
                        "sessionAffinity": "None", "ports": ports,
                    },
                });
                outcome.push(Create::new(SERVICE, NAMESPACE, &service));
            }
            Some(service) if !service.metadata.is_being_deleted() => {
                let port = service.spec.ports.first();
                let leads_here = service.spec.ports.len() == 1
                    && port.is_some_and(|port| {
                        port.target_port == Some(IntOrString::Int(i64::from(self.port)))
                            && port.port == i64::from(SERVICE_PORT)
                    });
                if !leads_here {
                    outcome.push(Patch::merge(&service, &json!({"spec": {"ports": ports}})));
                }
            }
            Some(_) => {}
        }
        Ok(())
    }

    fn keep_endpoints(&self, lister: &dyn Lister, outcome: &mut Outcome) -> Result<(), Error> {
        let addresses: Vec<Value> = self.addresses.iter().map(|ip| json!({"ip": ip})).collect();
        let subsets = if addresses.is_empty() {
            json!([])
        } else {
            let ports = json!([{"name": PORT_NAME, "port": self.port, "protocol": "TCP"}]);
            json!([{"addresses": addresses, "ports": ports}])
        };
        let metadata = metadata(json!({SKIP_MIRROR: "true"}));
        let wanted = json!({"metadata": metadata, "subsets": subsets});
        keep(lister, ENDPOINTS, &wanted, &["subsets"], outcome)
    }

    fn keep_slice(
        &self,
        lister: &dyn Lister,
        family: &str,
        outcome: &mut Outcome,
    ) -> Result<(), Error> {
        let fits =
            |ip: &&String| ip.parse().is_ok_and(|ip: IpAddr| ip.is_ipv6() == (family == "IPv6"));
        let endpoints: Vec<Value> = self
            .addresses
            .iter()
            .filter(fits)
            .map(|ip| json!({"addresses": [ip], "conditions": {"ready": true}}))
            .collect();
        let wanted = json!({
            "metadata": metadata(json!({SERVICE_NAME: KUBERNETES})),
            "addressType": family,
            "endpoints": endpoints,
            "ports": [{"name": PORT_NAME, "port": self.port, "protocol": "TCP"}],
        });
        keep(lister, ENDPOINT_SLICE, &wanted, &["endpoints", "ports"], outcome)
    }
}

fn metadata(mut labels: Value) -> Value {
    labels["provider"] = json!(KUBERNETES);
    json!({"name": KUBERNETES, "namespace": NAMESPACE, "labels": labels})
}

/// Creates an object or corrects these fields of it.
fn keep(
    lister: &dyn Lister,
    kind: KindRef,
    wanted: &Value,
    fields: &[&str],
    outcome: &mut Outcome,
) -> Result<(), Error> {
    let Some(known) = lister.get(&kind.named(NAMESPACE, KUBERNETES)) else {
        outcome.push(Create::new(kind, NAMESPACE, wanted));
        return Ok(());
    };
    let found: Value = known.parse()?;
    let labels = &wanted["metadata"]["labels"];
    let labelled = labels.as_object().into_iter().flatten();
    let mut body = json!({});
    for (label, value) in labelled {
        if found["metadata"]["labels"][label] != *value {
            body["metadata"]["labels"][label] = value.clone();
        }
    }
    for field in fields {
        let none = |value: &Value| value.is_null() || value.as_array().is_some_and(Vec::is_empty);
        let same =
            found[*field] == wanted[*field] || (none(&found[*field]) && none(&wanted[*field]));
        if !same {
            body[*field] = wanted[*field].clone();
        }
    }
    if body != json!({}) {
        outcome.push(Patch::merge(&known, &body));
    }
    Ok(())
}
