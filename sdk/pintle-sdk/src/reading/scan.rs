//! Where a JSON value ends. Of what nobody reads only quotes and brackets
//! matter, so sixty-four bytes are looked at together.
//!
//! Does not check that the text is JSON: objects come from the host, which has.
//! Of other texts it finds some end or none, and never goes beyond them.

use super::lanes;

const BLOCK: usize = 64;

/// Past blanks.
pub(super) fn blanks(json: &[u8], mut at: usize) -> usize {
    while matches!(json.get(at), Some(b' ' | b'\n' | b'\r' | b'\t')) {
        at += 1;
    }
    at
}

/// The value at a dotted path. Keys that are written with escapes are not found.
pub(super) fn field<'j>(json: &'j [u8], path: &str) -> Option<&'j [u8]> {
    let mut at = blanks(json, 0);
    for name in path.split('.') {
        if json.get(at) != Some(&b'{') {
            return None;
        }
        loop {
            at = blanks(json, at + 1);
            if json.get(at) != Some(&b'"') {
                return None;
            }
            let (end, _) = string_end(json, at)?;
            let found = json[at + 1..end - 1] == *name.as_bytes();
            at = blanks(json, end);
            if json.get(at) != Some(&b':') {
                return None;
            }
            at = blanks(json, at + 1);
            if found {
                break;
            }
            at = blanks(json, value_end(json, at)?);
            if json.get(at) != Some(&b',') {
                return None;
            }
        }
    }
    let end = value_end(json, at)?;
    Some(&json[at..end])
}

/// The end of the value that begins at `at`.
pub(super) fn value_end(json: &[u8], at: usize) -> Option<usize> {
    match json.get(at)? {
        b'"' => string_end(json, at).map(|(end, _)| end),
        b'{' | b'[' => nested_end(json, at),
        _ => {
            let ends =
                |byte: &u8| matches!(byte, b',' | b'}' | b']' | b' ' | b'\n' | b'\r' | b'\t');
            let length = json[at..].iter().position(ends).unwrap_or(json.len() - at);
            (length > 0).then_some(at + length)
        }
    }
}

/// The end of the string whose first quote is at `at`, and whether it is as it
/// stands: without escapes, and without control characters, which JSON has none of.
pub(super) fn string_end(json: &[u8], at: usize) -> Option<(usize, bool)> {
    let mut plain = true;
    let mut next = at + 1;
    loop {
        next += clear_of(json.get(next..)?);
        match json.get(next)? {
            b'"' => return Some((next + 1, plain)),
            b'\\' => {
                plain = false;
                next += 2;
            }
            byte => {
                plain &= *byte >= b' ';
                next += 1;
            }
        }
    }
}

/// So many bytes are neither quote nor backslash nor control character; at the
/// end of the text it may be more.
fn clear_of(text: &[u8]) -> usize {
    let mut clear = 0;
    for bytes in text.as_chunks::<16>().0 {
        let found = lanes::special(bytes);
        if found != 0 {
            return clear + found.trailing_zeros() as usize;
        }
        clear += 16;
    }
    clear
}

/// The end of the object or array that begins at `at`.
fn nested_end(json: &[u8], at: usize) -> Option<usize> {
    let (blocks, rest) = json[at..].as_chunks::<BLOCK>();
    let mut open = Open::default();
    for (index, block) in blocks.iter().enumerate() {
        if let Some(end) = open.end_in(&Marks::of(block)) {
            return Some(at + index * BLOCK + end);
        }
    }
    let mut last = [b' '; BLOCK];
    last[..rest.len()].copy_from_slice(rest);
    open.end_in(&Marks::of(&last)).map(|end| at + blocks.len() * BLOCK + end)
}

/// What is open at the end of a block.
#[derive(Default)]
struct Open {
    brackets: u32,
    in_string: bool,
    escaped: bool,
}

