//! The one WebAssembly engine, fixed to be deterministic, and the ticker that
//! interrupts runaways.
//!
//! The same component with the same inputs must give the same actions on any
//! machine: NaNs are canonical, relaxed SIMD is the deterministic variant,
//! memory and stack limits are set here and not left to the platform.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::thread::{JoinHandle, Thread};
use std::time::Duration;

use wasmtime::{Config, Engine, OptLevel};

/// How fine deadlines are.
pub(crate) const TICK: Duration = Duration::from_millis(5);

/// So many ticks without a call and the ticker goes to sleep. Waking it costs a
/// system call, which a steady stream of calls should not pay each time.
const IDLE_TICKS: u32 = 40;

/// Deep enough for recursive decoders, small enough for any of our threads.
const WASM_STACK_BYTES: usize = 512 << 10;

/// Unmapped bytes behind a memory. Addresses are 32 bits wide and 4 GiB are
/// reserved (not committed) per memory, so this covers constant offsets only.
const GUARD_BYTES: u64 = 64 << 10;

#[derive(Debug, thiserror::Error)]
#[error("cannot set up the WebAssembly engine on this machine")]
pub struct EngineError(#[source] pub(crate) Box<dyn std::error::Error + Send + Sync>);

/// The engine alone. Whoever compiles and whoever runs must have the same.
pub(crate) fn engine() -> Result<Engine, EngineError> {
    let mut config = Config::new();
    config
        .concurrency_support(false)
        .consume_fuel(true)
        .epoch_interruption(true)
        .cranelift_nan_canonicalization(true)
        .cranelift_opt_level(OptLevel::Speed)
        .relaxed_simd_deterministic(true)
        .max_wasm_stack(WASM_STACK_BYTES)
        .memory_guard_size(GUARD_BYTES)
        .memory_init_cow(true)
        .generate_address_map(false)
        .native_unwind_info(false)
        .wasm_memory64(false);
    Engine::new(&config).map_err(|error| EngineError(error.into()))
}

/// Engine and ticker, shared by everything that runs components.
pub struct Wasm {
    engine: Engine,
    pulse: Arc<Pulse>,
    ticker: Option<JoinHandle<()>>,
    wake: Thread,
}

#[derive(Default)]
struct Pulse {
    running: AtomicUsize,
    started: AtomicU64,
    asleep: AtomicBool,
    stop: AtomicBool,
}

impl Wasm {
    pub fn new() -> Result<Arc<Self>, EngineError> {
        let engine = engine()?;
        let pulse = Arc::new(Pulse::default());
        let ticker = std::thread::Builder::new()
            .name("plugin-ticker".to_owned())
            .stack_size(64 << 10)
            .spawn({
                let (pulse, engine) = (pulse.clone(), engine.weak());
                move || tick(&pulse, &engine)
            })
            .map_err(|error| EngineError(error.into()))?;
        let wake = ticker.thread().clone();
        Ok(Arc::new(Self { engine, pulse, ticker: Some(ticker), wake }))
    }

    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// Keeps the ticker running while a call runs.
    pub(crate) fn running(&self) -> Running<'_> {
        self.pulse.started.fetch_add(1, Ordering::Relaxed);
        self.pulse.running.fetch_add(1, Ordering::SeqCst);
        if self.pulse.asleep.load(Ordering::SeqCst) {
            self.wake.unpark();
        }
        Running(&self.pulse)
    }
}

impl Drop for Wasm {
    fn drop(&mut self) {
        self.pulse.stop.store(true, Ordering::SeqCst);
        self.wake.unpark();
        if let Some(ticker) = self.ticker.take() {
            // The ticker holds the engine weakly and nothing else; it cannot have panicked.
            let _ = ticker.join();
        }
    }
}

pub(crate) struct Running<'a>(&'a Pulse);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Advances the epoch while calls run. This loop sleeps between ticks because
/// it is the clock; it parks for good as soon as no calls come in.
fn tick(pulse: &Pulse, engine: &wasmtime::EngineWeak) {
    let mut idle_ticks = 0;
    let mut seen = 0;
    while !pulse.stop.load(Ordering::SeqCst) {
        std::thread::sleep(TICK);
        let Some(engine) = engine.upgrade() else { return };
        engine.increment_epoch();
        let started = pulse.started.load(Ordering::Relaxed);
        if pulse.running.load(Ordering::SeqCst) > 0 || started != seen {
            seen = started;
            idle_ticks = 0;
            continue;
        }
        idle_ticks += 1;
        if idle_ticks < IDLE_TICKS {
            continue;
        }
        idle_ticks = 0;
        pulse.asleep.store(true, Ordering::SeqCst);
        // A call that started before it could see `asleep` has counted itself before.
        while pulse.running.load(Ordering::SeqCst) == 0
            && pulse.started.load(Ordering::Relaxed) == seen
            && !pulse.stop.load(Ordering::SeqCst)
        {
            std::thread::park();
        }
        pulse.asleep.store(false, Ordering::SeqCst);
    }
}
