//! What WASI guests write to standard output and error: lines of the plugin's
//! log. A language runtime says there why it gives up, so the last line of
//! standard error becomes part of a fault's text.
//!
//! Nothing here waits, and a line is cut where the log would cut it.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::Mutex;
use tokio::io::AsyncWrite;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamResult};

use crate::bindings::log::Level;
use crate::logging::{MAX_LINE_BYTES, PluginLog};

/// As much as a guest may write at once.
const PERMIT_BYTES: usize = 64 << 10;

/// One of the two streams; clones write to the same.
#[derive(Clone)]
pub(crate) struct LogLines {
    log: Arc<PluginLog>,
    level: Level,
    /// The line that has no end yet.
    pending: Arc<Mutex<Vec<u8>>>,
}

impl LogLines {
    pub fn new(log: Arc<PluginLog>, level: Level) -> Self {
        Self { log, level, pending: Arc::default() }
    }

    fn take(&self, bytes: &[u8]) {
        let mut pending = self.pending.lock();
        for part in bytes.split_inclusive(|byte| *byte == b'\n') {
            let (text, ends) = match part {
                [text @ .., b'\n'] => (text, true),
                text => (text, false),
            };
            let room = MAX_LINE_BYTES - pending.len();
            pending.extend_from_slice(&text[..text.len().min(room)]);
            if ends {
                self.emit(&mut pending);
            }
        }
    }

    /// Says what has no end yet: the guest will not go on.
    pub fn finish(&self) {
        self.emit(&mut self.pending.lock());
    }

    fn emit(&self, pending: &mut Vec<u8>) {
        let line = String::from_utf8_lossy(pending);
        if !line.trim().is_empty() {
            self.log.line(self.level, line.trim_end());
        }
        pending.clear();
    }
}

impl IsTerminal for LogLines {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for LogLines {
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        // Of later versions of WASI, which are not linked.
        Box::new(tokio::io::empty())
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.clone())
    }
}

#[async_trait]
impl Pollable for LogLines {
    async fn ready(&mut self) {}
}

impl OutputStream for LogLines {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        self.take(&bytes);
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(PERMIT_BYTES)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_end_where_they_end() {
        fn check(writes: &[&str], finish: bool, expect: Option<&str>) {
            let log = Arc::new(PluginLog::silent("x".into()));
            let lines = LogLines::new(log.clone(), Level::Error);
            for write in writes {
                lines.take(write.as_bytes());
            }
            if finish {
                lines.finish();
            }
            assert_eq!(log.take_last_error().as_deref(), expect, "{writes:?}");
        }
        check(&["one\ntwo\n"], false, Some("two"));
        check(&["one\ntwo"], false, Some("one"));
        check(&["one\ntwo"], true, Some("two"));
        check(&["val", "ue: ", "bad\n"], false, Some("value: bad"));
        check(&["reason\n", "\n", "  \n"], true, Some("reason"));
        check(&[], true, None);
        let long = "é".repeat(MAX_LINE_BYTES);
        let kept = "é".repeat(MAX_LINE_BYTES / 2);
        check(&[&long, &long, "\n"], false, Some(&kept));
    }
}
