//! What a stolen node certificate is good for: the node's own objects.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use pintle_e2e::{Cluster, name, require_machine, workload};
use pintle_node_link::{
    Link, LinkConfig, LinkState, NodeHandler, NodeIdentity, Request, ServeStream,
};

struct Nothing;

#[async_trait::async_trait]
impl NodeHandler for Nothing {
    async fn serve(self: Arc<Self>, _header: Bytes) -> Result<ServeStream, String> {
        Err("nothing is served here".into())
    }
}

#[test]
fn a_node_acts_on_its_own_objects_only() {
    require_machine!();
    let mut cluster = Cluster::start(2);
    cluster.apply("{apiVersion: v1, kind: Namespace, metadata: {name: elsewhere}}");
    for (name, namespace) in [("used", "default"), ("unused", "default"), ("used", "elsewhere")] {
        cluster.apply(&format!(
            "{{apiVersion: v1, kind: Secret, metadata: {{name: {name}, namespace: {namespace}}}, stringData: {{a: b}}}}"
        ));
    }
    let reads = "valueFrom: {secretKeyRef: {name: used, key: a}}";
    let environment = format!("{}, {{name: FROM_SECRET, {reads}}}", cluster.marker());
    cluster.apply(&workload::sleepers(&environment, 4));
    cluster.wait_ready_pods("app=sleepers", 4);
    let pods = cluster.ready_pods("app=sleepers");
    let pod_on = |node: &str| {
        let pod = pods.iter().find(|pod| pod["spec"]["nodeName"] == node);
        name(pod.expect("pods are spread over the nodes")).to_owned()
    };
    let (own, foreign) = (pod_on("node-0"), pod_on("node-1"));
    // The agent's place is taken by somebody with its certificate.
    drop(cluster.nodes[0].agent.take());
    let pki = cluster.nodes[0].data_dir.join("node/pki");
    let misnamed = NodeIdentity::load(&pki, "node-1", SystemTime::now());
    assert!(misnamed.is_err(), "a certificate holds for the name in it");

    let pod = "/api/v1/namespaces/default/pods";
    let lease = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases";
    let status = r#"{"status":{"phase":"Failed"}}"#;
    let label = r#"{"metadata":{"labels":{"a":"b"}}}"#;
    // Method, path, body, and the answer.
    let requests: Vec<(&str, String, &str, u16)> = vec![
        ("GET", "/api/v1/nodes".into(), "", 200),
        ("GET", "/api/v1/pods?fieldSelector=spec.nodeName%3Dnode-0".into(), "", 200),
        ("GET", format!("{pod}/{own}"), "", 200),
        ("GET", "/api/v1/namespaces/default/secrets/used".into(), "", 200),
        ("PATCH", "/api/v1/nodes/node-0".into(), label, 200),
        ("GET", "/api/v1/pods".into(), "", 403),
        ("GET", "/api/v1/pods?fieldSelector=spec.nodeName%3Dnode-1".into(), "", 403),
        ("GET", format!("{pod}/{foreign}"), "", 403),
        ("PATCH", format!("{pod}/{foreign}/status"), status, 403),
        ("DELETE", format!("{pod}/{foreign}"), "", 403),
        ("PATCH", format!("{pod}/{own}"), label, 403),
        ("PATCH", "/api/v1/nodes/node-1".into(), label, 403),
        ("PATCH", "/api/v1/nodes/node-1/status".into(), status, 403),
        ("DELETE", "/api/v1/nodes/node-0".into(), "", 403),
        ("PATCH", format!("{lease}/node-1"), label, 403),
        ("GET", "/api/v1/namespaces/default/secrets/unused".into(), "", 403),
        ("GET", "/api/v1/namespaces/elsewhere/secrets/used".into(), "", 403),
        ("GET", "/api/v1/namespaces/default/secrets".into(), "", 403),
        ("GET", "/api/v1/secrets".into(), "", 403),
        ("DELETE", "/apis/apps/v1/namespaces/default/deployments/sleepers".into(), "", 403),
        ("GET", "/../../api/v1/secrets".into(), "", 403),
    ];
    let got = cluster.in_network_of(0, || ask(&pki, &requests));
    for ((method, path, _, expect), (status, body)) in requests.iter().zip(&got) {
        assert_eq!(status, expect, "{method} {path}: {body}");
        if *expect == 403 {
            assert!(body.contains("Forbidden"), "{method} {path}: {body}");
        }
    }

    cluster.start_agent(0, None);
    cluster.wait_ready_pods("app=sleepers", 4);
    let after = cluster.ready_pods("app=sleepers");
    assert!(pods.iter().map(name).eq(after.iter().map(name)), "the same pods as before");
}

/// Status and text of each answer.
fn ask(pki: &std::path::Path, requests: &[(&str, String, &str, u16)]) -> Vec<(u16, String)> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let identity = NodeIdentity::load(pki, "node-0", SystemTime::now()).unwrap().unwrap();
        let server = pintle_e2e::LINK.to_owned();
        let config = LinkConfig { server, identity, capabilities: Vec::new() };
        let link = Link::start(config, Arc::new(Nothing));
        let connected = |state: &LinkState| matches!(state, LinkState::Connected { .. });
        let in_time = Duration::from_secs(30);
        tokio::time::timeout(in_time, link.state().wait_for(connected)).await.unwrap().unwrap();
        let mut answers = Vec::new();
        for (method, path, body, _) in requests {
            let request = Request {
                method: (*method).into(),
                path: path.clone(),
                content_type: match *method {
                    "PATCH" => "application/merge-patch+json".into(),
                    _ => "application/json".into(),
                },
                body: Bytes::copy_from_slice(body.as_bytes()),
            };
            let response =
                tokio::time::timeout(in_time, link.request(request)).await.unwrap().unwrap();
            let status = response.status;
            let body = response.bytes(16 << 20).await.unwrap();
            answers.push((status, String::from_utf8_lossy(&body).into_owned()));
        }
        answers
    })
}
