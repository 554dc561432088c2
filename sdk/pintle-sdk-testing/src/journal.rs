//! What happened, in order: a hash of all of it, and the last lines for whoever
//! has to find out why a run failed.

use std::collections::VecDeque;
use std::hash::{DefaultHasher, Hasher};

use pintle_sdk::Action;

/// So many lines say what led to a failure.
const KEPT: usize = 40;

#[derive(Default)]
pub(crate) struct Journal {
    hash: DefaultHasher,
    last: VecDeque<String>,
    all: bool,
}

impl Journal {
    /// From now on no line is dropped.
    pub fn keep_all(&mut self) {
        self.all = true;
    }

    pub fn note(&mut self, line: String) {
        self.hash.write(line.as_bytes());
        self.hash.write_u8(b'\n');
        if !self.all && self.last.len() == KEPT {
            self.last.pop_front();
        }
        self.last.push_back(line);
    }

    pub fn hash(&self) -> u64 {
        self.hash.finish()
    }

    pub fn lines(&self) -> impl Iterator<Item = &str> {
        self.last.iter().map(String::as_str)
    }
}

/// One line, with everything that the action says.
pub(crate) fn line(action: &Action) -> String {
    let text = |json: &[u8]| String::from_utf8_lossy(json).into_owned();
    let behind = |subresource: &str| match subresource {
        "" => String::new(),
        name => format!("/{name}"),
    };
    match action {
        Action::Create(create) => {
            format!("create {} in {:?}: {}", create.kind, create.namespace, text(&create.json))
        }
        Action::Update(update) => {
            let part = behind(&update.subresource);
            format!("update{part} {}: {}", update.reference, text(&update.json))
        }
        Action::Patch(patch) => {
            let part = behind(&patch.subresource);
            let at = patch.revision.map(|revision| format!(" at {revision}")).unwrap_or_default();
            format!("patch{part} {}{at}: {}", patch.reference, text(&patch.body))
        }
        Action::Delete(delete) => format!(
            "delete {}, uid {:?}, revision {:?}, grace {:?}, {:?}",
            delete.reference,
            delete.uid,
            delete.revision,
            delete.grace_period_seconds,
            delete.propagation
        ),
        Action::Event(event) => {
            format!("event on {}: {}: {}", event.regarding, event.reason, event.note)
        }
    }
}
