//! What becomes of a plugin that misbehaves, and what the world is told of it.
//!
//! A faulty call is a strike. Within the rollback window of a swap the previous
//! version takes over at the first strike and decides the same input again.
//! Otherwise the instance is rebuilt and the input tried later; an input that
//! gets three strikes, or one by each of two versions, is parked: it is named
//! in the status and left alone, and the others go on. Only when several
//! different inputs fault in a row is the plugin stopped, alone.

mod health;

use std::time::{Duration, Instant};

use crate::action::Target;
use crate::artifact::Digest;
use crate::plugin::RolloutSpec;
use crate::program::{Program, World};

pub(crate) use health::Health;

const DEFAULT_WINDOW: Duration = Duration::from_secs(60);
const DEFAULT_MAX_STRIKES: u32 = 5;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Rollout {
    pub window: Duration,
    pub max_strikes: u32,
}

impl Rollout {
    pub fn from_spec(spec: &RolloutSpec) -> Self {
        Self {
            window: spec.window_seconds.map_or(DEFAULT_WINDOW, Duration::from_secs),
            max_strikes: spec.max_strikes.unwrap_or(DEFAULT_MAX_STRIKES).max(1),
        }
    }
}

/// Which version, as people and programs name it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Version {
    pub digest: Digest,
    pub version: String,
    pub needs: Vec<crate::plugin::GrantRule>,
    /// Tells apart what was loaded twice, with different configurations.
    pub load: u64,
}

impl Version {
    pub fn of<W: World>(program: &Program<W>) -> Self {
        let manifest = program.manifest();
        Self {
            digest: program.digest.clone(),
            version: manifest.version.clone(),
            needs: crate::grants::Grants::of_manifest(manifest).rules().to_vec(),
            load: program.load,
        }
    }
}

/// Something that a plugin was asked to decide.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Input {
    /// Tells it from all others: a uid, for example.
    pub id: String,
    pub object: Target,
    /// Empty: there is no such object, or not yet.
    pub uid: String,
}

/// What a call was about that faulted.
#[derive(Debug, Clone, Copy)]
pub(crate) enum On<'a> {
    Input(&'a Input),
    /// One of several, by id; nobody knows yet which.
    Several(&'a [&'a str]),
    /// Not an input: the start of an instance, or the feeding of its view.
    Nothing,
}

/// An input that is left alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Parked {
    pub input: Input,
    pub strikes: u32,
    pub reason: &'static str,
    pub message: String,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) enum Standing {
    #[default]
    Running,
    RolledBack {
        reason: &'static str,
        message: String,
        from: Option<Digest>,
    },
    Failed {
        reason: &'static str,
        message: String,
    },
}

#[derive(Debug, Clone, Default)]
pub(crate) struct Report {
    pub standing: Standing,
    pub active: Option<Version>,
    pub previous: Option<Version>,
    /// In a row.
    pub strikes: u32,
    /// The latest thing that went wrong without ending anything.
    pub last_error: Option<(&'static str, String)>,
    pub parked: Vec<Parked>,
}

/// What to do after a strike.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Remedy {
    /// The previous version takes over, now and with the same input.
    RollBack,
    /// A fresh instance of the same version; the input comes again later.
    Rebuild,
    /// A fresh instance of the same version; the input is left alone.
    Park,
    /// Stop this plugin.
    Stop,
}

/// The version before the active one, kept warm until the window is over.
pub(crate) struct Previous<L> {
    pub live: L,
    pub until: Instant,
}

/// Takes the previous version if its window is still open.
pub(crate) fn take_warm<L>(previous: &mut Option<Previous<L>>, now: Instant) -> Option<L> {
    previous.take().filter(|previous| previous.until > now).map(|previous| previous.live)
}
