//! Containers: created, started, signalled. Their end is in `ending`.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::rc::Rc;

use rustix::event::epoll::EventFlags;
use rustix::process::{Signal, pidfd_send_signal};

use super::ending::Ended;
use super::jobs::{JobKind, Reply, open_pidfd, read_pid};
use super::pipes::Streams;
use super::{Shim, Source, Watched};
use crate::layout::{Bundle, ContainerRecord, write_json};
use crate::log::{LogWriter, Stream};
use crate::protocol::{ContainerState, CreateRequest, Fault, FaultCode, Message, Phase, channel};
use crate::runtime;
use crate::sys::{self, Now, Status};

#[derive(Debug)]
pub(super) struct Container {
    pub request: CreateRequest,
    pub state: ContainerState,
    pub(super) bundle: Bundle,
    pub(super) log: Option<LogWriter>,
    pub outputs: [Option<Watched>; 2],
    /// For sessions that attach: where input goes, and the terminal.
    pub stdin: Option<OwnedFd>,
    pub terminal: Option<OwnedFd>,
    pub(super) init: Option<Watched>,
    pub(super) ended: Option<Ended>,
    /// A signal that came while the runtime was at work.
    pending_kill: Option<(i32, bool)>,
    pub(super) deleting: bool,
}

pub(super) fn wrong_phase(name: &str, text: &str) -> Fault {
    Fault::new(FaultCode::WrongPhase, format!("container {name:?} {text}"))
}

pub(super) fn internal(action: &str, error: impl std::fmt::Display) -> Fault {
    Fault::new(FaultCode::Internal, format!("cannot {action}: {error}"))
}

impl Shim {
    pub(super) fn container(&mut self, name: &str) -> Result<&mut Container, Fault> {
        self.containers.get_mut(name).ok_or_else(|| {
            Fault::new(FaultCode::NotFound, format!("no container {name:?} in the pod"))
        })
    }

    pub(super) fn create(&mut self, request: CreateRequest) -> Result<(), Fault> {
        let plain =
            |text: &str| !text.is_empty() && !text.contains(['/', '\0']) && !text.starts_with('.');
        if !plain(&request.name) || !plain(&request.id) {
            return Err(Fault::new(FaultCode::Invalid, "name and id must be plain file names"));
        }
        if let Some(other) = self.containers.get(request.name.as_str()) {
            return Err(Fault::new(
                FaultCode::AlreadyExists,
                format!(
                    "container {:?} exists with attempt {}; delete it first",
                    request.name, other.request.attempt
                ),
            ));
        }
        let bundle = self.layout.bundle(&request.name, request.attempt);
        if !bundle.config().is_file() {
            let text = format!("no config.json in {}", bundle.dir.display());
            return Err(Fault::new(FaultCode::Invalid, text));
        }
        let container = Container {
            state: ContainerState {
                name: request.name.clone(),
                attempt: request.attempt,
                phase: Phase::Created,
                pid: None,
                created_at: Now::read().unix_millis(),
                started_at: None,
                exit: None,
            },
            request,
            bundle,
            log: None,
            outputs: [None, None],
            stdin: None,
            terminal: None,
            init: None,
            ended: None,
            pending_kill: None,
            deleting: false,
        };
        container.save().map_err(|error| internal("write state.json", error))?;
        let state = container.state.clone();
        self.containers.insert(state.name.as_str().into(), container);
        self.broadcast(&Message::State(state));
        Ok(())
    }

    pub(super) fn start(&mut self, name: &str, reply: Reply) -> Result<(), Fault> {
        let runtime = self.runtime.clone();
        let console = format!("s{}.sock", self.next_token);
        let console_path = Path::new("exec").join(&console);
        let container = self.container(name)?;
        if container.state.phase != Phase::Created || container.deleting {
            return Err(wrong_phase(name, "was already started"));
        }
        if let Some(path) = &container.request.log_path {
            let log = LogWriter::open(Path::new(path), container.request.log_limits).map_err(
                |error| Fault::new(FaultCode::Invalid, format!("cannot open log {path}: {error}")),
            )?;
            container.log = Some(log);
        }
        let (bundle, request) = (&container.bundle, &container.request);
        // What an earlier failed start left would be taken for this one's.
        let _ = fs::remove_file(bundle.pid_file());
        let _ = fs::remove_file(bundle.unfinished_pid_file());
        let _ = fs::remove_file(bundle.runtime_log());
        // The runtime works in the bundle's directory: containers/<name>/<attempt>.
        let console_argument = format!("../../../exec/{console}");
        let mut command = runtime.run(
            &request.id,
            &bundle.dir,
            &bundle.pid_file(),
            &bundle.runtime_log(),
            request.tty.then_some(&console_argument),
        );
        let streams = match request.tty {
            true => Streams::console(&mut command, &console_path),
            false => Streams::pipes(&mut command, request.stdin),
        }
        .map_err(|error| internal("make the container's streams", error))?;
        container.state.phase = Phase::Starting;
        // Should the shim die now, the container must not be taken for one that never ran.
        if let Err(error) = container.save() {
            container.state.phase = Phase::Created;
            return Err(internal("write state.json", error));
        }
        let state = container.state.clone();
        let kind = JobKind::Start { name: name.into(), streams, reply };
        if let Err(failed) = self.launch(command, kind) {
            self.reset(name);
            return Err(failed.0);
        }
        self.broadcast(&Message::State(state));
        Ok(())
    }

