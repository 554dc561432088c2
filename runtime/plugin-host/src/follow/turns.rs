//! The turns of each role. All of them are handles: nothing is copied that
//! the active version did not make anyway.

use std::sync::Arc;
use std::time::Duration;

use super::Turn;
use crate::action::Action;
use crate::artifact::Digest;
use crate::authorizer::{self, Question};
use crate::bindings::types::Context;
use crate::cluster::ObjectHandle;
use crate::extension::{Heard, Names, News, NodeNews, Present, Stated};
use crate::program::admission_interface::{Request as Review, Response};
use crate::program::authorizer_interface::{Decision as Access, RuleSet, User};
use crate::program::controller_interface::Request;
use crate::program::scheduler_interface::Decision;
use crate::sandbox::Fault;
use crate::scheduler::Delta;

/// What a controller decided for a key.
#[derive(Debug, Clone)]
pub(crate) enum Decided {
    Act {
        actions: Vec<Action>,
        again_after: Option<Duration>,
    },
    /// It could not decide, and says why.
    Error(String),
}

/// One `reconcile` of a controller.
pub(crate) type ControllerTurn = Arc<Worked>;

pub(crate) struct Worked {
    /// Of the version that decided.
    pub digest: Digest,
    pub context: Context,
    pub request: Request,
    pub decided: Result<Decided, Fault>,
}

impl Turn for ControllerTurn {
    const GAPLESS: bool = false;

    fn decisions(&self) -> u64 {
        1
    }
}

/// What a scheduler is fed and asked. The stream begins with `Start`, then the
/// whole present as `Sync`, and goes on from there without a gap; another
/// `Start` begins it anew.
#[derive(Clone)]
pub(crate) enum SchedulerTurn {
    /// A fresh instance is wanted.
    Start,
    /// Goes into `sync`.
    Sync(Arc<[Delta]>),
    /// Pods that were given a node before the stream began, and whose binding
    /// was not seen yet. Goes into `sync`, as if it had.
    Assume(Arc<[(ObjectHandle, String)]>),
    /// Uids; goes into `forget`.
    Forget(Arc<[String]>),
    Schedule(Arc<Scheduled>),
}

/// One `schedule` of a scheduler.
pub(crate) struct Scheduled {
    /// Of the version that decided.
    pub digest: Digest,
    pub context: Context,
    pub pods: Vec<ObjectHandle>,
    /// What it was told by extensions, if there are any.
    pub heard: Option<Arc<Heard>>,
    pub decided: Result<Vec<Decision>, Fault>,
}

impl Turn for SchedulerTurn {
    const GAPLESS: bool = true;

    fn decisions(&self) -> u64 {
        match self {
            Self::Schedule(turn) => turn.pods.len() as u64,
            _ => 0,
        }
    }

    fn size(&self) -> usize {
        match self {
            Self::Start => 1,
            Self::Sync(deltas) => deltas.len(),
            Self::Assume(pods) => pods.len(),
            Self::Forget(uids) => uids.len(),
            Self::Schedule(turn) => turn.pods.len(),
        }
    }
}

/// One `review` of an admission plugin.
pub(crate) type AdmissionTurn = Arc<Reviewed>;

pub(crate) struct Reviewed {
    /// Of the version that answered.
    pub digest: Digest,
    pub context: Context,
    pub request: Review,
    pub answered: Result<Response, Fault>,
}

impl Turn for AdmissionTurn {
    const GAPLESS: bool = false;

    fn decisions(&self) -> u64 {
        1
    }
}

/// What a scheduler extension is told and asked. The stream begins with
/// `Start`, then the whole present as `SyncNodes` and `Sync`, and goes on from
/// there without a gap; another `Start` begins it anew.
#[derive(Clone)]
pub(crate) enum ExtensionTurn {
    /// A fresh instance is wanted, for this view.
    Start(Arc<Present>),
    /// Goes into `sync-nodes`.
    SyncNodes(Arc<[NodeNews]>),
    /// Goes into `sync`.
    Sync(Arc<[News]>),
    Asked(Arc<Asked>),
}

/// One pod that an extension was asked about.
pub(crate) struct Asked {
    /// Of the version that answered.
    pub digest: Digest,
    pub context: Context,
    pub pod: ObjectHandle,
    /// Of the nodes, by number.
    pub names: Arc<Names>,
    /// The answer is not from memory.
    pub called: bool,
    pub answered: Result<Arc<Stated>, Fault>,
}

impl Turn for ExtensionTurn {
    const GAPLESS: bool = true;

    fn decisions(&self) -> u64 {
        u64::from(matches!(self, Self::Asked(_)))
    }

    fn size(&self) -> usize {
        match self {
            Self::Start(present) => 1 + present.nodes.len(),
            Self::SyncNodes(nodes) => nodes.len(),
            Self::Sync(news) => news.len(),
            Self::Asked(_) => 1,
        }
    }
}

/// What an authorizer is told and asked. The stream begins with `Start`, then the
/// whole present as `Sync`, and goes on from there without a gap; another
/// `Start` begins it anew.
#[derive(Clone)]
pub(crate) enum AuthorizerTurn {
    /// A fresh instance is wanted, for this view.
    Start(Arc<authorizer::Present>),
    /// Goes into `sync`.
    Sync(Arc<[Delta]>),
    Asked(Arc<Judged>),
    Rules(Arc<RulesListed>),
}

/// One request that an authorizer was asked about.
pub(crate) struct Judged {
    /// Of the version that answered.
    pub digest: Digest,
    pub context: Context,
    pub question: Arc<Question>,
    /// The answer is not from memory.
    pub called: bool,
    pub answered: Result<Access, Fault>,
}

/// One list of what a user may do.
pub(crate) struct RulesListed {
    /// Of the version that answered.
    pub digest: Digest,
    pub context: Context,
    pub user: User,
    pub namespace: String,
    pub answered: Result<RuleSet, Fault>,
}

impl Turn for AuthorizerTurn {
    const GAPLESS: bool = true;

    fn decisions(&self) -> u64 {
        u64::from(matches!(self, Self::Asked(_)))
    }

    fn size(&self) -> usize {
        match self {
            Self::Sync(deltas) => deltas.len(),
            Self::Start(_) | Self::Asked(_) | Self::Rules(_) => 1,
        }
    }
}
