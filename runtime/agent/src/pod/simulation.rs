//! The state machine against a node that does what it is told, or fails, and
//! containers that end when they like: what must hold whatever happens.

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::json;

use super::model::{Pod, RestartPolicy};
use super::runtime::{Hook, Phase, PodRuntime, Sandbox, Termination};
use super::step::{Decision, Desired, Step, step};

/// A node without a kernel.
struct Node {
    pod: Pod,
    gone: bool,
    runtime: PodRuntime,
    now: i64,
    /// Processes that really run: container to attempt.
    live: BTreeMap<String, u32>,
    /// Every attempt that was ever started.
    started: Vec<(String, u32)>,
    in_api: bool,
    forgotten: bool,
}

#[derive(Debug, Clone)]
enum Happening {
    /// So many decisions are taken and performed.
    Work(u8),
    /// The next step fails.
    Fail,
    Exit {
        container: usize,
        code: i32,
    },
    ShimDies,
    /// The agent forgets all that is not written down.
    AgentDies,
    Delete,
    Gone,
    Time(i64),
}

impl Node {
    fn new(policy: RestartPolicy, init: bool, hooks: bool) -> Node {
        let mut container = json!({"name": "main", "image": "i"});
        if hooks {
            container["lifecycle"] = json!({"preStop": {"exec": {"command": ["x"]}}});
        }
        let mut spec = json!({
            "restartPolicy": policy,
            "containers": [container, {"name": "other", "image": "i"}],
            "terminationGracePeriodSeconds": 5,
        });
        if init {
            spec["initContainers"] = json!([
                {"name": "init", "image": "i"},
                {"name": "sidecar", "image": "i", "restartPolicy": "Always"},
            ]);
        }
        let pod: Pod = serde_json::from_value(json!({
            "metadata": {"name": "p", "namespace": "n", "uid": "u"},
            "spec": spec,
        }))
        .unwrap();
        Node {
            runtime: PodRuntime::new(&pod, 0),
            pod,
            gone: false,
            now: 1_000,
            live: BTreeMap::new(),
            started: Vec::new(),
            in_api: true,
            forgotten: false,
        }
    }

    fn decide(&self) -> Decision {
        let decide = || step(Desired { pod: &self.pod, gone: self.gone }, &self.runtime, self.now);
        let decision = decide();
        assert_eq!(decision, decide(), "the same question has the same answer");
        decision
    }

    fn exit(&mut self, name: &str, code: i32) {
        if self.live.remove(name).is_none() {
            return;
        }
        let end = Termination {
            exit_code: code,
            signal: None,
            reason: String::new(),
            message: String::new(),
            started_at: self.now,
            finished_at: self.now,
            container_id: String::new(),
        };
        self.runtime.exited(name, end);
    }

    fn perform(&mut self, step: Step, fail: bool) {
        let pod = self.pod.clone();
        match step {
            Step::PrepareVolumes | Step::CreateSandbox if fail => {
                if step == Step::CreateSandbox {
                    self.runtime.sandbox = Sandbox::Creating;
                }
                self.runtime.sandbox_failed("Failed", "x".into(), self.now);
            }
            Step::PrepareVolumes => {
                self.runtime.volumes_ready = true;
                self.runtime.sandbox_failure = None;
            }
            Step::CreateSandbox => {
                assert!(self.live.is_empty(), "a sandbox is made while containers run");
                self.runtime.sandbox_ready(vec!["10.0.0.2".parse().unwrap()]);
            }
            Step::Start { container, attempt } => {
                assert!(!self.live.contains_key(&container), "{container} is started twice");
                assert_eq!(self.runtime.sandbox, Sandbox::Ready);
                if !pod.is_init(&container) {
                    let ready = |c: &super::model::Container| {
                        let known = self.runtime.container(&c.name).unwrap();
                        c.is_sidecar() || known.exited().is_some_and(|end| end.exit_code == 0)
                    };
                    assert!(
                        pod.spec.init_containers.iter().all(ready),
                        "started before its init containers"
                    );
                }
                assert!(!pod.is_being_deleted() && !self.gone, "a pod that goes is started");
                self.runtime.begin(&pod, &container, attempt, self.now);
                if fail {
                    return self.runtime.start_failed(&container, "Failed", "x".into(), self.now);
                }
                assert!(
                    !self.started.contains(&(container.clone(), attempt)),
                    "attempt {attempt} of {container} ran before"
                );
                self.started.push((container.clone(), attempt));
                self.live.insert(container.clone(), attempt);
                self.runtime.running(&container, self.now, true, true);
            }
            Step::BeginStop => self.runtime.stop_since = Some(self.now),
            Step::Stop { container } => self.runtime.stop_container(&container, self.now),
            Step::PreStop { container } => {
                // The hook's end is told at once here, or never.
                let hook = if fail { Hook::Running } else { Hook::Done };
                self.runtime.stopping_mut(&container).unwrap().hook = hook;
            }
            Step::Terminate { container } => {
                self.runtime.stopping_mut(&container).unwrap().term_sent = true;
                if !fail {
                    self.exit(&container, 143);
                }
            }
            Step::Kill { container } => {
                self.runtime.stopping_mut(&container).unwrap().kill_sent_at = Some(self.now);
                if !fail {
                    self.exit(&container, 137);
                }
            }
            Step::Fail(outcome) => self.runtime.outcome = Some(outcome),
            Step::TearDownSandbox if fail => {
                self.runtime.sandbox_failed("Failed", "x".into(), self.now)
            }
            Step::TearDownSandbox => {
                assert!(self.live.is_empty() || self.runtime.sandbox == Sandbox::Lost);
                let goes_on = !super::step::ends(
                    Desired { pod: &pod, gone: self.gone },
                    &self.runtime,
                    self.now,
                );
                self.runtime.sandbox_failure = None;
                self.runtime.sandbox_gone(&pod, goes_on);
            }
            Step::DeleteObject => {
                assert!(self.live.is_empty(), "the object goes before its containers");
                self.in_api = false;
                self.runtime.object_deleted = true;
            }
            Step::Forget => {
                assert!(self.live.is_empty() && self.runtime.sandbox == Sandbox::Absent);
                self.forgotten = true;
            }
        }
    }

