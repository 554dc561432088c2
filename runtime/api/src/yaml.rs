//! Objects as YAML text, the way kubectl prints them.
//!
//! Kubernetes' tools read YAML 1.1, where `yes`, `1_000` and `1:30` are no
//! strings. Whatever could be read as something else, by either version, is
//! quoted, so that what is printed can be applied again.

use serde_json::Value;

/// The document, with a newline at its end.
pub fn to_string(value: &Value) -> String {
    let mut out = String::new();
    match value {
        Value::Object(map) if !map.is_empty() => entries(value, 0, false, &mut out),
        Value::Array(items) if !items.is_empty() => entries(value, 0, false, &mut out),
        other => {
            scalar(other, 0, &mut out);
            out.push('\n');
        }
    }
    out
}

/// The lines of a map or list that is not empty. `begun`: the first line has its indent already.
fn entries(value: &Value, indent: usize, mut begun: bool, out: &mut String) {
    let mut line_start = |out: &mut String| {
        if !std::mem::replace(&mut begun, false) {
            out.extend(std::iter::repeat_n(' ', indent));
        }
    };
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                line_start(out);
                string(key, None, out);
                out.push(':');
                match value {
                    Value::Object(inner) if !inner.is_empty() => {
                        out.push('\n');
                        entries(value, indent + 2, false, out);
                    }
                    // Lists stand at the indent of their key.
                    Value::Array(inner) if !inner.is_empty() => {
                        out.push('\n');
                        entries(value, indent, false, out);
                    }
                    other => {
                        out.push(' ');
                        scalar(other, indent + 2, out);
                        out.push('\n');
                    }
                }
            }
        }
        Value::Array(items) => {
            for item in items {
                line_start(out);
                out.push_str("- ");
                match item {
                    Value::Object(inner) if !inner.is_empty() => {
                        entries(item, indent + 2, true, out);
                    }
                    Value::Array(inner) if !inner.is_empty() => {
                        entries(item, indent + 2, true, out);
                    }
                    other => {
                        scalar(other, indent + 2, out);
                        out.push('\n');
                    }
                }
            }
        }
        _ => {}
    }
}

fn scalar(value: &Value, indent: usize, out: &mut String) {
    match value {
        Value::String(text) => string(text, Some(indent), out),
        Value::Object(_) => out.push_str("{}"),
        Value::Array(_) => out.push_str("[]"),
        other => out.push_str(&other.to_string()),
    }
}

/// `block` is the indent of a text of several lines, where one may stand.
fn string(text: &str, block: Option<usize>, out: &mut String) {
    match block {
        Some(indent) if fits_block(text) => literal(text, indent, out),
        _ if is_plain(text) => out.push_str(text),
        // JSON's escapes are YAML's, too; it escapes less.
        _ => out.extend(Value::from(text).to_string().chars().map(|c| {
            let hidden = c.is_control() || is_special(c);
            if hidden { format!("\\u{:04x}", c as u32) } else { c.to_string() }
        })),
    }
}

fn fits_block(text: &str) -> bool {
    let shown = |c: char| c == '\n' || c == '\t' || !(c.is_control() || is_special(c));
    text.contains('\n') && !text.starts_with(char::is_whitespace) && text.chars().all(shown)
}

/// Line breaks and marks that YAML treats apart.
fn is_special(c: char) -> bool {
    matches!(c, '\u{2028}' | '\u{2029}' | '\u{feff}')
}

fn literal(text: &str, indent: usize, out: &mut String) {
    let body = text.trim_end_matches('\n');
    out.push_str(match text.len() - body.len() {
        0 => "|-",
        1 => "|",
        _ => "|+",
    });
    for line in text.strip_suffix('\n').unwrap_or(text).split('\n') {
        out.push('\n');
        if !line.is_empty() {
            out.extend(std::iter::repeat_n(' ', indent));
            out.push_str(line);
        }
    }
}

/// Whether a text means itself without quotes.
fn is_plain(text: &str) -> bool {
    let first = |c: char| c.is_ascii_alphanumeric() || matches!(c, '/' | '_' | '(' | '$');
    let any = |c: char| c.is_ascii_graphic() || c == ' ';
    text.starts_with(first)
        && text.chars().all(any)
        && !text.ends_with([' ', ':'])
        && !text.contains(": ")
        && !text.contains(" #")
        && !is_word(text)
        && !may_be_number(text)
}

