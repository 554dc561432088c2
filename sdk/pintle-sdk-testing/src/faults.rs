//! Misfortune, drawn from a seed: what a host and the cluster around it go
//! through that no controller may notice in the end.

use pintle_sdk::names::Random;

/// What becomes of one action.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ActionFate {
    Performed,
    /// Somebody else was faster.
    Conflict,
    /// It was performed, but the answer got lost: it counts as refused.
    Unanswered,
    /// The host ends before it and starts again.
    Crash,
}

/// What happens at a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CallFate {
    Answered,
    /// The instance is lost with its answer.
    InstanceLost,
    /// Watches tell nothing for so many calls; reads stay at that moment.
    BusStalls(usize),
    /// Somebody sets the clock, by so many milliseconds.
    ClockJumps(i64),
}

pub(crate) struct Faults {
    random: Random,
    left: usize,
    all_kinds: bool,
}

impl Faults {
    /// Conflicts and crashes, at about every third action until `count` have happened.
    pub fn few_kinds(seed: u64, count: usize) -> Self {
        Faults { random: Random::new(seed), left: count, all_kinds: false }
    }

    /// Every kind there is, spread over a longer history.
    pub fn all_kinds(seed: u64, count: usize) -> Self {
        Faults { random: Random::new(seed), left: count, all_kinds: true }
    }

    /// Nothing goes wrong any more.
    pub fn end(&mut self) {
        self.left = 0;
    }

    pub fn are_of_all_kinds(&self) -> bool {
        self.all_kinds
    }

    /// Below `n`.
    pub fn choose(&mut self, n: usize) -> usize {
        (self.random.next_u64() % n.max(1) as u64) as usize
    }

    pub fn action(&mut self) -> ActionFate {
        if self.left == 0 {
            return ActionFate::Performed;
        }
        let fate = match self.choose(if self.all_kinds { 48 } else { 6 }) {
            0 => ActionFate::Conflict,
            1 => ActionFate::Crash,
            2 if self.all_kinds => ActionFate::Unanswered,
            3 if self.all_kinds => ActionFate::Conflict,
            _ => return ActionFate::Performed,
        };
        self.left -= 1;
        fate
    }

    pub fn call(&mut self) -> CallFate {
        if self.left == 0 || !self.all_kinds {
            return CallFate::Answered;
        }
        let fate = match self.choose(96) {
            0 => CallFate::InstanceLost,
            1 | 2 => CallFate::BusStalls(2 + self.choose(12)),
            // Back by a minute and a half at most, ahead by ten.
            3 => CallFate::ClockJumps(self.choose(690_000) as i64 - 90_000),
            _ => return CallFate::Answered,
        };
        self.left -= 1;
        fate
    }
}
