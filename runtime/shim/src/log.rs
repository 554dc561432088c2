//! Container log files in the CRI format: `<RFC 3339 with nanoseconds> <stream> <F|P> <text>`.
//!
//! `F` ends a line, `P` says that the line goes on in the stream's next entry. A reader that joins
//! `P` entries with the entry after them gets exactly the bytes that the container wrote.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use crate::protocol::LogLimits;
use crate::sys::Now;

/// Longest text of one entry, in bytes; longer lines are split. containerd's default.
pub const MAX_ENTRY: usize = 16 << 10;

/// Entries collected before they are written.
const FLUSH_BYTES: usize = 16 << 10;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    Stdout,
    Stderr,
}

impl Stream {
    fn name(self) -> &'static str {
        match self {
            Stream::Stdout => "stdout",
            Stream::Stderr => "stderr",
        }
    }

    pub fn index(self) -> usize {
        self as usize
    }
}

/// Writes one container's log.
#[derive(Debug)]
pub struct LogWriter {
    path: PathBuf,
    limits: LogLimits,
    file: File,
    /// Bytes in the current file.
    size: u64,
    /// The beginning of a line whose end has not come yet, per stream.
    pending: [Vec<u8>; 2],
    /// The stream's last entry was a `P`.
    open: [bool; 2],
    entries: Vec<u8>,
    /// A write failed halfway through an entry.
    torn: bool,
}

impl LogWriter {
    pub fn open(path: &Path, limits: LogLimits) -> io::Result<Self> {
        let file = open_append(path)?;
        Ok(LogWriter {
            path: path.to_owned(),
            limits,
            size: file.metadata()?.len(),
            file,
            pending: [Vec::new(), Vec::new()],
            open: [false; 2],
            entries: Vec::new(),
            torn: false,
        })
    }

    /// Takes output of the container. An error means that output was lost; writing may go on.
    pub fn write(&mut self, stream: Stream, mut data: &[u8], now: Now) -> io::Result<()> {
        let index = stream.index();
        while let Some(end) = data.iter().position(|&byte| byte == b'\n') {
            let line = &data[..end];
            if self.pending[index].is_empty() && line.len() <= MAX_ENTRY {
                self.entry(stream, 'F', line, now);
            } else {
                self.extend(stream, line, now);
                let rest = std::mem::take(&mut self.pending[index]);
                self.entry(stream, 'F', &rest, now);
            }
            data = &data[end + 1..];
            // Short lines grow to a multiple; neither memory nor the file's size may follow.
            if self.entries.len() >= FLUSH_BYTES {
                self.flush()?;
            }
        }
        self.extend(stream, data, now);
        self.flush()
    }

    /// Writes out lines that never got their end.
    pub fn finish(&mut self, now: Now) -> io::Result<()> {
        for stream in [Stream::Stdout, Stream::Stderr] {
            let rest = std::mem::take(&mut self.pending[stream.index()]);
            if !rest.is_empty() {
                self.entry(stream, 'P', &rest, now);
            }
        }
        self.flush()
    }

    /// Adds to the pending line; full entries of it go out as `P`.
    fn extend(&mut self, stream: Stream, mut data: &[u8], now: Now) {
        let index = stream.index();
        while self.pending[index].len() + data.len() > MAX_ENTRY {
            let mut whole = std::mem::take(&mut self.pending[index]);
            let (head, tail) = data.split_at(MAX_ENTRY - whole.len());
            whole.extend_from_slice(head);
            self.entry(stream, 'P', &whole, now);
            data = tail;
        }
        self.pending[index].extend_from_slice(data);
    }

    fn entry(&mut self, stream: Stream, tag: char, text: &[u8], now: Now) {
        let _ = write!(self.entries, "{} {} {tag} ", Timestamp(now), stream.name());
        self.entries.extend_from_slice(text);
        self.entries.push(b'\n');
        self.open[stream.index()] = tag == 'P';
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.entries.is_empty() {
            return Ok(());
        }
        if self.torn && self.file.write_all(b"\n").is_ok() {
            self.torn = false;
        }
        let result = self.file.write_all(&self.entries);
        self.torn |= result.is_err();
        self.size += self.entries.len() as u64;
        self.entries.clear();
        self.entries.shrink_to(MAX_ENTRY);
        // A line split over two files would be cut for readers of the current one, so rotation
        // waits for its end; but not for ever.
        let patient =
            self.open.contains(&true) && self.size < self.limits.max_bytes.saturating_mul(2);
        if result.is_ok()
            && self.limits.max_bytes > 0
            && self.size >= self.limits.max_bytes
            && !patient
        {
            return self.rotate();
        }
        result
    }

