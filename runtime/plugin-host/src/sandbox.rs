//! One instance of a component: its store, its limits, and the one way to call it.
//!
//! A trap poisons the whole store, so an instance that faulted is never called
//! again; whoever owns it makes a new one from the same [`Artifact`].

use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};
use wasmtime::component::{HasSelf, Linker};
use wasmtime::{ResourceLimiter, Store, StoreContextMut, Trap, UpdateDeadline};

use crate::artifact::Artifact;
use crate::bindings::scheduler::pintle::plugin::extensions;
use crate::bindings::{actions, lister, log, types};
use crate::budget::Budgets;
use crate::cluster::RevisionGone;
use crate::cpu_share::CpuShare;
use crate::engine::{TICK, Wasm};
use crate::extension::{Evaluation, ExtensionAnswers};
use crate::lister::{ReadError, Reads};
use crate::logging::PluginLog;
use crate::wasi::Wasi;

/// A component needs one memory and two or three tables; runtimes of other
/// languages a few more.
const MAX_CORE_INSTANCES: usize = 64;
const MAX_TABLE_ELEMENTS: usize = 1 << 20;

/// Why a call gave no answer. Each but the last is a strike.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    #[error("it trapped: {0}")]
    Trap(String),
    #[error("it used up its fuel of {0} units in one call")]
    OutOfFuel(u64),
    #[error("it ran past its deadline of {} ms", .0.as_millis())]
    Deadline(Duration),
    #[error("it asked for more than its {} MiB of memory", .0 >> 20)]
    Memory(usize),
    /// The answer does not make sense, or asks for what is not granted.
    #[error("{0}")]
    BadReply(String),
    #[error("it asked for {0}, which is not granted")]
    Ungranted(String),
    #[error("it refused its configuration: {0}")]
    Config(String),
    /// The call took longer than the cluster keeps its past. Nobody's fault and
    /// no strike: the same input is decided again at a newer revision.
    #[error(transparent)]
    RevisionGone(#[from] RevisionGone),
}

impl Fault {
    /// One word for status.reason and Events.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Trap(_) => "Trapped",
            Self::OutOfFuel(_) => "OutOfFuel",
            Self::Deadline(_) => "DeadlineExceeded",
            Self::Memory(_) => "OutOfMemory",
            Self::BadReply(_) => "InvalidReply",
            Self::Ungranted(_) => "UngrantedAction",
            Self::Config(_) => "InvalidConfig",
            Self::RevisionGone(_) => "RevisionGone",
        }
    }
}

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

/// What the host keeps beside an instance.
pub(crate) struct State {
    limits: Limits,
    reader: Option<Arc<dyn Reads>>,
    /// The revision that reads answer at.
    at: u64,
    read_bytes: u64,
    log: Arc<PluginLog>,
    /// What a scheduler is told by extensions; None: there are none.
    answers: Option<Box<dyn ExtensionAnswers>>,
    clock: CallClock,
    pub(crate) wasi: Option<Wasi>,
}

struct Limits {
    memory_bytes: usize,
    /// Largest sum seen, which is also the present one: memories never shrink.
    used_bytes: usize,
    denied: bool,
}

impl ResourceLimiter for Limits {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let total = self.used_bytes - current.min(self.used_bytes) + desired;
        if total > self.memory_bytes {
            self.denied = true;
            return Ok(false);
        }
        self.used_bytes = total;
        Ok(true)
    }

    fn table_growing(
        &mut self,
        _current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        Ok(desired <= MAX_TABLE_ELEMENTS)
    }

    fn instances(&self) -> usize {
        MAX_CORE_INSTANCES
    }

    fn tables(&self) -> usize {
        MAX_CORE_INSTANCES
    }

    fn memories(&self) -> usize {
        MAX_CORE_INSTANCES
    }
}

/// However short a deadline is, a machine that is busy elsewhere gets so long
/// to give the thread its time.
const PATIENCE: Duration = Duration::from_secs(5);

/// Tells a runaway from a thread that waits for the processor.
#[derive(Default)]
struct CallClock {
    deadline: Duration,
    /// How late it may be by the clock, if the thread does not get the processor.
    latest: Duration,
    started: Option<Instant>,
    /// Time in which others worked for this call, which does not count.
    excused: Duration,
    /// Processor time of the thread when the first tick of this call came, and
    /// what it had used of it by then.
    baseline: Option<(Duration, Duration)>,
}

impl CallClock {
    /// How many more ticks the call may have; None: it is over.
    fn tick(&mut self) -> Option<u64> {
        let elapsed = self.started?.elapsed().saturating_sub(self.excused);
        let processor = thread_time().saturating_sub(self.excused);
        let used = match self.baseline {
            None => {
                // Asking for the thread's time before each call would cost more
                // than the call. A tick that comes late says that the thread had
                // to wait, rather than that it has been running all the time.
                let before = elapsed.min(2 * TICK);
                self.baseline = Some((processor, before));
                before
            }
            Some((baseline, before)) => processor.saturating_sub(baseline) + before,
        };
        if used >= self.deadline || elapsed >= self.latest {
            return None;
        }
        Some(ticks(self.deadline - used))
    }
}

fn ticks(time: Duration) -> u64 {
    u64::try_from(time.as_nanos().div_ceil(TICK.as_nanos())).unwrap_or(u64::MAX).max(1)
}

