//! One process per data directory.

use std::{
    fs::{File, TryLockError},
    io::{self, Read, Seek, Write},
    path::Path,
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    process::{Pid, PidfdFlags, pidfd_open},
};

const FILE: &str = "LOCK";

/// A process that was killed takes a moment until it is gone, with all the
/// memory it had. One that lives on keeps its data directory for longer.
const DYING: Duration = Duration::from_secs(2);

/// Held as long as the store is open; the kernel lets go of it when the process dies.
#[derive(Debug)]
pub(crate) struct DirLock {
    _file: File,
}

pub(crate) enum LockError {
    /// The process id that the owner left in the file, when it is readable.
    Held(Option<u32>),
    Io(io::Error),
}

impl DirLock {
    pub(crate) fn acquire(dir: &Path) -> Result<Self, LockError> {
        let mut file = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(dir.join(FILE))
            .map_err(LockError::Io)?;
        let owner = match file.try_lock() {
            Ok(()) => None,
            Err(TryLockError::WouldBlock) => Some(owner(&mut file)),
            Err(TryLockError::Error(error)) => return Err(LockError::Io(error)),
        };
        if let Some(owner) = owner {
            if let Some(owner) = owner {
                wait_for_end(owner);
            }
            match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => return Err(LockError::Held(owner)),
                Err(TryLockError::Error(error)) => return Err(LockError::Io(error)),
            }
        }
        // The id only serves the other side's message: a failure here is no reason to stop.
        let _ = file
            .set_len(0)
            .and_then(|()| file.rewind())
            .and_then(|()| writeln!(file, "{}", std::process::id()));
        Ok(Self { _file: file })
    }
}

fn owner(file: &mut File) -> Option<u32> {
    let mut owner = String::new();
    let _ = file.read_to_string(&mut owner);
    owner.trim().parse().ok()
}

/// Until the process is gone, but not for long. One that cannot be waited for,
/// because it is gone or nobody's, is not.
fn wait_for_end(process: u32) {
    let pid = i32::try_from(process).ok().and_then(Pid::from_raw);
    let Some(pid) = pid.filter(|_| process != std::process::id()) else { return };
    let Ok(ended) = pidfd_open(pid, PidfdFlags::empty()) else { return };
    let until = Instant::now() + DYING;
    loop {
        let left = until.saturating_duration_since(Instant::now());
        let Ok(left) = Timespec::try_from(left) else { return };
        match poll(&mut [PollFd::new(&ended, PollFlags::IN)], Some(&left)) {
            Err(rustix::io::Errno::INTR) => {}
            _ => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    /// Takes the lock of a directory as another process would.
    fn held_by_another(dir: &Path) -> std::process::Child {
        let path = dir.join(FILE);
        let script = format!(
            "exec 9<>'{0}'; flock 9; echo $$ >'{0}'; echo locked; read line",
            path.display()
        );
        let mut child = Command::new("bash")
            .args(["-c", &script])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = [0; 7];
        child.stdout.as_mut().unwrap().read_exact(&mut line).unwrap();
        child
    }

    #[test]
    fn a_dying_holder_is_awaited_and_a_living_one_named() {
        let dir = tempfile::tempdir().unwrap();
        let mut holder = held_by_another(dir.path());
        let started = Instant::now();
        match DirLock::acquire(dir.path()) {
            Err(LockError::Held(Some(pid))) => assert_eq!(pid, holder.id()),
            _ => panic!("two processes hold the lock"),
        }
        assert!(started.elapsed() >= DYING);

        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| DirLock::acquire(dir.path()).is_ok());
            holder.kill().unwrap();
            holder.wait().unwrap();
            assert!(waiting.join().unwrap());
        });
    }

    #[test]
    fn one_process_does_not_wait_for_itself() {
        let dir = tempfile::tempdir().unwrap();
        let _first = DirLock::acquire(dir.path()).ok().unwrap();
        let started = Instant::now();
        assert!(matches!(DirLock::acquire(dir.path()), Err(LockError::Held(Some(_)))));
        assert!(started.elapsed() < DYING);
    }
}
