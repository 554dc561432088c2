//! How a swap remembers the version it replaced: as JSON, in an annotation.
//!
//! Annotations have room for 256 KiB. A component in the object itself is deflated
//! there, which makes three of it as large as one.

use std::io::{Read as _, Write as _};

use anyhow::{Context as _, Result, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use flate2::Compression;
use flate2::read::ZlibDecoder;
use flate2::write::ZlibEncoder;
use serde_json::{Value, json};

use super::change::Version;
use super::load::MAX_INLINE_BYTES;

/// In place of `data` below `source.inline`.
const DEFLATED: &str = "deflated";

pub fn remember(version: &Version) -> Result<String> {
    let mut version = serde_json::to_value(version)?;
    let data = version["source"]["inline"]["data"].as_str();
    if let Some(Ok(bytes)) = data.map(|data| STANDARD.decode(data)) {
        let mut encoder = ZlibEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(&bytes)?;
        version["source"]["inline"] = json!({DEFLATED: STANDARD.encode(encoder.finish()?)});
    }
    Ok(version.to_string())
}

pub fn recall(text: &str) -> Result<Version> {
    let mut version: Value = serde_json::from_str(text)?;
    if let Some(deflated) = version["source"]["inline"][DEFLATED].as_str() {
        let deflated = STANDARD.decode(deflated)?;
        let mut bytes = Vec::new();
        let limit = MAX_INLINE_BYTES as u64 + 1;
        ZlibDecoder::new(&deflated[..]).take(limit).read_to_end(&mut bytes)?;
        ensure!(bytes.len() <= MAX_INLINE_BYTES, "the component in it is too large");
        version["source"]["inline"] = json!({"data": STANDARD.encode(&bytes)});
    }
    serde_json::from_value(version).context("not a version")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inline(bytes: &[u8]) -> Version {
        let source = json!({"inline": {"data": STANDARD.encode(bytes)}});
        serde_json::from_value(json!({"source": source, "digest": "sha256:1"})).unwrap()
    }

    #[test]
    fn what_is_remembered_is_recalled() {
        fn check(version: &Version, most: usize) {
            let text = remember(version).unwrap();
            assert!(text.len() <= most, "{}", text.len());
            let recalled = recall(&text).unwrap();
            let json = |version: &Version| serde_json::to_value(version).unwrap();
            assert_eq!(json(&recalled), json(version));
        }
        check(&inline(b"\0asm"), 300);
        check(&inline(&[7; 300 << 10]), 2 << 10);
        let embedded = json!({"source": {"embedded": {"name": "scheduler"}}, "config": {"a": 1}});
        check(&serde_json::from_value(embedded).unwrap(), 300);
    }

    #[test]
    fn what_older_commands_remembered_is_recalled_too() {
        let text = r#"{"source": {"inline": {"data": "AA=="}}, "digest": "sha256:1"}"#;
        assert_eq!(recall(text).unwrap().source["inline"]["data"], "AA==");
    }

    #[test]
    fn nonsense_is_refused() {
        for text in ["", "{}x", r#"{"source": {"inline": {"deflated": "!"}}}"#] {
            assert!(recall(text).is_err(), "{text}");
        }
        let bomb = inline(&vec![0; MAX_INLINE_BYTES + 1]);
        assert!(recall(&remember(&bomb).unwrap()).is_err());
    }
}
