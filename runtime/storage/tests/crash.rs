//! `kill -9` at any moment: while the store is created, opened, written to, compacted and,
//! all the time, written anew beside that. Afterwards every acknowledged write is there, whole, at the revision it was
//! acknowledged with, and nothing is there in half.
//!
//! The child is this test binary itself, told by its environment what to do. Its writers
//! report each acknowledged transaction through its standard output.

mod support;

use std::{
    collections::{BTreeMap, HashMap},
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Command, Stdio},
    sync::{Arc, RwLock, mpsc},
    time::Duration,
};

use bytes::Bytes;
use pintle_storage::{
    EngineKind, Expect, Op, Options, ReclaimError, Revision, Store, Txn, Value, open,
};

const DIR: &str = "PINTLE_CRASH_DIR";
const ENGINE: &str = "PINTLE_CRASH_ENGINE";
const WRITERS: u64 = 6;
/// Keys of one writer.
const KEYS: u64 = 5;
/// Over both engines.
const KILLS: u32 = 200;
/// A fresh directory after so many, so that creation is hit, too.
const KILLS_PER_DIRECTORY: u32 = 10;
/// Sites per engine that run at the same time.
const LANES: u32 = 2;

/// The children write their files anew whenever they are asked to.
fn options() -> Options {
    Options { rewrite_above_bytes: 0, rewrite_factor: 0, ..Options::default() }
}

// ---- the child ----------------------------------------------------------------------

/// Not a test by itself: what the killed process runs.
#[test]
#[ignore = "started by the other test of this file"]
fn child() {
    let (Ok(dir), Ok(engine)) = (std::env::var(DIR), std::env::var(ENGINE)) else { return };
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let store = open(engine.parse().unwrap(), Path::new(&dir), options()).unwrap();
        let start = store.revision();
        let mut tasks: Vec<_> = (0..WRITERS)
            .map(|writer| tokio::spawn(write_for_ever(Arc::clone(&store), writer)))
            .collect();
        tasks.push(tokio::spawn(async move {
            store.compact(start).await.unwrap();
            loop {
                match store.reclaim().await {
                    Ok(Some(_)) | Err(ReclaimError::Overtaken) => {}
                    other => panic!("{other:?}"),
                }
            }
        }));
        for task in tasks {
            task.await.unwrap();
        }
    });
}

/// Each transaction writes one of the writer's keys and its counter, or deletes the key and
/// writes the counter, guarded by the counter's revision.
async fn write_for_ever(store: Arc<dyn Store>, writer: u64) {
    let counter = format!("/counter/{writer}");
    let last = store.get(counter.as_bytes(), None).await.unwrap();
    let mut guard =
        last.as_ref().map_or(Expect::Absent, |last| Expect::ModRevision(last.mod_revision));
    let mut step = last.map_or(0, |last| parse(&last.value).1);
    loop {
        step += 1;
        let value = |padding| Value::plain(format!("{writer} {step} {}", "x".repeat(padding)));
        let key = Bytes::from(format!("/key/{writer}/{}", step % KEYS));
        let change = match step % 11 {
            0 => Op::Delete { key },
            n => {
                let padding = if n == 1 { 150_000 } else { (step % 13) as usize * 1000 };
                Op::Put { key, value: value(padding), expires_at_unix_seconds: None }
            }
        };
        let count = Op::Put {
            key: Bytes::from(counter.clone()),
            value: value(0),
            expires_at_unix_seconds: None,
        };
        let txn = Txn { guards: Vec::new(), ops: vec![change, count] };
        let done = store.commit(txn.guard(counter.clone(), guard)).await.unwrap();
        guard = Expect::ModRevision(done.revision);
        // One write of less than PIPE_BUF: whole or not at all.
        let line = format!("ack {writer} {step} {}\n", done.revision);
        std::io::stdout().lock().write_all(line.as_bytes()).unwrap();
        std::io::stdout().flush().unwrap();
    }
}

/// Writer and step of a value.
fn parse(value: &[u8]) -> (u64, u64) {
    let text = std::str::from_utf8(value).unwrap();
    let mut words = text.split(' ');
    let mut number = || words.next().unwrap().parse().unwrap();
    (number(), number())
}

// ---- the parent ---------------------------------------------------------------------

/// A new process holds copies of all descriptors until it has become the child, and with
/// them the locks of the other lanes' directories. So: nobody starts a child (write) while
/// somebody has a store open (read).
static STARTING: RwLock<()> = RwLock::new(());

struct Ack {
    writer: u64,
    step: u64,
    revision: Revision,
}

/// From when on a child's time counts.
#[derive(Clone, Copy, PartialEq)]
enum Since {
    /// It may not even have opened the store.
    Start,
    /// However long that took.
    FirstAck,
}

