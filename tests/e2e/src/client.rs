//! Programs beside the server, with its kubeconfig: `pintle`, kubectl, a shell.

use std::ffi::OsStr;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use crate::command::output_of;
use crate::environment::hermetic;
use crate::{Cluster, Output};

/// For a thread of its own.
#[derive(Clone)]
pub struct Client {
    pintle: PathBuf,
    namespace: String,
    kubeconfig: PathBuf,
    home: PathBuf,
}

impl Client {
    pub fn pintle(&self, arguments: &[&str]) -> Output {
        self.run(&self.pintle, arguments)
    }

    /// `pintle ARGS` that goes on while the test does something else.
    pub fn spawn(&self, arguments: &[&str]) -> Child {
        self.spawn_program(&self.pintle, arguments)
    }

    /// Any program beside the server, with its kubeconfig.
    pub fn spawn_program(&self, program: impl AsRef<OsStr>, arguments: &[&str]) -> Child {
        self.command(program, arguments).spawn().expect("nsenter starts")
    }

    fn run(&self, program: impl AsRef<OsStr>, arguments: &[&str]) -> Output {
        output_of(self.command(program, arguments))
    }

    /// nsenter replaces itself, so the child's id is the program's.
    fn command(&self, program: impl AsRef<OsStr>, arguments: &[&str]) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net=/run/netns/{}", self.namespace)).arg(program).args(arguments);
        hermetic(&mut command, &self.home);
        command.env("KUBECONFIG", &self.kubeconfig).env("PINTLE_KUBECONFIG", &self.kubeconfig);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }
}

impl Cluster {
    /// For a thread of its own.
    pub fn client(&self) -> Client {
        Client {
            pintle: self.program(),
            namespace: self.server_namespace(),
            kubeconfig: self.kubeconfig(),
            home: self.home(),
        }
    }

    /// `pintle ARGS` as the administrator; its output.
    pub fn pintle(&self, arguments: &[&str]) -> String {
        let output = self.try_pintle(arguments);
        assert!(output.success, "pintle {arguments:?}: {}{}", output.stderr, self.logs());
        output.stdout
    }

    pub fn try_pintle(&self, arguments: &[&str]) -> Output {
        self.client().pintle(arguments)
    }

    pub fn kubectl(&self, arguments: &[&str]) -> String {
        let output = self.try_kubectl(arguments);
        let (said, errors) = (&output.stdout, &output.stderr);
        assert!(output.success, "kubectl {arguments:?}: {said}{errors}{}", self.logs());
        output.stdout
    }

    pub fn try_kubectl(&self, arguments: &[&str]) -> Output {
        self.client().run("kubectl", arguments)
    }

    /// A shell script beside the server, with KUBECONFIG set; its output.
    pub fn shell(&self, script: &str) -> String {
        let output = self.client().run("sh", &["-c", script]);
        assert!(output.success, "{script}: {}{}", output.stderr, self.logs());
        output.stdout
    }

    /// `kubectl apply -f -`, with the thin client.
    pub fn apply(&self, yaml: &str) {
        let file = tempfile::Builder::new().suffix(".yaml").tempfile_in(self.path());
        let mut file = file.expect("the temp dir is writable");
        file.write_all(yaml.as_bytes()).expect("the temp dir is writable");
        self.pintle(&["apply", "-f", &file.path().to_string_lossy()]);
    }

    /// `pintle get KIND -o json`, parsed; null when there is no such thing.
    pub fn get(&self, kind: &str) -> Value {
        let mut arguments = vec!["get"];
        arguments.extend(kind.split(' '));
        arguments.extend(["-o", "json"]);
        let output = self.try_pintle(&arguments);
        serde_json::from_str(&output.stdout).unwrap_or(Value::Null)
    }
}
