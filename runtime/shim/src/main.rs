//! `pintle-shim`: supervises the containers of one pod, see the library.
//!
//! Started by the agent, it goes into the background by itself. The command ends with 0 once the
//! socket answers, and with a message on standard error when it cannot serve.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use pintle_shim::cgroup::Hierarchies;
use pintle_shim::layout::Layout;
use pintle_shim::server::{Options, Shim};
use pintle_shim::sys;
use rustix::fs::Mode;
use rustix::pipe::{PipeFlags, pipe_with};

const USAGE: &str =
    "usage: pintle-shim --state-dir DIR --runtime FILE [--hostname NAME] [--new-ipc]
Started by the agent, one for each pod; not meant to be run by hand.";

/// Below everything that the kernel should kill first; the kubelet's value for its own helpers.
const OOM_SCORE_ADJ: &str = "-998";

struct Arguments {
    options: Options,
    hostname: Option<String>,
    new_ipc: bool,
}

fn main() -> ExitCode {
    let arguments = match parse(std::env::args_os().skip(1)) {
        Ok(arguments) => arguments,
        Err(message) => {
            eprintln!("{message}\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    match start(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn parse(mut arguments: impl Iterator<Item = OsString>) -> Result<Arguments, String> {
    let (mut state_dir, mut runtime, mut hostname, mut new_ipc) = (None, None, None, false);
    while let Some(flag) = arguments.next() {
        let mut value =
            || arguments.next().ok_or_else(|| format!("{} needs a value", flag.to_string_lossy()));
        match flag.to_str() {
            Some("--state-dir") => state_dir = Some(PathBuf::from(value()?)),
            Some("--runtime") => runtime = Some(PathBuf::from(value()?)),
            Some("--hostname") => hostname = Some(value()?.to_string_lossy().into_owned()),
            Some("--new-ipc") => new_ipc = true,
            _ => return Err(format!("unknown argument {}", flag.to_string_lossy())),
        }
    }
    let state_dir =
        state_dir.filter(|dir| dir.is_absolute()).ok_or("--state-dir must be an absolute path")?;
    Ok(Arguments {
        options: Options { state_dir, runtime: runtime.ok_or("--runtime is missing")? },
        hostname,
        new_ipc,
    })
}

/// Returns in the foreground process once the background one serves or has failed, and in the
/// background one when the pod is gone.
fn start(arguments: Arguments) -> io::Result<()> {
    let layout = Layout::new(&arguments.options.state_dir);
    let lock = layout
        .try_lock()
        .map_err(|error| context("lock the state directory", error))?
        .ok_or_else(|| io::Error::other("another shim already runs for this pod"))?;
    // A kernel without huge pages has nothing to allow.
    let _ = sys::allow_huge_pages();
    sys::enter_namespaces(arguments.new_ipc, arguments.hostname.as_deref())
        .map_err(|error| context("enter new namespaces", error))?;
    let (ready, report) = pipe_with(PipeFlags::CLOEXEC)?;
    if !sys::fork()? {
        drop((lock, report));
        let mut answer = Vec::new();
        File::from(ready).read_to_end(&mut answer)?;
        return match answer.is_empty() {
            false => Ok(()),
            true => Err(io::Error::other("the background process ended early")),
        };
    }
    drop(ready);
    let shim = go_to_background(&layout, arguments.options, lock)?;
    File::from(report).write_all(b"1")?;
    shim.run()
}

fn go_to_background(layout: &Layout, options: Options, lock: File) -> io::Result<Shim> {
    rustix::process::setsid()?;
    sys::become_subreaper()?;
    // Where cgroups are read-only there is no service manager to leave either.
    let _ = Hierarchies::detect().and_then(|hierarchies| hierarchies.leave_service());
    // Refused without CAP_SYS_RESOURCE; the shim serves all the same.
    let _ = fs::write("/proc/self/oom_score_adj", OOM_SCORE_ADJ);
    // Socket addresses hold 107 bytes, so every socket is bound relative to this directory.
    std::env::set_current_dir(layout.dir())?;
    let socket = Path::new("shim.sock");
    match fs::remove_file(socket) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    // Root's alone, also for the moment before a mode could be set.
    rustix::process::umask(Mode::from_bits_truncate(0o177));
    let bound = UnixListener::bind(socket);
    // The runtime inherits this one, and makes directories in containers with it that their users
    // must be able to enter.
    rustix::process::umask(Mode::from_bits_truncate(0o022));
    let listener = bound.map_err(|error| context("bind shim.sock", error))?;
    let shim = Shim::new(options, lock, listener).map_err(|error| context("start", error))?;
    redirect_output(layout)?;
    Ok(shim)
}

/// From here on standard error is `shim.log`; nobody listens to the other two.
fn redirect_output(layout: &Layout) -> io::Result<()> {
    let null = OpenOptions::new().read(true).write(true).open("/dev/null")?;
    let log = OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o600)
        .open(layout.dir().join("shim.log"))?;
    sys::replace_standard_streams(null.as_fd(), log.as_fd())
}

fn context(action: &str, error: io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("cannot {action}: {error}"))
}
