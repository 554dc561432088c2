//! Levels and versions, as labels of a namespace say them.

use std::collections::BTreeMap;
use std::fmt;

use serde::Deserialize;

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    #[default]
    Privileged,
    Baseline,
    Restricted,
}

impl Level {
    fn parse(text: &str) -> Option<Self> {
        match text {
            "privileged" => Some(Level::Privileged),
            "baseline" => Some(Level::Baseline),
            "restricted" => Some(Level::Restricted),
            _ => None,
        }
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Level::Privileged => "privileged",
            Level::Baseline => "baseline",
            Level::Restricted => "restricted",
        })
    }
}

/// As of which release; later ones compare higher, `latest` highest.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Version {
    /// `v1.N`.
    Minor(u32),
    #[default]
    Latest,
}

impl Version {
    fn parse(text: &str) -> Option<Self> {
        if text == "latest" {
            return Some(Version::Latest);
        }
        let minor = text.strip_prefix("v1.")?;
        let is_plain = minor == "0" || !minor.starts_with('0');
        let digits = minor.bytes().all(|byte| byte.is_ascii_digit());
        if is_plain && digits { minor.parse().ok().map(Version::Minor) } else { None }
    }

    /// Is what came with `v1.N` part of it?
    pub fn has(self, minor: u32) -> bool {
        self >= Version::Minor(minor)
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Version::Minor(minor) => write!(f, "v1.{minor}"),
            Version::Latest => f.write_str("latest"),
        }
    }
}

impl<'de> Deserialize<'de> for Version {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Version::parse(&text).ok_or_else(|| {
            serde::de::Error::custom(format!("{text:?} is neither \"latest\" nor \"v1.N\""))
        })
    }
}

/// `restricted:latest`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Standard {
    pub level: Level,
    pub version: Version,
}

impl fmt::Display for Standard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.level, self.version)
    }
}

/// What holds in a namespace.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Policy {
    pub enforce: Standard,
    pub audit: Standard,
    pub warn: Standard,
}

/// A label that says nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadLabel {
    pub key: String,
    pub value: String,
    pub message: &'static str,
}

const PREFIX: &str = "pod-security.kubernetes.io/";

impl Policy {
    /// Of a namespace with these labels. A level that nobody knows enforces the
    /// strictest one: better too little than too much.
    pub fn of(labels: &BTreeMap<String, String>, defaults: &Policy) -> (Self, Vec<BadLabel>) {
        let mut bad = Vec::new();
        let mut policy = *defaults;
        let mut read = |mode: &str, standard: &mut Standard, fallback: Level| {
            let label = |key: &str| labels.get_key_value(key);
            if let Some((key, value)) = label(&format!("{PREFIX}{mode}")) {
                standard.version = Version::Latest;
                standard.level = Level::parse(value).unwrap_or_else(|| {
                    let message = "must be one of privileged, baseline, restricted";
                    bad.push(BadLabel { key: key.clone(), value: value.clone(), message });
                    fallback
                });
            }
            if let Some((key, value)) = label(&format!("{PREFIX}{mode}-version")) {
                standard.version = Version::parse(value).unwrap_or_else(|| {
                    let message = "must be \"latest\" or \"v1.x\"";
                    bad.push(BadLabel { key: key.clone(), value: value.clone(), message });
                    Version::Latest
                });
            }
        };
        read("enforce", &mut policy.enforce, Level::Restricted);
        read("audit", &mut policy.audit, Level::Privileged);
        read("warn", &mut policy.warn, Level::Privileged);
        // What is enforced on pods is worth a warning on what makes pods.
        if !labels.contains_key(&format!("{PREFIX}warn"))
            && policy.enforce.level > policy.warn.level
        {
            policy.warn = policy.enforce;
        }
        (policy, bad)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_say_what_holds() {
        fn check(labels: &[(&str, &str)], expect: &str, bad: usize) {
            let labels = labels
                .iter()
                .map(|(key, value)| (format!("{PREFIX}{key}"), (*value).to_owned()))
                .collect();
            let (policy, found) = Policy::of(&labels, &Policy::default());
            let got = format!("{} {} {}", policy.enforce, policy.audit, policy.warn);
            assert_eq!((got.as_str(), found.len()), (expect, bad));
        }
        let free = "privileged:latest";
        check(&[], &format!("{free} {free} {free}"), 0);
        check(&[("enforce", "baseline")], &format!("baseline:latest {free} baseline:latest"), 0);
        check(
            &[("enforce", "baseline"), ("enforce-version", "v1.25"), ("warn", "restricted")],
            &format!("baseline:v1.25 {free} restricted:latest"),
            0,
        );
        check(&[("enforce", "strict")], &format!("restricted:latest {free} restricted:latest"), 1);
        check(&[("audit", "x"), ("audit-version", "1.25")], &format!("{free} {free} {free}"), 2);
        check(
            &[("warn", "baseline"), ("warn-version", "v1.025")],
            &format!("{free} {free} baseline:latest"),
            1,
        );
    }

    #[test]
    fn later_versions_have_more() {
        assert!(
            Version::Latest.has(35) && Version::Minor(25).has(25) && !Version::Minor(24).has(25)
        );
    }
}