/// What YAML 1.1 or 1.2 takes for a boolean or nothing.
fn is_word(text: &str) -> bool {
    const WORDS: &[&str] =
        &["y", "n", "yes", "no", "on", "off", "true", "false", "null", ".inf", ".nan"];
    WORDS.iter().any(|word| text.eq_ignore_ascii_case(word))
}

/// Numbers of any base, with underscores, in sixties, and times of day and year.
fn may_be_number(text: &str) -> bool {
    let of_number = |c: char| c.is_ascii_hexdigit() || "xXoO_.:-+tTzZ ".contains(c);
    // Addresses and versions have more dots than any number, unless they have colons.
    let dotted = text.matches('.').count() > 1 && !text.contains(':');
    text.starts_with(|c: char| c.is_ascii_digit() || c == '.')
        && text.chars().all(of_number)
        && !dotted
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    #[test]
    fn objects_look_as_kubectl_prints_them() {
        let object = json!({
            "apiVersion": "v1",
            "metadata": {"creationTimestamp": "2026-11-20T08:14:15Z", "labels": {}, "uid": null},
            "spec": {"args": ["-c", "echo a: b", "one\ntwo\n"], "image": "pintle.dev/demo/web:1",
                "ports": [{"name": "http", "port": 80}, {}], "nested": [[1, 2], []]},
        });
        assert_eq!(
            to_string(&object),
            r#"apiVersion: v1
metadata:
  creationTimestamp: "2026-11-20T08:14:15Z"
  labels: {}
  uid: null
spec:
  args:
  - "-c"
  - "echo a: b"
  - |
    one
    two
  image: pintle.dev/demo/web:1
  nested:
  - - 1
    - 2
  - []
  ports:
  - name: http
    port: 80
  - {}
"#
        );
        assert_eq!(to_string(&json!({})), "{}\n");
    }

    #[test]
    fn what_could_be_read_as_something_else_is_quoted() {
        for text in [
            "yes",
            "No",
            "ON",
            "off",
            "y",
            "n",
            "true",
            "null",
            "~",
            "",
            " ",
            "a ",
            "1",
            "-1",
            "1_000",
            "1e3",
            "0x1F",
            "0o7",
            "08",
            "1:30",
            "2026-01-01",
            ".inf",
            ".5",
            "+1",
            "=",
            "<<",
            "- x",
            "a: b",
            "a #b",
            "a:",
            "#a",
            "&a",
            "*a",
            "!a",
            "|",
            ">",
            "%a",
            "@a",
            "`a",
            "{a",
            "[a",
            "?",
            "\"a",
            "'a",
            "ä",
            "a\tb",
            "12:30:45",
            "2026-11-20T08:14:15Z",
            "---",
            "...",
        ] {
            let printed = to_string(&json!({ "k": text }));
            assert_eq!(printed, format!("k: {}\n", json!(text)), "{text:?}");
        }
        for text in [
            "10.244.0.6",
            "10.244.0.0/24",
            "sha256:ab12",
            "v1.35.0+x",
            "web-0",
            "a b",
            "250m",
            "1Gi",
        ] {
            assert_eq!(to_string(&json!(text)), format!("{text}\n"));
        }
    }

    #[test]
    fn what_no_terminal_shows_is_escaped() {
        let text = "\u{1b}\u{7f}\u{85}\u{2028}";
        assert_eq!(to_string(&json!(text)), "\"\\u001b\\u007f\\u0085\\u2028\"\n");
    }

    #[test]
    fn texts_of_several_lines_keep_every_line() {
        let check = |text: &str, expect: &str| {
            assert_eq!(to_string(&json!({ "k": text })), expect);
        };
        check("a\nb", "k: |-\n  a\n  b\n");
        check("a\n\nb\n", "k: |\n  a\n\n  b\n");
        check("a\n\n", "k: |+\n  a\n\n");
        check("\na\n", "k: \"\\na\\n\"\n");
        check(" a\nb", "k: \" a\\nb\"\n");
    }

    proptest! {
        #[test]
        fn every_text_is_one_line_or_a_block(text in any::<String>()) {
            let printed = to_string(&json!({ "k": text, "l": 1 }));
            prop_assert!(printed.ends_with("\nl: 1\n"));
            let is_block = printed.starts_with("k: |");
            prop_assert!(is_block || printed.lines().count() == 2, "{printed:?}");
        }
    }
}
