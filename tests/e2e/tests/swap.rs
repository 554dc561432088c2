//! Candidates beside a scheduler that decides for a real cluster, seen with
//! kubectl: compared, promoted, refused, rolled back, and the server killed in
//! the middle of it; pods are bound all the time.

mod support;

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::Child;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use pintle_e2e::{Cluster, PATIENCE, items, name, require_kubectl, run};
use serde_json::{Value, json};
use support::*;

/// Of `kubectl proxy`, in the network namespace of the server, where nobody
/// else listens.
const PROXY: &str = "127.0.0.1:8001";

/// One pod per so long.
const PACE: Duration = Duration::from_millis(20);

/// No two bindings of pods that arrive steadily lie further apart, whatever a candidate
/// does. That holds of a machine that has time for them: one that shares its processors
/// and its disk with others leaves gaps of its own, so where it does without any candidate,
/// three times as long a gap is taken for its doing too.
const GOAL: Duration = Duration::from_millis(100);

/// What the machine does besides shows in one try or another, what a candidate does in all.
const TRIES: usize = 3;

/// A version of the counting scheduler that goes on as `shadow` says.
fn version(component: &[u8], config: Value, shadow: Value) -> [Value; 2] {
    let mut whole = json!({ "version": null, "schedule": null, "differs": null, "trapAt": null });
    for (key, value) in config.as_object().unwrap() {
        whole[key] = value.clone();
    }
    let spec = json!({
        "grants": counting_grants(),
        "config": whole,
        "rollout": { "windowSeconds": 600, "maxStrikes": 3, "shadow": shadow },
    });
    [inline(component), spec]
}

fn propose(cluster: &Cluster, component: &[u8], config: Value, shadow: Value) {
    apply_plugin(cluster, "scheduler", "Scheduler", &version(component, config, shadow));
}

/// The line of `kubectl get plugins scheduler`, by its headings.
fn shown(cluster: &Cluster) -> impl Fn(&str) -> String + use<> {
    let table = cluster.kubectl(&["get", "plugins", "scheduler"]);
    let mut lines = table.lines();
    let words = |line: Option<&str>| -> Vec<String> {
        line.unwrap_or_default().split_whitespace().map(str::to_owned).collect()
    };
    let (headings, cells) = (words(lines.next()), words(lines.next()));
    move |heading| {
        let index = headings.iter().position(|known| known == heading);
        index.and_then(|index| cells.get(index)).unwrap_or_else(|| panic!("{table}")).clone()
    }
}

/// `kubectl proxy`, so that the test can speak plain HTTP.
struct Proxy(Child);

