use super::*;
use crate::testing::object;
use serde_json::json;

fn pod(name: &str) -> ObjectHandle {
    object(1, json!({ "kind": "Pod", "metadata": { "name": name } }))
}

fn taken(pending: &mut Pending, now: Instant) -> Vec<String> {
    pending.take(usize::MAX, now).iter().map(|pod| pod.name().to_owned()).collect()
}

#[test]
fn priority_goes_first_then_arrival() {
    let mut pending = Pending::default();
    let now = Instant::now();
    for (name, priority) in [("a", 0), ("b", 5), ("c", 0), ("d", 5)] {
        pending.put(pod(name), priority, false, now);
    }
    assert_eq!(taken(&mut pending, now), ["b", "d", "a", "c"]);
    assert!(taken(&mut pending, now).is_empty(), "they are being decided");
}

#[test]
fn a_parked_pod_wakes_for_what_it_waits_for() {
    fn check(wake_on: Wake, raised: Wake, expect: bool) {
        let mut pending = Pending::default();
        let now = Instant::now();
        pending.put(pod("a"), 0, false, now);
        pending.take(1, now);
        assert!(pending.park("a", wake_on, "full", now));
        pending.wake(raised, now);
        let later = now + BACKOFF_CAP;
        assert_eq!(pending.is_ready(later), expect);
    }
    check(Wake::NODE_CHANGED, Wake::NODE_CHANGED, true);
    check(Wake::NODE_CHANGED | Wake::POD_REMOVED, Wake::POD_REMOVED, true);
    check(Wake::NODE_CHANGED, Wake::POD_ADDED, false);
    check(Wake::empty(), Wake::NODE_CHANGED, false);
}

#[test]
fn what_happens_while_a_pod_is_decided_is_not_missed() {
    let mut pending = Pending::default();
    let now = Instant::now();
    pending.put(pod("a"), 0, false, now);
    pending.take(1, now);
    pending.wake(Wake::NODE_CHANGED, now);
    pending.park("a", Wake::NODE_CHANGED, "full", now);
    assert_eq!(taken(&mut pending, now + BACKOFF_CAP), ["a"]);
}

#[test]
fn what_an_extension_rejected_is_reconsidered_when_it_may_say_otherwise() {
    let mut pending = Pending::default();
    let now = Instant::now();
    let later = now + BACKOFF_CAP;
    for name in ["rejected", "full", "meanwhile"] {
        pending.put(pod(name), 0, false, now);
    }
    assert_eq!(taken(&mut pending, now).len(), 3);
    for name in ["rejected", "full"] {
        pending.park(name, Wake::empty(), "no", now);
    }
    pending.rejected_by_extension("rejected");
    pending.rejected_by_extension("gone");
    pending.rejected_by_extension("meanwhile");
    pending.reconsider(false, now);
    assert!(taken(&mut pending, now).is_empty(), "back-off holds");
    assert_eq!(taken(&mut pending, later), ["rejected"]);
    // It was reconsidered between the answer and now.
    pending.park("meanwhile", Wake::empty(), "no", now);
    assert_eq!(taken(&mut pending, later), ["meanwhile"]);
    pending.park("meanwhile", Wake::empty(), "no", later);
    pending.rejected_by_extension("meanwhile");
    pending.reconsider(true, later);
    assert_eq!(taken(&mut pending, later), ["meanwhile"], "at once: the extension is another");
}

#[test]
fn a_postponed_pod_keeps_its_place() {
    let mut pending = Pending::default();
    let now = Instant::now();
    for name in ["a", "b"] {
        pending.put(pod(name), 0, false, now);
    }
    assert_eq!(pending.take(1, now).len(), 1);
    pending.postpone("a", Duration::ZERO, now);
    assert_eq!(taken(&mut pending, now), ["a", "b"]);
    pending.postpone("a", BACKOFF_BASE, now);
    assert!(!pending.is_ready(now));
    assert_eq!(taken(&mut pending, now + BACKOFF_BASE), ["a"]);
}

#[test]
fn a_parked_pod_is_told_once_and_never_forgotten() {
    let mut pending = Pending::default();
    let now = Instant::now();
    pending.put(pod("a"), 0, false, now);
    pending.take(1, now);
    assert!(pending.park("a", Wake::empty(), "full", now));
    assert!(!pending.is_ready(now + PARKED_AT_MOST / 2));
    assert_eq!(taken(&mut pending, now + PARKED_AT_MOST), ["a"]);
    assert!(!pending.park("a", Wake::empty(), "full", now), "the same message is no news");
    pending.remove("a");
    assert!(!pending.park("a", Wake::empty(), "full", now));
    assert!(taken(&mut pending, now + 3 * PARKED_AT_MOST).is_empty());
}

