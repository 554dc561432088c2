//! A server or agent of a test: started in a namespace, ended by its own id.

use std::fs::OpenOptions;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::environment::hermetic;

/// Whoever starts first compiles all plugins, maybe beside others who do the same.
const START: Duration = Duration::from_secs(900);

pub struct Process {
    child: Child,
}

impl Process {
    /// Starts `program` in the network namespace and waits for its `ready` line.
    pub(crate) fn start(
        namespace: &str,
        program: &Path,
        arguments: &[&str],
        log: &Path,
        home: &Path,
    ) -> Self {
        // nsenter replaces itself, so the child's id is the program's.
        let mut command = Command::new("nsenter");
        command.arg(format!("--net=/run/netns/{namespace}")).arg(program).args(arguments);
        hermetic(&mut command, home);
        Self::ready(command, log).0
    }

    /// Starts a server or an agent and waits for its `ready` line, which is returned.
    pub fn ready(mut command: Command, log: &Path) -> (Self, String) {
        let file = OpenOptions::new().create(true).append(true).open(log).expect("the log opens");
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(file);
        // Its end is this value's, also when it does not get ready.
        let mut process = Self { child: command.spawn().expect("the program starts") };
        let line = process.first_line();
        if !line.starts_with("ready") {
            drop(process);
            let log = std::fs::read_to_string(log).unwrap_or_default();
            panic!("{command:?} did not get ready: {line:?}\n{log}");
        }
        (process, line)
    }

    /// Empty when there is none in time.
    fn first_line(&mut self) -> String {
        let mut stdout = BufReader::new(self.child.stdout.take().expect("stdout is piped"));
        let (send, line) = mpsc::channel();
        // Not joined: it ends with the process at the latest.
        std::thread::spawn(move || {
            let mut line = String::new();
            let _ = stdout.read_line(&mut line);
            let _ = send.send(line);
        });
        line.recv_timeout(START).unwrap_or_default()
    }

    pub fn pid(&self) -> i32 {
        self.child.id() as i32
    }

    /// SIGKILL, and wait until it is gone.
    pub fn kill_9(mut self) {
        let _ = kill(Pid::from_raw(self.pid()), Signal::SIGKILL);
        let _ = self.child.wait();
    }

    /// SIGTERM, and wait.
    pub fn terminate(mut self) {
        let _ = kill(Pid::from_raw(self.pid()), Signal::SIGTERM);
        let _ = self.child.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
