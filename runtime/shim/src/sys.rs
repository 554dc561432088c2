//! The system calls that have no safe wrapper in the libraries used here, and the clock.

#![allow(unsafe_code)] // fork, signalfd, unshare, prctl, waitid and ioctl, each wrapped once

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::time::{SystemTime, UNIX_EPOCH};

use rustix::event::epoll::{self, EventData, EventFlags};

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Status {
    /// 128 + signal for a process that a signal ended.
    pub code: i32,
    pub signal: Option<i32>,
}

/// Time since the epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Now {
    pub seconds: i64,
    pub nanos: u32,
}

impl Now {
    pub fn read() -> Self {
        let elapsed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Now { seconds: elapsed.as_secs() as i64, nanos: elapsed.subsec_nanos() }
    }

    pub fn unix_millis(self) -> i64 {
        self.seconds * 1000 + i64::from(self.nanos / 1_000_000)
    }
}

fn check(result: libc::c_int) -> io::Result<libc::c_int> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// Splits the process in two; true in the child. Only for a process of one thread.
pub fn fork() -> io::Result<bool> {
    // SAFETY: the caller has one thread, so the child inherits no lock held by another.
    check(unsafe { libc::fork() }).map(|pid| pid == 0)
}

/// Standard input and output become `quiet`, standard error becomes `errors`.
pub fn replace_standard_streams(quiet: BorrowedFd<'_>, errors: BorrowedFd<'_>) -> io::Result<()> {
    for (fd, number) in [(quiet, 0), (quiet, 1), (errors, 2)] {
        // SAFETY: the numbers of the standard streams are owned by nobody; what they referred to
        // before is closed, which is the purpose.
        check(unsafe { libc::dup2(fd.as_raw_fd(), number) })?;
    }
    Ok(())
}

pub fn become_subreaper() -> io::Result<()> {
    // SAFETY: takes integers only.
    check(unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) }).map(drop)
}

/// The agent does without transparent huge pages for its own sake, and what it starts inherits
/// that; containers shall find what the machine's settings promise them.
pub fn allow_huge_pages() -> io::Result<()> {
    // SAFETY: takes integers only.
    check(unsafe { libc::prctl(libc::PR_SET_THP_DISABLE, 0, 0, 0, 0) }).map(drop)
}

/// Enters a new IPC and, with a host name, a new UTS namespace.
pub fn enter_namespaces(ipc: bool, hostname: Option<&str>) -> io::Result<()> {
    let mut flags = 0;
    if ipc {
        flags |= libc::CLONE_NEWIPC;
    }
    if hostname.is_some() {
        flags |= libc::CLONE_NEWUTS;
    }
    if flags != 0 {
        // SAFETY: these flags affect namespaces alone, not memory or descriptors.
        check(unsafe { libc::unshare(flags) })?;
    }
    if let Some(name) = hostname {
        // SAFETY: the pointer and length describe `name`, which outlives the call.
        check(unsafe { libc::sethostname(name.as_ptr().cast(), name.len()) })?;
    }
    Ok(())
}

/// Blocks the signals that must not end a shim, and returns a descriptor that tells of SIGCHLD.
///
/// SIGTERM, SIGINT and SIGHUP are blocked and never read: a shim ends when its pod is gone, and
/// whoever stops the agent must not take the containers with it.
pub fn signals() -> io::Result<OwnedFd> {
    // SAFETY: an all-zero sigset_t is valid storage for sigemptyset, every pointer is to a local,
    // and the descriptor returned by signalfd is owned by nobody else.
    unsafe {
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&mut set);
        for signal in [libc::SIGCHLD, libc::SIGTERM, libc::SIGINT, libc::SIGHUP] {
            libc::sigaddset(&mut set, signal);
        }
        check(libc::sigprocmask(libc::SIG_BLOCK, &set, std::ptr::null_mut()))?;
        libc::sigemptyset(&mut set);
        libc::sigaddset(&mut set, libc::SIGCHLD);
        let fd = check(libc::signalfd(-1, &set, libc::SFD_NONBLOCK | libc::SFD_CLOEXEC))?;
        Ok(OwnedFd::from_raw_fd(fd))
    }
}

/// Takes the exit status of one child; `None` while it runs.
pub fn reap(pidfd: BorrowedFd<'_>) -> io::Result<Option<Status>> {
    Ok(wait(libc::P_PIDFD, pidfd.as_raw_fd() as libc::id_t, 0)?.map(|(_, status)| status))
}