/// Runs a child for so long, kills it, and returns what it acknowledged.
fn run_and_kill(kind: EngineKind, dir: &Path, since: Since, life: Duration) -> Vec<Ack> {
    let starting = STARTING.write().unwrap();
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "child", "--nocapture", "--test-threads=1"])
        .env(DIR, dir)
        .env(ENGINE, kind.name())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(starting);
    let output = child.stdout.take().unwrap();
    let (first, wait) = mpsc::channel();
    let reader = std::thread::spawn(move || {
        let lines = BufReader::new(output).lines().map_while(Result::ok);
        let acks = lines.filter_map(|line| {
            // The test harness may have begun the line.
            let (_, ack) = line.split_once("ack ")?;
            let numbers: Vec<u64> = ack.split(' ').map(|word| word.parse().unwrap()).collect();
            let [writer, step, revision] = numbers[..] else { panic!("{line}") };
            let _ = first.send(());
            Some(Ack { writer, step, revision })
        });
        acks.collect::<Vec<_>>()
    });
    if since == Since::FirstAck {
        // None comes when the child has ended, which is told below.
        let _ = wait.recv();
    }
    // The moment of the kill is the subject of this test.
    std::thread::sleep(life);
    child.kill().unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(
        output.status.code().is_none(),
        "the child ended by itself: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    reader.join().unwrap()
}

/// Checks everything since `checked`; returns the revision now reached.
async fn check(store: &dyn Store, checked: Revision, acks: &[Ack]) -> Revision {
    let reached = store.revision();
    let history = store.events(b"/", checked, usize::MAX).await.unwrap();
    let mut transactions: BTreeMap<Revision, Vec<_>> = BTreeMap::new();
    for event in &history {
        transactions.entry(event.revision).or_default().push(event);
    }
    // No revision is skipped, none is after the last.
    assert!(transactions.keys().copied().eq(checked + 1..=reached));

    let mut steps: HashMap<u64, (u64, Revision)> = HashMap::new();
    for (revision, events) in &transactions {
        let counter = events.last().unwrap();
        let record = counter.record.as_ref().unwrap();
        assert!(counter.key.starts_with(b"/counter/"), "half a transaction at {revision}");
        let (writer, step) = parse(&record.value);
        match &events[..events.len() - 1] {
            // The key to delete was not there.
            [] => assert_eq!(step % 11, 0, "half a transaction at {revision}"),
            [change] => {
                assert_eq!(change.key, format!("/key/{writer}/{}", step % KEYS));
                assert_eq!(change.record.is_none(), step % 11 == 0);
                if let Some(record) = &change.record {
                    assert_eq!(parse(&record.value), (writer, step));
                }
            }
            more => panic!("{} changes at {revision}", more.len()),
        }
        if let Some((before, _)) = steps.insert(writer, (step, *revision)) {
            assert_eq!(step, before + 1, "writer {writer} lost a step");
        }
    }
    for ack in acks {
        let events = transactions
            .get(&ack.revision)
            .unwrap_or_else(|| panic!("revision {} was acknowledged and is lost", ack.revision));
        let record = events.last().unwrap().record.as_ref().unwrap();
        assert_eq!(parse(&record.value), (ack.writer, ack.step));
    }
    // The present agrees with the history.
    for (writer, (step, revision)) in steps {
        let key = format!("/counter/{writer}");
        let record = store.get(key.as_bytes(), None).await.unwrap().unwrap();
        assert_eq!((record.mod_revision, parse(&record.value).1), (revision, step));
        assert_eq!(record.version, step);
    }
    let page = store.range(b"/", b"", None, 0).await.unwrap();
    assert!(page.records.iter().all(|record| record.mod_revision <= reached));
    reached
}

/// Whether the next generation lay beside the current one.
fn was_writing_anew(dir: &Path) -> bool {
    let generations = std::fs::read_dir(dir).unwrap().filter(|entry| {
        let name = entry.as_ref().unwrap().file_name();
        EngineKind::ALL.iter().any(|kind| name.to_string_lossy().starts_with(kind.name()))
    });
    generations.count() > 1
}

/// How many transactions survived, and how many kills came amid writing anew.
fn lane(kind: EngineKind, kills: u32, mut random: u64) -> (usize, usize) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (mut acknowledged, mut amid) = (0, 0);
    let (mut site, mut checked) = (support::Site::new(kind), 0);
    for kill in 0..kills {
        if kill % KILLS_PER_DIRECTORY == 0 {
            (site, checked) = (support::Site::new(kind), 0);
        }
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        let life = Duration::from_micros(2_000 + random % 150_000);
        let since = if kill % 2 == 0 { Since::Start } else { Since::FirstAck };
        let acks = run_and_kill(kind, site.path(), since, life);
        acknowledged += acks.len();
        amid += usize::from(was_writing_anew(site.path()));
        let _not_starting = STARTING.read().unwrap();
        let store = open(kind, site.path(), options()).unwrap();
        checked = runtime.block_on(check(&*store, checked, &acks));
    }
    (acknowledged, amid)
}

#[test]
fn nothing_acknowledged_is_lost() {
    let seed = u64::from(std::process::id()) * 2_654_435_761 + 1;
    let lanes: Vec<_> = EngineKind::ALL
        .into_iter()
        .flat_map(|kind| (0..LANES).map(move |lane| (kind, lane)))
        .map(|(kind, number)| {
            let kills = KILLS / (EngineKind::ALL.len() as u32 * LANES);
            let seed = seed + u64::from(number) * 7919 + kind as u64;
            (kind, std::thread::spawn(move || lane(kind, kills, seed)))
        })
        .collect();
    for (kind, lane) in lanes {
        let (acknowledged, amid) = lane.join().unwrap();
        println!(
            "{kind}: {acknowledged} acknowledged transactions survived, {amid} kills amid writing anew"
        );
        assert!(acknowledged > 0, "{kind}: the children never got to write");
        assert!(amid > 0, "{kind}: no child was killed amid writing anew");
    }
}
