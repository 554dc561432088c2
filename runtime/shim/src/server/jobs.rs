//! Commands of the OCI runtime, running as children beside the loop.

use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::process::Command;
use std::rc::Rc;

use rustix::event::epoll::EventFlags;
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use super::exec::PendingExec;
use super::pipes::Streams;
use super::{Shim, Source, Token, Watched};
use crate::protocol::{Fault, FaultCode};
use crate::sys;

/// Where an answer goes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reply {
    pub connection: Token,
    pub id: u64,
}

#[derive(Debug)]
pub(super) struct Job {
    pub pid: u32,
    process: Watched,
    kind: JobKind,
}

#[derive(Debug)]
pub(super) enum JobKind {
    Start {
        name: Rc<str>,
        streams: Streams,
        reply: Reply,
    },
    /// Takes back a start that failed with `fault`.
    UndoStart {
        name: Rc<str>,
        fault: Fault,
        reply: Reply,
    },
    Delete {
        name: Rc<str>,
        reply: Reply,
    },
    Exec(PendingExec),
}

impl Job {
    pub fn kind(&self) -> &JobKind {
        &self.kind
    }
}

impl Shim {
    pub(super) fn launch(
        &mut self,
        mut command: Command,
        kind: JobKind,
    ) -> Result<(), Box<(Fault, JobKind)>> {
        // The agent's environment is none of a container's business.
        command
            .env_clear()
            .env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
        let spawned = command.spawn().and_then(|child| {
            let pid = child.id();
            let process = self.watch(open_pidfd(pid)?, Source::Job, EventFlags::IN)?;
            Ok((pid, process))
        });
        match spawned {
            Ok((pid, process)) => {
                self.jobs.insert(process.token, Job { pid, process, kind });
                Ok(())
            }
            Err(error) => {
                let text = format!("cannot run {}: {error}", self.runtime.binary.display());
                Err(Box::new((Fault::new(FaultCode::Internal, text), kind)))
            }
        }
    }

    pub(super) fn on_job(&mut self, token: Token) {
        let Some(job) = self.jobs.get(&token) else {
            return;
        };
        let status = match sys::reap(job.process.fd.as_fd()) {
            Ok(Some(status)) => status,
            Ok(None) => return,
            Err(error) => {
                self.complain("cannot reap the OCI runtime", error);
                sys::Status { code: 1, signal: None }
            }
        };
        let Some(job) = self.jobs.remove(&token) else {
            return;
        };
        self.unwatch(job.process);
        self.strangers = true;
        match job.kind {
            JobKind::Start { name, streams, reply } => {
                self.on_start_done(name, streams, reply, status)
            }
            JobKind::UndoStart { name, fault, reply } => self.on_start_undone(&name, fault, reply),
            JobKind::Delete { name, reply } => self.on_delete_done(&name, reply),
            JobKind::Exec(pending) => self.on_exec_done(pending, status),
        }
    }

    /// Removes what the runtime keeps of a container without processes. What its own `delete`
    /// has removed already is no error, so this also finishes the work of one that was killed.
    pub(super) fn remove_remains(&self, id: &str, cgroup: &str) -> io::Result<()> {
        match fs::remove_dir_all(self.runtime.root.join(id)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        self.hierarchies.remove(cgroup)
    }
}

pub(super) fn open_pidfd(pid: u32) -> io::Result<OwnedFd> {
    let pid = Pid::from_raw(pid as i32).ok_or(io::ErrorKind::InvalidData)?;
    Ok(pidfd_open(pid, PidfdFlags::empty())?)
}

/// Reads the process id that the runtime wrote.
pub(super) fn read_pid(path: &Path) -> io::Result<u32> {
    let text = fs::read_to_string(path)?;
    text.trim().parse().map_err(|_| {
        io::Error::new(io::ErrorKind::InvalidData, "the OCI runtime wrote no process id")
    })
}