/// Decides as a plugin would that faults whenever `poison` is among the pods.
/// Returns the number of faults until the pod was found.
fn find(pending: &mut Pending, poison: &str, mut now: Instant) -> usize {
    for faults in 1..100 {
        let pods = loop {
            let pods = pending.take(128, now);
            if pods.iter().any(|pod| pod.name() == poison) {
                break pods;
            }
            pods.iter().for_each(|pod| pending.binding(pod.uid()));
            if pods.is_empty() {
                now = pending.next_due().unwrap();
            }
        };
        let uids: Vec<&str> = pods.iter().map(|pod| pod.uid()).collect();
        if uids.len() == 1 {
            return faults;
        }
        pending.faulted(&uids, now);
    }
    panic!("never found");
}

#[test]
fn the_pod_that_a_plugin_trips_over_is_found_in_few_faults_while_others_go_on() {
    let mut pending = Pending::default();
    let now = Instant::now();
    for index in 0..128 {
        pending.put(pod(&format!("p{index}")), 0, false, now);
    }
    assert_eq!(find(&mut pending, "p77", now), 4, "128, 16, 2 and 1");
    pending.faulted(&["p77"], now);
    pending.put(pod("late"), 0, false, now);
    let mut others = Vec::new();
    while pending.is_ready(now) {
        others.extend(taken(&mut pending, now));
    }
    assert!(others.contains(&"late".to_owned()) && !others.contains(&"p77".to_owned()));
    others.iter().for_each(|name| pending.binding(name));
    assert_eq!(taken(&mut pending, now + BACKOFF_CAP), ["p77"]);
    assert!(pending.poisonous("p77", 1, now));
    assert!(!pending.is_ready(now + PARKED_AT_MOST));
    pending.put(pod("p77"), 0, true, now);
    assert!(!pending.is_ready(now), "in the same form");
    let changed = object(2, json!({ "kind": "Pod", "metadata": { "name": "p77" } }));
    pending.put(changed, 0, false, now);
    assert_eq!(pending.take_freed(), ["p77"]);
    assert_eq!(taken(&mut pending, now), ["p77"]);
    assert!(!pending.poisonous("p77", 1, now), "it was another form");
    assert_eq!(taken(&mut pending, now), ["p77"]);
    pending.remove("p77");
    assert!(!pending.poisonous("p77", 2, now), "it is gone");
}

#[test]
fn suspects_and_others_take_turns_and_another_version_trusts_all() {
    let mut pending = Pending::default();
    let now = Instant::now();
    for name in ["a", "b"] {
        pending.put(pod(name), 0, false, now);
    }
    assert_eq!(taken(&mut pending, now), ["a", "b"]);
    pending.faulted(&["a", "b"], now);
    for name in ["c", "d"] {
        pending.put(pod(name), 0, false, now);
    }
    let next = |pending: &mut Pending| pending.take(1, now)[0].name().to_owned();
    let order: Vec<String> = (0..4).map(|_| next(&mut pending)).collect();
    assert_eq!(order, ["b", "c", "a", "d"]);
    assert!(pending.poisonous("a", 1, now));
    pending.faulted(&["b"], now);
    pending.trust_all(now);
    pending.put_back(&["b"], now);
    assert_eq!(taken(&mut pending, now), ["a", "b"]);
    assert!(pending.take_freed().is_empty());
}

#[test]
fn failures_back_off_and_a_changed_pod_is_tried_again() {
    let mut pending = Pending::default();
    let now = Instant::now();
    pending.put(pod("a"), 0, false, now);
    pending.take(1, now);
    pending.failed("a", now);
    assert!(!pending.is_ready(now));
    assert_eq!(pending.next_due(), Some(now + BACKOFF_BASE));
    assert_eq!(taken(&mut pending, now + BACKOFF_BASE), ["a"]);
    pending.park("a", Wake::empty(), "full", now);
    pending.put(pod("a"), 0, true, now + BACKOFF_CAP);
    assert_eq!(taken(&mut pending, now + BACKOFF_CAP), ["a"]);
}
