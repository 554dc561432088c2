//! The shim's event loop: one thread, one epoll, one pidfd for every process that it waits for.
//!
//! Nothing here blocks for longer than a local file takes. The OCI runtime runs as a child whose
//! end is an event like any other, so several containers of a pod start at the same time.
//!
//! [`Shim`] owns everything; its methods are spread over the modules by subject: `connections`
//! (frames in and out), `containers` (create, start, signal), `ending` (exit, delete), `jobs` (runtime
//! commands), `exec` and `attach` (how sessions begin), `sessions` (what they do) and `reaper`
//! (processes that nobody waits for).

mod attach;
mod connections;
mod containers;
mod ending;
mod exec;
mod jobs;
mod pipes;
mod reaper;
mod sessions;

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::rc::Rc;

use rustix::event::epoll::EventFlags;

use crate::cgroup::Hierarchies;
use crate::layout::Layout;
use crate::log::Stream;
use crate::runtime::Runtime;
use crate::sys::{self, Epoll, Now};
use connections::Connection;
use containers::Container;
use jobs::Job;
use sessions::Session;

/// Bytes read from one source before the others get their turn.
const READ_CHUNK: usize = 32 << 10;

/// What a shim is started with.
#[derive(Debug, Clone)]
pub struct Options {
    /// Absolute.
    pub state_dir: PathBuf,
    /// The OCI runtime's executable.
    pub runtime: PathBuf,
}

/// Identifies a watched descriptor; never reused, so a late event finds nothing.
type Token = u64;

/// What a watched descriptor means.
#[derive(Debug, Clone)]
enum Source {
    Listener,
    Signals,
    Connection,
    Job,
    Init(Rc<str>),
    Output(Rc<str>, Stream),
    SessionProcess(Token),
    SessionOutput(Token, Stream),
    SessionInput(Token),
}

/// A descriptor registered with the epoll. Ends through [`Shim::unwatch`].
#[derive(Debug)]
struct Watched {
    token: Token,
    fd: OwnedFd,
}

/// The supervisor of one pod.
pub struct Shim {
    epoll: Epoll,
    layout: Layout,
    runtime: Runtime,
    hierarchies: Hierarchies,
    listener: UnixListener,
    signals: OwnedFd,
    next_token: Token,
    sources: BTreeMap<Token, Source>,
    connections: BTreeMap<Token, Connection>,
    containers: BTreeMap<Rc<str>, Container>,
    jobs: BTreeMap<Token, Job>,
    /// By the token of their connection.
    sessions: BTreeMap<Token, Session>,
    buffer: Vec<u8>,
    /// Children may have ended that nobody waits for.
    strangers: bool,
    leaving: bool,
    _lock: File,
}

impl Shim {
    /// Takes over the lock and the bound socket. The working directory is the state directory.
    pub fn new(options: Options, lock: File, listener: UnixListener) -> io::Result<Self> {
        let layout = Layout::new(&options.state_dir);
        listener.set_nonblocking(true)?;
        let mut shim = Shim {
            epoll: Epoll::new()?,
            runtime: Runtime { binary: options.runtime, root: layout.runtime_root() },
            hierarchies: Hierarchies::detect()?,
            signals: sys::signals()?,
            listener,
            layout,
            next_token: 1,
            sources: BTreeMap::new(),
            connections: BTreeMap::new(),
            containers: BTreeMap::new(),
            jobs: BTreeMap::new(),
            sessions: BTreeMap::new(),
            buffer: vec![0; READ_CHUNK],
            strangers: false,
            leaving: false,
            _lock: lock,
        };
        for source in [Source::Listener, Source::Signals] {
            let token = shim.token(source.clone());
            match source {
                Source::Signals => shim.epoll.add(&shim.signals, token, EventFlags::IN)?,
                _ => shim.epoll.add(&shim.listener, token, EventFlags::IN)?,
            }
        }
        Ok(shim)
    }

    /// Runs until a client has asked to shut down and has its answer.
    pub fn run(mut self) -> io::Result<()> {
        let mut events = Vec::new();
        while !(self.leaving && self.connections.values().all(Connection::is_flushed)) {
            let timeout = self.next_deadline_millis();
            self.epoll.wait(&mut events, timeout)?;
            for &(token, flags) in &events {
                self.dispatch(token, flags);
            }
            self.check_deadlines();
            if self.strangers {
                self.reap_strangers();
            }
        }
        std::fs::remove_file(self.layout.socket())
    }

    fn dispatch(&mut self, token: Token, flags: EventFlags) {
        // Gone when an earlier event of the same batch closed it.
        let Some(source) = self.sources.get(&token).cloned() else {
            return;
        };
        match source {
            Source::Listener => self.accept(),
            Source::Signals => {
                let _ = rustix::io::read(&self.signals, &mut self.buffer[..]);
                self.strangers = true;
            }
            Source::Connection => self.on_connection(token, flags),
            Source::Job => self.on_job(token),
            Source::Init(name) => self.on_init_exit(&name),
            Source::Output(name, stream) => self.on_output(&name, stream),
            Source::SessionProcess(session) => self.on_session_exit(session),
            Source::SessionOutput(session, stream) => self.on_session_output(session, stream),
            Source::SessionInput(session) => self.write_session_input(session),
        }
    }

    fn token(&mut self, source: Source) -> Token {
        let token = self.next_token;
        self.next_token += 1;
        self.sources.insert(token, source);
        token
    }

    fn watch(&mut self, fd: OwnedFd, source: Source, flags: EventFlags) -> io::Result<Watched> {
        let token = self.token(source);
        match self.epoll.add(&fd, token, flags) {
            Ok(()) => Ok(Watched { token, fd }),
            Err(error) => {
                self.sources.remove(&token);
                Err(error)
            }
        }
    }

    fn unwatch(&mut self, watched: Watched) {
        self.sources.remove(&watched.token);
        self.epoll.remove(&watched.fd);
    }

    /// For what nobody can be told: it goes to `shim.log`.
    fn complain(&self, what: &str, error: impl std::fmt::Display) {
        eprintln!("{} {what}: {error}", Now::read().unix_millis());
    }
}
