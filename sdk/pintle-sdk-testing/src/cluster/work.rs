//! Controllers at work: whose turn it is, a call, its actions one by one.

use pintle_sdk::controller::Request;
use pintle_sdk::{Action, ObjectRef, Outcome};

use super::submit::plural;
use super::{Cluster, Run, Stall};
use crate::faults::{ActionFate, CallFate, Faults};
use crate::journal;
use crate::world::Refused;

type Key = (ObjectRef, String);

/// How a plan ended.
enum End {
    Done,
    /// Something else was true meanwhile: at once again.
    Overtaken,
    /// It is not allowed: again after a while.
    Refused,
    Crashed,
}

impl Cluster {
    /// Lets every controller work until nothing is queued. Panics when that
    /// does not happen within `limit` reconciles.
    pub fn settle_within(&mut self, limit: usize) -> Run {
        let mut run = Run::default();
        loop {
            self.deliver();
            let Some((index, key)) = self.next_turn() else {
                if self.stall.take().is_some() {
                    continue;
                }
                return run;
            };
            self.members[index].take(&key);
            run.reconciles += 1;
            assert!(
                run.reconciles <= limit,
                "does not come to rest; last: {key:?} {:#?}",
                run.actions.last()
            );
            self.reconcile(index, key, &mut run);
            if let Some(stall) = &mut self.stall {
                stall.left = stall.left.saturating_sub(1);
                if stall.left == 0 {
                    self.stall = None;
                }
            }
        }
    }

    /// As [`Cluster::settle_within`], within 10 000 reconciles.
    pub fn settle(&mut self) -> Run {
        self.settle_within(10_000)
    }

    /// Reconciles everything again, as after a restart of the host; at rest,
    /// this must decide nothing.
    pub fn restart(&mut self) -> Run {
        self.deliver();
        let present = self.world.present();
        for member in &mut self.members {
            member.tell(&present, &self.world);
        }
        self.settle()
    }

    /// The first controller that has something to do, or one that is drawn.
    fn next_turn(&mut self) -> Option<(usize, Key)> {
        let stall = self.stall.as_ref();
        let of = |index: usize| {
            let waits = |reference: &ObjectRef| {
                stall.is_some_and(|stall| stall.waiting.contains(&(index, reference.clone())))
            };
            self.members[index].next(|reference| !waits(reference)).cloned()
        };
        let mut order = 0..self.members.len();
        match self.faults.as_mut().filter(|faults| faults.are_of_all_kinds()) {
            None => order.find_map(|index| Some((index, of(index)?))),
            Some(faults) => {
                let mut ready: Vec<(usize, Key)> =
                    order.filter_map(|index| Some((index, of(index)?))).collect();
                if ready.is_empty() {
                    return None;
                }
                Some(ready.swap_remove(faults.choose(ready.len())))
            }
        }
    }

    fn reconcile(&mut self, index: usize, key: Key, run: &mut Run) {
        let fate = self.faults.as_mut().map_or(CallFate::Answered, Faults::call);
        match fate {
            CallFate::BusStalls(calls) if self.stall.is_none() => {
                self.note(format!("watches stall for {calls} calls"));
                let (view, waiting) = (self.world.view(), Default::default());
                self.stall = Some(Stall { view, left: calls, waiting });
            }
            CallFate::ClockJumps(by) => self.jump(by),
            _ => {}
        }
        let refusal = self.members[index].refusal(&key.0).map(str::to_owned);
        let seen = self.stall.as_mut().map_or(&mut self.world, |stall| &mut stall.view);
        seen.tell_refusal(&key.0, refusal.as_deref());
        let mut context = self.world.context();
        context.revision = self.view().revision();
        let member = &self.members[index];
        let attempt = member.attempt(&key.0);
        let request = Request { reference: key.0.clone(), uid: key.1.clone(), attempt };
        let outcome = member.controller.reconcile(&context, self.view(), &request);
        let name = member.name().to_owned();
        if fate == CallFate::InstanceLost {
            self.note(format!("{name} is lost over {}", key.0));
            self.members[index].replace_instance();
            return self.members[index].push(key);
        }
        let outcome = match outcome {
            Ok(outcome) => outcome,
            // In a quiet cluster, what fails once fails for ever.
            Err(error) if self.faults.is_none() => panic!("{}: {error}", request.reference),
            Err(error) => {
                self.note(format!("{name} fails on {}: {error}", key.0));
                return self.again_later(index, key);
            }
        };
        let requeue_after_ms = outcome.requeue_after_ms;
        match self.perform(index, &key, outcome, run) {
            End::Crashed => self.crash(),
            End::Overtaken => self.members[index].push(key),
            End::Refused => self.again_later(index, key),
            End::Done => {
                let member = &mut self.members[index];
                member.succeeded(&key.0);
                if let Some(wait) = requeue_after_ms {
                    let wait = i64::try_from(wait).unwrap_or(i64::MAX);
                    member.wake_at(key, self.world.now_unix_ms.saturating_add(wait));
                }
            }
        }
    }

