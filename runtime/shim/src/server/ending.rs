//! The end of a container: its exit is read, its last output taken, both are
//! written down, and only then told; later it is deleted. Does not know how it
//! was started.

use std::fs;
use std::io;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::rc::Rc;

use super::Shim;
use super::containers::{internal, wrong_phase};
use super::jobs::{JobKind, Reply};
use super::pipes::{self, Read};
use crate::layout::write_json;
use crate::log::Stream;
use crate::protocol::{Exit, Fault, Message, Phase};
use crate::sys::{self, Now, Status};

/// How long a stream may stay open after every process of the container is gone: it can only be
/// held by somebody outside, to whom it was passed.
const DRAIN_MILLIS: i64 = 2_000;

#[derive(Debug, Clone, Copy)]
pub(super) struct Ended {
    status: Status,
    at: i64,
    oom_kills: u64,
    deadline: i64,
}

impl Shim {
    pub(super) fn on_init_exit(&mut self, name: &Rc<str>) {
        let Some(init) = self.containers.get_mut(name).and_then(|c| c.init.take()) else {
            return;
        };
        let reaped = sys::reap(init.fd.as_fd());
        let status = match reaped {
            Ok(Some(status)) => status,
            Ok(None) => {
                if let Ok(container) = self.container(name) {
                    container.init = Some(init);
                }
                return;
            }
            Err(error) => {
                self.complain("cannot read an exit status", error);
                Status { code: 255, signal: None }
            }
        };
        self.unwatch(init);
        self.strangers = true;
        let Some(container) = self.containers.get(name) else {
            return;
        };
        let cgroup = container.request.cgroup.clone();
        // Before anything removes the cgroup, and its counters with it.
        let oom_kills = self.hierarchies.oom_kills(&cgroup).unwrap_or(0);
        // With a pid namespace the kernel has ended the rest already; without one they would go on
        // unsupervised and hold the output open.
        self.hierarchies.kill(&cgroup);
        let at = Now::read().unix_millis();
        if let Ok(container) = self.container(name) {
            container.ended = Some(Ended { status, at, oom_kills, deadline: at + DRAIN_MILLIS });
        }
        for stream in [Stream::Stdout, Stream::Stderr] {
            self.on_output(name, stream);
        }
        self.settle(name);
    }

    /// Takes output: once while the container runs, all that is there once it has ended.
    pub(super) fn on_output(&mut self, name: &Rc<str>, stream: Stream) {
        loop {
            let Some(container) = self.containers.get_mut(name) else {
                return;
            };
            let Some(output) = &container.outputs[stream.index()] else {
                return;
            };
            let ended = container.ended.is_some();
            match pipes::read(&output.fd, &mut self.buffer) {
                Read::Data(count) => {
                    let data = &self.buffer[..count];
                    if let Some(log) = &mut container.log
                        && let Err(error) = log.write(stream, data, Now::read())
                    {
                        eprintln!("cannot write the log of {name}: {error}");
                    }
                    self.forward_to_attached(name, stream, count);
                }
                Read::Nothing => return,
                Read::End => {
                    let closed = container.outputs[stream.index()].take();
                    if let Some(closed) = closed {
                        self.unwatch(closed);
                    }
                    self.settle(name);
                    return;
                }
            }
            if !ended {
                return;
            }
        }
    }

    pub(super) fn next_deadline_millis(&self) -> Option<u64> {
        let deadlines = self.containers.values().filter_map(|container| {
            let open = container.state.phase == Phase::Running;
            container.ended.filter(|_| open).map(|ended| ended.deadline)
        });
        let now = Now::read().unix_millis();
        deadlines.min().map(|deadline| (deadline - now).max(0) as u64)
    }

    pub(super) fn check_deadlines(&mut self) {
        if self.next_deadline_millis() != Some(0) {
            return;
        }
        let now = Now::read().unix_millis();
        let names: Vec<_> = self
            .containers
            .iter()
            .filter(|(_, container)| container.ended.is_some_and(|ended| ended.deadline <= now))
            .map(|(name, _)| name.clone())
            .collect();
        for name in names {
            let outputs = self
                .container(&name)
                .map(|container| std::mem::take(&mut container.outputs))
                .unwrap_or_default();
            for output in outputs.into_iter().flatten() {
                self.unwatch(output);
            }
            self.settle(&name);
        }
    }

    /// Reports the exit, once the process has ended and all of its output is written.
    fn settle(&mut self, name: &Rc<str>) {
        let Some(container) = self.containers.get_mut(name) else {
            return;
        };
        let Some(ended) = container.ended else {
            return;
        };
        if container.outputs.iter().any(Option::is_some) || container.state.phase != Phase::Running
        {
            return;
        }
        let exit = Exit {
            code: ended.status.code,
            signal: ended.status.signal,
            oom_killed: ended.oom_kills > 0 && ended.status.code != 0,
            started_at: container.state.started_at.unwrap_or(ended.at),
            finished_at: ended.at,
            reason: None,
        };
        let mut problems = Vec::new();
        if let Some(mut log) = container.log.take() {
            problems.extend(log.finish(Now::read()).err());
        }
        container.stdin = None;
        container.terminal = None;
        container.state.phase = Phase::Exited;
        container.state.pid = None;
        container.state.exit = Some(exit.clone());
        // On disk before anybody hears of it: an exit that was told is never told differently.
        problems.extend(write_json(&container.bundle.exit(), &exit, true).err());
        problems.extend(container.save().err());
        let state = container.state.clone();
        for error in problems {
            self.complain("cannot write the end of a container", error);
        }
        self.broadcast(&Message::State(state));
        self.end_attached(name, &exit);
        sys::trim_heap();
    }

    /// True when it is gone already, false when the answer comes later.
    pub(super) fn delete(&mut self, name: &str, reply: Reply) -> Result<bool, Fault> {
        let container = self.container(name)?;
        if container.deleting {
            return Err(wrong_phase(name, "is being deleted"));
        }
        match container.state.phase {
            Phase::Created => self.forget(name).map(|()| true),
            Phase::Starting | Phase::Running => Err(wrong_phase(name, "is running; stop it first")),
            Phase::Exited => {
                container.deleting = true;
                let (id, log) = (container.request.id.clone(), container.bundle.runtime_log());
                let command = self.runtime.delete(&id, &log);
                let name: Rc<str> = name.into();
                if self.launch(command, JobKind::Delete { name: name.clone(), reply }).is_err() {
                    self.on_delete_done(&name, reply);
                }
                Ok(false)
            }
        }
    }

    pub(super) fn on_delete_done(&mut self, name: &str, reply: Reply) {
        let Some(container) = self.containers.get(name) else {
            return;
        };
        let request = &container.request;
        let removed = self
            .remove_remains(&request.id, &request.cgroup)
            .map_err(|error| internal("remove the container", error));
        let result = removed.and_then(|()| self.forget(name));
        if result.is_err()
            && let Ok(container) = self.container(name)
        {
            container.deleting = false;
        }
        self.reply(reply, result);
    }

    fn forget(&mut self, name: &str) -> Result<(), Fault> {
        let dir: PathBuf = self.container(name)?.bundle.dir.clone();
        match fs::remove_dir_all(&dir) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(internal("remove the bundle", error));
            }
            _ => {}
        }
        self.containers.remove(name);
        self.broadcast(&Message::Removed { name: name.into() });
        Ok(())
    }
}
