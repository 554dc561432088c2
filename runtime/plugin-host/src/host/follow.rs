//! How others follow a running plugin by its name: what decides at present,
//! and a place beside it.

use std::sync::{Arc, Weak};

use super::Host;
use super::slot::Unit;
use crate::bindings::admission::AdmissionPlugin;
use crate::bindings::authorizer::AuthorizerPlugin;
use crate::bindings::controller::ControllerPlugin;
use crate::bindings::scheduler::SchedulerPlugin;
use crate::bindings::scheduler_extension::SchedulerExtensionPlugin;
use crate::follow::{
    AdmissionTurn, AuthorizerTurn, ControllerTurn, ExtensionTurn, Follower, FollowerHandle,
    SchedulerTurn,
};
use crate::plugin::Role;
use crate::program::{Program, World};

/// What decides for a plugin at present.
pub(crate) enum Active {
    Controller(Arc<Program<ControllerPlugin>>),
    Scheduler(Arc<Program<SchedulerPlugin>>),
    Admission(Arc<Program<AdmissionPlugin>>),
    Extension(Arc<Program<SchedulerExtensionPlugin>>),
    Authorizer(Arc<Program<AuthorizerPlugin>>),
}

/// A follower for a plugin, by role.
pub(crate) enum Attach {
    Controller(Box<dyn Follower<ControllerTurn>>),
    Scheduler(Box<dyn Follower<SchedulerTurn>>),
    Admission(Box<dyn Follower<AdmissionTurn>>),
    Extension(Box<dyn Follower<ExtensionTurn>>),
    Authorizer(Box<dyn Follower<AuthorizerTurn>>),
}

impl Attach {
    fn role(&self) -> Role {
        match self {
            Self::Controller(_) => Role::Controller,
            Self::Scheduler(_) => Role::Scheduler,
            Self::Admission(_) => Role::Admission,
            Self::Extension(_) => Role::SchedulerExtension,
            Self::Authorizer(_) => Role::Authorizer,
        }
    }
}

/// Why a plugin cannot be followed.
#[derive(Debug, thiserror::Error)]
pub enum FollowError {
    #[error("no plugin {0} runs on this server")]
    NotRunning(String),
    #[error("plugin {0} was stopped after repeated faults; nothing decides that could be followed")]
    Stopped(String),
    #[error("plugin {0} has role {1}, which nodes run for themselves")]
    OnNodes(String, Role),
    #[error("plugin {plugin} has role {role}, not {wanted}")]
    OtherRole { plugin: String, role: Role, wanted: Role },
    #[error("cannot start a thread")]
    Thread(#[from] std::io::Error),
}

impl Active {
    /// Whether it is this very program.
    pub(super) fn is<W: World>(&self, program: &Weak<Program<W>>) -> bool {
        let own: *const () = match self {
            Self::Controller(own) => Arc::as_ptr(own).cast(),
            Self::Scheduler(own) => Arc::as_ptr(own).cast(),
            Self::Admission(own) => Arc::as_ptr(own).cast(),
            Self::Extension(own) => Arc::as_ptr(own).cast(),
            Self::Authorizer(own) => Arc::as_ptr(own).cast(),
        };
        own == program.as_ptr().cast()
    }
}

/// What decides in the unit; None when it was stopped, or runs on nodes.
pub(super) fn active(unit: &Unit) -> Option<Active> {
    match unit {
        Unit::Controller(unit) => unit.active().map(Active::Controller),
        Unit::Scheduler { unit, .. } => unit.active().map(Active::Scheduler),
        Unit::Admission(unit) => unit.active().map(Active::Admission),
        Unit::Extension(unit) => unit.active().map(Active::Extension),
        Unit::Authorizer(unit) => unit.active().map(Active::Authorizer),
        Unit::Cni => None,
    }
}

impl Host {
    /// What decides for the plugin at present.
    pub(crate) fn active(&self, plugin: &str) -> Result<Active, FollowError> {
        match self.manager.unit(plugin) {
            None => Err(FollowError::NotRunning(plugin.to_owned())),
            Some(unit @ Unit::Cni) => Err(FollowError::OnNodes(plugin.to_owned(), unit.role())),
            Some(unit) => active(&unit).ok_or_else(|| FollowError::Stopped(plugin.to_owned())),
        }
    }

    /// Shows the follower all that the plugin is fed, asked and decides, until
    /// the handle is dropped or the plugin unloaded.
    pub(crate) fn follow(
        &self,
        plugin: &str,
        follower: Attach,
    ) -> Result<FollowerHandle, FollowError> {
        let unit =
            self.manager.unit(plugin).ok_or_else(|| FollowError::NotRunning(plugin.to_owned()))?;
        follow(&unit, follower).map_err(|error| match error {
            NotFollowed::OtherRole { role, wanted } => {
                FollowError::OtherRole { plugin: plugin.to_owned(), role, wanted }
            }
            NotFollowed::Thread(error) => FollowError::Thread(error),
        })
    }
}

#[derive(Debug, thiserror::Error)]
pub(super) enum NotFollowed {
    #[error("it has role {role}, not {wanted}")]
    OtherRole { role: Role, wanted: Role },
    #[error("cannot start a thread: {0}")]
    Thread(#[from] std::io::Error),
}

pub(super) fn follow(unit: &Unit, follower: Attach) -> Result<FollowerHandle, NotFollowed> {
    Ok(match (unit, follower) {
        (Unit::Controller(unit), Attach::Controller(follower)) => unit.follow(follower)?,
        (Unit::Scheduler { unit, .. }, Attach::Scheduler(follower)) => unit.follow(follower)?,
        (Unit::Admission(unit), Attach::Admission(follower)) => unit.follow(follower)?,
        (Unit::Extension(unit), Attach::Extension(follower)) => unit.follow(follower)?,
        (Unit::Authorizer(unit), Attach::Authorizer(follower)) => unit.follow(follower)?,
        (unit, follower) => {
            return Err(NotFollowed::OtherRole { role: unit.role(), wanted: follower.role() });
        }
    })
}
