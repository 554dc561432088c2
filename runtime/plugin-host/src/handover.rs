//! The moment in which a plugin's thread takes up the next version.
//!
//! Whoever swaps waits for it: otherwise the status would call the new spec
//! active while the version before still decides.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

/// Longer than any call may take, after which the thread looks for the version.
const LONGEST: Duration = Duration::from_secs(10);

/// Travels with the version; dropped when it decides, or has been refused.
pub(crate) struct Taken {
    _dropped_is_said: SyncSender<()>,
}

/// The other end.
pub(crate) struct HandOver(Receiver<()>);

pub(crate) fn hand_over() -> (Taken, HandOver) {
    let (sender, receiver) = sync_channel(0);
    (Taken { _dropped_is_said: sender }, HandOver(receiver))
}

impl HandOver {
    /// Blocks until the version was taken up. A thread that does not get to it
    /// shows in the status by the version that goes on.
    pub fn wait(self) {
        // Nothing is ever sent: the end of the other side is the message.
        let _ = self.0.recv_timeout(LONGEST);
    }
}