impl Proxy {
    fn start(cluster: &Cluster) -> Self {
        let port = PROXY.rsplit_once(':').unwrap().1;
        let mut child =
            cluster.client().spawn_program("kubectl", &["proxy", &format!("--port={port}")]);
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert!(line.contains("Starting to serve"), "{line}");
        Self(child)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// HTTP/1.0: the answer ends with the connection, and is not cut in chunks.
fn request(method: &str, path: &str, body: &str) -> TcpStream {
    let mut stream = TcpStream::connect(PROXY).expect("the proxy listens");
    let length = body.len();
    let text = format!(
        "{method} {path} HTTP/1.0\r\nHost: localhost\r\nContent-Type: application/json\r\n\
         Content-Length: {length}\r\n\r\n{body}"
    );
    stream.write_all(text.as_bytes()).expect("the proxy reads");
    stream
}

fn create(object: &Value) {
    let mut answer = String::new();
    request("POST", "/api/v1/namespaces/default/pods", &object.to_string())
        .read_to_string(&mut answer)
        .expect("the proxy answers");
    assert!(answer.contains(" 201 "), "{answer}");
}

/// Creates pods at a steady pace, as long as `go_on`. The last one's name says
/// how many there are.
fn arrive(round: &str, go_on: &AtomicBool) {
    let mut due = Instant::now();
    for number in 0.. {
        let last = !go_on.load(Ordering::SeqCst);
        let name = if last { format!("{round}-of-{number}") } else { format!("{round}-{number}") };
        let mut object = pod(&name);
        object["metadata"]["labels"]["round"] = json!(round);
        create(&object);
        if last {
            return;
        }
        // How fast they arrive is what is given here.
        due += PACE;
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
    }
}

/// The longest times in which nothing came, as a watch shows it.
#[derive(Debug, Clone, Copy, Default)]
struct Gaps {
    /// Between two pods that were made: what the machine does besides.
    made: Duration,
    /// Between two that were bound.
    bound: Duration,
}

/// The longest times between two of these pods.
fn longest_gaps(round: &str) -> Gaps {
    let stream = request("GET", &format!("/api/v1/pods?watch=1&labelSelector=round%3D{round}"), "");
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let (mut bound, mut last) = (BTreeSet::new(), None);
    let mut longest = Gaps::default();
    let (mut since_made, mut since_bound) = (None, None);
    let until_now = |since: &mut Option<Instant>, longest: &mut Duration| {
        let now = Instant::now();
        *longest = (*longest).max(since.map_or(Duration::ZERO, |since| now - since));
        *since = Some(now);
    };
    for line in BufReader::new(stream).lines() {
        let line = line.unwrap_or_else(|error| panic!("{round}: {bound:?} of {last:?}: {error}"));
        let event: Value = match serde_json::from_str(&line) {
            Ok(event) => event,
            // The head of the answer.
            Err(_) => continue,
        };
        let object = &event["object"];
        let name = name(object).to_owned();
        if let Some((_, count)) = name.split_once("-of-") {
            last = count.parse::<usize>().ok();
        }
        if event["type"] == "ADDED" {
            until_now(&mut since_made, &mut longest.made);
        }
        if object["spec"]["nodeName"].is_string() && bound.insert(name) {
            until_now(&mut since_bound, &mut longest.bound);
        }
        if last.is_some_and(|last| bound.len() > last) {
            break;
        }
    }
    assert!(last.is_some_and(|last| bound.len() > last), "{round}: the watch ended: {bound:?}");
    longest
}

/// The longest times between two pods while they arrive and `meanwhile` happens.
fn gaps_while(cluster: &Cluster, round: &str, meanwhile: impl FnOnce()) -> Gaps {
    let go_on = AtomicBool::new(true);
    std::thread::scope(|scope| {
        let watch = scope.spawn(|| cluster.beside_the_server(|| longest_gaps(round)));
        let arrivals = scope.spawn(|| cluster.beside_the_server(|| arrive(round, &go_on)));
        // Also when it panics the others have to end.
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(meanwhile));
        go_on.store(false, Ordering::SeqCst);
        arrivals.join().expect("every pod is created");
        let gaps = watch.join().expect("every pod is bound");
        if let Err(panic) = result {
            std::panic::resume_unwind(panic);
        }
        gaps
    })
}

#[test]
fn candidates_prove_themselves_or_never_decide() {
    require_kubectl!();
    let mut cluster = Cluster::start(0);
    add_nodes(&cluster, 4);
    let good = counting();
    propose(&cluster, &good, json!({ "version": "v1" }), Value::Null);
    phase(&cluster, "scheduler", "Active");

    let proxy = Proxy::start(&cluster);
    let next = one_that_agrees_is_promoted_by_itself(&cluster, &good);
    one_that_diverges_is_shown_and_refused(&cluster, &next);
    let next = one_that_waits_is_promoted_by_hand(&cluster, &next);
    let next = nobody_waits_for_candidates(&cluster, &next);
    drop(proxy);
    a_killed_server_goes_on_as_documented(&mut cluster, &next);
}

fn one_that_agrees_is_promoted_by_itself(cluster: &Cluster, good: &[u8]) -> Vec<u8> {
    let next = variant(good, 1);
    gaps_while(cluster, "agrees", || {
        propose(cluster, &next, json!({ "version": "v2" }), json!({ "decisions": 60 }));
        let shadowing = status(cluster, "scheduler", "a comparison", |status| {
            status["phase"] == "Active" || status["shadow"]["agreements"].as_u64() > Some(0)
        });
        assert_eq!(shadowing["shadow"]["divergences"], 0, "{shadowing}");
        phase(cluster, "scheduler", "Active");
    });
    let shown = shown(cluster);
    assert_eq!((shown("AGREED"), shown("DIVERGED")), ("60".to_owned(), "0".to_owned()));
    assert_eq!(shown("PHASE"), "Active");
    let status = cluster.get("plugins scheduler")["status"].clone();
    assert_eq!(status["activeDigest"], digest(&next), "{status}");
    assert_eq!((&status["version"], &status["swaps"]), (&json!("v2"), &json!(2)), "{status}");
    next
}

fn one_that_diverges_is_shown_and_refused(cluster: &Cluster, active: &[u8]) {
    let config = json!({ "version": "other", "differs": 5 });
    let shadow = json!({ "decisions": 1000, "maxDivergencePercent": 0.2 });
    let candidate = variant(active, 2);
    gaps_while(cluster, "diverges", || {
        propose(cluster, &candidate, config, shadow);
        let status = phase(cluster, "scheduler", "RolledBack");
        assert_eq!(status["reason"], "Diverged", "{status}");
        assert_eq!(status["activeDigest"], digest(active), "{status}");
        assert_eq!(status["rolledBackFrom"], digest(&candidate), "{status}");
    });
    assert_eq!(shown(cluster)("DIVERGED"), "3", "one more than may");
    let diff = cluster.pintle(&["plugin", "diff", "scheduler"]);
    for part in ["3 differ", "ACTIVE", "CANDIDATE", "Pod default/diverges-", "bind: silent-"] {
        assert!(diff.contains(part), "{part:?} in {diff}");
    }
    let both = |line: &&str| line.matches("silent-").count() == 2 && line.contains(" | ");
    assert_eq!(diff.lines().filter(both).count(), 3, "{diff}");
    let found = cluster.pintle(&["plugin", "diff", "scheduler", "-o", "json"]);
    let found: Value = serde_json::from_str(&found).unwrap();
    assert_eq!(found["items"].as_array().unwrap().len(), 3, "{found}");
    assert_eq!(found["items"][0]["input"]["kind"], "Pod", "{found}");
}

fn one_that_waits_is_promoted_by_hand(cluster: &Cluster, active: &[u8]) -> Vec<u8> {
    let next = variant(active, 3);
    let shadow = json!({ "decisions": 20, "then": "Stop" });
    gaps_while(cluster, "waits", || {
        propose(cluster, &next, json!({ "version": "v3" }), shadow);
        let status = phase(cluster, "scheduler", "Shadowed");
        assert_eq!(status["reason"], "ShadowFinished", "{status}");
        assert_eq!(status["activeDigest"], digest(active), "{status}");
        cluster.pintle(&["plugin", "promote", "scheduler"]);
        let status = phase(cluster, "scheduler", "Active");
        assert_eq!(status["activeDigest"], digest(&next), "{status}");
        assert_eq!(status["previousDigest"], digest(active), "{status}");
    });
    next
}

fn nobody_waits_for_candidates(cluster: &Cluster, active: &[u8]) -> Vec<u8> {
    let (mut active, mut marks) = (active.to_vec(), 10..);
    let mut told_of = Vec::new();
    for fault in [None, Some(("trap", "Trapped")), Some(("loop", "DeadlineExceeded"))] {
        let what = fault.map_or("none", |(_, reason)| reason).to_lowercase();
        let mut tries = Vec::new();
        loop {
            let round = format!("fault-{what}-{}", tries.len());
            let quiet = gaps_while(cluster, &format!("quiet-{round}"), || {
                // About as long as a swap takes: nothing happens meanwhile but the flow.
                std::thread::sleep(Duration::from_secs(2));
            });
            let candidate = variant(&active, marks.next().unwrap());
            let gaps = gaps_while(cluster, &round, || match fault {
                None => {
                    propose(cluster, &candidate, json!({ "version": round }), Value::Null);
                    status(cluster, "scheduler", "the candidate to decide", |status| {
                        status["activeDigest"] == digest(&candidate)
                    });
                }
                Some((fault, reason)) => {
                    propose(cluster, &candidate, json!({ "schedule": fault }), Value::Null);
                    let status = phase(cluster, "scheduler", "RolledBack");
                    assert_eq!(status["reason"], reason, "{status}");
                    assert_eq!(status["activeDigest"], digest(&active), "{status}");
                    assert_eq!(status["rolledBackFrom"], digest(&candidate), "{status}");
                }
            });
            eprintln!(
                "longest time between two bindings: {gaps:?} with {round}, {quiet:?} without"
            );
            tries.push((gaps, quiet));
            match fault {
                None => active = candidate,
                Some(_) => told_of.push(digest(&candidate)),
            }
            // Nobody binds a pod that was not made.
            let unmade = gaps.made.saturating_sub(2 * PACE);
            if gaps.bound <= GOAL.max(3 * quiet.bound) + unmade {
                break;
            }
            assert!(tries.len() < TRIES, "{what}: with and without a candidate: {tries:?}");
        }
        let Some((_, reason)) = fault else { continue };
        let metrics = cluster.kubectl(&["get", "--raw", "/metrics"]);
        let counted = metrics.lines().any(|line| {
            line.starts_with("pintle_plugin_rollbacks_total{")
                && line.contains("plugin=\"scheduler\"")
                && line.contains(&format!("reason=\"{reason}\"}} {}", tries.len()))
        });
        assert!(counted, "{metrics}");
    }
    cluster.wait("an Event for each", |c| {
        let events = c.kubectl(&["get", "events", "-A", "-o", "json"]);
        let events: Value = serde_json::from_str(&events).unwrap();
        let about = |event: &&Value| {
            let object = &event["involvedObject"];
            event["reason"] == "RolledBack"
                && object["kind"] == "Plugin"
                && object["name"] == "scheduler"
        };
        let told: String =
            items(&events).iter().filter(about).map(|event| event["message"].to_string()).collect();
        told_of.iter().all(|digest| told.contains(digest))
    });
    active
}

fn a_killed_server_goes_on_as_documented(cluster: &mut Cluster, active: &[u8]) {
    // In the middle of a swap: the version of the spec decides.
    let next = variant(active, 6);
    propose(cluster, &next, json!({ "version": "v6" }), Value::Null);
    cluster.server.take().unwrap().kill_9();
    cluster.start_server();
    let found = phase(cluster, "scheduler", "Active");
    assert_eq!(found["activeDigest"], digest(&next), "{found}");
    assert_pods_are_bound(cluster, "after-a-swap");

    // In the middle of a comparison and of a recording: what decided goes on,
    // the comparison begins anew, the file is good as far as it goes.
    let candidate = variant(active, 7);
    let shadow = json!({ "decisions": 100_000 });
    propose(cluster, &candidate, json!({ "version": "v7" }), shadow);
    phase(cluster, "scheduler", "Shadowing");
    let (file, component) =
        (cluster.path().join("killed.trace"), cluster.path().join("active.wasm"));
    std::fs::write(&component, &next).unwrap();
    let recording =
        cluster.client().spawn(&["plugin", "record", "scheduler", "-o", &file.to_string_lossy()]);
    let size = || std::fs::metadata(&file).map_or(0, |metadata| metadata.len());
    cluster.wait("the recording to begin", |_| size() > 0);
    // Recorder and candidate are shown the present before they are shown calls: pods
    // come until both have seen some.
    let agreements = |c: &Cluster| {
        c.get("plugins scheduler")["status"]["shadow"]["agreements"].as_u64().unwrap_or(0)
    };
    let deadline = Instant::now() + PATIENCE;
    for number in 0.. {
        let recorded = replay(&file, &component);
        if recorded["calls"].as_u64() >= Some(3) && agreements(cluster) > 0 {
            break;
        }
        assert!(Instant::now() < deadline, "nothing is compared or recorded: {recorded}");
        assert_pods_are_bound(cluster, &format!("before-the-kill-{number}"));
    }
    cluster.server.take().unwrap().kill_9();
    let output = recording.wait_with_output().unwrap();
    assert!(!output.status.success(), "{output:?}");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("is cut after"), "{said}");
    assert_eq!(replay(&file, &component)["differing"], 0);

