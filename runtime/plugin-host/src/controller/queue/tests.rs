use super::*;
use proptest::prelude::*;

fn key(name: &str) -> Key {
    Key {
        kind: Arc::new(GroupVersionKind::new("", "v1", "Pod")),
        namespace: "n".into(),
        name: name.into(),
    }
}

fn names(queue: &mut Queue, now: Instant) -> Vec<String> {
    std::iter::from_fn(|| queue.pop(now)).map(|work| work.key.name).collect()
}

#[test]
fn a_key_waits_once_however_often_it_is_added() {
    let mut queue = Queue::default();
    let now = Instant::now();
    for name in ["a", "b", "a", "a"] {
        queue.add(key(name), "", now);
    }
    assert_eq!(names(&mut queue, now), ["a", "b"]);
}

#[test]
fn a_running_key_is_not_handed_out_and_runs_again_if_something_happened() {
    let mut queue = Queue::default();
    let now = Instant::now();
    queue.add(key("a"), "", now);
    queue.pop(now).unwrap();
    queue.add(key("a"), "", now);
    assert_eq!(queue.pop(now), None);
    queue.done(&key("a"), Verdict::Done(None), None, now);
    assert_eq!(names(&mut queue, now), ["a"]);
    queue.done(&key("a"), Verdict::Done(None), None, now);
    assert_eq!(queue.pop(now), None);
    assert!(queue.entries.is_empty());
}

#[test]
fn own_writes_are_delivered_before_the_key_runs_again() {
    let mut queue = Queue::default();
    let now = Instant::now();
    queue.delivered(10, now);
    queue.add(key("a"), "", now);
    queue.pop(now).unwrap();
    queue.add(key("a"), "", now);
    queue.done(&key("a"), Verdict::Done(None), Some(12), now);
    assert_eq!(queue.pop(now), None, "12 is not delivered yet");
    queue.delivered(11, now);
    assert_eq!(queue.pop(now), None);
    queue.delivered(12, now);
    assert_eq!(names(&mut queue, now), ["a"]);
    queue.done(&key("a"), Verdict::Done(None), Some(12), now);
    assert!(queue.entries.is_empty(), "12 is delivered already");
}

#[test]
fn the_age_is_that_of_the_key_that_waits_longest() {
    let mut queue = Queue::default();
    let start = Instant::now();
    let at = |seconds| start + Duration::from_secs(seconds);
    assert_eq!(queue.age(start), None);
    queue.add(key("a"), "", start);
    queue.add(key("b"), "", at(2));
    queue.add(key("a"), "", at(3));
    assert_eq!(queue.age(at(5)), Some(Duration::from_secs(5)));
    queue.pop(at(5)).unwrap();
    assert_eq!(queue.age(at(5)), Some(Duration::from_secs(3)));
    queue.pop(at(5)).unwrap();
    assert_eq!(queue.age(at(9)), None, "what is worked on does not wait");
    queue.add(key("a"), "", at(6));
    queue.done(&key("a"), Verdict::Done(None), None, at(7));
    assert_eq!(queue.age(at(9)), Some(Duration::from_secs(2)));
}

#[test]
fn failures_back_off_and_success_forgets_them() {
    fn check(failures: u32, expect: Duration) {
        assert_eq!(backoff(failures), expect);
    }
    check(0, Duration::from_millis(5));
    check(1, Duration::from_millis(10));
    check(10, Duration::from_millis(5120));
    check(16, BACKOFF_CAP);
    check(u32::MAX, BACKOFF_CAP);

    let mut queue = Queue::default();
    let start = Instant::now();
    queue.add(key("a"), "", start);
    let mut now = start;
    for attempt in 0..5 {
        let work = queue.pop(now).unwrap();
        assert_eq!(work.attempt, attempt);
        queue.done(&work.key, Verdict::Retry, None, now);
        assert_eq!(queue.pop(now), None);
        let due = queue.next_due().unwrap();
        assert_eq!(due - now, backoff(attempt));
        now = due;
    }
    let work = queue.pop(now).unwrap();
    queue.done(&work.key, Verdict::Done(None), None, now);
    queue.add(key("a"), "", now);
    assert_eq!(queue.pop(now).unwrap().attempt, 0);
}

