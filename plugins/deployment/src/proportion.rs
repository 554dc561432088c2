//! Scaling in the middle of a rollout: every set keeps its share.

/// One active set: its size and the largest total that it was sized for (the
/// annotation `max-replicas`, or the total at the time).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Share {
    pub replicas: i64,
    pub sized_for: i64,
}

/// The new sizes of sets, given in the order in which they get what rounding
/// leaves over. `allowed` is the new total; `desired` what the Deployment wants.
pub fn scale(shares: &[Share], allowed: i64, desired: i64) -> Vec<i64> {
    let total: i64 = shares.iter().map(|share| share.replicas).sum();
    let to_add = allowed - total;
    let mut added = 0;
    let mut sizes: Vec<i64> = shares
        .iter()
        .map(|share| {
            let left = to_add - added;
            let wish = if desired == 0 { -share.replicas } else { fraction(share, allowed) };
            let change = match to_add {
                _ if share.replicas == 0 || left == 0 => 0,
                1.. => wish.min(left),
                _ => wish.max(left),
            };
            added += change;
            share.replicas + change
        })
        .collect();
    if let Some(first) = sizes.first_mut() {
        *first = (*first + to_add - added).max(0);
    }
    sizes
}

fn fraction(share: &Share, allowed: i64) -> i64 {
    // The annotation may say anything.
    if share.sized_for <= 0 {
        return 0;
    }
    let (replicas, sized_for) = (i128::from(share.replicas), i128::from(share.sized_for));
    // Rounded to the nearest, halves up.
    let doubled = replicas.saturating_mul(2 * i128::from(allowed)).saturating_add(sized_for);
    let change = doubled / (2 * sized_for) - replicas;
    i64::try_from(change).unwrap_or(if change < 0 { i64::MIN } else { i64::MAX })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn shares_are_kept() {
        fn check(replicas: &[i64], sized_for: i64, allowed: i64, desired: i64, expect: &[i64]) {
            let shares: Vec<Share> =
                replicas.iter().map(|&replicas| Share { replicas, sized_for }).collect();
            assert_eq!(scale(&shares, allowed, desired), expect, "{replicas:?} {allowed}");
        }
        check(&[8, 5], 13, 18, 15, &[11, 7]);
        check(&[5, 5], 10, 20, 20, &[10, 10]);
        check(&[5, 5], 10, 6, 6, &[3, 3]);
        check(&[5, 5], i64::MIN, 6, 6, &[1, 5]);
        check(&[7, 2, 1], 10, 15, 15, &[11, 3, 1]);
        check(&[3, 2], 5, 0, 0, &[0, 0]);
        check(&[], 5, 7, 7, &[]);
    }

    proptest! {
        #[test]
        fn the_total_is_met(replicas in prop::collection::vec(1..50i64, 1..6), desired in 1..100i64, surge in 0..20i64) {
            let total: i64 = replicas.iter().sum();
            let shares: Vec<Share> = replicas.iter().map(|&replicas| Share { replicas, sized_for: total }).collect();
            let sizes = scale(&shares, desired + surge, desired);
            prop_assert!(sizes.iter().all(|size| *size >= 0));
            prop_assert_eq!(sizes.iter().sum::<i64>(), desired + surge);
        }
    }
}
