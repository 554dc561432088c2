//! Where components are compiled: in this process, or in a child that ends
//! afterwards and takes the memory which compiling needs with it.
//!
//! The child gets a component on standard input and writes native code to
//! standard output; both are files that the host has opened. It is given no
//! environment, no other file and no socket, it gives up root's rights before
//! it reads the first byte, and it is ended when it takes too long.

use std::ffi::OsString;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{MemfdFlags, memfd_create};
use rustix::io::Errno;
use rustix::process::{Gid, Pid, PidfdFlags, Resource, Rlimit, Signal, Uid, pidfd_open};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

use crate::artifact::{ArtifactError, MAX_COMPONENT_BYTES};
use crate::engine;

/// Compiling takes about 1 ms per KiB; this is for the largest component on a busy machine.
const TIME_LIMIT: Duration = Duration::from_secs(120);

/// Of all threads of the child, should nobody be left to end it.
const CPU_LIMIT_SECONDS: u64 = 600;

/// Of what a failed compiler says.
const MAX_MESSAGE_BYTES: u64 = 4 << 10;

/// The kernel takes the compiler before anything else when memory runs out.
const OOM_SCORE_ADJ: &[u8] = b"1000";

/// Who owns nothing, on every Linux.
const NOBODY: u32 = 65534;

/// Who compiles.
#[derive(Debug, Clone)]
pub enum Compiler {
    /// This process, which keeps tens of megabytes from it.
    InProcess,
    /// A program that calls [`compile_stdin`].
    Program { program: PathBuf, arguments: Vec<OsString> },
}

impl Compiler {
    /// How many components may be compiled at once.
    pub(crate) fn parallelism(&self) -> usize {
        match self {
            // Compiling is what takes memory here, and it is spread over all cores by itself.
            Self::InProcess => 1,
            Self::Program { .. } => std::thread::available_parallelism().map_or(1, usize::from),
        }
    }
}

/// Lets `program` compile `component` into `output`.
pub(crate) fn run(
    program: &std::path::Path,
    arguments: &[OsString],
    component: &[u8],
    output: &File,
) -> Result<(), ArtifactError> {
    let fail = |source| ArtifactError::Compiler { program: program.to_owned(), source };
    let mut messages = memory_file("compiler-messages").map_err(fail)?;
    let mut input = memory_file("component").map_err(fail)?;
    input.write_all(component).and_then(|()| input.seek(SeekFrom::Start(0))).map_err(fail)?;
    let mut child = Command::new(program)
        .args(arguments)
        .env_clear()
        .current_dir("/")
        .stdin(input)
        .stdout(output.try_clone().map_err(fail)?)
        .stderr(Stdio::from(messages.try_clone().map_err(fail)?))
        .spawn()
        .map_err(fail)?;
    let Some(status) = wait(&mut child).map_err(fail)? else {
        return Err(ArtifactError::CompileTimeout { seconds: TIME_LIMIT.as_secs() });
    };
    if status.success() {
        return Ok(());
    }
    let mut text = Vec::new();
    messages.seek(SeekFrom::Start(0)).map_err(fail)?;
    messages.take(MAX_MESSAGE_BYTES).read_to_end(&mut text).map_err(fail)?;
    Err(ArtifactError::Compile(explain(status, &String::from_utf8_lossy(&text)).into()))
}

fn memory_file(name: &str) -> std::io::Result<File> {
    Ok(File::from(memfd_create(name, MemfdFlags::CLOEXEC)?))
}

fn explain(status: ExitStatus, said: &str) -> String {
    let said = said.trim();
    match (status.signal(), said) {
        (Some(9), _) => "the compiler was killed, most likely because memory ran out".to_owned(),
        (Some(signal), "") => format!("the compiler was ended by signal {signal}"),
        (None, "") => format!("the compiler ended with {status} and said nothing"),
        _ => said.to_owned(),
    }
}

/// None if it took too long; it is gone in any case.
fn wait(child: &mut Child) -> std::io::Result<Option<ExitStatus>> {
    let ended = wait_until(child, Instant::now() + TIME_LIMIT);
    if !matches!(ended, Ok(true)) {
        // Fails only if it has ended by itself, which is as good.
        let _ = child.kill();
    }
    let status = child.wait()?;
    Ok(ended?.then_some(status))
}

