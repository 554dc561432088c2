//! The thread of one controller.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::mapping::Mapping;
use super::queue::{Verdict, Work};
use super::recover::After;
use super::unit::{Next, Shared};
use crate::bindings::controller::ControllerPlugin;
use crate::bindings::types::{Context, ObjectRef};
use crate::cluster::{ApplyError, RefusalPlace};
use crate::convert;
use crate::follow::{Decided, Worked};
use crate::plan;
use crate::plugin::Role;
use crate::priority;
use crate::program::controller_interface::Request;
use crate::program::{LoadError, Program};
use crate::sandbox::{Fault, Sandbox};
use crate::supervise::{Previous, Version};

/// So many keys' actions are being performed at a time; what comes back late
/// must not pile up without bound.
const MAX_IN_FLIGHT: usize = 32;

/// So many times in a row a key is decided again at once because the cluster's
/// memory of its past is shorter than the call; then it backs off.
const MAX_OVERTAKEN: usize = 3;

/// One version, and its instance once there is something to decide: most
/// controllers of a small cluster never have.
pub(crate) struct Live {
    pub program: Arc<Program<ControllerPlugin>>,
    pub mapping: Arc<Mapping>,
    sandbox: Option<Sandbox<ControllerPlugin>>,
}

impl Live {
    /// That the program starts and what it says of itself was seen when it was loaded.
    pub fn new(program: Arc<Program<ControllerPlugin>>) -> Result<Self, LoadError> {
        let mapping = check(&program)?;
        Ok(Self { program, mapping: Arc::new(mapping), sandbox: None })
    }

    pub(super) fn version(&self) -> Version {
        Version::of(&self.program)
    }

    /// The next call gets a fresh instance: a store that trapped is poisoned.
    pub(super) fn drop_instance(&mut self) {
        self.sandbox = None;
    }

    fn instance(&mut self) -> Result<&mut Sandbox<ControllerPlugin>, Fault> {
        match &mut self.sandbox {
            Some(sandbox) => Ok(sandbox),
            none => Ok(none.insert(self.program.start()?)),
        }
    }
}

/// What is checked of a controller before it decides anything.
pub(crate) fn check(program: &Program<ControllerPlugin>) -> Result<Mapping, LoadError> {
    Mapping::new(&program.description, program.grants.clone()).map_err(LoadError::Description)
}

/// Asks an instance to decide; what it may not do is a fault.
pub(crate) fn reconcile(
    program: &Program<ControllerPlugin>,
    sandbox: &mut Sandbox<ControllerPlugin>,
    request: &Request,
    context: Context,
) -> Result<Decided, Fault> {
    sandbox.set_context(&context);
    let (result, usage) = sandbox.call(|world, store| {
        world.pintle_plugin_controller().call_reconcile(store, context, request)
    });
    program.metrics.call(&usage);
    match result? {
        Ok(outcome) => Ok(Decided::Act {
            actions: plan::check(outcome.actions, &program.grants)?,
            again_after: outcome.requeue_after_ms.map(Duration::from_millis),
        }),
        Err(message) => Ok(Decided::Error(message)),
    }
}

pub(crate) struct Worker {
    pub(super) shared: Arc<Shared>,
    /// None before the first version, and once the plugin is stopped.
    pub(super) live: Option<Live>,
    pub(super) previous: Option<Previous<Live>>,
}

enum Job {
    Stop,
    Activate(Box<Next>),
    Resync,
    DropPrevious,
    Reconcile(Work),
}

impl Worker {
    pub fn new(shared: Arc<Shared>) -> Self {
        Self { shared, live: None, previous: None }
    }

    pub fn run(mut self) {
        priority::of_this_thread(Role::Controller);
        loop {
            match self.wait() {
                Job::Stop => return,
                Job::Activate(next) => self.activate(*next),
                Job::Resync => {
                    self.shared.inbox.lock().queue.release_all(Instant::now());
                    self.shared.enqueue_present();
                }
                Job::DropPrevious => {
                    self.previous = None;
                    self.shared.health.previous_dropped();
                }
                Job::Reconcile(work) => self.reconcile(&work),
            }
        }
    }

    fn wait(&self) -> Job {
        let mut inbox = self.shared.inbox.lock();
        loop {
            let now = Instant::now();
            if inbox.stop {
                return Job::Stop;
            }
            if let Some(next) = inbox.next.take() {
                return Job::Activate(Box::new(next));
            }
            if self.previous.as_ref().is_some_and(|previous| previous.until <= now) {
                return Job::DropPrevious;
            }
            let mut due = self.previous.as_ref().map(|previous| previous.until);
            if self.live.is_some() && self.shared.opening.is_open() {
                if std::mem::take(&mut inbox.resync) {
                    return Job::Resync;
                }
                let debt = self.live.as_ref().and_then(|live| live.program.in_debt_until(now));
                if debt.is_some() {
                    due = due.into_iter().chain(debt).min();
                } else if inbox.in_flight < MAX_IN_FLIGHT {
                    if let Some(work) = inbox.queue.pop(now) {
                        self.program_metrics(inbox.queue.depth());
                        return Job::Reconcile(work);
                    }
                    due = due.into_iter().chain(inbox.queue.next_due()).min();
                }
            }
            match due {
                Some(due) => {
                    self.shared.wake.wait_until(&mut inbox, due);
                }
                None => self.shared.wake.wait(&mut inbox),
            }
        }
    }

    fn program_metrics(&self, depth: usize) {
        if let Some(live) = &self.live {
            live.program.metrics.queue_depth(depth);
        }
    }

