//! How full nodes are, as the columns that scores are computed from: shares of
//! the capacity between 0 and 1, so that a score takes no division.

use crate::node::Capacity;
use crate::requests::Requests;
use crate::view::Slot;

#[derive(Debug, Default)]
pub struct Usage {
    /// Requests with defaults for containers that request nothing.
    milli_cpu: Vec<i64>,
    memory: Vec<i64>,
    /// Pods with such containers.
    defaulted: usize,
    /// The same as shares, and without those defaults.
    pub cpu_share: Vec<f32>,
    pub memory_share: Vec<f32>,
    pub exact_cpu_share: Vec<f32>,
    pub exact_memory_share: Vec<f32>,
    /// Shares of one thousandth of a cpu and of one byte; 0 without capacity.
    pub per_milli_cpu: Vec<f32>,
    pub per_byte: Vec<f32>,
}

impl Usage {
    pub(crate) fn grow(&mut self) {
        self.milli_cpu.push(0);
        self.memory.push(0);
        for column in [
            &mut self.cpu_share,
            &mut self.memory_share,
            &mut self.exact_cpu_share,
            &mut self.exact_memory_share,
            &mut self.per_milli_cpu,
            &mut self.per_byte,
        ] {
            column.push(0.0);
        }
    }

    pub(crate) fn take(&mut self, slot: Slot, requests: &Requests, sign: i64) {
        self.milli_cpu[slot] += sign * requests.scored_milli_cpu;
        self.memory[slot] += sign * requests.scored_memory;
        if !requests.are_exact() {
            self.defaulted = match sign {
                1 => self.defaulted + 1,
                _ => self.defaulted - 1,
            };
        }
    }

    /// Are the shares with defaults everywhere those without?
    pub fn is_exact(&self) -> bool {
        self.defaulted == 0
    }

    /// Works the shares out anew after any change of a slot.
    pub(crate) fn resize(&mut self, slot: Slot, capacity: &Capacity, free: &(i64, i64)) {
        let share =
            |used: i64, of: i64| if of > 0 { (used as f64 / of as f64) as f32 } else { 0.0 };
        let (cpu, memory) = (capacity.milli_cpu, capacity.memory);
        self.cpu_share[slot] = share(self.milli_cpu[slot], cpu);
        self.memory_share[slot] = share(self.memory[slot], memory);
        self.exact_cpu_share[slot] = share(cpu - free.0, cpu);
        self.exact_memory_share[slot] = share(memory - free.1, memory);
        self.per_milli_cpu[slot] = share(1, cpu);
        self.per_byte[slot] = share(1, memory);
    }

    /// What the pods on a slot request, with defaults.
    pub fn requested(&self, slot: Slot) -> (i64, i64) {
        (self.milli_cpu[slot], self.memory[slot])
    }
}
