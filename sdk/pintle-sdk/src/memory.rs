//! Comparing memory in a guest: word by word.
//!
//! The one that comes with the compiler compares bytes, and each turn of a loop
//! is metered in the sandbox. Maps by name compare all the time.
#![allow(unsafe_code)]

/// As in C. It takes the place of the one that comes with the compiler.
///
/// # Safety
/// Both areas are readable and `count` bytes long.
#[cfg_attr(target_arch = "wasm32", unsafe(no_mangle))]
unsafe extern "C" fn memcmp(left: *const u8, right: *const u8, count: usize) -> i32 {
    if count < 8 {
        // SAFETY: the caller's promise.
        return unsafe { few(left, right, count) };
    }
    let mut at = 0;
    loop {
        // SAFETY: eight bytes from `at` on are inside of both areas.
        let (a, b) = unsafe { (word(left.add(at)), word(right.add(at))) };
        if a != b {
            return if a < b { -1 } else { 1 };
        }
        if at + 8 == count {
            return 0;
        }
        // The last eight overlap with some that are equal.
        at = (at + 8).min(count - 8);
    }
}

/// The same of less than eight bytes.
///
/// # Safety
/// As [`memcmp`].
unsafe fn few(left: *const u8, right: *const u8, count: usize) -> i32 {
    let mut at = 0;
    if count >= 4 {
        // SAFETY: four bytes are inside of both areas.
        let (a, b) = unsafe { (half(left), half(right)) };
        if a != b {
            return if a < b { -1 } else { 1 };
        }
        // SAFETY: so are the last four.
        let (a, b) = unsafe { (half(left.add(count - 4)), half(right.add(count - 4))) };
        return if a == b {
            0
        } else if a < b {
            -1
        } else {
            1
        };
    }
    while at < count {
        // SAFETY: `at` is inside of both areas.
        let (a, b) = unsafe { (left.add(at).read(), right.add(at).read()) };
        if a != b {
            return i32::from(a) - i32::from(b);
        }
        at += 1;
    }
    0
}

/// The same, where only equality matters.
///
/// # Safety
/// As [`memcmp`].
#[cfg_attr(target_arch = "wasm32", unsafe(no_mangle))]
unsafe extern "C" fn bcmp(left: *const u8, right: *const u8, count: usize) -> i32 {
    // SAFETY: the caller's promise.
    unsafe { memcmp(left, right, count) }
}

/// Four bytes as a number that orders as they do.
///
/// # Safety
/// They are readable.
unsafe fn half(at: *const u8) -> u32 {
    // SAFETY: the caller's promise; any address will do for an unaligned read.
    u32::from_be(unsafe { at.cast::<u32>().read_unaligned() })
}

/// Eight bytes as a number that orders as they do.
///
/// # Safety
/// They are readable.
unsafe fn word(at: *const u8) -> u64 {
    // SAFETY: the caller's promise; any address will do for an unaligned read.
    u64::from_be(unsafe { at.cast::<u64>().read_unaligned() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn areas_compare_as_slices_do(
            shared in proptest::collection::vec(any::<u8>(), 0..40),
            left in proptest::collection::vec(any::<u8>(), 20),
            right in proptest::collection::vec(any::<u8>(), 20),
        ) {
            let (left, right) = ([&shared[..], &left].concat(), [&shared[..], &right].concat());
            for count in 0..=left.len() {
                let expect = left[..count].cmp(&right[..count]);
                // SAFETY: both are at least so long.
                let found = unsafe { memcmp(left.as_ptr(), right.as_ptr(), count) };
                prop_assert_eq!(found.cmp(&0), expect);
                // SAFETY: as above.
                let same = unsafe { bcmp(left.as_ptr(), right.as_ptr(), count) } == 0;
                prop_assert_eq!(same, expect.is_eq());
            }
        }
    }
}
