//! Sets of completion indexes as Kubernetes writes them: `1,3-5,7`.

use std::collections::BTreeSet;

pub type Indexes = BTreeSet<i64>;

/// What cannot be read is left out, and so is what lies beyond `completions`.
pub fn parse(text: &str, completions: i64) -> Indexes {
    let mut found = Indexes::new();
    for part in text.split(',').filter(|part| !part.is_empty()) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        if let (Ok(first), Ok(last)) = (first.parse::<i64>(), last.parse::<i64>()) {
            found.extend(first.max(0)..=last.min(completions - 1));
        }
    }
    found
}

/// Neighbours are joined from three on, as `3-5`; two of them also, as `3,4`.
pub fn format(indexes: &Indexes) -> String {
    let mut parts: Vec<String> = Vec::new();
    let mut sorted = indexes.iter().copied().peekable();
    while let Some(first) = sorted.next() {
        let mut last = first;
        while let Some(next) = sorted.next_if(|next| *next == last + 1) {
            last = next;
        }
        parts.push(match last - first {
            0 => first.to_string(),
            1 => format!("{first},{last}"),
            _ => format!("{first}-{last}"),
        });
    }
    parts.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_and_back() {
        fn check(text: &str, completions: i64, expect: &str) {
            assert_eq!(format(&parse(text, completions)), expect);
        }
        check("", 5, "");
        check("0", 5, "0");
        check("0-2,4", 5, "0-2,4");
        check("1,2", 5, "1,2");
        check("3-9", 5, "3,4");
        check("x,2,-", 5, "2");
        check("0-99999999999999999999", 5, "");
    }
}
