//! Where in an object the checker stands, as a chain of steps on its stack.
//!
//! Knows how paths are written in the two kinds of errors, and no rule about
//! what stands at the end of one.

use super::super::{MessageId, Schema};

/// Where the checker stands; written out only when there is something to say.
pub struct Trail<'a> {
    pub parent: Option<&'a Trail<'a>>,
    pub step: Step<'a>,
}

pub enum Step<'a> {
    Root,
    /// A field of a message.
    Field(MessageId, &'a str),
    Key(&'a str),
    Index(usize),
}

impl Trail<'_> {
    pub fn level(&self) -> usize {
        self.parent.map_or(0, |parent| parent.level() + 1)
    }

    pub fn path(&self) -> String {
        let mut path = self.parent.map(Trail::path).unwrap_or_default();
        match self.step {
            Step::Root => {}
            Step::Index(index) => path.push_str(&format!("[{index}]")),
            Step::Field(_, name) | Step::Key(name) => {
                if !path.is_empty() {
                    path.push('.');
                }
                path.push_str(name);
            }
        }
        path
    }

    /// The path of struct fields alone, as decoding errors have it: embedded
    /// structs are steps of their own, indexes and map keys are not.
    pub fn fields(&self, schema: &Schema) -> String {
        let mut path = self.parent.map(|parent| parent.fields(schema)).unwrap_or_default();
        if let Step::Field(message, name) = self.step {
            let mut push = |step: &str| {
                if !path.is_empty() {
                    path.push('.');
                }
                path.push_str(step);
            };
            schema.embedding(message, name).into_iter().for_each(&mut push);
            push(name);
        }
        path
    }
}