    /// The runtime has ended: either the container runs, or the start is taken back.
    pub(super) fn on_start_done(
        &mut self,
        name: Rc<str>,
        mut streams: Streams,
        reply: Reply,
        status: Status,
    ) {
        let Some(container) = self.containers.get(&name) else {
            return;
        };
        let result = match status.code {
            0 => self
                .take_over(&name, &mut streams)
                .map_err(|error| internal("take over the started container", error)),
            _ => {
                let action = format!("start container {name:?}");
                Err(runtime::fault(&action, status, &container.bundle.runtime_log()))
            }
        };
        match result {
            Ok(()) => {
                self.reply(reply, Ok(()));
                self.apply_pending_kill(&name);
            }
            Err(fault) => self.undo_start(name, fault, reply),
        }
    }

    /// Watches the container's first process and its output.
    fn take_over(&mut self, name: &Rc<str>, streams: &mut Streams) -> io::Result<()> {
        let Some(container) = self.containers.get(name) else {
            return Ok(());
        };
        let pid = read_pid(&container.bundle.pid_file())?;
        let process = open_pidfd(pid)?;
        let terminal = streams.take_terminal()?;
        let init = self.watch(process, Source::Init(name.clone()), EventFlags::IN)?;
        let mut outputs = [None, None];
        let ends =
            [(Stream::Stdout, streams.stdout.take()), (Stream::Stderr, streams.stderr.take())];
        for (stream, fd) in ends {
            if let Some(fd) = fd {
                let source = Source::Output(name.clone(), stream);
                outputs[stream.index()] = Some(self.watch(fd, source, EventFlags::IN)?);
            }
        }
        let container = self.container(name).map_err(io::Error::other)?;
        container.init = Some(init);
        container.outputs = outputs;
        container.stdin = streams.stdin.take();
        container.terminal = terminal;
        container.state.phase = Phase::Running;
        container.state.pid = Some(pid);
        container.state.started_at = Some(Now::read().unix_millis());
        let saved = container.save();
        let state = container.state.clone();
        if let Err(error) = saved {
            // It runs; a stale file only means "lost" instead of "137" should the shim die.
            self.complain("cannot write state.json", error);
        }
        self.broadcast(&Message::State(state));
        Ok(())
    }

    fn undo_start(&mut self, name: Rc<str>, fault: Fault, reply: Reply) {
        let Some(container) = self.containers.get(&name) else {
            return;
        };
        let request = &container.request;
        self.hierarchies.kill(&request.cgroup);
        let command = self.runtime.delete(&request.id, &container.bundle.runtime_log());
        let kind = JobKind::UndoStart { name, fault, reply };
        if let Err(failed) = self.launch(command, kind)
            && let JobKind::UndoStart { name, fault, reply } = failed.1
        {
            self.on_start_undone(&name, fault, reply);
        }
    }

    pub(super) fn on_start_undone(&mut self, name: &str, fault: Fault, reply: Reply) {
        if let Some(container) = self.containers.get(name) {
            let request = &container.request;
            if let Err(error) = self.remove_remains(&request.id, &request.cgroup) {
                self.complain("cannot remove what a failed start left", error);
            }
        }
        self.reset(name);
        self.reply(reply, Err(fault));
    }

    /// Back to created, as if the start had never been asked for.
    fn reset(&mut self, name: &str) {
        let Ok(container) = self.container(name) else {
            return;
        };
        container.log = None;
        container.pending_kill = None;
        container.state.phase = Phase::Created;
        let saved = container.save();
        let outputs = std::mem::take(&mut container.outputs);
        let init = container.init.take();
        let state = container.state.clone();
        for watched in outputs.into_iter().flatten().chain(init) {
            self.unwatch(watched);
        }
        if let Err(error) = saved {
            self.complain("cannot write state.json", error);
        }
        self.broadcast(&Message::State(state));
    }

    pub(super) fn kill(&mut self, name: &str, signal: i32, all: bool) -> Result<(), Fault> {
        let container = self.container(name)?;
        match container.state.phase {
            Phase::Created => Err(wrong_phase(name, "is not running")),
            Phase::Exited => Err(wrong_phase(name, "has exited")),
            Phase::Starting => {
                container.pending_kill = Some((signal, all));
                Ok(())
            }
            Phase::Running => {
                let signal = named_signal(signal)?;
                if let Some(init) = &container.init {
                    // It may have ended a moment ago; then its exit is on its way.
                    match pidfd_send_signal(&init.fd, signal) {
                        Ok(()) | Err(rustix::io::Errno::SRCH) => {}
                        Err(error) => return Err(internal("send the signal", error)),
                    }
                }
                if all && signal == Signal::KILL {
                    let cgroup = container.request.cgroup.clone();
                    self.hierarchies.kill(&cgroup);
                }
                Ok(())
            }
        }
    }

    fn apply_pending_kill(&mut self, name: &str) {
        let pending = self.container(name).ok().and_then(|c| c.pending_kill.take());
        if let Some((signal, all)) = pending
            && let Err(fault) = self.kill(name, signal, all)
        {
            self.complain("cannot send a signal that came during the start", fault);
        }
    }
}

impl Container {
    pub(super) fn save(&self) -> io::Result<()> {
        let record = ContainerRecord { request: self.request.clone(), state: self.state.clone() };
        write_json(&self.bundle.state(), &record, false)
    }
}

pub(super) fn named_signal(number: i32) -> Result<Signal, Fault> {
    let invalid = || Fault::new(FaultCode::Invalid, format!("{number} is not a signal"));
    if (34..=64).contains(&number) {
        return sys::realtime_signal(number).ok_or_else(invalid);
    }
    Signal::from_named_raw(number).ok_or_else(invalid)
}

/// The channel on which a stream's data goes to a session.
pub(super) fn stream_channel(stream: Stream) -> u8 {
    match stream {
        Stream::Stdout => channel::STDOUT,
        Stream::Stderr => channel::STDERR,
    }
}
