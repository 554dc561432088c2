//! What a bad candidate does to a cluster: it ends in a documented state with
//! the reason on the object, and pods are bound all the time.

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use bytes::Bytes;
use serde_json::{Value, json};
use support::cluster::{Memory, node, pod};
use support::host::Running;
use support::{eventually, eventually_showing, guests};

/// Between two pods.
const EVERY: Duration = Duration::from_millis(4);

/// Between two bindings, whatever a candidate does.
const LONGEST_GAP: Duration = Duration::from_millis(100);

/// Creates pods at a steady rate, on a thread of its own, and watches how well
/// it gets the processor itself: on a machine that is busy with other things
/// nobody is bound in time.
struct Arrivals {
    stop: Arc<AtomicBool>,
    created: Arc<AtomicUsize>,
    late: Arc<parking_lot::Mutex<Duration>>,
    thread: Option<JoinHandle<()>>,
}

impl Arrivals {
    fn start(memory: &Arc<Memory>) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let created = Arc::new(AtomicUsize::new(0));
        let late = Arc::new(parking_lot::Mutex::new(Duration::ZERO));
        let thread = std::thread::spawn({
            let (stop, created, late, memory) =
                (stop.clone(), created.clone(), late.clone(), memory.clone());
            move || {
                let mut last = Instant::now();
                while !stop.load(Ordering::SeqCst) {
                    // A rate is what is wanted.
                    std::thread::sleep(EVERY);
                    let index = created.fetch_add(1, Ordering::SeqCst);
                    memory.create(pod(&format!("pod-{index}")));
                    let now = Instant::now();
                    let behind = now.duration_since(last).saturating_sub(EVERY);
                    let mut late = late.lock();
                    *late = late.max(behind);
                    last = now;
                }
            }
        });
        Self { stop, created, late, thread: Some(thread) }
    }

    fn created(&self) -> usize {
        self.created.load(Ordering::SeqCst)
    }

    /// Waits for so many further pods.
    async fn more(&self, pods: usize) {
        let wanted = self.created() + pods;
        eventually("more pods", || (self.created() >= wanted).then_some(())).await;
    }

    /// Begins to watch gaps.
    fn watch(&self, memory: &Memory) {
        *self.late.lock() = Duration::ZERO;
        *memory.bound_at.lock() = Some(vec![Instant::now()]);
    }

    /// The longest time without a binding since `watch`, and how late the
    /// arrivals themselves were at worst.
    fn longest_gap(&self, memory: &Memory) -> (Duration, Duration) {
        let mut times = memory.bound_at.lock().take().unwrap();
        times.push(Instant::now());
        let gaps = times.windows(2).map(|pair| pair[1].duration_since(pair[0]));
        (gaps.max().unwrap_or_default(), *self.late.lock())
    }
}