    /// Moves the file aside and starts a new one. Every name changes by rename, so that a reader
    /// sees each file whole under its old or its new name.
    fn rotate(&mut self) -> io::Result<()> {
        let kept = self.limits.max_files.max(1) - 1;
        for number in (1..kept).rev() {
            match fs::rename(self.numbered(number), self.numbered(number + 1)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        if kept > 0 {
            fs::rename(&self.path, self.numbered(1))?;
        } else {
            fs::remove_file(&self.path)?;
        }
        self.file = open_append(&self.path)?;
        self.size = 0;
        Ok(())
    }

    fn numbered(&self, number: u32) -> PathBuf {
        let mut name: OsString = self.path.clone().into_os_string();
        name.push(format!(".{number}"));
        name.into()
    }
}

fn open_append(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).mode(0o640).open(path)
}

struct Timestamp(Now);

impl std::fmt::Display for Timestamp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Now { seconds, nanos } = self.0;
        let (days, second) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
        let (year, month, day) = civil(days);
        let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{nanos:09}Z")
    }
}

/// The date of a day counted from 1970-01-01. Years are counted from March, so that the leap day
/// is the last of its year, in eras of 400 years, which all have 146097 days.
fn civil(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOW: Now = Now { seconds: 1_709_210_096, nanos: 1_000_002 };

    /// What a reader of the log gets for one stream.
    fn joined(text: &[u8], stream: &str) -> Vec<u8> {
        let mut out = Vec::new();
        for entry in text.split_inclusive(|&byte| byte == b'\n') {
            let mut fields = entry.splitn(4, |&byte| byte == b' ');
            fields.next().unwrap();
            if fields.next().unwrap() != stream.as_bytes() {
                continue;
            }
            let full = fields.next().unwrap() == b"F";
            let text = fields.next().unwrap();
            assert!(text.len() <= MAX_ENTRY + 1);
            out.extend_from_slice(if full { text } else { &text[..text.len() - 1] });
        }
        out
    }

    fn write_all(limits: LogLimits, chunks: &[&[u8]]) -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("0.log");
        let mut log = LogWriter::open(&path, limits).unwrap();
        for chunk in chunks {
            log.write(Stream::Stdout, chunk, NOW).unwrap();
        }
        log.finish(NOW).unwrap();
        (dir, path)
    }

    fn check(chunks: &[&[u8]], expect: &str) {
        let (_dir, path) = write_all(LogLimits::default(), chunks);
        let text = fs::read_to_string(path).unwrap();
        assert_eq!(text.replace("2024-02-29T12:34:56.001000002Z stdout ", "> "), expect);
    }

    #[test]
    fn lines() {
        check(&[b"a\nb\n"], "> F a\n> F b\n");
        check(&[b"a", b"b\n"], "> F ab\n");
        check(&[b"\n\n"], "> F \n> F \n");
        check(&[b"no end"], "> P no end\n");
        check(&[], "");
    }

    #[test]
    fn long_lines_are_split_at_16_kib() {
        let line = vec![b'x'; MAX_ENTRY + 1];
        let text = "x".repeat(MAX_ENTRY);
        check(&[&line, b"\n"], &format!("> P {text}\n> F x\n"));
        check(&[&line[1..], b"\n"], &format!("> F {text}\n"));
    }

    #[test]
    fn dates() {
        for (days, expect) in [
            (0, (1970, 1, 1)),
            (-1, (1969, 12, 31)),
            (11_016, (2000, 2, 29)),
            (20_453, (2025, 12, 31)),
            (47_541, (2100, 3, 1)),
        ] {
            assert_eq!(civil(days), expect, "{days}");
        }
    }

    #[test]
    fn rotation_keeps_the_newest_files_and_whole_lines() {
        let limits = LogLimits { max_bytes: 200, max_files: 3 };
        let lines: Vec<_> = (0..100).map(|n| format!("line {n}\n")).collect();
        let chunks: Vec<_> = lines.iter().map(|line| line.as_bytes()).collect();
        let (dir, path) = write_all(limits, &chunks);
        let mut names: Vec<_> = fs::read_dir(&dir)
            .unwrap()
            .map(|e| e.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        assert_eq!(names, ["0.log", "0.log.1", "0.log.2"]);
        let mut kept = Vec::new();
        for name in ["0.log.2", "0.log.1", "0.log"] {
            let text = fs::read(dir.path().join(name)).unwrap();
            assert!(text.len() < 300);
            kept.extend(joined(&text, "stdout"));
        }
        assert!(lines.concat().ends_with(std::str::from_utf8(&kept).unwrap()));
        assert!(path.exists());
    }

    proptest! {
        #[test]
        fn nothing_is_lost_or_changed(
            chunks in proptest::collection::vec(
                (any::<bool>(), proptest::collection::vec(prop_oneof![Just(b'\n'), any::<u8>()], 0..400)), 0..20),
            long in 0usize..40_000,
        ) {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("0.log");
            let mut log = LogWriter::open(&path, LogLimits::default()).unwrap();
            let mut written = [Vec::new(), Vec::new()];
            for (is_stdout, mut chunk) in chunks {
                let stream = if is_stdout { Stream::Stdout } else { Stream::Stderr };
                chunk.extend(std::iter::repeat_n(b'x', if is_stdout { long } else { 0 }));
                log.write(stream, &chunk, NOW).unwrap();
                written[stream.index()].extend(chunk);
            }
            log.finish(NOW).unwrap();
            let text = fs::read(&path).unwrap();
            prop_assert_eq!(&joined(&text, "stdout"), &written[0]);
            prop_assert_eq!(&joined(&text, "stderr"), &written[1]);
        }
    }
}
