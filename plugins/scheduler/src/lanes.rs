//! Passes over columns in a form that becomes vector instructions, natively and
//! as WebAssembly. Scores are never negative unless a node is out, so their bits
//! order like whole numbers, and the maximum of those is one instruction where
//! that of floats is three.

use crate::score::INFEASIBLE;

/// Of scores that are not negative, or [`INFEASIBLE`].
pub fn highest(values: &[f32]) -> f32 {
    let bits = values.iter().map(|value| value.to_bits() as i32);
    f32::from_bits(bits.fold(i32::MIN, i32::max) as u32)
}

/// The first place where `ticket` is highest among the best; `names` are the lots.
pub fn draw(values: &[f32], highest: f32, names: &[u32], salt: u32) -> Option<usize> {
    const CHUNK: usize = 64;
    let ticket = |value: f32, name: u32| {
        let drawn = (name ^ salt).wrapping_mul(0x9e37_79b1) | 1;
        if value.to_bits() == highest.to_bits() { drawn } else { 0 }
    };
    let best_of = |values: &[f32], names: &[u32]| {
        values.iter().zip(names).map(|(&value, &name)| ticket(value, name)).fold(0, u32::max)
    };
    let (mut winner, mut place) = (0, None);
    for (chunk, (values, names)) in values.chunks(CHUNK).zip(names.chunks(CHUNK)).enumerate() {
        let best = best_of(values, names);
        if best > winner {
            (winner, place) = (best, Some(chunk * CHUNK));
        }
    }
    let start = place?;
    let entries = values[start..].iter().zip(&names[start..]);
    let within = entries.map(|(&value, &name)| ticket(value, name));
    within.take(CHUNK).position(|ticket| ticket == winner).map(|offset| start + offset)
}

/// The lowest and the highest of `raw` (none negative) where the value is one of
/// a node that is not out.
pub fn range(values: &[f32], raw: &[f32]) -> Option<(f32, f32)> {
    let (mut low, mut high) = (i32::MAX, -1);
    for (value, raw) in values.iter().zip(raw) {
        let bits = raw.to_bits() as i32;
        let out = (value.to_bits() as i32) < 0;
        low = low.min(if out { i32::MAX } else { bits });
        high = high.max(if out { -1 } else { bits });
    }
    (high >= 0).then(|| (f32::from_bits(low as u32), f32::from_bits(high as u32)))
}

/// Puts out the nodes that have less than is needed.
pub fn close(values: &mut [f32], free: &[i64], needed: i64) {
    for (value, &free) in values.iter_mut().zip(free) {
        *value = if needed <= free { *value } else { INFEASIBLE };
    }
}

/// How many are not out.
pub fn count(values: &[f32]) -> usize {
    values.iter().map(|value| i32::from((value.to_bits() as i32) >= 0)).sum::<i32>() as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passes_agree_with_plain_loops() {
        let values: Vec<f32> = (0..200)
            .map(|index| if index % 3 == 0 { INFEASIBLE } else { (index % 7) as f32 * 1.5 })
            .collect();
        let raw: Vec<f32> = (0..200).map(|index| (index * 31 % 97) as f32).collect();
        let lots: Vec<u32> = (0..200).map(|index| index * 77_777).collect();
        assert_eq!(highest(&values), 9.0);
        assert_eq!(highest(&[]).to_bits() as i32, i32::MIN);
        assert_eq!(count(&values), 133);
        let feasible = || values.iter().zip(&raw).filter(|(value, _)| **value >= 0.0);
        let low = feasible().map(|(_, raw)| *raw).fold(f32::MAX, f32::min);
        let high = feasible().map(|(_, raw)| *raw).fold(0.0, f32::max);
        assert_eq!(range(&values, &raw), Some((low, high)));
        assert_eq!(range(&[INFEASIBLE], &[1.0]), None);
        let drawn: Vec<usize> =
            (0..50).map(|salt| draw(&values, 9.0, &lots, salt).unwrap()).collect();
        assert!(drawn.iter().all(|&slot| values[slot] == 9.0));
        assert!(drawn.iter().any(|slot| slot != &drawn[0]), "always the same lot");
        assert_eq!(draw(&values, 1234.0, &lots, 1), None);
    }
}
