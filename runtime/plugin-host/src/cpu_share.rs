//! A plugin's share of the processors over time: `spec.budgets.cpuMillicores`.
//!
//! A call takes what it takes (that is bounded by its other budgets) and is paid
//! for afterwards; who is in debt waits until the share has paid it off. Time is
//! an argument; what is measured is the processor time of the thread that calls.

use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// What may be saved up: the share of so much time. Work comes in bursts, and
/// one that is over before anybody notices need not be stretched.
const SAVED: Duration = Duration::from_millis(100);

pub(crate) struct CpuShare {
    /// Thousandths of one processor.
    millicores: u32,
    account: Mutex<Account>,
}

struct Account {
    /// Processor time in nanoseconds; negative is a debt.
    balance: i128,
    paid_until: Instant,
}

impl CpuShare {
    pub fn new(millicores: u32, now: Instant) -> Self {
        let millicores = millicores.max(1);
        let account = Account { balance: earned(millicores, SAVED), paid_until: now };
        Self { millicores, account: Mutex::new(account) }
    }

    /// A call has used so much.
    pub fn spend(&self, used: Duration, now: Instant) {
        let mut account = self.account.lock();
        self.pay(&mut account, now);
        account.balance -= i128::try_from(used.as_nanos()).unwrap_or(i128::MAX / 2);
    }

    /// Until when the plugin waits; None: it may go on.
    pub fn in_debt_until(&self, now: Instant) -> Option<Instant> {
        let mut account = self.account.lock();
        self.pay(&mut account, now);
        let debt = u128::try_from(-account.balance).ok().filter(|debt| *debt > 0)?;
        let nanoseconds = debt.saturating_mul(1000).div_ceil(u128::from(self.millicores));
        Some(now + Duration::from_nanos(u64::try_from(nanoseconds).unwrap_or(u64::MAX / 4)))
    }

    fn pay(&self, account: &mut Account, now: Instant) {
        let since = now.saturating_duration_since(account.paid_until);
        account.paid_until = account.paid_until.max(now);
        let most = earned(self.millicores, SAVED);
        account.balance = (account.balance + earned(self.millicores, since)).min(most);
    }
}

fn earned(millicores: u32, time: Duration) -> i128 {
    i128::try_from(time.as_nanos()).unwrap_or(i128::MAX / 2000) * i128::from(millicores) / 1000
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn milliseconds(count: u64) -> Duration {
        Duration::from_millis(count)
    }

    #[test]
    fn a_debt_is_waited_off_at_the_rate_of_the_share() {
        let start = Instant::now();
        let share = CpuShare::new(250, start);
        // A quarter of the 100 ms is saved.
        share.spend(milliseconds(25), start);
        assert_eq!(share.in_debt_until(start), None);
        share.spend(milliseconds(10), start);
        assert_eq!(share.in_debt_until(start), Some(start + milliseconds(40)));
        let later = start + milliseconds(30);
        assert_eq!(share.in_debt_until(later), Some(start + milliseconds(40)));
        assert_eq!(share.in_debt_until(start + milliseconds(40)), None);
    }

    #[test]
    fn no_more_is_saved_than_a_burst() {
        let start = Instant::now();
        let share = CpuShare::new(2000, start);
        let later = start + Duration::from_secs(3600);
        share.spend(milliseconds(201), later);
        assert_eq!(share.in_debt_until(later), Some(later + Duration::from_micros(500)));
    }

    proptest! {
        /// Whoever asks before each call never gets more than share and burst,
        /// but for the last call.
        #[test]
        fn nobody_gets_more_than_the_share(
            millicores in 1u32..4000,
            calls in proptest::collection::vec((0u64..300_000, 0u64..50_000), 1..100),
        ) {
            let start = Instant::now();
            let share = CpuShare::new(millicores, start);
            let (mut now, mut spent) = (start, Duration::ZERO);
            for (used, idle) in calls {
                now += Duration::from_micros(idle);
                if let Some(until) = share.in_debt_until(now) {
                    prop_assert!(until > now);
                    now = until;
                    prop_assert_eq!(share.in_debt_until(now), None);
                }
                let entitled = earned(millicores, SAVED + (now - start)) + 1000;
                prop_assert!(spent.as_nanos() as i128 <= entitled);
                let used = Duration::from_micros(used);
                share.spend(used, now);
                spent += used;
                now += used;
            }
        }
    }
}
