//! When a call has had enough: a runaway is told from a thread that waits for
//! the processor.

use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

use crate::budget::Budgets;
use crate::engine::TICK;

/// However short a deadline is, a machine that is busy elsewhere gets so long
/// to give the thread its time.
const PATIENCE: Duration = Duration::from_secs(5);

/// Tells a runaway from a thread that waits for the processor.
#[derive(Default)]
pub(super) struct CallClock {
    deadline: Duration,
    /// How late it may be by the clock, if the thread does not get the processor.
    latest: Duration,
    started: Option<Instant>,
    /// Time in which others worked for this call, which does not count.
    pub excused: Duration,
    /// Processor time of the thread when the first tick of this call came, and
    /// what it had used of it by then.
    baseline: Option<(Duration, Duration)>,
}

impl CallClock {
    pub fn start(now: Instant, budgets: &Budgets) -> Self {
        Self {
            deadline: budgets.deadline,
            latest: budgets.deadline.saturating_mul(budgets.max_starvation).max(PATIENCE),
            started: Some(now),
            ..Self::default()
        }
    }

    /// How many more ticks the call may have; None: it is over.
    pub fn tick(&mut self) -> Option<u64> {
        let elapsed = self.started?.elapsed().saturating_sub(self.excused);
        let processor = thread_time().saturating_sub(self.excused);
        let used = match self.baseline {
            None => {
                // Asking for the thread's time before each call would cost more
                // than the call. A tick that comes late says that the thread had
                // to wait, rather than that it has been running all the time.
                let before = elapsed.min(2 * TICK);
                self.baseline = Some((processor, before));
                before
            }
            Some((baseline, before)) => processor.saturating_sub(baseline) + before,
        };
        if used >= self.deadline || elapsed >= self.latest {
            return None;
        }
        Some(ticks(self.deadline - used))
    }
}

fn ticks(time: Duration) -> u64 {
    u64::try_from(time.as_nanos().div_ceil(TICK.as_nanos())).unwrap_or(u64::MAX).max(1)
}

/// What the calling thread has had of the processors.
pub(crate) fn thread_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or_default();
    Duration::new(seconds, u32::try_from(time.tv_nsec).unwrap_or_default())
}