    /// In order. As in a host, a refusal ends the plan after the neighbours of the
    /// same sort, which are performed side by side; what is gone is deleted.
    fn perform(&mut self, index: usize, key: &Key, outcome: Outcome, run: &mut Run) -> End {
        let mut end = End::Done;
        let mut forbidden = None;
        let mut refused_sort = None;
        for action in outcome.actions {
            let sort = std::mem::discriminant(&action);
            if refused_sort.is_some_and(|refused| refused != sort) {
                break;
            }
            let fate = self.faults.as_mut().map_or(ActionFate::Performed, Faults::action);
            let target = || action.target().unwrap_or(&key.0).clone();
            let name = self.members[index].name().to_owned();
            let result = match fate {
                ActionFate::Performed => self.submit_as(&format!("{name}, {}", key.0), &action),
                ActionFate::Conflict => {
                    self.note(format!("{name}: a conflict: {}", journal::line(&action)));
                    Err(Refused::Conflict(target()))
                }
                ActionFate::Unanswered => {
                    let _ = self.submit_as(&format!("{name}, unheard"), &action);
                    Err(Refused::Conflict(target()))
                }
                ActionFate::Crash => {
                    self.note("the host crashes");
                    return End::Crashed;
                }
            };
            if let Some(stall) = &mut self.stall {
                stall.waiting.insert((index, key.0.clone()));
            }
            match result {
                // An event changes nothing that anybody reads.
                Ok(()) => run.performed += usize::from(!matches!(action, Action::Event(_))),
                Err(Refused::NotFound(_)) if matches!(action, Action::Delete(_)) => {}
                Err(error) => {
                    refused_sort = Some(sort);
                    if let Some(message) = said(&error) {
                        forbidden.get_or_insert(message);
                    }
                    end = match (&error, end) {
                        (
                            Refused::Denied { .. }
                            | Refused::Invalid(_)
                            | Refused::AlreadyExists(_),
                            _,
                        )
                        | (_, End::Refused) => End::Refused,
                        _ => End::Overtaken,
                    };
                    run.refused.push(error);
                }
            }
            run.actions.push(action);
        }
        self.members[index].note_refusal(&key.0, forbidden);
        end
    }

    fn again_later(&mut self, index: usize, key: Key) {
        let wait = self.members[index].failed(&key.0);
        self.members[index].wake_at(key, self.world.now_unix_ms + wait);
    }

    fn jump(&mut self, by_ms: i64) {
        self.note(format!("the clock jumps by {by_ms} ms"));
        self.world.now_unix_ms += by_ms;
        for member in &mut self.members {
            member.clock_jumped(by_ms);
        }
    }
}

/// What the host tells the controller of a refusal; a conflict shows in what it reads.
fn said(refused: &Refused) -> Option<String> {
    match refused {
        Refused::Denied { message, .. } | Refused::Invalid(message) => Some(message.clone()),
        Refused::AlreadyExists(at) => Some(format!("{} {:?} already exists", plural(at), at.name)),
        Refused::Conflict(_) | Refused::NotFound(_) => None,
    }
}