#[test]
fn an_event_ends_the_wait_of_a_retry_but_not_of_a_hold() {
    let mut queue = Queue::default();
    let now = Instant::now();
    for (verdict, expect) in [(Verdict::Retry, 1), (Verdict::Hold, 0)] {
        let mut queue_of = std::mem::take(&mut queue);
        queue_of.add(key("a"), "", now);
        queue_of.pop(now).unwrap();
        queue_of.done(&key("a"), verdict, None, now);
        queue_of.add(key("a"), "", now);
        assert_eq!(names(&mut queue_of, now).len(), expect, "{verdict:?}");
        assert_eq!(names(&mut queue_of, now + BACKOFF_BASE).len(), 1 - expect);
    }
}

#[test]
fn a_parked_key_waits_for_a_change_and_forgets_its_failures() {
    let mut queue = Queue::default();
    let now = Instant::now();
    queue.add(key("a"), "", now);
    queue.pop(now).unwrap();
    queue.done(&key("a"), Verdict::Park, None, now);
    assert!(queue.has_parked());
    queue.add(key("a"), "", now);
    assert_eq!(queue.pop(now + BACKOFF_CAP), None, "an event of another object");
    assert!(!queue.unpark(&key("b"), now));
    assert!(queue.unpark(&key("a"), now));
    assert!(!queue.has_parked());
    assert_eq!(queue.pop(now).unwrap().attempt, 0);
    queue.done(&key("a"), Verdict::Park, None, now);
    queue.unpark_all(now);
    assert_eq!(names(&mut queue, now), ["a"]);
}

#[test]
fn requeue_after_is_replaced_by_the_latest() {
    let mut queue = Queue::default();
    let now = Instant::now();
    for seconds in [10, 20] {
        queue.add(key("a"), "", now);
        queue.pop(now).unwrap();
        queue.done(&key("a"), Verdict::Done(Some(Duration::from_secs(seconds))), None, now);
    }
    assert_eq!(queue.pop(now + Duration::from_secs(15)), None);
    assert_eq!(names(&mut queue, now + Duration::from_secs(20)), ["a"]);
}

#[test]
fn lost_events_release_what_waits_for_them() {
    let mut queue = Queue::default();
    let now = Instant::now();
    queue.add(key("a"), "", now);
    queue.pop(now).unwrap();
    queue.done(&key("a"), Verdict::Done(None), Some(99), now);
    queue.add(key("a"), "", now);
    queue.release_all(now);
    assert_eq!(names(&mut queue, now), ["a"]);
}

proptest! {
    /// Whatever happens in whatever order: never two at a time for a key,
    /// and nothing that was added is lost.
    #[test]
    fn nothing_is_lost_and_nothing_runs_twice_at_a_time(
        steps in proptest::collection::vec((0u8..4, 0usize..3, 0u64..4), 1..200)
    ) {
        let mut queue = Queue::default();
        let mut now = Instant::now();
        let mut running: Vec<Key> = Vec::new();
        let mut owed = [false; 3];
        let mut revision = 0;
        for (step, which, extra) in steps {
            match step {
                0 => {
                    queue.add(key(&which.to_string()), "", now);
                    owed[which] = true;
                }
                1 => {
                    if let Some(work) = queue.pop(now) {
                        prop_assert!(!running.contains(&work.key));
                        owed[work.key.name.parse::<usize>().unwrap()] = false;
                        running.push(work.key);
                    }
                }
                2 => {
                    if !running.is_empty() {
                        let key = running.remove(which % running.len());
                        let verdict = match extra {
                            0 => Verdict::Retry,
                            1 => Verdict::Hold,
                            2 => Verdict::Done(Some(Duration::from_millis(3))),
                            _ => Verdict::Done(None),
                        };
                        queue.done(&key, verdict, (extra % 2 == 0).then_some(revision + extra), now);
                    }
                }
                _ => {
                    revision += extra;
                    queue.delivered(revision, now);
                    now += Duration::from_millis(extra);
                }
            }
        }
        for key in running {
            queue.done(&key, Verdict::Done(None), None, now);
        }
        queue.delivered(revision + 10, now);
        for work in std::iter::from_fn(|| queue.pop(now + Duration::from_secs(3600))) {
            owed[work.key.name.parse::<usize>().unwrap()] = false;
        }
        prop_assert_eq!(owed, [false; 3]);
    }
}
