//! All that one call wants done.

use super::Action;

/// What a reconcile decided.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Performed in order, independent ones at the same time. If one is refused,
    /// those behind it are dropped and the key comes back.
    pub actions: Vec<Action>,
    /// Look again after so many milliseconds even if nothing changes.
    pub requeue_after_ms: Option<u64>,
}

impl Outcome {
    /// Nothing to do.
    pub fn done() -> Self {
        Outcome::default()
    }

    /// One action and no more; see also [`Outcome::push`].
    pub fn of(action: impl Into<Action>) -> Self {
        Outcome { actions: vec![action.into()], requeue_after_ms: None }
    }

    /// Adds an action.
    pub fn push(&mut self, action: impl Into<Action>) {
        self.actions.push(action.into());
    }

    /// Asks to be called again after so many milliseconds even if nothing
    /// changes. The earliest of all wishes wins.
    pub fn requeue_after(&mut self, milliseconds: u64) {
        let wish = self.requeue_after_ms.map_or(milliseconds, |known| known.min(milliseconds));
        self.requeue_after_ms = Some(wish);
    }
}

impl<A: Into<Action>> Extend<A> for Outcome {
    fn extend<I: IntoIterator<Item = A>>(&mut self, actions: I) {
        self.actions.extend(actions.into_iter().map(Into::into));
    }
}
