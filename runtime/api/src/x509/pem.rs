//! PEM (RFC 7468): blocks of base64 between two lines that name their type.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// One block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Block<'a> {
    /// `CERTIFICATE REQUEST`
    pub label: &'a str,
    /// Whether lines such as `Proc-Type: 4,ENCRYPTED` stand before the base64.
    pub has_headers: bool,
    pub bytes: Vec<u8>,
}

const BEGIN: &str = "-----BEGIN ";
const DASHES: &str = "-----";

/// The first well-formed block, and what follows it. Text around blocks is
/// skipped, as is a block that is damaged.
pub fn next(text: &str) -> Option<(Block<'_>, &str)> {
    let mut rest = text;
    loop {
        let at = line_starting_with(rest, BEGIN)?;
        let after = &rest[at + BEGIN.len()..];
        if let Some(found) = block(after) {
            return Some(found);
        }
        rest = after;
    }
}

/// Where a line begins with `start`.
fn line_starting_with(text: &str, start: &str) -> Option<usize> {
    let mut from = 0;
    while let Some(at) = text[from..].find(start) {
        let at = from + at;
        if at == 0 || text.as_bytes()[at - 1] == b'\n' {
            return Some(at);
        }
        from = at + start.len();
    }
    None
}

/// `text` begins with the label.
fn block(text: &str) -> Option<(Block<'_>, &str)> {
    let (line, body) = text.split_once('\n')?;
    let label = line.trim_end().strip_suffix(DASHES)?;
    let end = format!("-----END {label}-----");
    let at = line_starting_with(body, &end)?;
    let (body, after) = (&body[..at], &body[at + end.len()..]);
    // Nothing else may stand in the last line.
    let (last, after) = after.split_once('\n').unwrap_or((after, ""));
    if !last.trim().is_empty() {
        return None;
    }
    let headers = body.lines().take_while(|line| line.contains(':')).count();
    let base64: String = body.lines().skip(headers).flat_map(str::split_whitespace).collect();
    let bytes = STANDARD.decode(base64).ok()?;
    Some((Block { label, has_headers: headers > 0, bytes }, after))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_found_among_other_text() {
        fn check(text: &str, expect: Option<(&str, &[u8], &str)>) {
            let found = next(text);
            let found = found.as_ref().map(|(block, rest)| (block.label, &*block.bytes, *rest));
            assert_eq!(found, expect, "{text:?}");
        }
        check("-----BEGIN A-----\nAQI=\n-----END A-----\n", Some(("A", &[1, 2], "")));
        check("-----BEGIN A-----\r\nAQ\r\nI=\r\n-----END A-----", Some(("A", &[1, 2], "")));
        check("x\n-----BEGIN A B-----\nAQI=\n-----END A B-----\ny", Some(("A B", &[1, 2], "y")));
        check("-----BEGIN A-----\n-----END A-----\n", Some(("A", &[], "")));
        check("-----BEGIN A-----\nAQI=\n-----END B-----\n", None);
        check("-----BEGIN A-----\n!!\n-----END A-----\n", None);
        check("-----BEGIN A-----\nAQI=\n-----END A----- x\n", None);
        check(
            "-----BEGIN A-----\n!\n-----END A-----\n-----BEGIN B-----\nAQ==\n-----END B-----\n",
            Some(("B", &[1], "")),
        );
        check("garbage", None);
        check("", None);
        check("-----BEGIN ", None);
    }

    #[test]
    fn headers_are_seen() {
        let text = "-----BEGIN A-----\nProc-Type: 4\nDEK: x\n\nAQI=\n-----END A-----\n";
        let (block, _) = next(text).unwrap();
        assert!(block.has_headers);
        assert_eq!(block.bytes, [1, 2]);
    }
}
