//! Many histories at once, one thread per processor.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::{Cast, Played, Simulation};

/// What a history died of, with the seed that plays it again.
#[derive(Debug, Clone)]
pub struct Failure {
    pub seed: u64,
    pub message: String,
    /// The last things that happened, the newest at the end.
    pub history: Vec<String>,
}

/// With this variable a failed history is written whole, to the file it names.
const HISTORY_FILE: &str = "PINTLE_HISTORY";

/// Plays one history; a panic anywhere in it is the failure.
pub fn play(cast: &Cast, seed: u64) -> Result<Played, Failure> {
    let file = std::env::var_os(HISTORY_FILE);
    let mut simulation = Simulation::new(cast, seed);
    if file.is_some() {
        simulation = simulation.keep_history();
    }
    catch_unwind(AssertUnwindSafe(|| simulation.run())).map_err(|payload| {
        let mut history: Vec<String> = simulation.cluster.history().map(str::to_owned).collect();
        if let Some(file) = file {
            let written = std::fs::write(&file, history.join("\n"));
            history = vec![format!("{} ({written:?})", file.display())];
        }
        Failure { seed, message: text(&*payload), history }
    })
}

/// Plays every seed, each thread with a cast of its own, until one fails; what
/// `check` says of a history counts as failure too. Returns how many were played.
pub fn play_all(
    seeds: std::ops::Range<u64>,
    cast: impl Fn() -> Cast + Sync,
    check: impl Fn(&Played, u64) -> Result<(), String> + Sync,
) -> Result<u64, Failure> {
    let next = AtomicU64::new(seeds.start);
    let failed: Mutex<Option<Failure>> = Mutex::new(None);
    let stop = || failed.lock().is_ok_and(|failed| failed.is_some());
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                let cast = cast();
                while !stop() {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds.end {
                        return;
                    }
                    let played = play(&cast, seed).and_then(|played| {
                        let failure = |message| Failure { seed, message, history: Vec::new() };
                        check(&played, seed).map_err(failure)
                    });
                    if let (Err(failure), Ok(mut failed)) = (played, failed.lock()) {
                        // The smallest seed of those that fail at the same time.
                        if failed.as_ref().is_none_or(|known| known.seed > failure.seed) {
                            *failed = Some(failure);
                        }
                    }
                }
            });
        }
    });
    match failed.into_inner() {
        Ok(Some(failure)) => Err(failure),
        _ => Ok(seeds.end - seeds.start),
    }
}

fn text(payload: &(dyn Any + Send)) -> String {
    payload
        .downcast_ref::<String>()
        .cloned()
        .or_else(|| payload.downcast_ref::<&str>().map(|text| (*text).to_owned()))
        .unwrap_or_else(|| "a panic without text".to_owned())
}

impl Failure {
    /// For people: what happened, and how to see it again.
    pub fn report(&self, test: &str) -> String {
        let lines: Vec<String> = self
            .history
            .iter()
            .map(|line| format!("  {}", line.chars().take(240).collect::<String>()))
            .collect();
        format!(
            "what happened last:\n{}\n\nseed {}: {}\n\nPlay it again:\n  PINTLE_SEEDS={}..{} \
             {HISTORY_FILE}=/tmp/history cargo test -p pintle-simulation {test}\n",
            lines.join("\n"),
            self.seed,
            self.message,
            self.seed,
            self.seed + 1
        )
    }
}
