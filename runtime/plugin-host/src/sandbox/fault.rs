//! Why a call gave no answer, and how that is found out.

use std::time::Duration;

use wasmtime::{Store, Trap};

use super::state::State;
use crate::budget::Budgets;
use crate::cluster::RevisionGone;
use crate::lister::ReadError;
use crate::wasi::Wasi;

/// Why a call gave no answer. Each but the last is a strike.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    #[error("it trapped: {0}")]
    Trap(String),
    #[error("it used up its fuel of {0} units in one call")]
    OutOfFuel(u64),
    #[error("it ran past its deadline of {} ms", .0.as_millis())]
    Deadline(Duration),
    #[error("it asked for more than its {} MiB of memory", .0 >> 20)]
    Memory(usize),
    /// The answer does not make sense, or asks for what is not granted.
    #[error("{0}")]
    BadReply(String),
    #[error("it asked for {0}, which is not granted")]
    Ungranted(String),
    #[error("it refused its configuration: {0}")]
    Config(String),
    /// The call took longer than the cluster keeps its past. Nobody's fault and
    /// no strike: the same input is decided again at a newer revision.
    #[error(transparent)]
    RevisionGone(#[from] RevisionGone),
}

impl Fault {
    /// One word for status.reason and Events.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Trap(_) => "Trapped",
            Self::OutOfFuel(_) => "OutOfFuel",
            Self::Deadline(_) => "DeadlineExceeded",
            Self::Memory(_) => "OutOfMemory",
            Self::BadReply(_) => "InvalidReply",
            Self::Ungranted(_) => "UngrantedAction",
            Self::Config(_) => "InvalidConfig",
            Self::RevisionGone(_) => "RevisionGone",
        }
    }
}

/// What went wrong, in terms of budgets where that is the cause.
pub(super) fn fault(store: &Store<State>, budgets: &Budgets, error: &wasmtime::Error) -> Fault {
    let trap = error.downcast_ref::<Trap>();
    match trap {
        Some(Trap::OutOfFuel) => return Fault::OutOfFuel(budgets.fuel_per_call),
        Some(Trap::Interrupt) => return Fault::Deadline(budgets.deadline),
        _ => {}
    }
    if let Some(ReadError::Gone(gone)) = error.downcast_ref() {
        return Fault::RevisionGone(*gone);
    }
    // A guest whose allocation fails aborts; the cause is what it was refused.
    if store.data().limits.denied {
        return Fault::Memory(budgets.memory_bytes);
    }
    let cause = match trap {
        Some(trap) => trap.to_string(),
        None => format!("{error:#}"),
    };
    let state = store.data();
    // What a language runtime writes there was logged too, line by line.
    let words = state.wasi.as_ref().and_then(Wasi::last_words);
    let line = state.log.take_last_error();
    match (words, line) {
        (Some(words), _) => Fault::Trap(format!("{cause}; it wrote to standard error: {words}")),
        (None, Some(line)) => Fault::Trap(format!("{cause}; its last error line: {line}")),
        (None, None) => Fault::Trap(cause),
    }
}
