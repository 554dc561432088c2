//! How violations are worded: `containers "a", "b" must not ...`.

/// What a pod breaks: `privileged (container "c" must not ...)`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    pub reason: String,
    pub detail: String,
}

impl Violation {
    pub fn new(reason: &str, detail: impl Into<String>) -> Self {
        Violation { reason: reason.to_owned(), detail: detail.into() }
    }
}

/// `reason (detail), reason (detail)`.
pub fn printed(violations: &[Violation]) -> String {
    let lines: Vec<String> = violations
        .iter()
        .map(|Violation { reason, detail }| match detail.as_str() {
            "" => reason.clone(),
            detail => format!("{reason} ({detail})"),
        })
        .collect();
    lines.join(", ")
}

pub fn plural<'a>(one: &'a str, several: &'a str, count: usize) -> &'a str {
    if count == 1 { one } else { several }
}

/// `"a", "b"`.
pub fn quoted<T: AsRef<str>>(names: impl IntoIterator<Item = T>) -> String {
    let quoted: Vec<String> =
        names.into_iter().map(|name| format!("\"{}\"", name.as_ref())).collect();
    quoted.join(", ")
}

/// `container "a"`, `containers "a", "b"`.
pub fn containers(names: &[&str]) -> String {
    format!("{} {}", plural("container", "containers", names.len()), quoted(names))
}

/// `pod and container "a"`: who said it themselves.
pub fn setters(pod: bool, names: &[&str]) -> Option<String> {
    match (pod, names) {
        (false, []) => None,
        (true, []) => Some("pod".to_owned()),
        (false, names) => Some(containers(names)),
        (true, names) => Some(format!("pod and {}", containers(names))),
    }
}
