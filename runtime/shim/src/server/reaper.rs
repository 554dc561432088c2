//! Children that nobody waits for.
//!
//! As the subreaper the shim inherits what the runtime and host-pid containers leave behind. Only
//! a zombie that is known not to be a container, a session or a runtime command is taken, and by
//! its own id: taking any child that has ended would sooner or later take a container's exit code.

use super::Shim;
use crate::sys;

impl Shim {
    pub(super) fn reap_strangers(&mut self) {
        // A runtime command at work may be about to tell us of a process that has ended already.
        if !self.jobs.is_empty() {
            return;
        }
        loop {
            match sys::peek_ended() {
                Ok(Some(pid)) if self.is_known(pid) => return,
                Ok(Some(pid)) => {
                    if let Err(error) = sys::reap_pid(pid) {
                        self.complain("cannot reap a stranger", error);
                        break;
                    }
                }
                Ok(None) => break,
                Err(error) => {
                    self.complain("cannot look for ended children", error);
                    break;
                }
            }
        }
        self.strangers = false;
    }

    fn is_known(&self, pid: u32) -> bool {
        self.jobs.values().any(|job| job.pid == pid)
            || self.containers.values().any(|container| container.state.pid == Some(pid))
            || self.sessions.values().any(|session| session.pid() == Some(pid))
    }
}