    cluster.start_server();
    let anew = status(cluster, "scheduler", "another comparison", |status| {
        status["phase"] == "Shadowing" && status["shadow"]["decisions"] == 0
    });
    assert_eq!(anew["activeDigest"], digest(&next), "{anew}");
    assert_eq!((&anew["version"], &anew["rollbacks"]), (&json!("v6"), &json!(0)), "{anew}");
    assert_pods_are_bound(cluster, "after-the-kill");
    cluster.pintle(&["plugin", "promote", "scheduler"]);
    let status = phase(cluster, "scheduler", "Active");
    assert_eq!(status["activeDigest"], digest(&candidate), "{status}");
}

/// What a replay of a file reports that has no end. Nor has it a component: the
/// spec holds another one, which is only compared.
fn replay(file: &Path, component: &Path) -> Value {
    let text = |path: &Path| path.to_string_lossy().into_owned();
    let cache = format!("XDG_CACHE_HOME={}", text(&file.with_extension("cache")));
    let (pintle, file) = (text(&pintle_e2e::bin_dir().join("pintle")), text(file));
    let with = format!("--with={}", text(component));
    let output =
        run("env", &[&cache, &pintle, "plugin", "replay", &file, &with, "--partial", "--json"]);
    serde_json::from_str(&output.stdout).unwrap_or_else(|_| panic!("no report: {output:?}"))
}
