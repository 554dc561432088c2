//! One instance of a component: its store, its limits, and the one way to call it.
//!
//! A trap poisons the whole store, so an instance that faulted is never called
//! again; whoever owns it makes a new one from the same [`Artifact`].

mod clock;
mod fault;
mod limits;
mod state;

use std::sync::Arc;
use std::time::{Duration, Instant};

use wasmtime::{Store, StoreContextMut, UpdateDeadline};

use crate::bindings::types;
use crate::budget::Budgets;
use crate::cpu_share::CpuShare;
use crate::engine::Wasm;
use crate::extension::ExtensionAnswers;
use crate::lister::Reads;
use crate::logging::PluginLog;
use crate::wasi::Wasi;

use clock::CallClock;
pub(crate) use clock::thread_time;
pub use fault::Fault;
use fault::fault;
use limits::Limits;
pub(crate) use state::{State, linker};

/// What a call used.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Usage {
    pub elapsed: Duration,
    pub fuel: u64,
    pub memory_bytes: usize,
    /// Carried into the instance by its reads.
    pub read_bytes: u64,
    /// Of the thread, if the plugin has a share of the processors.
    pub cpu: Duration,
}

/// What an instance is given besides its component.
#[derive(Clone)]
pub(crate) struct Surroundings {
    pub budgets: Budgets,
    /// None for roles without a lister.
    pub reader: Option<Arc<dyn Reads>>,
    pub log: Arc<PluginLog>,
    /// What calls are paid from; None: no limit.
    pub cpu: Option<Arc<CpuShare>>,
}

/// One live instance of world `W`.
pub(crate) struct Sandbox<W> {
    store: Store<State>,
    world: W,
    wasm: Arc<Wasm>,
    budgets: Budgets,
    cpu: Option<Arc<CpuShare>>,
    poisoned: bool,
}

impl<W> Sandbox<W> {
    /// `instantiate` runs the component's start functions, under the budgets of one call.
    pub fn new(
        wasm: &Arc<Wasm>,
        wasi: bool,
        surroundings: &Surroundings,
        instantiate: impl FnOnce(&mut Store<State>) -> wasmtime::Result<W>,
    ) -> Result<Self, Fault> {
        let state = State {
            limits: Limits {
                memory_bytes: surroundings.budgets.memory_bytes,
                used_bytes: 0,
                denied: false,
            },
            reader: surroundings.reader.clone(),
            at: 0,
            read_bytes: 0,
            log: surroundings.log.clone(),
            answers: None,
            clock: CallClock::default(),
            wasi: wasi.then(|| Wasi::new(&surroundings.log)),
        };
        let mut store = Store::new(wasm.engine(), state);
        store.limiter(|state| &mut state.limits);
        store.epoch_deadline_callback(|mut context: StoreContextMut<'_, State>| {
            Ok(match context.data_mut().clock.tick() {
                Some(ticks) => UpdateDeadline::Continue(ticks),
                None => UpdateDeadline::Interrupt,
            })
        });
        let mut started = None;
        let ((store, result), _) = metered(surroundings.cpu.as_deref(), || {
            run(store, wasm, &surroundings.budgets, &mut started, instantiate)
        });
        let world = result?;
        Ok(Self {
            store,
            world,
            wasm: wasm.clone(),
            budgets: surroundings.budgets,
            cpu: surroundings.cpu.clone(),
            poisoned: false,
        })
    }

    /// Calls an export. After a fault the instance is dead.
    pub fn call<R>(
        &mut self,
        call: impl FnOnce(&W, &mut Store<State>) -> wasmtime::Result<R>,
    ) -> (Result<R, Fault>, Usage) {
        if self.poisoned {
            return (
                Err(Fault::Trap("the instance has trapped before".to_owned())),
                Usage::default(),
            );
        }
        let started = arm(&mut self.store, &self.budgets);
        let running = self.wasm.running();
        let (result, cpu) = metered(self.cpu.as_deref(), || call(&self.world, &mut self.store));
        drop(running);
        let usage = Usage { cpu, ..usage(&self.store, &self.budgets, started) };
        let result = result.map_err(|error| {
            self.poisoned = true;
            fault(&self.store, &self.budgets, &error)
        });
        (result, usage)
    }

    /// What the import `extensions` answers from now on; None: there are none.
    pub fn set_answers(&mut self, answers: Option<Box<dyn ExtensionAnswers>>) {
        self.store.data_mut().answers = answers;
    }

    /// Sets the revision that reads of the next call answer at, and what a WASI
    /// guest sees as time and randomness.
    pub fn set_context(&mut self, context: &types::Context) {
        let state = self.store.data_mut();
        state.at = context.revision;
        if let Some(wasi) = &mut state.wasi {
            wasi.set(context.now_unix_ms, context.seed);
        }
    }
}

/// Pays for what `run` uses of this thread's time. Asking for it takes a system
/// call, which plugins without a limit are spared.
fn metered<R>(share: Option<&CpuShare>, run: impl FnOnce() -> R) -> (R, Duration) {
    let Some(share) = share else { return (run(), Duration::ZERO) };
    let before = thread_time();
    let result = run();
    let used = thread_time().saturating_sub(before);
    share.spend(used, Instant::now());
    (result, used)
}

fn run<R>(
    mut store: Store<State>,
    wasm: &Wasm,
    budgets: &Budgets,
    started: &mut Option<Instant>,
    call: impl FnOnce(&mut Store<State>) -> wasmtime::Result<R>,
) -> (Store<State>, Result<R, Fault>) {
    *started = Some(arm(&mut store, budgets));
    let running = wasm.running();
    let result = call(&mut store);
    drop(running);
    let result = result.map_err(|error| fault(&store, budgets, &error));
    (store, result)
}

fn arm(store: &mut Store<State>, budgets: &Budgets) -> Instant {
    let started = Instant::now();
    // Fuel is configured, so setting it cannot fail; without it the call would trap at once.
    let _ = store.set_fuel(budgets.fuel_per_call);
    // The first tick takes the thread's time as the baseline.
    store.set_epoch_deadline(1);
    let state = store.data_mut();
    state.limits.denied = false;
    state.read_bytes = 0;
    state.clock = CallClock::start(started, budgets);
    started
}

fn usage(store: &Store<State>, budgets: &Budgets, started: Instant) -> Usage {
    Usage {
        elapsed: started.elapsed(),
        fuel: budgets.fuel_per_call.saturating_sub(store.get_fuel().unwrap_or_default()),
        memory_bytes: store.data().limits.used_bytes,
        read_bytes: store.data().read_bytes,
        cpu: Duration::ZERO,
    }
}