fn thread_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or_default();
    Duration::new(seconds, u32::try_from(time.tv_nsec).unwrap_or_default())
}

impl lister::Host for State {
    fn get(&mut self, reference: types::ObjectRef) -> wasmtime::Result<Option<types::Object>> {
        let found = self.reader()?.get(self.at, reference)?;
        self.carried(found.as_slice());
        Ok(found)
    }

    fn list(&mut self, query: lister::Query) -> wasmtime::Result<Vec<types::Object>> {
        let found = self.reader()?.list(self.at, query)?;
        self.carried(&found);
        Ok(found)
    }

    fn list_fields(
        &mut self,
        query: lister::Query,
        fields: Vec<String>,
    ) -> wasmtime::Result<Vec<types::Object>> {
        let found = self.reader()?.list_fields(self.at, query, &fields)?;
        self.carried(&found);
        Ok(found)
    }

    fn count(&mut self, query: lister::Query) -> wasmtime::Result<u32> {
        Ok(self.reader()?.count(self.at, query)?)
    }
}

impl log::Host for State {
    fn log(&mut self, level: log::Level, message: String) -> wasmtime::Result<()> {
        self.log.line(level, &message);
        Ok(())
    }
}

impl extensions::Host for State {
    fn numbering(&mut self) -> wasmtime::Result<u64> {
        Ok(self.answers.as_mut().map_or(0, |answers| answers.numbering()))
    }

    fn nodes(&mut self) -> wasmtime::Result<Vec<String>> {
        let nodes = self.answers.as_mut().map(|answers| answers.nodes());
        Ok(nodes.map(Arc::unwrap_or_clone).unwrap_or_default())
    }

    fn evaluate(&mut self, pod_uid: String) -> wasmtime::Result<u64> {
        let Some(answers) = &mut self.answers else { return Ok(0) };
        // Extensions have budgets of their own.
        let started = Instant::now();
        let version = answers.evaluate(&pod_uid);
        self.clock.excused += started.elapsed();
        Ok(version?)
    }

    fn read(&mut self, version: u64) -> wasmtime::Result<Evaluation> {
        match &mut self.answers {
            None => Ok(Evaluation { rejections: Vec::new(), scores: Vec::new() }),
            Some(answers) => Ok(Arc::unwrap_or_clone(answers.read(version)?)),
        }
    }
}

impl types::Host for State {}
impl actions::Host for State {}

impl State {
    fn reader(&self) -> Result<&dyn Reads, ReadError> {
        self.reader.as_deref().ok_or(ReadError::NoReader)
    }

    fn carried(&mut self, objects: &[types::Object]) {
        let bytes = |object: &types::Object| {
            let reference = &object.ref_;
            let kind = &reference.kind;
            let texts = [
                &kind.group,
                &kind.version,
                &kind.kind,
                &reference.namespace,
                &reference.name,
                &object.uid,
            ];
            object.json.len() + texts.iter().map(|text| text.len()).sum::<usize>()
        };
        self.read_bytes += objects.iter().map(bytes).sum::<usize>() as u64;
    }
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

/// The imports every role may have; a component's own were checked when it was loaded.
pub(crate) fn linker(wasm: &Wasm, artifact: &Artifact) -> wasmtime::Result<Linker<State>> {
    let mut linker = Linker::new(wasm.engine());
    lister::add_to_linker::<State, HasSelf<State>>(&mut linker, |state| state)?;
    log::add_to_linker::<State, HasSelf<State>>(&mut linker, |state| state)?;
    types::add_to_linker::<State, HasSelf<State>>(&mut linker, |state| state)?;
    actions::add_to_linker::<State, HasSelf<State>>(&mut linker, |state| state)?;
    extensions::add_to_linker::<State, HasSelf<State>>(&mut linker, |state| state)?;
    if artifact.wasi {
        crate::wasi::add_to_linker(&mut linker)?;
    }
    Ok(linker)
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
    state.clock = CallClock {
        deadline: budgets.deadline,
        latest: budgets.deadline.saturating_mul(budgets.max_starvation).max(PATIENCE),
        started: Some(started),
        ..CallClock::default()
    };
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

/// What went wrong, in terms of budgets where that is the cause.
fn fault(store: &Store<State>, budgets: &Budgets, error: &wasmtime::Error) -> Fault {
    let trap = error.downcast_ref::<Trap>();
    match trap {
        Some(Trap::OutOfFuel) => return Fault::OutOfFuel(budgets.fuel_per_call),
        Some(Trap::Interrupt) => return Fault::Deadline(budgets.deadline),
        _ => {}
    }
    if let Some(ReadError::Gone(gone)) = error.downcast_ref() {
        return Fault::RevisionGone(*gone);
    }
    // A guest whose allocation fails aborts; the cause is what it was refused.
    if store.data().limits.denied {
        return Fault::Memory(budgets.memory_bytes);
    }
    let cause = match trap {
        Some(trap) => trap.to_string(),
        None => format!("{error:#}"),
    };
    let state = store.data();
    // What a language runtime writes there was logged too, line by line.
    let words = state.wasi.as_ref().and_then(Wasi::last_words);
    let line = state.log.take_last_error();
    match (words, line) {
        (Some(words), _) => Fault::Trap(format!("{cause}; it wrote to standard error: {words}")),
        (None, Some(line)) => Fault::Trap(format!("{cause}; its last error line: {line}")),
        (None, None) => Fault::Trap(cause),
    }
}
