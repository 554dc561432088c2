//! Two documents side by side, as `diff -y` has it: what is the same on both
//! sides far from any difference is left out.

use std::io::IsTerminal as _;

use serde_json::Value;

/// Where standard output is no terminal.
const WIDTH: usize = 160;

/// Lines that are the same around a difference.
const CONTEXT: usize = 3;

/// Above this many pairs of lines they are compared in order only.
const MAX_PAIRS: usize = 4 << 20;

#[derive(Clone, Copy, PartialEq)]
enum Row {
    Same(usize, usize),
    Changed(usize, usize),
    Left(usize),
    Right(usize),
}

/// Two values as YAML, below their titles.
pub fn side_by_side(titles: (&str, &str), left: &Value, right: &Value, width: usize) -> String {
    let (left, right) = (lines(left), lines(right));
    let rows = paired(rows(&left, &right));
    let column = (width.saturating_sub(3) / 2).max(20);
    let mut text = String::new();
    let mut put = |left: &str, mark: char, right: &str| {
        let (left, right) = (wrapped(left, column), wrapped(right, column));
        for at in 0..left.len().max(right.len()) {
            let of = |side: &[String]| side.get(at).cloned().unwrap_or_default();
            let line = format!("{:<column$} {mark} {}", of(&left), of(&right));
            text.push_str(line.trim_end());
            text.push('\n');
        }
    };
    put(titles.0, ' ', titles.1);
    let mut left_out = false;
    for (at, row) in rows.iter().enumerate() {
        let near = rows[at.saturating_sub(CONTEXT)..(at + CONTEXT + 1).min(rows.len())]
            .iter()
            .any(|row| !matches!(row, Row::Same(..)));
        if !near {
            if !left_out {
                put("...", ' ', "...");
            }
            left_out = true;
            continue;
        }
        left_out = false;
        match *row {
            Row::Same(l, r) => put(&left[l], ' ', &right[r]),
            Row::Changed(l, r) => put(&left[l], '|', &right[r]),
            Row::Left(l) => put(&left[l], '<', ""),
            Row::Right(r) => put("", '>', &right[r]),
        }
    }
    text
}

/// Of standard output.
pub fn width() -> usize {
    let size = std::io::stdout().is_terminal().then(crate::client::exec::terminal_size);
    size.flatten().map_or(WIDTH, |(width, _)| usize::from(width))
}

fn lines(value: &Value) -> Vec<String> {
    let shown = |line: &str| -> String {
        // What a plugin wrote must not drive the terminal.
        line.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
    };
    match value {
        Value::String(text) => text.lines().map(shown).collect(),
        value => pintle_api::yaml::to_string(value).lines().map(shown).collect(),
    }
}

/// The same keys in the same places: what differs is values, and those belong
/// beside each other although other lines may be alike by chance.
fn of_one_shape(left: &[String], right: &[String]) -> bool {
    fn key(line: &str) -> &str {
        line.split_once(": ").map_or(line, |(key, _)| key)
    }
    left.len() == right.len() && left.iter().zip(right).all(|(l, r)| key(l) == key(r))
}

/// The longest common run of lines stays together.
fn rows(left: &[String], right: &[String]) -> Vec<Row> {
    if of_one_shape(left, right) || left.len() * right.len() > MAX_PAIRS {
        let both = left.len().min(right.len());
        let together = (0..both)
            .map(|at| if left[at] == right[at] { Row::Same(at, at) } else { Row::Changed(at, at) });
        let rest = (both..left.len()).map(Row::Left).chain((both..right.len()).map(Row::Right));
        return together.chain(rest).collect();
    }
    let columns = right.len() + 1;
    let mut common = vec![0u32; (left.len() + 1) * columns];
    for l in (0..left.len()).rev() {
        for r in (0..right.len()).rev() {
            common[l * columns + r] = if left[l] == right[r] {
                common[(l + 1) * columns + r + 1] + 1
            } else {
                common[(l + 1) * columns + r].max(common[l * columns + r + 1])
            };
        }
    }
    let (mut l, mut r) = (0, 0);
    let mut rows = Vec::new();
    while l < left.len() || r < right.len() {
        if l < left.len() && r < right.len() && left[l] == right[r] {
            rows.push(Row::Same(l, r));
            (l, r) = (l + 1, r + 1);
        } else if r == right.len()
            || (l < left.len() && common[(l + 1) * columns + r] >= common[l * columns + r + 1])
        {
            rows.push(Row::Left(l));
            l += 1;
        } else {
            rows.push(Row::Right(r));
            r += 1;
        }
    }
    rows
}

/// Lines that went and lines that came instead, beside each other.
fn paired(rows: Vec<Row>) -> Vec<Row> {
    let mut paired = Vec::with_capacity(rows.len());
    let mut at = 0;
    while at < rows.len() {
        let run = rows[at..].iter().take_while(|row| !matches!(row, Row::Same(..))).count();
        let (mut gone, mut came) = (Vec::new(), Vec::new());
        for row in &rows[at..at + run] {
            match row {
                Row::Left(l) => gone.push(*l),
                Row::Right(r) => came.push(*r),
                Row::Same(..) | Row::Changed(..) => paired.push(*row),
            }
        }
        for index in 0..gone.len().max(came.len()) {
            paired.push(match (gone.get(index), came.get(index)) {
                (Some(l), Some(r)) => Row::Changed(*l, *r),
                (Some(l), None) => Row::Left(*l),
                (None, Some(r)) => Row::Right(*r),
                (None, None) => break,
            });
        }
        at += run;
        if let Some(same) = rows.get(at) {
            paired.push(*same);
            at += 1;
        }
    }
    paired
}

fn wrapped(line: &str, width: usize) -> Vec<String> {
    let characters: Vec<char> = line.chars().collect();
    if characters.is_empty() {
        return vec![String::new()];
    }
    characters.chunks(width).map(|chunk| chunk.iter().collect()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn check(left: Value, right: Value, expect: &str) {
        let text = side_by_side(("recorded", "now"), &left, &right, 43);
        assert_eq!(text, expect, "\n{text}");
    }

    #[test]
    fn lines_that_differ_are_marked() {
        check(
            json!({ "bind": "node-1" }),
            json!({ "bind": "node-2" }),
            "recorded               now\n\
             bind: node-1         | bind: node-2\n",
        );
        check(
            json!({ "a": 1, "b": 2 }),
            json!({ "a": 1, "c": 3, "d": 4 }),
            "recorded               now\n\
             a: 1                   a: 1\n\
             b: 2                 | c: 3\n                     \
             > d: 4\n",
        );
        check(
            json!({ "n1": { "score": 9 }, "n2": { "score": 0 } }),
            json!({ "n1": { "score": 0 }, "n2": { "score": 9 } }),
            "recorded               now\n\
             n1:                    n1:\n\
             \x20 score: 9           |   score: 0\n\
             n2:                    n2:\n\
             \x20 score: 0           |   score: 9\n",
        );
        check(json!("gone"), json!(""), "recorded               now\ngone                 <\n");
    }

    #[test]
    fn long_lines_go_on_below_and_distant_ones_are_left_out() {
        let left = json!({ "a": 1, "b": 1, "c": 1, "d": 1, "e": 1, "f": "x" });
        let mut right = left.clone();
        right["f"] = json!("0123456789012345678901234");
        check(
            left,
            right,
            "recorded               now\n\
             ...                    ...\n\
             c: 1                   c: 1\n\
             d: 1                   d: 1\n\
             e: 1                   e: 1\n\
             f: x                 | f: \"0123456789012345\n                     \
             | 678901234\"\n",
        );
    }
}