fn wait_until(child: &Child, deadline: Instant) -> std::io::Result<bool> {
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw).ok_or(Errno::SRCH)?;
    let handle = pidfd_open(pid, PidfdFlags::empty())?;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let left = Timespec::try_from(left).map_err(std::io::Error::other)?;
        match poll(&mut [PollFd::new(&handle, PollFlags::IN)], Some(&left)) {
            Ok(ready) => return Ok(ready > 0),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Why the child's part failed.
#[derive(Debug, thiserror::Error)]
pub enum CompileError {
    #[error(transparent)]
    Engine(#[from] engine::EngineError),
    #[error("cannot read the component")]
    Read(#[source] std::io::Error),
    #[error("the component has more than the {MAX_COMPONENT_BYTES} bytes allowed")]
    TooLarge,
    #[error("{0}")]
    Compile(String),
    #[error("cannot write the compiled code")]
    Write(#[source] std::io::Error),
}

/// The child's part: a component on standard input becomes native code on
/// standard output. The process should do nothing else.
pub fn compile_stdin() -> Result<(), CompileError> {
    limit_this_process();
    let engine = engine::compiling()?;
    let mut component = Vec::new();
    std::io::stdin()
        .take(MAX_COMPONENT_BYTES as u64 + 1)
        .read_to_end(&mut component)
        .map_err(CompileError::Read)?;
    if component.len() > MAX_COMPONENT_BYTES {
        return Err(CompileError::TooLarge);
    }
    let code = engine
        .precompile_component(&component)
        .map_err(|error| CompileError::Compile(format!("{error:#}")))?;
    let mut output = std::io::stdout().lock();
    output.write_all(&code).and_then(|()| output.flush()).map_err(CompileError::Write)
}

/// Each of these is a precaution; compiling is right without them too.
fn limit_this_process() {
    let _ = std::fs::write("/proc/self/oom_score_adj", OOM_SCORE_ADJ);
    if rustix::process::geteuid().is_root() {
        // There is only this thread yet, so its identity is the process'.
        let (group, user) = (Gid::from_raw(NOBODY), Uid::from_raw(NOBODY));
        let _ = rustix::thread::set_thread_groups(&[]);
        let _ = rustix::thread::set_thread_res_gid(group, group, group);
        let _ = rustix::thread::set_thread_res_uid(user, user, user);
    }
    // After the change of identity, which would undo it.
    let _ = rustix::process::set_parent_process_death_signal(Some(Signal::KILL));
    // It was started beside a version that decides: see `priority::beside`.
    if rustix::process::getpriority_process(None).is_ok_and(|nice| nice > 0) {
        leave_a_processor();
    }
    let limit = |most| Rlimit { current: Some(most), maximum: Some(most) };
    // A core file would hold what the process was given.
    let _ = rustix::process::setrlimit(Resource::Core, limit(0));
    let _ = rustix::process::setrlimit(Resource::Cpu, limit(CPU_LIMIT_SECONDS));
}

/// This thread, and those that it starts, keep off one processor if they have
/// several: what others ask of the server meanwhile is answered there. A low
/// priority alone would let each of its steps wait for the end of a time slice.
fn leave_a_processor() {
    let Ok(mut allowed) = sched_getaffinity(None) else { return };
    let first = (0..CpuSet::MAX_CPU).find(|cpu| allowed.is_set(*cpu));
    if let Some(first) = first.filter(|_| allowed.count() > 1) {
        allowed.unset(first);
        let _ = sched_setaffinity(None, &allowed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_processor_is_left_where_there_are_several() {
        let counted = std::thread::spawn(|| {
            let count = || sched_getaffinity(None).unwrap().count();
            let before = count();
            leave_a_processor();
            (before, count())
        });
        let (before, after) = counted.join().unwrap();
        assert_eq!(after, (before - 1).max(1));
    }

    /// A shell script in the place of the compiler.
    fn compile(script: &str) -> (Result<(), ArtifactError>, String) {
        let mut output = memory_file("output").unwrap();
        let arguments = ["-c".into(), script.into()];
        let result = run("/bin/sh".as_ref(), &arguments, b"component", &output);
        let mut text = String::new();
        output.seek(SeekFrom::Start(0)).unwrap();
        output.read_to_string(&mut text).unwrap();
        (result, text)
    }

    #[test]
    fn the_child_gets_the_component_and_nothing_else() {
        // Whoever runs this test may have passed descriptors on; this process' own are not.
        let listed = Command::new("/bin/sh").args(["-c", "ls /proc/self/fd"]).output().unwrap();
        let inherited = String::from_utf8(listed.stdout).unwrap();
        let _secret = File::open("/etc/passwd").unwrap();
        let (result, written) =
            compile("cat; echo; ls /proc/self/fd; pwd; tr '\\0' '\\n' </proc/$$/environ");
        result.unwrap();
        assert_eq!(written, format!("component\n{inherited}/\n"));
    }

    #[test]
    fn failures_are_explained() {
        fn check(script: &str, expect: &str) {
            let error = compile(script).0.unwrap_err();
            assert_eq!(error.reason(), "CompileError");
            let cause = std::error::Error::source(&error).unwrap().to_string();
            assert!(cause.contains(expect), "{cause}");
        }
        check("echo no such section >&2; exit 1", "no such section");
        check("exit 3", "exit status: 3");
        check("kill -9 $$", "memory ran out");
        check("kill -11 $$", "signal 11");
        let missing = run("/absent".as_ref(), &[], b"", &memory_file("x").unwrap()).unwrap_err();
        assert_eq!(missing.to_string(), "cannot run the compiler /absent");
    }

    #[test]
    fn a_child_past_its_time_is_ended() {
        let mut child = Command::new("sleep").arg("1000").spawn().unwrap();
        assert!(!wait_until(&child, Instant::now() + Duration::from_millis(20)).unwrap());
        child.kill().unwrap();
        assert!(wait_until(&child, Instant::now() + Duration::from_secs(10)).unwrap());
        child.wait().unwrap();
    }
}
