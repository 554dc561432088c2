//! Durable writes per second, beside what the disk itself can do in the same run.
//!
//! `cargo bench -p pintle-storage [-- SECONDS]`; `-- churn SECONDS` instead overwrites the same
//! keys with a compaction every second and prints how the files grow and are written anew; `-- reopen DIR` opens a
//! data directory that is there and reads all of it. The files lie in the directory named by
//! `PINTLE_BENCH_DIR`, or in the temporary one (which must not be in memory).

use std::{
    fs::File,
    io::{Seek, SeekFrom, Write},
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use pintle_storage::{EngineKind, Expect, Options, Store, Txn, Value, open};

const VALUE_BYTES: usize = 1500;
const KEYS: usize = 10_000;

fn main() {
    let seconds = std::env::args().skip(1).find_map(|arg| arg.parse().ok()).unwrap_or(2.0);
    let span = Duration::from_secs_f64(seconds);
    let root = std::env::var_os("PINTLE_BENCH_DIR").map_or_else(std::env::temp_dir, PathBuf::from);
    let dir = tempfile::tempdir_in(root).unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    if std::env::args().any(|arg| arg == "churn") {
        for kind in EngineKind::ALL {
            runtime.block_on(churn(kind, &dir.path().join(kind.name()), span));
        }
        return;
    }
    if let Some(dir) = std::env::args().skip_while(|arg| arg != "reopen").nth(1) {
        return runtime.block_on(reopen(Path::new(&dir)));
    }
    println!("{:<24} {:>9} {:>9} {:>9}", "", "writes/s", "p50 ms", "p99 ms");
    floor("disk, overwrite", dir.path(), span, false);
    floor("disk, append", dir.path(), span, true);
    for kind in EngineKind::ALL {
        let dir = dir.path().join(kind.name());
        runtime.block_on(engine(kind, &dir, span));
    }
}

/// One thread, one page, one `fdatasync` per write.
fn floor(name: &str, dir: &Path, span: Duration, append: bool) {
    let mut file = File::create(dir.join("floor")).unwrap();
    let page = vec![7; 4096];
    file.write_all(&page).unwrap();
    file.sync_all().unwrap();
    let (start, mut times) = (Instant::now(), Vec::new());
    while start.elapsed() < span {
        let begin = Instant::now();
        if !append {
            file.seek(SeekFrom::Start(0)).unwrap();
        }
        file.write_all(&page).unwrap();
        file.sync_data().unwrap();
        times.push(begin.elapsed());
    }
    report(name, start.elapsed(), times);
}

fn report(name: &str, span: Duration, mut times: Vec<Duration>) {
    times.sort_unstable();
    let per_second = times.len() as f64 / span.as_secs_f64();
    let at = |share: f64| {
        let index = ((times.len() as f64 * share) as usize).min(times.len().saturating_sub(1));
        times.get(index).map_or(f64::NAN, |time| time.as_secs_f64() * 1e3)
    };
    println!("{name:<24} {per_second:>9.0} {:>9.2} {:>9.2}", at(0.5), at(0.99));
}

async fn engine(kind: EngineKind, dir: &Path, span: Duration) {
    let store = open(kind, dir, Options::default()).unwrap();
    for writers in [1, 16, 64, 256] {
        let start = Instant::now();
        let tasks: Vec<_> = (0..writers)
            .map(|writer| tokio::spawn(write(Arc::clone(&store), writer, writers, start + span)))
            .collect();
        let mut times = Vec::new();
        for task in tasks {
            times.extend(task.await.unwrap());
        }
        report(&format!("{kind}, {writers} writers"), start.elapsed(), times);
    }
    let (before, revisions) = (size(dir), store.revision());
    let start = Instant::now();
    store.compact(store.revision()).await.unwrap();
    let compaction = start.elapsed();
    let start = Instant::now();
    let page = store.range(b"/", b"", None, 0).await.unwrap();
    let read = start.elapsed();
    let live: usize = page.records.iter().map(|record| record.value.len()).sum();
    println!(
        "{kind}: {revisions} writes, {} live keys of {} MB; files {} MB; compaction {} ms; \
         reading all {} ms",
        page.records.len(),
        live >> 20,
        before >> 20,
        compaction.as_millis(),
        read.as_millis(),
    );
    drop((store, page));
    let start = Instant::now();
    let store = open(kind, dir, Options::default()).unwrap();
    println!("{kind}: opened in {} ms, files {} MB", start.elapsed().as_millis(), size(dir) >> 20);
    drop(store);
    let start = Instant::now();
    let store = open(kind, dir, Options::default()).unwrap();
    println!("{kind}: opened again in {} ms", start.elapsed().as_millis());
    drop(store);
}

async fn reopen(dir: &Path) {
    let kind = pintle_storage::engine_in(dir).expect("no data directory");
    let start = Instant::now();
    let store = open(kind, dir, Options::default()).unwrap();
    let opened = start.elapsed();
    let page = store.range(b"/", b"", None, 0).await.unwrap();
    println!(
        "{kind}: {} MB opened in {} ms, {} keys at revision {} read in {} ms",
        size(dir) >> 20,
        opened.as_millis(),
        page.records.len(),
        page.revision,
        (start.elapsed() - opened).as_millis(),
    );
}

/// The history kept is that of the last second.
async fn churn(kind: EngineKind, dir: &Path, span: Duration) {
    const WRITERS: usize = 64;
    let store = open(kind, dir, Options::default()).unwrap();
    let start = Instant::now();
    let writers: Vec<_> = (0..WRITERS)
        .map(|writer| tokio::spawn(write(Arc::clone(&store), writer, WRITERS, start + span)))
        .collect();
    let (mut seconds, mut last) = (tokio::time::interval(Duration::from_secs(1)), 0);
    while start.elapsed() < span {
        seconds.tick().await;
        let (revision, begin) = (store.revision(), Instant::now());
        store.compact(last).await.unwrap();
        let (compaction, begin) = (begin.elapsed(), Instant::now());
        let anew = store.reclaim().await.unwrap().map_or_else(String::new, |done| {
            format!(
                ", written anew in {} ms, pause {:.1} ms",
                begin.elapsed().as_millis(),
                done.pause.as_secs_f64() * 1e3
            )
        });
        println!(
            "{kind}: {:>3} s, {:>6} writes, compaction {:>4} ms, files {:>5} MB{anew}",
            start.elapsed().as_secs(),
            revision - last,
            compaction.as_millis(),
            size(dir) >> 20
        );
        last = revision;
    }
    let mut times = Vec::new();
    for writer in writers {
        times.extend(writer.await.unwrap());
    }
    report(&format!("{kind}, {WRITERS} writers, churn"), start.elapsed(), times);
}

/// Guarded updates of the writer's own keys, one after the other.
async fn write(
    store: Arc<dyn Store>,
    writer: usize,
    writers: usize,
    end: Instant,
) -> Vec<Duration> {
    let mut times = Vec::new();
    let value = Value { bytes: vec![b'x'; VALUE_BYTES].into(), revision_at: Some(100) };
    for key in (writer..KEYS).step_by(writers).cycle() {
        if Instant::now() >= end {
            break;
        }
        let key = format!("/registry/pods/default/pod-{key:05}");
        let begin = Instant::now();
        let before = store.get(key.as_bytes(), None).await.unwrap();
        let expect =
            before.map_or(Expect::Absent, |record| Expect::ModRevision(record.mod_revision));
        store.commit(Txn::put(key.clone(), value.clone()).guard(key, expect)).await.unwrap();
        times.push(begin.elapsed());
    }
    times
}

fn size(dir: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(dir) else { return 0 };
    entries
        .filter_map(|entry| {
            let entry = entry.ok()?;
            let metadata = entry.metadata().ok()?;
            Some(if metadata.is_dir() { size(&entry.path()) } else { metadata.len() })
        })
        .sum()
}
