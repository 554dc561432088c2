//! A recording of a plugin beside its work, and its replay.

use std::path::Path;
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Duration;

use pintle_plugin_host::Compiler;
use pintle_plugin_host::trace::{Replay, Report, replay};

use crate::api::Api;

/// Ends by itself with the version that it records.
pub struct Recording {
    trace: mpsc::Receiver<Vec<u8>>,
    cut: Option<Box<dyn FnOnce() + Send>>,
    thread: Option<JoinHandle<()>>,
}

impl Recording {
    /// Returns when it has begun.
    pub fn start(api: Api, plugin: &str) -> Self {
        let path = format!("{}/{plugin}/trace", crate::flow::PLUGINS);
        let cut = Box::new(api.cutter());
        let (begun, wait) = mpsc::channel();
        let (send, trace) = mpsc::channel();
        let thread = std::thread::spawn(move || {
            let bytes = api.read_all(&path, || {
                let _ = begun.send(());
            });
            // Nobody waits for it when the test has failed.
            let _ = send.send(bytes);
        });
        let recording = Self { trace, cut: Some(cut), thread: Some(thread) };
        wait.recv().unwrap_or_else(|_| panic!("the recording of {plugin} does not begin"));
        recording
    }

    /// The whole trace, once the version that was recorded has been replaced.
    pub fn finish(self, patience: Duration) -> Vec<u8> {
        let trace = self.trace.recv_timeout(patience);
        trace.unwrap_or_else(|_| panic!("the recording does not end with its version"))
    }
}

impl Drop for Recording {
    fn drop(&mut self) {
        if let Some(cut) = self.cut.take() {
            cut();
        }
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

/// Offline, in the recorded build.
pub fn replayed(trace: &[u8], cache: &Path) -> Report {
    let options = Replay {
        with: None,
        config: None,
        partial: false,
        cache_directory: cache.to_owned(),
        compiler: Compiler::InProcess,
    };
    replay(trace, &options).unwrap_or_else(|error| panic!("the trace is not replayed: {error}"))
}
