//! Passes over columns in a form that becomes vector instructions, natively and
//! as WebAssembly. Scores are never negative unless a node is out, so their bits
//! order like whole numbers, and the maximum of those is one instruction where
//! that of floats is three.

use crate::score::INFEASIBLE;

/// Of scores that are not negative, or [`INFEASIBLE`].
#[inline(never)]
pub fn highest(values: &[f32]) -> f32 {
    let bits = values.iter().map(|value| value.to_bits() as i32);
    f32::from_bits(bits.fold(i32::MIN, i32::max) as u32)
}

/// The first place where the ticket is highest among the best; `names` are the lots.
pub fn draw(values: &[f32], highest: f32, names: &[u32], salt: u32) -> Option<usize> {
    const CHUNK: usize = 512;
    let (mut winner, mut place) = (0, None);
    for (chunk, (values, names)) in values.chunks(CHUNK).zip(names.chunks(CHUNK)).enumerate() {
        let best = best_ticket(values, highest, names, salt);
        if best > winner {
            (winner, place) = (best, Some(chunk * CHUNK));
        }
    }
    let start = place?;
    let entries = values[start..].iter().zip(&names[start..]);
    let within = entries.map(|(&value, &name)| ticket(value, highest, name, salt));
    within.take(CHUNK).position(|ticket| ticket == winner).map(|offset| start + offset)
}

/// Never 0 for one of the best.
#[inline(always)]
fn ticket(value: f32, highest: f32, name: u32, salt: u32) -> u32 {
    let drawn = (name ^ salt).wrapping_mul(0x9e37_79b1) | 1;
    if value.to_bits() == highest.to_bits() { drawn } else { 0 }
}

// Within another loop it would not become vectors.
#[inline(never)]
fn best_ticket(values: &[f32], highest: f32, names: &[u32], salt: u32) -> u32 {
    let mut best = 0;
    for (&value, &name) in values.iter().zip(names) {
        best = best.max(ticket(value, highest, name, salt));
    }
    best
}

/// The lowest and the highest of `raw` (none negative) where the value is one of
/// a node that is not out.
#[inline(never)]
pub fn range(values: &[f32], raw: &[f32]) -> Option<(f32, f32)> {
    let (mut low, mut high) = (u32::MAX, -1);
    for (value, raw) in values.iter().zip(raw) {
        // All bits of a node that is out: the most without a sign, -1 with one.
        let out = (value.to_bits() as i32) >> 31;
        let bits = raw.to_bits() as i32 | out;
        low = low.min(bits as u32);
        high = high.max(bits);
    }
    (high >= 0).then(|| (f32::from_bits(low), f32::from_bits(high as u32)))
}

/// Adds `(most - raw) * factor`, which is not negative, to the nodes that are not out.
#[inline(never)]
pub fn lower(values: &mut [f32], raw: &[f32], most: f32, factor: f32) {
    for (value, &raw) in values.iter_mut().zip(raw) {
        let with = *value + (most - raw) * factor;
        *value = if (value.to_bits() as i32) >= 0 { with } else { INFEASIBLE };
    }
}

/// Puts out the nodes that have less than is needed.
#[inline(never)]
pub fn close(values: &mut [f32], free: &[i64], needed: i64) {
    for (value, &free) in values.iter_mut().zip(free) {
        *value = if needed <= free { *value } else { INFEASIBLE };
    }
}

/// How many are not out.
#[inline(never)]
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
