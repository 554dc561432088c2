//! WASI for components whose language runtime cannot do without: an empty
//! context. No files, sockets, arguments or environment; time stands still
//! during a call and randomness is a function of the call's seed, so that such
//! a plugin is as deterministic as any other. What it writes to its standard
//! streams goes to the plugin's log.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use wasmtime::component::{Linker, Resource, ResourceTable};
use wasmtime_wasi::p2::DynPollable;
use wasmtime_wasi::random::Deterministic;
use wasmtime_wasi::{HostMonotonicClock, HostWallClock, WasiCtx, WasiCtxView, WasiView};

use crate::bindings::log::Level;
use crate::logging::PluginLog;
use crate::sandbox::State;
use crate::seed::mix;
use crate::stdio::LogLines;

/// The stream of randomness repeats after so many words, which is as good as
/// any other for a guest that must not have real randomness.
const RANDOM_WORDS: u64 = 32;

/// Handles that a guest may have open at once; runtimes need about ten.
const MAX_HANDLES: usize = 1024;

/// Random bytes that a guest may ask for at once.
const MAX_RANDOM_BYTES: u64 = 1 << 20;

const IO_POLL: &str = "wasi:io/poll@0.2.12";

pub(crate) struct Wasi {
    context: WasiCtx,
    table: ResourceTable,
    surroundings: Surroundings,
}

/// What is the same in the contexts of all calls.
struct Surroundings {
    now_unix_ms: Arc<AtomicI64>,
    stdout: LogLines,
    stderr: LogLines,
}

impl Wasi {
    pub fn new(log: &Arc<PluginLog>) -> Self {
        let surroundings = Surroundings {
            now_unix_ms: Arc::new(AtomicI64::new(0)),
            stdout: LogLines::new(log.clone(), Level::Info),
            stderr: LogLines::new(log.clone(), Level::Error),
        };
        let mut table = ResourceTable::new();
        table.set_max_capacity(MAX_HANDLES);
        Self { context: context(&surroundings, 0), table, surroundings }
    }

    /// Time and randomness of the next call.
    pub fn set(&mut self, now_unix_ms: i64, seed: u64) {
        self.surroundings.now_unix_ms.store(now_unix_ms, Ordering::Relaxed);
        self.surroundings.stderr.begin();
        self.context = context(&self.surroundings, seed);
    }

    /// What it wrote to standard error in this call, after which it trapped.
    pub fn last_words(&self) -> Option<String> {
        self.surroundings.stdout.last_words();
        self.surroundings.stderr.last_words()
    }
}

fn context(surroundings: &Surroundings, seed: u64) -> WasiCtx {
    let bytes: Vec<u8> =
        (0..RANDOM_WORDS).flat_map(|word| mix(seed.wrapping_add(word)).to_le_bytes()).collect();
    WasiCtx::builder()
        .wall_clock(Still(surroundings.now_unix_ms.clone()))
        .monotonic_clock(Still(surroundings.now_unix_ms.clone()))
        .secure_random(Deterministic::new(bytes.clone()))
        .insecure_random(Deterministic::new(bytes))
        .insecure_random_seed(u128::from(seed))
        .max_random_size(MAX_RANDOM_BYTES)
        .stdout(surroundings.stdout.clone())
        .stderr(surroundings.stderr.clone())
        .allow_tcp(false)
        .allow_udp(false)
        .allow_ip_name_lookup(false)
        .build()
}

impl WasiView for State {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        match &mut self.wasi {
            Some(wasi) => WasiCtxView { ctx: &mut wasi.context, table: &mut wasi.table },
            None => unreachable!("WASI is linked only for components that import it"),
        }
    }
}

/// The call's own time.
struct Still(Arc<AtomicI64>);

impl Still {
    fn now(&self) -> Duration {
        Duration::from_millis(u64::try_from(self.0.load(Ordering::Relaxed)).unwrap_or_default())
    }
}

impl HostWallClock for Still {
    fn resolution(&self) -> Duration {
        Duration::from_millis(1)
    }

    fn now(&self) -> Duration {
        Still::now(self)
    }
}

impl HostMonotonicClock for Still {
    fn resolution(&self) -> u64 {
        1_000_000
    }

    fn now(&self) -> u64 {
        u64::try_from(Still::now(self).as_nanos()).unwrap_or(u64::MAX)
    }
}

pub(crate) fn add_to_linker(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    wasmtime_wasi::p2::add_to_linker_sync(linker)?;
    // A guest that waits would hold its thread where no deadline reaches it;
    // with an empty context there is nothing to wait for.
    linker.allow_shadowing(true);
    let mut poll = linker.instance(IO_POLL)?;
    poll.func_wrap(
        "poll",
        |_, (_,): (Vec<Resource<DynPollable>>,)| -> wasmtime::Result<(Vec<u32>,)> {
            Err(wasmtime::Error::msg("a plugin may not wait"))
        },
    )?;
    poll.func_wrap(
        "[method]pollable.block",
        |_, (_,): (Resource<DynPollable>,)| -> wasmtime::Result<()> {
            Err(wasmtime::Error::msg("a plugin may not wait"))
        },
    )?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::Wasm;

    #[test]
    fn everything_a_language_runtime_imports_is_linked() {
        let wasm = Wasm::new().unwrap();
        let mut linker = Linker::new(wasm.engine());
        add_to_linker(&mut linker).unwrap();
    }
}
