//! What WASI guests write to standard output and error: lines of the plugin's
//! log. A language runtime says there why it gives up, in several lines, so the
//! last ones of standard error become part of a fault's text.
//!
//! Nothing here waits, and a line is cut where the log would cut it.

use std::collections::VecDeque;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::Mutex;
use tokio::io::AsyncWrite;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamResult};

use crate::bindings::log::Level;
use crate::logging::{MAX_LINE_BYTES, PluginLog, clip};

/// As much as a guest may write at once.
const PERMIT_BYTES: usize = 64 << 10;

/// Lines that are kept for a fault's text: an exception, where it came from,
/// and what a runtime adds.
const LAST_LINES: usize = 6;
const MAX_LAST_LINE_BYTES: usize = 256;

/// One of the two streams; clones write to the same.
#[derive(Clone)]
pub(crate) struct LogLines {
    log: Arc<PluginLog>,
    level: Level,
    written: Arc<Mutex<Written>>,
}

#[derive(Default)]
struct Written {
    /// The line that has no end yet.
    pending: Vec<u8>,
    /// The last lines of this call.
    last: VecDeque<String>,
}

impl LogLines {
    pub fn new(log: Arc<PluginLog>, level: Level) -> Self {
        Self { log, level, written: Arc::default() }
    }

    /// A call begins.
    pub fn begin(&self) {
        self.written.lock().last.clear();
    }

    fn take(&self, bytes: &[u8]) {
        let written = &mut *self.written.lock();
        for part in bytes.split_inclusive(|byte| *byte == b'\n') {
            let (text, ends) = match part {
                [text @ .., b'\n'] => (text, true),
                text => (text, false),
            };
            let room = MAX_LINE_BYTES - written.pending.len();
            written.pending.extend_from_slice(&text[..text.len().min(room)]);
            if ends {
                self.emit(written);
            }
        }
    }

    /// The guest will not go on: its last lines, the one without an end included.
    pub fn last_words(&self) -> Option<String> {
        let written = &mut *self.written.lock();
        self.emit(written);
        let last: Vec<String> = written.last.drain(..).collect();
        (!last.is_empty()).then(|| last.join(" | "))
    }

    fn emit(&self, written: &mut Written) {
        let line = String::from_utf8_lossy(&written.pending);
        let line = line.trim_end();
        if !line.trim_start().is_empty() {
            self.log.line(self.level, line);
            if written.last.len() == LAST_LINES {
                written.last.pop_front();
            }
            written.last.push_back(clip(line.trim_start(), MAX_LAST_LINE_BYTES).to_owned());
        }
        written.pending.clear();
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
        fn check(writes: &[&str], expect: Option<&str>) {
            let log = Arc::new(PluginLog::silent("x".into()));
            let lines = LogLines::new(log.clone(), Level::Error);
            for write in writes {
                lines.take(write.as_bytes());
            }
            assert_eq!(lines.last_words().as_deref(), expect, "{writes:?}");
            assert_eq!(log.take_last_error().is_some(), expect.is_some());
            assert_eq!(lines.last_words(), None);
        }
        check(&["one\ntwo\n"], Some("one | two"));
        check(&["one\ntwo"], Some("one | two"));
        check(&["val", "ue: ", "bad\n"], Some("value: bad"));
        check(&["reason\n", "\n", "  \n"], Some("reason"));
        check(&["1\n2\n3\n4\n5\n  6\n7\n8"], Some("3 | 4 | 5 | 6 | 7 | 8"));
        check(&[], None);
        let long = "é".repeat(MAX_LINE_BYTES);
        check(&[&long, &long, "\n"], Some(&"é".repeat(MAX_LAST_LINE_BYTES / 2)));
    }

    #[test]
    fn another_call_has_other_last_words() {
        let lines = LogLines::new(Arc::new(PluginLog::silent("x".into())), Level::Error);
        lines.take(b"harmless\n");
        lines.begin();
        lines.take(b"fatal\n");
        assert_eq!(lines.last_words().as_deref(), Some("fatal"));
    }
}
