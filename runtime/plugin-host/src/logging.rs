//! Lines that plugins write, limited in rate so that no plugin can drown the log.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Instant;

use parking_lot::Mutex;

use crate::bindings::log::Level;

const LINES_PER_SECOND: f64 = 20.0;
const BURST: f64 = 100.0;
pub(crate) const MAX_LINE_BYTES: usize = 4096;

/// One plugin's voice.
pub(crate) struct PluginLog {
    plugin: Arc<str>,
    /// Says nothing: the active instance has said it, or says it again.
    silent: bool,
    state: Mutex<State>,
}

struct State {
    tokens: f64,
    refilled: Instant,
    dropped: u64,
    last_error: Option<String>,
}

impl PluginLog {
    pub fn new(plugin: Arc<str>) -> Self {
        let state = State { tokens: BURST, refilled: Instant::now(), dropped: 0, last_error: None };
        Self { plugin, silent: false, state: Mutex::new(state) }
    }

    /// Keeps the last error for the fault's text and writes nothing.
    pub fn silent(plugin: Arc<str>) -> Self {
        Self { silent: true, ..Self::new(plugin) }
    }

    pub fn line(&self, level: Level, message: &str) {
        let message = one_line(clip(message, MAX_LINE_BYTES));
        let mut state = self.state.lock();
        if level == Level::Error {
            state.last_error = Some(message.as_ref().to_owned());
        }
        if self.silent {
            return;
        }
        let now = Instant::now();
        state.tokens = (state.tokens
            + now.duration_since(state.refilled).as_secs_f64() * LINES_PER_SECOND)
            .min(BURST);
        state.refilled = now;
        if state.tokens < 1.0 {
            state.dropped += 1;
            return;
        }
        state.tokens -= 1.0;
        let dropped = std::mem::take(&mut state.dropped);
        drop(state);
        let plugin = &*self.plugin;
        if dropped > 0 {
            tracing::warn!(target: "pintle::plugin", plugin, dropped, "the plugin logs too much; lines were dropped");
        }
        match level {
            Level::Debug => tracing::debug!(target: "pintle::plugin", plugin, "{message}"),
            Level::Info => tracing::info!(target: "pintle::plugin", plugin, "{message}"),
            Level::Warn => tracing::warn!(target: "pintle::plugin", plugin, "{message}"),
            Level::Error => tracing::error!(target: "pintle::plugin", plugin, "{message}"),
        }
    }

    /// The last error since this was asked before: a panic message, usually.
    pub fn take_last_error(&self) -> Option<String> {
        self.state.lock().last_error.take()
    }
}

/// A text without line breaks and other control characters: no plugin writes what
/// looks like a line of somebody else, and a fault's text is one line.
fn one_line(text: &str) -> Cow<'_, str> {
    if !text.contains(char::is_control) {
        return Cow::Borrowed(text);
    }
    let parts = text.split(char::is_control).map(str::trim).filter(|part| !part.is_empty());
    Cow::Owned(parts.collect::<Vec<_>>().join(" "))
}

/// At most so many bytes of a text, whole characters.
pub(crate) fn clip(message: &str, bytes: usize) -> &str {
    let mut end = message.len().min(bytes);
    while !message.is_char_boundary(end) {
        end -= 1;
    }
    &message[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_dropped_and_errors_are_remembered() {
        let log = PluginLog::new("x".into());
        for _ in 0..1000 {
            log.line(Level::Info, "flood");
        }
        assert!(log.state.lock().dropped > 800);
        log.line(Level::Error, &"é".repeat(5000));
        assert_eq!(log.take_last_error().unwrap().len(), MAX_LINE_BYTES);
        assert_eq!(log.take_last_error(), None);
    }

    #[test]
    fn a_line_is_one_line() {
        let check = |text: &str, expect: &str| assert_eq!(one_line(text), expect);
        check("as it is, é", "as it is, é");
        check("panicked at src/lib.rs:7:9:\nno node", "panicked at src/lib.rs:7:9: no node");
        check("\r\n a\t\u{1b}[31mred\n", "a [31mred");
        check("", "");
    }
}
