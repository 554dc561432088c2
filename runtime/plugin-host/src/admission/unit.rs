//! One admission plugin: a pool of equal instances, so that requests do not
//! wait for each other, and the versions it may fall back to.

use std::sync::Arc;
use std::time::Instant;

use arc_swap::ArcSwap;
use parking_lot::Mutex;

use super::gate::Gate;
use super::parked::{self, ParkedRequests};
use super::request::Operation;
use super::rules::{covers, reviews};
use crate::bindings::admission::AdmissionPlugin;
use crate::bindings::types::{Context, KindRef};
use crate::cluster::Cluster;
use crate::convert;
use crate::follow::{AdmissionTurn, Follower, FollowerHandle, Followers, Reviewed};
use crate::plugin::{FailurePolicy, PluginSpec, ReviewRule};
use crate::program::Program;
use crate::program::admission_interface::{Phase, Request, Response, Verdict};
use crate::sandbox::{Fault, Sandbox};
use crate::seed::Seeds;
use crate::supervise::{Health, Input, On, Previous, Remedy, Rollout, Version, take_warm};

/// So many times a request is decided again because the cluster's memory of its
/// past is shorter than the call.
const MAX_OVERTAKEN: usize = 3;

/// What the Plugin object says of it besides its version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Terms {
    /// Lower is asked first.
    pub priority: i32,
    /// What an answer that does not come means.
    pub failure_policy: FailurePolicy,
}

impl Terms {
    pub fn of(spec: &PluginSpec) -> Self {
        Self { priority: spec.priority, failure_policy: spec.failure_policy() }
    }
}

pub(crate) struct AdmissionUnit {
    pub name: Arc<str>,
    pub terms: Terms,
    cluster: Arc<dyn Cluster>,
    health: Arc<Health>,
    seeds: Seeds,
    live: ArcSwap<Live>,
    supervision: Mutex<Supervision>,
    /// Passed on from unit to unit.
    followers: Arc<Followers<AdmissionTurn>>,
    parked: ParkedRequests,
    /// Lets in no more requests than there may be instances.
    gate: Option<Gate>,
    max_idle: usize,
}

struct Supervision {
    rollout: Rollout,
    previous: Option<Previous<Arc<Live>>>,
    stopped: bool,
}

/// One version and its idle instances.
struct Live {
    program: Arc<Program<AdmissionPlugin>>,
    idle: Mutex<Vec<Sandbox<AdmissionPlugin>>>,
}

impl Live {
    /// The first request makes the first instance: that one starts was seen when
    /// the program was loaded.
    fn new(program: Arc<Program<AdmissionPlugin>>) -> Self {
        Self { program, idle: Mutex::default() }
    }

    fn version(&self) -> Version {
        Version::of(&self.program)
    }

    fn review(
        &self,
        context: Context,
        request: &Request,
        max_idle: usize,
    ) -> Result<Response, Fault> {
        let idle = self.idle.lock().pop();
        let mut sandbox = match idle {
            Some(sandbox) => sandbox,
            None => self.program.start()?,
        };
        let response = ask(&self.program, &mut sandbox, context, request)?;
        let mut idle = self.idle.lock();
        if idle.len() < max_idle {
            idle.push(sandbox);
        }
        Ok(response)
    }
}

impl AdmissionUnit {
    pub fn start(
        program: Arc<Program<AdmissionPlugin>>,
        terms: Terms,
        rollout: Rollout,
        cluster: Arc<dyn Cluster>,
        health: Arc<Health>,
    ) -> Self {
        let gate = program.budgets().max_instances.map(Gate::new);
        let live = Live::new(program);
        health.activated(live.version(), None, std::time::Duration::ZERO);
        Self {
            name: live.program.name.clone(),
            terms,
            seeds: Seeds::starting_at(cluster.now_unix_ms().unsigned_abs()),
            cluster,
            health,
            live: ArcSwap::from_pointee(live),
            supervision: Mutex::new(Supervision { rollout, previous: None, stopped: false }),
            followers: Arc::default(),
            parked: ParkedRequests::default(),
            gate,
            max_idle: std::thread::available_parallelism().map_or(2, usize::from),
        }
    }

    /// A unit of other terms or another version that inherits this one as what to roll back to.
    pub fn succeed(
        self: &Arc<Self>,
        program: Arc<Program<AdmissionPlugin>>,
        terms: Terms,
        rollout: Rollout,
    ) -> Self {
        let gate = program.budgets().max_instances.map(Gate::new);
        let live = Live::new(program);
        let started = Instant::now();
        let before = self.live.load_full();
        let stopped = self.supervision.lock().stopped;
        let previous =
            (!stopped).then(|| Previous { live: before.clone(), until: started + rollout.window });
        self.health.activated(
            live.version(),
            previous.as_ref().map(|previous| previous.live.version()),
            started.elapsed(),
        );
        Self {
            name: self.name.clone(),
            terms,
            cluster: self.cluster.clone(),
            health: self.health.clone(),
            seeds: Seeds::starting_at(self.seeds.next()),
            live: ArcSwap::from_pointee(live),
            supervision: Mutex::new(Supervision { rollout, previous, stopped: false }),
            followers: self.followers.clone(),
            parked: ParkedRequests::default(),
            gate,
            max_idle: self.max_idle,
        }
    }

    /// Whether the plugin asked to see such requests in this phase.
    pub fn wants(
        &self,
        phase: Phase,
        kind: &KindRef,
        subresource: &str,
        operation: Operation,
    ) -> bool {
        let live = self.live.load();
        let rules = match phase {
            Phase::Mutating => &live.program.description.mutating,
            Phase::Validating => &live.program.description.validating,
        };
        rules.iter().any(|rule| covers(rule, kind, subresource, operation))
    }