    /// Flips to the new version. Its decisions may differ for any object, so
    /// every object is looked at again.
    fn activate(&mut self, next: Next) {
        let _until_done = next.taken;
        let started = Instant::now();
        *self.shared.rollout.lock() = next.rollout;
        let version = next.live.version();
        self.shared.mapping.store(next.live.mapping.clone());
        self.shared.active.store(Some(next.live.program.clone()));
        let before = self.live.replace(next.live);
        let pause = started.elapsed();
        if let Some(before) = before {
            self.previous =
                Some(Previous { live: before, until: Instant::now() + next.rollout.window });
        }
        let previous = self.previous.as_ref().map(|previous| previous.live.version());
        self.shared.health.activated(version, previous, pause);
        let open = self.shared.opening.is_open();
        {
            let mut inbox = self.shared.inbox.lock();
            inbox.resync = !open;
            inbox.queue.unpark_all(Instant::now());
        }
        if open {
            self.shared.enqueue_present();
        }
    }

    fn reconcile(&mut self, work: &Work) {
        let request = request(work);
        let mut overtaken = 0;
        loop {
            let Some(live) = &mut self.live else {
                return self.finish(work, Verdict::Hold);
            };
            let program = live.program.clone();
            let sandbox = match live.instance() {
                Ok(sandbox) => sandbox,
                Err(fault) => match self.strike(work, false, &fault) {
                    After::Again => continue,
                    After::Hold | After::Park => return self.finish(work, Verdict::Hold),
                },
            };
            let context = Context {
                now_unix_ms: self.shared.cluster.now_unix_ms(),
                seed: self.shared.seeds.next(),
                revision: self.shared.cluster.revision(),
            };
            let decided = reconcile(&program, sandbox, &request, context);
            if let Err(Fault::RevisionGone(gone)) = &decided {
                // Nothing was decided, so nobody is told; the trap ended the instance.
                tracing::debug!(plugin = self.shared.identity.name(), %gone, "a call was overtaken");
                self.drop_instance();
                overtaken += 1;
                if overtaken < MAX_OVERTAKEN {
                    continue;
                }
                return self.finish(work, Verdict::Retry);
            }
            if !self.shared.followers.is_empty() {
                self.shared.followers.tell(Arc::new(Worked {
                    digest: program.digest.clone(),
                    context,
                    request: request.clone(),
                    decided: decided.clone(),
                }));
            }
            match decided {
                Ok(decided) => {
                    self.shared.health.good_on(std::iter::once_with(|| work.key.id()));
                    return self.perform(work, decided);
                }
                Err(fault) => match self.strike(work, true, &fault) {
                    After::Again => {}
                    After::Hold => return self.finish(work, Verdict::Hold),
                    After::Park => return self.park(work, context.revision),
                },
            }
        }
    }

    fn perform(&self, work: &Work, decided: Decided) {
        match decided {
            Decided::Error(message) => {
                self.shared
                    .health
                    .trouble("ReconcileError", format!("{}: {message}", describe(work)));
                self.finish(work, Verdict::Retry);
            }
            Decided::Act { actions, again_after } if actions.is_empty() => {
                self.finish(work, Verdict::Done(again_after));
            }
            Decided::Act { actions, again_after } => {
                self.shared.inbox.lock().in_flight += 1;
                let Some(live) = &self.live else { return };
                let (shared, metrics) = (self.shared.clone(), live.program.metrics.clone());
                let work = work.clone();
                self.shared.runtime.spawn(async move {
                    let performed =
                        plan::perform(&shared.cluster, &shared.identity, actions, &metrics).await;
                    note_refusal(&shared, &work, performed.rejected.as_ref());
                    let verdict = match &performed.rejected {
                        None => Verdict::Done(again_after),
                        Some(error) => {
                            if !matches!(error, ApplyError::Conflict(_) | ApplyError::NotFound(_)) {
                                shared.health.trouble(
                                    "ActionRejected",
                                    format!("{}: {error}", describe(&work)),
                                );
                            }
                            Verdict::Retry
                        }
                    };
                    let mut inbox = shared.inbox.lock();
                    inbox.in_flight -= 1;
                    inbox.queue.done(&work.key, verdict, performed.written, Instant::now());
                    drop(inbox);
                    shared.wake.notify_one();
                });
            }
        }
    }

    pub(super) fn finish(&self, work: &Work, verdict: Verdict) {
        self.shared.inbox.lock().queue.done(&work.key, verdict, None, Instant::now());
    }
}

/// What the API server forbids is told to the plugin when it tries again; a
/// conflict shows in what it reads.
fn note_refusal(shared: &Shared, work: &Work, rejected: Option<&ApplyError>) {
    let message = match rejected {
        Some(
            ApplyError::Forbidden(message)
            | ApplyError::Invalid(message)
            | ApplyError::AlreadyExists(message),
        ) => Some(message.clone()),
        // Without a failure before there is nothing to forget.
        None if work.attempt == 0 => return,
        _ => None,
    };
    let place = RefusalPlace::of(&work.key.kind, &work.key.namespace, &work.key.name);
    shared.cluster.note_refusal(shared.identity.name(), place, message);
}

pub(super) fn request(work: &Work) -> Request {
    Request {
        ref_: ObjectRef {
            kind: convert::kind_ref(&work.key.kind),
            namespace: work.key.namespace.clone(),
            name: work.key.name.clone(),
        },
        uid: work.uid.clone(),
        attempt: work.attempt,
    }
}

fn describe(work: &Work) -> String {
    let namespace = if work.key.namespace.is_empty() {
        String::new()
    } else {
        format!("{}/", work.key.namespace)
    };
    format!("{} {namespace}{}", work.key.kind.kind, work.key.name)
}