/// The process id of some child that has ended, which stays unreaped.
pub fn peek_ended() -> io::Result<Option<u32>> {
    match wait(libc::P_ALL, 0, libc::WNOWAIT) {
        Ok(found) => Ok(found.map(|(pid, _)| pid)),
        Err(error) if error.raw_os_error() == Some(libc::ECHILD) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Takes the exit status of a child that [`peek_ended`] named.
pub fn reap_pid(pid: u32) -> io::Result<()> {
    wait(libc::P_PID, pid, 0).map(drop)
}

fn wait(
    kind: libc::idtype_t,
    id: libc::id_t,
    flags: libc::c_int,
) -> io::Result<Option<(u32, Status)>> {
    // SAFETY: siginfo_t is plain data and valid when zeroed; the pointer is to a local.
    let info = unsafe {
        let mut info: libc::siginfo_t = std::mem::zeroed();
        check(libc::waitid(kind, id, &mut info, libc::WEXITED | libc::WNOHANG | flags))?;
        info
    };
    // SAFETY: waitid fills in the SIGCHLD fields, or leaves zeroes when nothing has ended.
    let (pid, value) = unsafe { (info.si_pid(), info.si_status()) };
    if pid == 0 {
        return Ok(None);
    }
    let status = match info.si_code {
        libc::CLD_EXITED => Status { code: value, signal: None },
        _ => Status { code: 128 + value, signal: Some(value) },
    };
    Ok(Some((pid as u32, status)))
}

/// A signal that has a number only.
pub fn realtime_signal(number: i32) -> Option<rustix::process::Signal> {
    // SAFETY: only numbers of real-time signals, which no C library keeps for itself from 35 on,
    // and which are sent to other processes, never handled here.
    (35..=64)
        .contains(&number)
        .then(|| unsafe { rustix::process::Signal::from_raw_unchecked(number) })
}

pub fn set_terminal_size(terminal: BorrowedFd<'_>, width: u16, height: u16) -> io::Result<()> {
    let size = libc::winsize { ws_row: height, ws_col: width, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: TIOCSWINSZ reads one winsize, which outlives the call.
    check(unsafe { libc::ioctl(terminal.as_raw_fd(), libc::TIOCSWINSZ, &size) }).map(drop)
}

/// Gives heap pages that are free back to the kernel.
pub fn trim_heap() {
    // SAFETY: takes an integer and touches only memory that the allocator has free.
    unsafe { libc::malloc_trim(0) };
}

/// An epoll instance whose events carry the caller's tokens.
#[derive(Debug)]
pub struct Epoll(OwnedFd);

impl Epoll {
    pub fn new() -> io::Result<Self> {
        Ok(Epoll(epoll::create(epoll::CreateFlags::CLOEXEC)?))
    }

    pub fn add(&self, fd: impl AsFd, token: u64, flags: EventFlags) -> io::Result<()> {
        Ok(epoll::add(&self.0, fd, EventData::new_u64(token), flags)?)
    }

    pub fn modify(&self, fd: impl AsFd, token: u64, flags: EventFlags) -> io::Result<()> {
        Ok(epoll::modify(&self.0, fd, EventData::new_u64(token), flags)?)
    }

    /// Must come before the descriptor is closed: a duplicate would keep it registered.
    pub fn remove(&self, fd: impl AsFd) {
        let _ = epoll::delete(&self.0, fd);
    }

    /// Waits for events, or until the timeout in milliseconds is over.
    pub fn wait(
        &self,
        events: &mut Vec<(u64, EventFlags)>,
        timeout_millis: Option<u64>,
    ) -> io::Result<()> {
        let timeout = timeout_millis.map(|millis| rustix::event::Timespec {
            tv_sec: (millis / 1000) as i64,
            tv_nsec: (millis % 1000 * 1_000_000) as i64,
        });
        let empty = epoll::Event { flags: EventFlags::empty(), data: EventData::new_u64(0) };
        let mut ready = [empty; 16];
        events.clear();
        match epoll::wait(&self.0, &mut ready, timeout.as_ref()) {
            Ok(count) => {
                events.extend(ready[..count].iter().map(|event| (event.data.u64(), event.flags)));
                Ok(())
            }
            Err(rustix::io::Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}
