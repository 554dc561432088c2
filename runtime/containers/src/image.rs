//! Images as the store gives them out.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// One name in the store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageRecord {
    pub name: String,
    /// Of the manifest: `sha256:<hex>`.
    pub digest: String,
    /// Bytes of the manifest, the config and the layers as stored.
    pub size: u64,
    /// As written in the image's config (RFC 3339), when it is.
    pub created: Option<String>,
}

/// A resolved image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    pub name: String,
    /// Of the config, `sha256:<hex>`: what Kubernetes calls `imageID`.
    pub id: String,
    /// Of the manifest.
    pub digest: String,
    pub size: u64,
    pub config: ImageConfig,
    /// Lowest first.
    pub layers: Vec<Layer>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layer {
    /// Of the blob as stored.
    pub digest: String,
    /// Of the uncompressed tar.
    pub diff_id: String,
    /// Names the unpacked directory: it depends on every layer below.
    pub chain_id: String,
    pub size: u64,
}

/// What the image says about running it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ImageConfig {
    pub entrypoint: Vec<String>,
    pub cmd: Vec<String>,
    pub env: Vec<(String, String)>,
    pub working_dir: String,
    /// `user`, `user:group`, names or numbers, see [`resolve_user`](crate::resolve_user).
    pub user: String,
    /// A name (`SIGTERM`) or number; empty when the image does not say. See [`ImageConfig::signal`].
    pub stop_signal: String,
    /// `80/tcp`.
    pub exposed: Vec<String>,
    pub labels: BTreeMap<String, String>,
}

impl ImageConfig {
    /// The stop signal as a number; SIGTERM when the image does not say, or says nonsense.
    pub fn signal(&self) -> i32 {
        signal_number(&self.stop_signal).unwrap_or(libc::SIGTERM)
    }
}

/// `SIGTERM`, `TERM` or `15`.
pub fn signal_number(text: &str) -> Option<i32> {
    if let Ok(number) = text.parse::<i32>() {
        return (1..=64).contains(&number).then_some(number);
    }
    let name = text.strip_prefix("SIG").unwrap_or(text);
    if let Some(offset) = name.strip_prefix("RTMIN+") {
        let number = 34 + offset.parse::<i32>().ok()?;
        return (34..=64).contains(&number).then_some(number);
    }
    Some(match name {
        "HUP" => libc::SIGHUP,
        "INT" => libc::SIGINT,
        "QUIT" => libc::SIGQUIT,
        "ABRT" => libc::SIGABRT,
        "KILL" => libc::SIGKILL,
        "USR1" => libc::SIGUSR1,
        "USR2" => libc::SIGUSR2,
        "ALRM" => libc::SIGALRM,
        "TERM" => libc::SIGTERM,
        "CONT" => libc::SIGCONT,
        "STOP" => libc::SIGSTOP,
        "TSTP" => libc::SIGTSTP,
        "WINCH" => libc::SIGWINCH,
        "PWR" => libc::SIGPWR,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stop_signals() {
        for (input, expect) in [
            ("SIGTERM", Some(15)),
            ("QUIT", Some(3)),
            ("9", Some(9)),
            ("SIGRTMIN+3", Some(37)),
            ("0", None),
            ("65", None),
            ("SIGNOPE", None),
            ("", None),
        ] {
            assert_eq!(signal_number(input), expect, "{input}");
        }
        assert_eq!(ImageConfig::default().signal(), 15);
    }
}