    /// One round of the driver's loop. False: there was nothing to do.
    fn work(&mut self, fail: &mut bool) -> bool {
        if self.forgotten {
            return false;
        }
        let decision = self.decide();
        let any = !decision.steps.is_empty();
        for step in decision.steps {
            self.perform(step, std::mem::take(fail));
        }
        any
    }

    fn happen(&mut self, happening: Happening, fail: &mut bool) {
        match happening {
            Happening::Work(times) => (0..times).for_each(|_| {
                self.work(fail);
            }),
            Happening::Fail => *fail = true,
            Happening::Exit { container, code } => {
                let name = self.live.keys().nth(container % self.live.len().max(1)).cloned();
                if let Some(name) = name {
                    self.exit(&name, code);
                }
            }
            Happening::ShimDies if self.runtime.sandbox == Sandbox::Ready => {
                self.live.clear();
                self.runtime.sandbox_lost(self.now);
            }
            Happening::ShimDies => {}
            Happening::AgentDies => {
                let written = serde_json::to_vec(&self.runtime).unwrap();
                self.runtime = serde_json::from_slice(&written).unwrap();
            }
            Happening::Delete => {
                self.pod.metadata.deletion_timestamp = Some("2026-01-01T00:00:00Z".into());
                self.pod.metadata.deletion_grace_period_seconds = Some(5);
            }
            Happening::Gone => {
                self.gone = true;
                self.in_api = false;
            }
            Happening::Time(passed) => self.now += passed,
        }
    }

    /// Works on, letting time pass when nothing else is left, until quiet.
    fn settle(&mut self) {
        let mut fail = false;
        for _ in 0..500 {
            if self.work(&mut fail) {
                continue;
            }
            match self.decide().wake_at {
                _ if self.forgotten => return,
                Some(at) => {
                    assert!(at > self.now, "a wake-up in the past never ends");
                    self.now = at;
                }
                None => return,
            }
        }
        panic!("no end in sight: {:?} {:?}", self.decide(), self.runtime);
    }
}

fn happening() -> impl Strategy<Value = Happening> {
    prop_oneof![
        6 => (1u8..8).prop_map(Happening::Work),
        2 => Just(Happening::Fail),
        3 => (0usize..4, prop_oneof![Just(0), Just(1)]).prop_map(|(container, code)| Happening::Exit { container, code }),
        1 => Just(Happening::ShimDies),
        2 => Just(Happening::AgentDies),
        1 => Just(Happening::Delete),
        1 => Just(Happening::Gone),
        3 => (1i64..400_000).prop_map(Happening::Time),
    ]
}

fn policy() -> impl Strategy<Value = RestartPolicy> {
    prop_oneof![
        Just(RestartPolicy::Always),
        Just(RestartPolicy::OnFailure),
        Just(RestartPolicy::Never)
    ]
}

proptest! {
    /// Nothing runs twice, order holds (asserted at each step), and in the end
    /// the pod runs, or has ended, or is gone without a trace.
    #[test]
    fn a_pod_converges(
        policy in policy(),
        init in any::<bool>(),
        hooks in any::<bool>(),
        story in prop::collection::vec(happening(), 0..60),
    ) {
        let mut node = Node::new(policy, init, hooks);
        let mut fail = false;
        for happening in story {
            node.happen(happening, &mut fail);
        }
        // Init containers do their work.
        for _ in 0..4 {
            node.settle();
            if node.live.contains_key("init") {
                node.exit("init", 0);
            }
        }
        node.settle();
        if node.gone || node.pod.is_being_deleted() {
            prop_assert!(node.forgotten && node.live.is_empty() && !node.in_api);
        } else if super::step::finished(&node.pod, &node.runtime).is_some() {
            prop_assert!(node.live.is_empty());
            prop_assert_eq!(node.runtime.sandbox, Sandbox::Absent);
        } else {
            for name in ["main", "other"] {
                let known = node.runtime.container(name).unwrap();
                let runs = node.live.get(name) == Some(&known.attempt) && known.is_running();
                let done = policy != RestartPolicy::Always && matches!(known.phase, Phase::Exited(_));
                prop_assert!(runs || done, "{name}: {known:?}");
            }
        }
    }

    /// A finished pod stays as it is.
    #[test]
    fn a_quiet_pod_stays_quiet(policy in policy(), passed in 0i64..10_000_000) {
        let mut node = Node::new(policy, false, false);
        node.settle();
        let before = node.runtime.clone();
        node.now += passed;
        node.settle();
        prop_assert_eq!(before, node.runtime);
    }
}
