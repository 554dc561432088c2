//! One nftables transaction through the `nft` program.
//!
//! A table's skeleton changes rarely; the program costs a few milliseconds and
//! spares an encoder for every statement of the language.

use std::io::Write;
use std::process::{Command, Stdio};

use crate::error::OpError;

/// Bytes of nft's complaint that are worth passing on.
const MESSAGE_LIMIT: usize = 1024;

/// Replaces the table in one transaction. The caller has checked the words.
pub(crate) fn replace_table(family: &str, table: &str, body: &str) -> Result<(), OpError> {
    // Declaring it first makes the delete succeed when it does not exist yet.
    let mut script = format!("table {family} {table}\ndelete table {family} {table}\n");
    if !body.trim().is_empty() {
        script.push_str(&format!("table {family} {table} {{\n{body}\n}}\n"));
    }
    let mut child = Command::new("nft")
        .args(["-f", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(OpError::NftMissing)?;
    // nft reads all of its input before it writes, so this cannot deadlock. A
    // broken pipe means that it died, and its output says why.
    if let Some(mut stdin) = child.stdin.take() {
        let _ = stdin.write_all(script.as_bytes());
    }
    let output = child.wait_with_output().map_err(OpError::NftMissing)?;
    if output.status.success() {
        return Ok(());
    }
    let mut message = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    if let Some((cut, _)) = message.char_indices().nth(MESSAGE_LIMIT) {
        message.truncate(cut);
    }
    Err(OpError::Nft { table: table.to_owned(), message })
}