impl Drop for Arrivals {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

/// Whether this thread gets much less than a processor for itself.
fn busy_elsewhere() -> bool {
    let own = || {
        let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
        Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
    };
    let (started, before) = (Instant::now(), own());
    while started.elapsed() < Duration::from_millis(100) {
        std::hint::spin_loop();
    }
    own() - before < Duration::from_millis(90)
}

struct Candidate {
    what: &'static str,
    component: Bytes,
    /// Laid over the spec of a plain candidate.
    spec: Value,
    phase: &'static str,
    reason: &'static str,
}

fn spec(component: &[u8], config: Value) -> Value {
    let plugin =
        guests::plugin("scheduler", "Scheduler", component, config, guests::scheduler_grants());
    plugin["spec"].clone()
}

fn candidates() -> Vec<Candidate> {
    let scheduler = guests::variant(&guests::scheduler(), 1);
    let candidate = |what, config: Value, reason| Candidate {
        what,
        component: scheduler.clone(),
        spec: json!({ "config": config }),
        phase: "RolledBack",
        reason,
    };
    let shadow = json!({ "decisions": 100, "maxDivergencePercent": 10 });
    let mut all = vec![
        candidate("traps on the first call", json!({ "schedule": "trap" }), "Trapped"),
        candidate("traps on the thousandth", json!({ "trapAt": 1000 }), "Trapped"),
        candidate("spins", json!({ "schedule": "loop" }), "DeadlineExceeded"),
        candidate(
            "is not granted what it does",
            json!({ "schedule": "preempt" }),
            "UngrantedAction",
        ),
        candidate("answers nonsense", json!({ "schedule": "short" }), "InvalidReply"),
        candidate("binds to an invented node", json!({ "schedule": "nowhere" }), "InvalidReply"),
        Candidate {
            spec: json!({
                "config": { "schedule": "preempt" },
                "grants": [{ "apiGroups": ["*"], "kinds": ["*"], "verbs": ["*"] }],
            }),
            ..candidate("makes room on no node", json!({}), "InvalidReply")
        },
    ];
    let mut leaks = candidate("leaks memory", json!({ "leak": 1 << 18 }), "OutOfMemory");
    leaks.spec["budgets"] = json!({ "memoryBytes": 16 << 20 });
    all.push(leaks);
    for (what, config, reason) in [
        ("decides otherwise", json!({ "differs": 2 }), "Diverged"),
        ("spins as a shadow", json!({ "schedule": "loop" }), "DeadlineExceeded"),
        ("traps later as a shadow", json!({ "trapAt": 50 }), "Trapped"),
    ] {
        let mut shadowed = candidate(what, config, reason);
        shadowed.spec["rollout"] = json!({ "shadow": shadow });
        all.push(shadowed);
    }
    let cut = scheduler.slice(..scheduler.len() / 2);
    for (what, component, reason) in [
        ("imports too much", guests::asking_for_the_network(), "UngrantedImport"),
        ("is a controller", guests::controller(), "WrongRole"),
        ("has another role", guests::cni(), "WrongRole"),
        ("is truncated", cut, "CompileError"),
    ] {
        let spec = json!({});
        all.push(Candidate { what, component, spec, phase: "Rejected", reason });
    }
    let elsewhere =
        json!({ "reference": format!("registry.invalid/scheduler@{}", guests::digest(b"")) });
    for (what, spec, reason) in [
        (
            "is signed with the wrong key",
            json!({ "verification": { "publicKeys": ["another's"] }, "signature": "MEUCIQ==" }),
            "SignatureInvalid",
        ),
        (
            "is signed by nobody",
            json!({ "verification": { "publicKeys": ["another's"] } }),
            "SignatureMissing",
        ),
        (
            "lies in a registry that does not answer",
            json!({ "source": { "inline": null, "oci": elsewhere }, "digest": null }),
            "SourceUnavailable",
        ),
    ] {
        let component = scheduler.clone();
        all.push(Candidate { what, component, spec, phase: "Rejected", reason });
    }
    all
}

async fn suffer(running: &Running, arrivals: &Arrivals, candidate: &Candidate) {
    let memory = &running.memory;
    let good = json!({ "version": "good", "schedule": null, "trapAt": null, "leak": null, "differs": null });
    for attempt in 1.. {
        // All that is there decides alone, and nothing is warm.
        let mut back = spec(&guests::scheduler(), good.clone());
        back["rollout"]["shadow"] = Value::Null;
        for field in ["budgets", "verification", "signature"] {
            back[field] = Value::Null;
        }
        back["source"]["oci"] = Value::Null;
        let generation = running.change("scheduler", back);
        running.phase("scheduler", &generation, "Active").await;
        arrivals.more(20).await;
        arrivals.watch(memory);
        let mut bad = spec(&candidate.component, json!({ "version": "bad" }));
        json_patch::merge(&mut bad, &candidate.spec);
        // What the version before has and this one has not is to go.
        for (field, value) in candidate.spec.as_object().unwrap() {
            if value.is_null() {
                bad[field] = Value::Null;
            }
        }
        if candidate.spec["source"].is_object() {
            bad["source"] = candidate.spec["source"].clone();
        }
        let generation = running.change("scheduler", bad);
        let status = running.phase("scheduler", &generation, candidate.phase).await;
        assert_eq!(status["reason"], candidate.reason, "{}: {status}", candidate.what);
        assert_ne!(status["message"], "", "{}: {status}", candidate.what);
        assert_eq!(status["activeDigest"], guests::digest(&guests::scheduler()));
        assert_eq!(status["version"], "good", "{}: {status}", candidate.what);
        arrivals.more(20).await;
        let (gap, late) = arrivals.longest_gap(memory);
        println!("{}: gap {gap:?}, machine late by {late:?}", candidate.what);
        if gap <= LONGEST_GAP {
            break;
        }
        // Only a machine that is starved gets another chance, and not for ever.
        let starved = late > LONGEST_GAP / 10 || busy_elsewhere();
        assert!(
            starved && attempt < 20,
            "no pod was bound for {gap:?} while a candidate {}",
            candidate.what
        );
    }
    eventually_showing("an Event tells", || {
        let events = memory.events.lock();
        let told = events.iter().any(|(name, reason, note)| {
            name == "scheduler" && reason == candidate.phase && !note.is_empty()
        });
        if told { Ok(()) } else { Err(format!("{:?}", events.last())) }
    })
    .await;
    memory.events.lock().clear();
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_a_candidate_does_pods_are_bound_all_the_time() {
    let memory = Memory::new();
    for index in 0..10 {
        memory.create(node(&format!("node-{index}")));
    }
    let good = spec(&guests::scheduler(), json!({ "version": "good" }));
    memory.create(json!({
        "apiVersion": "plugins.pintle.dev/v1alpha1", "kind": "Plugin",
        "metadata": { "name": "scheduler" }, "spec": good,
    }));
    let running = Running::start(memory.clone()).await;
    let arrivals = Arrivals::start(&memory);
    for candidate in candidates() {
        suffer(&running, &arrivals, &candidate).await;
    }
    // Replaced twice within one second: the last one decides.
    for mark in [4, 5] {
        let next = guests::variant(&guests::scheduler(), mark);
        let mut next = spec(&next, json!({ "version": mark.to_string() }));
        next["source"]["oci"] = Value::Null;
        running.change("scheduler", next);
    }
    let last = guests::digest(&guests::variant(&guests::scheduler(), 5));
    running
        .status("scheduler", "the last decides", |status| {
            status["phase"] == "Active" && status["activeDigest"] == last
        })
        .await;
    let created = {
        let arrivals = arrivals;
        arrivals.stop.store(true, Ordering::SeqCst);
        let created = arrivals.created.clone();
        drop(arrivals);
        created.load(Ordering::SeqCst)
    };
    running.all_bound(created).await;
    assert_eq!(memory.bindings.load(Ordering::SeqCst), created);
    assert_eq!(memory.double_bindings.load(Ordering::SeqCst), 0);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_poisonous_pod_is_parked_and_named_until_it_changes() {
    let memory = Memory::new();
    memory.create(node("node-0"));
    let mut plugin = spec(&guests::scheduler(), json!({ "poison": "poison" }));
    plugin["rollout"]["maxStrikes"] = json!(3);
    memory.create(json!({
        "apiVersion": "plugins.pintle.dev/v1alpha1", "kind": "Plugin",
        "metadata": { "name": "scheduler" }, "spec": plugin,
    }));
    let running = Running::start(memory.clone()).await;
    for index in 0..100 {
        memory.create(pod(&if index == 50 { "poison".into() } else { format!("pod-{index}") }));
    }
    running.all_bound(99).await;
    let status = running.status("scheduler", "parked", |status| status["parked"].is_array()).await;
    assert_eq!(status["parked"][0]["object"], "Pod default/poison", "{status}");
    assert_eq!(status["parked"][0]["strikes"], 3, "{status}");
    assert_eq!(status["parked"][0]["reason"], "Trapped", "{status}");
    assert_eq!(status["phase"], "Active", "one pod stops nobody");
    for name in ["scheduler", "poison"] {
        eventually("an Event tells", || {
            let events = memory.events.lock();
            events.iter().any(|(on, reason, _)| on == name && reason == "PluginFault").then_some(())
        })
        .await;
    }
    let strikes = status["strikesTotal"].as_u64().unwrap();
    memory.merge("Pod", "default", "poison", json!({ "metadata": { "labels": { "a": "b" } } }));
    running
        .status("scheduler", "tried again", |status| {
            status["strikesTotal"].as_u64() >= Some(strikes + 3) && status["parked"].is_array()
        })
        .await;
    memory.delete("Pod", "default", "poison");
    running.status("scheduler", "named no longer", |status| status["parked"].is_null()).await;
    assert_eq!(memory.double_bindings.load(Ordering::SeqCst), 0);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_two_versions_fault_on_is_parked_at_once() {
    let memory = Memory::new();
    memory.create(node("node-0"));
    let config = |version: &str| json!({ "poison": "poison", "version": version });
    memory.create(json!({
        "apiVersion": "plugins.pintle.dev/v1alpha1", "kind": "Plugin",
        "metadata": { "name": "scheduler" }, "spec": spec(&guests::scheduler(), config("old")),
    }));
    let running = Running::start(memory.clone()).await;
    let next = guests::variant(&guests::scheduler(), 1);
    let generation = running.change("scheduler", spec(&next, config("new")));
    running.phase("scheduler", &generation, "Active").await;
    memory.create(pod("poison"));
    let status = running.status("scheduler", "parked", |status| status["parked"].is_array()).await;
    assert_eq!(status["phase"], "RolledBack", "{status}");
    assert_eq!(status["version"], "old", "{status}");
    assert_eq!(status["strikesTotal"], 2, "one by each: {status}");
    memory.create(pod("harmless"));
    running.all_bound(1).await;
    running.stop().await;
}
