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
    let mut at = 0;
    while at + 8 <= count {
        // SAFETY: eight bytes from `at` on are inside of both areas.
        let (a, b) = unsafe { (word(left.add(at)), word(right.add(at))) };
        if a != b {
            return if a < b { -1 } else { 1 };
        }
        at += 8;
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

/// Eight bytes as a number that orders as they do.
///
/// # Safety
/// They are readable.
unsafe fn word(at: *const u8) -> u64 {
    // SAFETY: the caller's promise; any address will do for an unaligned read.
    unsafe { at.cast::<u64>().read_unaligned() }.swap_bytes()
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
