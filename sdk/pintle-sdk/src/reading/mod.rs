//! Reading a type from an object's JSON, and with it the part of the text that
//! the type looks at.
//!
//! Two texts that agree in that part make equal values, whatever else is in
//! them: pods of one template are told by this, and nodes of one kind, without
//! anybody saying which fields matter. What is not looked at is skipped fast.
//!
//! The one reader of a guest: whatever type is read, in whatever role, there is
//! no second copy of it for another reader.
//!
//! Does not know: objects, pods or nodes. What is skipped is not checked: texts
//! come from the host, which has.

mod entries;
mod lanes;
mod leaf;
mod raw;
mod scan;
#[cfg(test)]
mod tests;
mod walker;

use serde::Deserialize;
use serde::de::{DeserializeOwned, Error as _};
use serde_json::Error;

pub use self::raw::Raw;
use self::walker::{Note, Walker};

/// The value that a JSON text stands for.
pub fn parse<'de, T: Deserialize<'de>>(json: &'de [u8]) -> Result<T, Error> {
    whole(json, &mut ())
}

/// The value, and what it was made from is appended to `part`.
pub(crate) fn read<T: DeserializeOwned>(json: &[u8], part: &mut Vec<u8>) -> Result<T, Error> {
    let start = part.len();
    let value = whole(json, part);
    if value.is_err() {
        part.truncate(start);
    }
    value
}

/// [`parse`], and an error names the field it is about.
pub(crate) fn parse_with_path<T: DeserializeOwned>(
    json: &[u8],
) -> Result<T, serde_path_to_error::Error<Error>> {
    serde_path_to_error::deserialize(&mut Walker::new(json, &mut ()))
}

/// The values at dotted paths (`metadata.labels`) as they stand are appended to
/// `part`.
pub(crate) fn fields(json: &[u8], paths: &[&str], part: &mut Vec<u8>) {
    for path in paths {
        part.extend_from_slice(scan::field(json, path).unwrap_or_default());
        // In no JSON text.
        part.push(0);
    }
}

fn whole<'de, T: Deserialize<'de>, N: Note>(json: &'de [u8], note: &mut N) -> Result<T, Error> {
    let mut walker = Walker::new(json, note);
    let value = T::deserialize(&mut walker);
    let at = walker.at();
    match value {
        Ok(value) if scan::blanks(json, at) == json.len() => Ok(value),
        Ok(_) => Err(placed(&Error::custom("trailing characters"), json, at)),
        Err(error) => Err(placed(&error, json, at)),
    }
}

/// The error with the place up to which the text was read.
#[cold]
fn placed(error: &Error, json: &[u8], at: usize) -> Error {
    let before = &json[..at.min(json.len())];
    let line = 1 + before.iter().filter(|byte| **byte == b'\n').count();
    let column = before.iter().rev().take_while(|byte| **byte != b'\n').count();
    let text = error.to_string();
    // Of a text within the text, which has its own place.
    let text = text.rsplit_once(" at line ").map_or(&*text, |(text, _)| text);
    Error::custom(format_args!("{text} at line {line} column {column}"))
}
