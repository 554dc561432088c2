//! How long a call that never returns lasts, under the budgets that its role has
//! unless a Plugin object says otherwise.

use std::sync::Arc;
use std::time::{Duration, Instant};

use pintle_plugin_host::plugin::Role;
use pintle_plugin_host::trace::model::*;
use pintle_plugin_host::trace::offline::Component;
use serde_json::{Value, json};

use super::decision::Nothing;
use super::middle;
use crate::support::cluster::{config_map, pod};
use crate::support::guests;

pub struct Stopped {
    pub role: Role,
    pub deadline: Duration,
    /// What ended it: fuel may come first.
    pub reason: String,
    pub median: Duration,
    pub longest: Duration,
}

pub fn measure(rounds: usize) -> Vec<Stopped> {
    let milliseconds = Duration::from_millis;
    let context = ContextRecord { now_unix_ms: 0, seed: 0, revision: 1 };
    let asked = record("ConfigMap", &config_map("x", json!({ "do": "loop" })));
    let review = Input::Review {
        context,
        request: RequestRecord {
            reference: asked.reference,
            subresource: String::new(),
            operation: OperationRecord::Create,
            phase: PhaseRecord::Mutating,
            dry_run: false,
            user: "me".to_owned(),
            user_uid: String::new(),
            groups: Vec::new(),
            json: asked.json,
            old_json: Blob::default(),
        },
    };
    let pod = record("Pod", &pod("x"));
    let score = Input::Score { context, pod: pod.clone() };
    let schedule = Input::Schedule { context, pods: vec![pod] };
    let spins = json!({ "score": "zone", "fault": "loop", "schedule": "loop" });
    [
        (Role::Admission, guests::admission(), milliseconds(15), review),
        (Role::SchedulerExtension, guests::extension(), milliseconds(15), score),
        (Role::Scheduler, guests::scheduler(), milliseconds(17), schedule),
    ]
    .into_iter()
    .map(|(role, component, deadline, input)| {
        let component = Component::open(&component, role).expect("the guest loads");
        let mut reason = String::new();
        let took = (0..rounds).map(|_| {
            let (took, fault) = spin(&component, &spins, &input);
            reason = fault.reason;
            took
        });
        let took: Vec<Duration> = took.collect();
        let longest = took.iter().max().copied().unwrap_or_default();
        Stopped { role, deadline, reason, median: middle(took), longest }
    })
    .collect()
}

fn spin(component: &Component, config: &Value, input: &Input) -> (Duration, FaultRecord) {
    let mut instance = component.start(config.to_string().as_bytes()).expect("the guest starts");
    let started = Instant::now();
    let answer = instance.ask(input, Arc::new(Nothing)).expect("the role has this call");
    let took = started.elapsed();
    match answer {
        Answer::Fault(fault) => (took, fault),
        other => panic!("it did not spin: {other:?}"),
    }
}

fn record(kind: &str, object: &Value) -> ObjectRecord {
    let text = |field: &str| object["metadata"][field].as_str().unwrap_or_default().to_owned();
    ObjectRecord {
        reference: RefRecord {
            kind: KindRecord { group: String::new(), version: "v1".into(), kind: kind.into() },
            namespace: text("namespace"),
            name: text("name"),
        },
        uid: text("name"),
        revision: 1,
        json: Blob(object.to_string().into_bytes()),
    }
}