impl Open {
    /// Where in this block the last bracket is closed.
    fn end_in(&mut self, marks: &Marks) -> Option<usize> {
        let quotes = marks.quotes & !self.escaped(marks.backslashes);
        // Set from each opening quote up to its closing one.
        let mut strings = prefix_xor(quotes);
        if self.in_string {
            strings = !strings;
        }
        self.in_string = strings >> 63 == 1;
        let (opening, closing) = (marks.opening & !strings, marks.closing & !strings);
        if self.brackets > closing.count_ones() {
            self.brackets = self.brackets - closing.count_ones() + opening.count_ones();
            return None;
        }
        let mut left = opening | closing;
        while left != 0 {
            let place = left.trailing_zeros();
            if opening >> place & 1 == 1 {
                self.brackets += 1;
            } else {
                self.brackets = self.brackets.saturating_sub(1);
            }
            if self.brackets == 0 {
                return Some(place as usize + 1);
            }
            left &= left - 1;
        }
        None
    }

    /// Places behind a backslash that counts.
    fn escaped(&mut self, backslashes: u64) -> u64 {
        let mut escaped = u64::from(std::mem::take(&mut self.escaped));
        let mut left = backslashes & !escaped;
        while left != 0 {
            let place = left.trailing_zeros();
            if place == 63 {
                self.escaped = true;
                break;
            }
            let behind = 1 << (place + 1);
            escaped |= behind;
            left &= left - 1;
            left &= !behind;
        }
        escaped
    }
}

/// Bit `n` is the parity of bits 0 to `n`.
fn prefix_xor(mut bits: u64) -> u64 {
    for shift in [1, 2, 4, 8, 16, 32] {
        bits ^= bits << shift;
    }
    bits
}

/// A bit for each byte of a block.
#[derive(Debug, PartialEq)]
struct Marks {
    quotes: u64,
    backslashes: u64,
    opening: u64,
    closing: u64,
}

/// Makes `{` of `[` and `}` of `]`, and no other byte one of those.
const BRACE: u8 = 0x20;

impl Marks {
    fn of(block: &[u8; BLOCK]) -> Self {
        let mut marks = Marks { quotes: 0, backslashes: 0, opening: 0, closing: 0 };
        for (part, bytes) in block.as_chunks::<16>().0.iter().enumerate() {
            let found = lanes::marks(bytes, BRACE).map(|bits| u64::from(bits) << (part * 16));
            marks.quotes |= found[0];
            marks.backslashes |= found[1];
            marks.opening |= found[2];
            marks.closing |= found[3];
        }
        marks
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_end_where_they_end() {
        fn check(json: &str, expect: Option<usize>) {
            assert_eq!(value_end(json.as_bytes(), 0), expect, "{json}");
        }
        check("", None);
        check("12,", Some(2));
        check("true", Some(4));
        check(r#""a" "#, Some(3));
        check(r#""a\"b" "#, Some(6));
        check(r#""a\\" "#, Some(5));
        check(r#""open"#, None);
        check("\"long enough for some words\\\" of eight\":1", Some(39));
        check("{}", Some(2));
        check("[[],{}],", Some(7));
        check("{\"a\":[1,{\"b\":\"]}\"}]} ", Some(20));
        check("[1", None);
        check("[\"", None);
    }

    #[test]
    fn a_text_that_crosses_blocks_ends_the_same_at_any_offset() {
        let text = r#"{"quote":"\"","end":"\\","both":"\\\"}","deep":[[[{"a":"]"}]]],"n":-1.5e3}"#;
        for pad in 0..200 {
            let json = format!("[\"{}\",{text},{text}]rest", "x".repeat(pad));
            let end = json.len() - "rest".len();
            assert_eq!(value_end(json.as_bytes(), 0), Some(end), "{pad}");
            assert_eq!(value_end(&json.as_bytes()[..end - 1], 0), None, "{pad}");
        }
    }
}
