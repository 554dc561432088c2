//! How far a rollout may go: the arithmetic of `maxSurge` and `maxUnavailable`.

use pintle_sdk::prelude::*;

/// The bounds of a rollout, in pods.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    pub desired: i64,
    pub max_surge: i64,
    pub max_unavailable: i64,
}

impl Bounds {
    pub fn of(spec: &DeploymentSpec) -> Self {
        let desired = spec.replicas.unwrap_or(1).max(0);
        if is_recreate(spec) {
            return Bounds { desired, max_surge: 0, max_unavailable: 0 };
        }
        let rolling = spec.strategy.rolling_update.clone().unwrap_or_default();
        let quarter = IntOrString::String("25%".to_owned());
        let resolve = |value: Option<IntOrString>, round_up| {
            value.unwrap_or_else(|| quarter.clone()).scaled(desired, round_up).unwrap_or(0).max(0)
        };
        let max_surge = resolve(rolling.max_surge, true);
        let mut max_unavailable = resolve(rolling.max_unavailable, false);
        if max_surge == 0 && max_unavailable == 0 {
            // Both rounded to nothing: without this the rollout could never move.
            max_unavailable = 1;
        }
        Bounds { desired, max_surge, max_unavailable: max_unavailable.min(desired) }
    }

    pub fn most(&self) -> i64 {
        self.desired.saturating_add(self.max_surge)
    }

    pub fn min_available(&self) -> i64 {
        self.desired - self.max_unavailable
    }

    /// How large the new set may be when all sets together want `total` pods.
    pub fn new_set_size(&self, new_set: i64, total: i64) -> i64 {
        if new_set >= self.desired {
            return self.desired;
        }
        let room = (self.most() - total).max(0);
        new_set + room.min(self.desired - new_set)
    }
}

pub fn is_recreate(spec: &DeploymentSpec) -> bool {
    spec.strategy.r#type == "Recreate"
}

/// One set as this arithmetic sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size {
    pub replicas: i64,
    pub available: i64,
}

/// The sizes that old sets (oldest first) shrink to: pods that are not available
/// anyway go first, then as many available ones as can be missed.
pub fn shrink_old(bounds: &Bounds, old: &[Size], new_set: Size) -> Vec<i64> {
    let mut sizes: Vec<i64> = old.iter().map(|set| set.replicas).collect();
    let total: i64 = sizes.iter().sum::<i64>() + new_set.replicas;
    // New pods that are not available yet may not be counted on.
    let removable = total - bounds.min_available() - (new_set.replicas - new_set.available);
    if removable <= 0 {
        return sizes;
    }
    let mut cleaned = 0;
    for (size, set) in sizes.iter_mut().zip(old) {
        let unhealthy = (*size - set.available).max(0).min(removable - cleaned);
        *size -= unhealthy;
        cleaned += unhealthy;
    }
    let available: i64 = old.iter().map(|set| set.available).sum::<i64>() + new_set.available;
    let mut spare = (available - bounds.min_available()).max(0);
    for size in &mut sizes {
        let go = spare.min(*size);
        *size -= go;
        spare -= go;
    }
    sizes
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn bounds(replicas: i64, surge: &str, unavailable: &str) -> Bounds {
        let value = |text: &str| {
            Some(
                text.parse()
                    .map(IntOrString::Int)
                    .unwrap_or_else(|_| IntOrString::String(text.to_owned())),
            )
        };
        let rolling =
            RollingUpdate { max_surge: value(surge), max_unavailable: value(unavailable) };
        let strategy = DeploymentStrategy {
            r#type: "RollingUpdate".to_owned(),
            rolling_update: Some(rolling),
        };
        Bounds::of(&DeploymentSpec {
            replicas: Some(replicas),
            strategy,
            ..DeploymentSpec::default()
        })
    }

    #[test]
    fn fenceposts() {
        fn check(replicas: i64, surge: &str, unavailable: &str, expect: (i64, i64)) {
            let bounds = bounds(replicas, surge, unavailable);
            assert_eq!(
                (bounds.max_surge, bounds.max_unavailable),
                expect,
                "{replicas} {surge} {unavailable}"
            );
        }
        check(10, "25%", "25%", (3, 2));
        check(1, "25%", "25%", (1, 0));
        check(3, "0", "10%", (0, 1));
        check(0, "25%", "25%", (0, 0));
        check(2, "1", "5", (1, 2));
    }

    #[test]
    fn steps_of_a_rollout() {
        fn check(
            bounds: Bounds,
            old: &[(i64, i64)],
            new_set: (i64, i64),
            grown: i64,
            shrunk: &[i64],
        ) {
            let size = |&(replicas, available): &(i64, i64)| Size { replicas, available };
            let old: Vec<Size> = old.iter().map(size).collect();
            let total = old.iter().map(|set| set.replicas).sum::<i64>() + new_set.0;
            assert_eq!(bounds.new_set_size(new_set.0, total), grown);
            assert_eq!(shrink_old(&bounds, &old, size(&new_set)), shrunk);
        }
        let usual = bounds(4, "25%", "25%"); // surge 1, unavailable 1
        check(usual, &[(4, 4)], (0, 0), 1, &[3]);
        check(usual, &[(4, 4)], (1, 0), 1, &[3]);
        check(usual, &[(3, 3)], (1, 0), 2, &[3]);
        check(usual, &[(3, 3)], (2, 2), 2, &[1]);
        check(usual, &[(2, 2)], (4, 4), 4, &[0]);
        // Broken old pods make way first.
        check(usual, &[(2, 0), (2, 2)], (0, 0), 1, &[1, 2]);
        check(bounds(4, "1", "0"), &[(4, 4)], (1, 0), 1, &[4]);
        check(bounds(4, "1", "0"), &[(4, 4)], (1, 1), 1, &[3]);
    }

    proptest! {
        /// Never more pods than allowed, never fewer available ones than promised
        /// (as far as they are there at all).
        #[test]
        fn stays_within_bounds(
            desired in 0..30i64, surge in 0..10i64, unavailable in 0..10i64,
            old in prop::collection::vec((0..20i64, 0..20i64), 0..4), new_set in (0..20i64, 0..20i64),
        ) {
            let bounds = bounds(desired, &surge.to_string(), &unavailable.to_string());
            let size = |(replicas, available): (i64, i64)| Size { replicas, available: available.min(replicas) };
            let old: Vec<Size> = old.into_iter().map(size).collect();
            let new_set = size(new_set);
            let total: i64 = old.iter().map(|set| set.replicas).sum::<i64>() + new_set.replicas;
            let grown = bounds.new_set_size(new_set.replicas, total);
            prop_assert!(grown <= bounds.desired.max(new_set.replicas));
            if grown > new_set.replicas {
                prop_assert!(total - new_set.replicas + grown <= bounds.most());
            }
            let shrunk = shrink_old(&bounds, &old, new_set);
            let available = |sizes: &[i64]| -> i64 {
                old.iter().zip(sizes).map(|(set, size)| set.available.min(*size)).sum::<i64>() + new_set.available
            };
            let before: Vec<i64> = old.iter().map(|set| set.replicas).collect();
            prop_assert!(shrunk.iter().zip(&before).all(|(after, before)| (0..=*before).contains(after)));
            prop_assert!(available(&shrunk) >= available(&before).min(bounds.min_available()));
        }
    }
}