    /// The requests that the version in place asked to see.
    pub fn reviews(&self) -> Vec<ReviewRule> {
        reviews(&self.live.load().program.description)
    }

    pub fn set_rollout(&self, rollout: Rollout) {
        self.supervision.lock().rollout = rollout;
    }

    /// What answers at present; None when it was stopped.
    pub fn active(&self) -> Option<Arc<Program<AdmissionPlugin>>> {
        let stopped = self.supervision.lock().stopped;
        (!stopped).then(|| self.live.load().program.clone())
    }

    /// Shows `follower` all that is asked and answered from now on.
    pub fn follow(
        &self,
        follower: Box<dyn Follower<AdmissionTurn>>,
    ) -> std::io::Result<FollowerHandle> {
        self.followers.add(|_| follower)
    }

    /// Until when requests have to wait because the plugin has used up its share
    /// of the processors.
    pub fn in_debt_until(&self, now: Instant) -> Option<Instant> {
        self.live.load().program.in_debt_until(now)
    }

    /// Needs a thread that may block.
    pub fn is_wasi(&self) -> bool {
        self.live.load().program.is_wasi()
    }

    /// The plugin's answer, from the version before if this one faults within
    /// the rollback window.
    pub fn review(&self, request: &Request) -> Result<Response, String> {
        let mut overtaken = 0;
        // Before the context is taken: it must show what the instance admitted last.
        let _turn = self.gate.as_ref().map(Gate::enter);
        if let Some((parked, changed)) = self.parked.look_up(request) {
            match changed {
                false => return Err(parked.message),
                true => self.health.unparked(&parked.id),
            }
        }
        loop {
            let live = self.live.load_full();
            if self.is_stopped() {
                return Err(
                    "it was stopped after repeated faults; see the status of the Plugin object"
                        .to_owned(),
                );
            }
            let context = Context {
                now_unix_ms: self.cluster.now_unix_ms(),
                seed: self.seeds.next(),
                revision: self.cluster.revision(),
            };
            let result = live.review(context, request, self.max_idle);
            if let Err(Fault::RevisionGone(gone)) = &result {
                // Nothing was decided, so nobody is told; the next try has a fresh instance.
                overtaken += 1;
                if overtaken < MAX_OVERTAKEN {
                    continue;
                }
                return Err(gone.to_string());
            }
            if !self.followers.is_empty() {
                self.followers.tell(Arc::new(Reviewed {
                    digest: live.program.digest.clone(),
                    context,
                    request: request.clone(),
                    answered: result.clone(),
                }));
            }
            match result {
                Ok(response) => {
                    self.health.good_on(std::iter::once_with(|| parked::id(request)));
                    return Ok(response);
                }
                Err(fault) => {
                    tracing::warn!(plugin = %self.name, %fault, "an admission plugin misbehaved");
                    if !self.strike(&live, request, &fault) {
                        return Err(fault.to_string());
                    }
                }
            }
        }
    }

    /// Also lets go of the version before once its window is over.
    fn is_stopped(&self) -> bool {
        let mut supervision = self.supervision.lock();
        let expired = supervision.previous.take_if(|previous| previous.until <= Instant::now());
        let stopped = supervision.stopped;
        drop(supervision);
        if expired.is_some() {
            self.health.previous_dropped();
        }
        stopped
    }

    /// True if another version is in place and the request is to be asked again.
    fn strike(&self, faulty: &Arc<Live>, request: &Request, fault: &Fault) -> bool {
        let mut supervision = self.supervision.lock();
        if !Arc::ptr_eq(faulty, &self.live.load()) {
            return true;
        }
        let started = Instant::now();
        let warm = take_warm(&mut supervision.previous, started);
        let input = Input {
            id: parked::id(request),
            object: convert::target(request.ref_.clone()),
            uid: parked::uid(request),
        };
        let on = On::Input(&input);
        match self.health.strike(on, fault, warm.is_some(), &supervision.rollout) {
            Remedy::RollBack => {
                let Some(warm) = warm else { return false };
                let version = warm.version();
                self.live.store(warm);
                self.parked.clear();
                self.health.rolled_back(version, fault, started.elapsed());
                true
            }
            // The faulty instance is dropped already; the next request gets another.
            Remedy::Rebuild => false,
            Remedy::Park => {
                self.parked.park(request, fault);
                false
            }
            Remedy::Stop => {
                supervision.stopped = true;
                false
            }
        }
    }
}

/// Asks an instance; an answer that makes no sense is a fault.
pub(crate) fn ask(
    program: &Program<AdmissionPlugin>,
    sandbox: &mut Sandbox<AdmissionPlugin>,
    context: Context,
    request: &Request,
) -> Result<Response, Fault> {
    sandbox.set_context(&context);
    let (result, usage) = sandbox
        .call(|world, store| world.pintle_plugin_admission().call_review(store, context, request));
    program.metrics.call(&usage);
    result.and_then(|response| sound(response, request))
}

/// An answer that contradicts itself is a fault, not a decision.
pub(crate) fn sound(response: Response, request: &Request) -> Result<Response, Fault> {
    match &response.verdict {
        Verdict::Patch(_) if request.phase == Phase::Validating => {
            Err(Fault::BadReply("it returned a patch in the validating phase".to_owned()))
        }
        Verdict::Patch(_) if request.json.is_empty() => {
            Err(Fault::BadReply("it returned a patch for a request without an object".to_owned()))
        }
        Verdict::Patch(patch) if serde_json::from_slice::<json_patch::Patch>(patch).is_err() => {
            Err(Fault::BadReply("it returned a patch that is no JSON patch (RFC 6902)".to_owned()))
        }
        _ => Ok(response),
    }
}
