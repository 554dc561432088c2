//! A server or agent of a test: started in a namespace, ended by its own id.

use std::fs::OpenOptions;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

pub struct Process {
    child: Child,
}

impl Process {
    /// Starts `program` in the network namespace and waits for its `ready` line.
    pub fn start(namespace: &str, program: &Path, arguments: &[&str], log: &Path) -> Self {
        let log_file =
            OpenOptions::new().create(true).append(true).open(log).expect("the log opens");
        // nsenter replaces itself, so the child's id is the program's.
        let mut child = Command::new("nsenter")
            .arg(format!("--net=/run/netns/{namespace}"))
            .arg(program)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log_file)
            .spawn()
            .expect("nsenter starts");
        let mut line = String::new();
        let mut stdout = BufReader::new(child.stdout.take().expect("stdout is piped"));
        stdout.read_line(&mut line).expect("stdout is readable");
        if !line.starts_with("ready") {
            let _ = child.kill();
            let _ = child.wait();
            let log = std::fs::read_to_string(log).unwrap_or_default();
            panic!("{} {arguments:?} did not get ready: {line}\n{log}", program.display());
        }
        Self { child }
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
