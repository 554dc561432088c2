//! Which nodes something forbids to a pod, and what.

use crate::filter::Reason;
use crate::view::Slot;

/// Per slot: whether something forbids it, and what.
#[derive(Debug)]
pub struct Mask {
    /// 0: open.
    codes: Vec<u8>,
    reasons: Vec<Reason>,
}

impl Mask {
    pub fn open(slots: usize) -> Self {
        Mask { codes: vec![0; slots], reasons: Vec::new() }
    }

    pub fn code(&mut self, reason: Reason) -> u8 {
        let known = self.reasons.iter().position(|known| *known == reason);
        let index = known.unwrap_or_else(|| {
            // More different reasons than a person would read share the last one.
            if self.reasons.len() < 254 {
                self.reasons.push(reason);
            }
            self.reasons.len() - 1
        });
        index as u8 + 1
    }

    /// By domain; `none` is for nodes in no domain.
    pub fn forbid(&mut self, domains: &[u32], table: &[u8], none: u8) {
        for (code, &domain) in self.codes.iter_mut().zip(domains) {
            let found = table.get(domain as usize).copied().unwrap_or(none);
            *code = if *code == 0 { found } else { *code };
        }
    }

    pub fn forbid_one(&mut self, slot: Slot, code: u8) {
        if self.codes[slot] == 0 {
            self.codes[slot] = code;
        }
    }

    pub fn codes(&self) -> &[u8] {
        &self.codes
    }

    pub fn reason(&self, slot: Slot) -> Option<&Reason> {
        self.reason_of(self.codes[slot])
    }

    pub fn reason_of(&self, code: u8) -> Option<&Reason> {
        code.checked_sub(1).and_then(|index| self.reasons.get(usize::from(index)))
    }
}
