//! From the entries of a log file to what a container wrote.

use pintle_api::time::format_micros;

use super::logs::Options;

/// Turns CRI entries into the text that was written.
pub struct Text {
    pub out: Vec<u8>,
    partial: Vec<u8>,
    timestamps: bool,
    since: Option<String>,
    left: Option<u64>,
    /// The entry before ended its line.
    at_start: bool,
}

/// `2026-01-02T03:04:05.000000`: to the microsecond, without the zone.
const COMPARED: usize = 26;

impl Text {
    pub fn new(options: &Options, now: i64) -> Text {
        let since_ms = match (options.since_seconds, &options.since_time) {
            (Some(seconds), _) => Some(now.saturating_sub(seconds.saturating_mul(1000))),
            (None, Some(time)) => pintle_api::time::parse(time),
            (None, None) => None,
        };
        Text {
            out: Vec::new(),
            partial: Vec::new(),
            timestamps: options.timestamps,
            since: since_ms.map(|ms| format_micros(ms.saturating_mul(1000))),
            left: options.limit_bytes,
            at_start: true,
        }
    }

    /// False when the limit is reached.
    pub fn take(&mut self, chunk: &[u8]) -> bool {
        let mut buffer = std::mem::take(&mut self.partial);
        buffer.extend_from_slice(chunk);
        let mut rest = buffer.as_slice();
        while let Some(at) = rest.iter().position(|byte| *byte == b'\n') {
            if !self.entry(&rest[..at]) {
                return false;
            }
            rest = &rest[at + 1..];
        }
        self.partial = rest.to_vec();
        true
    }

    fn entry(&mut self, entry: &[u8]) -> bool {
        let mut fields = entry.splitn(4, |byte| *byte == b' ');
        let (Some(time), Some(_), Some(tag), text) =
            (fields.next(), fields.next(), fields.next(), fields.next().unwrap_or_default())
        else {
            // Torn by a full disk: not a container's words.
            return true;
        };
        if let Some(since) = &self.since {
            let compared = |text: &[u8]| text[..text.len().min(COMPARED)].to_vec();
            if compared(time) < compared(since.as_bytes()) {
                return true;
            }
        }
        let mut line = Vec::with_capacity(entry.len());
        if self.timestamps && self.at_start {
            line.extend_from_slice(time);
            line.push(b' ');
        }
        line.extend_from_slice(text);
        self.at_start = tag != b"P";
        if self.at_start {
            line.push(b'\n');
        }
        if let Some(left) = &mut self.left {
            line.truncate(usize::try_from(*left).unwrap_or(usize::MAX));
            *left -= line.len() as u64;
        }
        self.out.extend_from_slice(&line);
        self.left != Some(0)
    }
}
