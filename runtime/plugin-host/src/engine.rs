//! The one WebAssembly engine, fixed to be deterministic, and the ticker that
//! interrupts runaways.
//!
//! The same component with the same inputs must give the same actions on any
//! machine: NaNs are canonical, relaxed SIMD is the deterministic variant,
//! memory and stack limits are set here and not left to the platform.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::thread::{JoinHandle, Thread};
use std::time::{Duration, Instant};

use wasmtime::{Config, Enabled, Engine, OptLevel, PoolingAllocationConfig};

/// How fine deadlines are.
pub(crate) const TICK: Duration = Duration::from_millis(1);

/// So many ticks without a call and the ticker goes to sleep. Waking it costs a
/// system call, which a steady stream of calls should not pay each time.
const IDLE_TICKS: u32 = 200;

/// Deep enough for recursive decoders, small enough for any of our threads.
const WASM_STACK_BYTES: usize = 512 << 10;

/// Of one table.
pub(crate) const MAX_TABLE_ELEMENTS: usize = 1 << 20;

/// Unmapped bytes behind a memory. Addresses are 32 bits wide and 4 GiB are
/// reserved (not committed) per memory, so this covers constant offsets only.
const GUARD_BYTES: u64 = 64 << 10;

#[derive(Debug, thiserror::Error)]
#[error("cannot set up the WebAssembly engine on this machine")]
pub struct EngineError(#[source] pub(crate) Box<dyn std::error::Error + Send + Sync>);

/// Instances at a time, of all plugins. Each reserves 4 GiB of addresses and
/// no memory, so this is eight of the 128 TiB that a process has.
const MAX_INSTANCES: u32 = 2048;

/// Core modules, memories and tables of one component: languages with a runtime
/// of their own bring several.
const PARTS_PER_INSTANCE: u32 = 4;

const MAX_MEMORY_BYTES: usize = 1 << 32;

/// Places of instances that are gone, with what makes the next one cheap: pages
/// that need not be faulted in again. What it costs is at most the product.
const WARM_PLACES: u32 = 16;
const WARM_BYTES: usize = 256 << 10;

/// An engine that compiles. Whoever compiles and whoever runs must agree in
/// everything but where instances lie.
pub(crate) fn compiling() -> Result<Engine, EngineError> {
    Engine::new(&config()).map_err(|error| EngineError(error.into()))
}

/// An engine that runs instances: in places of a pool, which are used again, so
/// that a fresh one takes a few system calls and next to no page faults.
fn running() -> Result<Engine, EngineError> {
    match Engine::new(config().allocation_strategy(pool())) {
        Ok(engine) => Ok(engine),
        Err(error) => {
            // For example where a process may not have so many addresses.
            tracing::info!(%error, "instances of plugins are not pooled");
            compiling()
        }
    }
}

fn pool() -> PoolingAllocationConfig {
    let mut pool = PoolingAllocationConfig::new();
    let parts = MAX_INSTANCES * PARTS_PER_INSTANCE;
    pool.total_component_instances(MAX_INSTANCES)
        .total_memories(MAX_INSTANCES)
        .total_core_instances(parts)
        .total_tables(parts)
        // Calls run on the stack of their thread.
        .total_stacks(0)
        .max_memory_size(MAX_MEMORY_BYTES)
        .max_memories_per_module(PARTS_PER_INSTANCE)
        .max_tables_per_module(PARTS_PER_INSTANCE)
        .table_elements(MAX_TABLE_ELEMENTS)
        .max_unused_warm_slots(WARM_PLACES);
    // Finds the pages that were written to. Without it, what lies at the low
    // end would be reset, whether it was used or not.
    if PoolingAllocationConfig::is_pagemap_scan_available() {
        pool.pagemap_scan(Enabled::Yes)
            .linear_memory_keep_resident(WARM_BYTES)
            .table_keep_resident(WARM_BYTES);
    }
    pool
}

fn config() -> Config {
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
    config
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
        let engine = running()?;
        let pulse = Arc::new(Pulse::default());
        let ticker = std::thread::Builder::new()
            .name("plugin-ticker".to_owned())
            .stack_size(64 << 10)
            .spawn({
                let (pulse, engine) = (pulse.clone(), engine.weak());
                move || {
                    crate::priority::go_first();
                    tick(&pulse, &engine);
                }
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
    let mut due = Instant::now() + TICK;
    while !pulse.stop.load(Ordering::SeqCst) {
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        let Some(engine) = engine.upgrade() else { return };
        let now = Instant::now();
        // Ticks are counted, so none is left out when this thread comes late.
        while due <= now {
            engine.increment_epoch();
            due += TICK;
        }
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
        due = Instant::now() + TICK;
    }
}
