//! Sixteen bytes at once, in vector instructions where there are some: in guests
//! and on the machines that plugins are tested on. Each answer has a bit per byte.

/// Of how many bytes an answer is.
pub(super) const LANES: usize = 16;

#[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
mod vector {
    use super::LANES;
    use std::arch::wasm32::{i8x16_bitmask, i8x16_eq, u8x16_lt, u8x16_splat, u64x2, v128, v128_or};

    fn load(bytes: &[u8; LANES]) -> v128 {
        let bytes = u128::from_le_bytes(*bytes);
        u64x2(bytes as u64, (bytes >> 64) as u64)
    }

    pub fn special(bytes: &[u8; LANES]) -> u16 {
        let bytes = load(bytes);
        let is = |byte| i8x16_eq(bytes, u8x16_splat(byte));
        let ends = v128_or(is(b'"'), is(b'\\'));
        i8x16_bitmask(v128_or(ends, u8x16_lt(bytes, u8x16_splat(b' '))))
    }

    pub fn marks(bytes: &[u8; LANES], brace: u8) -> [u16; 4] {
        let bytes = load(bytes);
        let braces = v128_or(bytes, u8x16_splat(brace));
        let is = |bytes, byte| i8x16_bitmask(i8x16_eq(bytes, u8x16_splat(byte)));
        [is(bytes, b'"'), is(bytes, b'\\'), is(braces, b'{'), is(braces, b'}')]
    }
}

#[cfg(target_arch = "x86_64")]
#[allow(unsafe_code)]
mod vector {
    use super::LANES;
    use std::arch::x86_64::{
        __m128i, _mm_cmpeq_epi8, _mm_min_epu8, _mm_movemask_epi8, _mm_or_si128, _mm_set_epi64x,
        _mm_set1_epi8,
    };

    #[target_feature(enable = "sse2")]
    fn load(bytes: &[u8; LANES]) -> __m128i {
        let bytes = u128::from_le_bytes(*bytes);
        _mm_set_epi64x((bytes >> 64) as i64, bytes as i64)
    }

    #[target_feature(enable = "sse2")]
    fn all(byte: u8) -> __m128i {
        _mm_set1_epi8(byte.cast_signed())
    }

    #[target_feature(enable = "sse2")]
    fn special_of(bytes: __m128i) -> u16 {
        let ends =
            _mm_or_si128(_mm_cmpeq_epi8(bytes, all(b'"')), _mm_cmpeq_epi8(bytes, all(b'\\')));
        let control = _mm_cmpeq_epi8(_mm_min_epu8(bytes, all(b' ' - 1)), bytes);
        _mm_movemask_epi8(_mm_or_si128(ends, control)) as u16
    }

    #[target_feature(enable = "sse2")]
    fn places(bytes: __m128i, byte: u8) -> u16 {
        _mm_movemask_epi8(_mm_cmpeq_epi8(bytes, all(byte))) as u16
    }

    #[inline]
    pub fn special(bytes: &[u8; LANES]) -> u16 {
        // SAFETY: no processor of this architecture is without these instructions.
        unsafe { special_of(load(bytes)) }
    }

    #[inline]
    pub fn marks(bytes: &[u8; LANES], brace: u8) -> [u16; 4] {
        // SAFETY: as above.
        unsafe {
            let bytes = load(bytes);
            let braces = _mm_or_si128(bytes, all(brace));
            let [quotes, backslashes] = [b'"', b'\\'].map(|byte| places(bytes, byte));
            let [opening, closing] = [b'{', b'}'].map(|byte| places(braces, byte));
            [quotes, backslashes, opening, closing]
        }
    }
}

/// Byte by byte: where there are no vectors, and what tests compare them with.
#[cfg(any(
    test,
    not(any(all(target_arch = "wasm32", target_feature = "simd128"), target_arch = "x86_64"))
))]
mod plain {
    use super::LANES;

    fn places(bytes: &[u8; LANES], found: impl Fn(u8) -> bool) -> u16 {
        let places = bytes.iter().enumerate();
        places.fold(0, |bits, (place, byte)| bits | u16::from(found(*byte)) << place)
    }

    pub fn special(bytes: &[u8; LANES]) -> u16 {
        places(bytes, |byte| byte == b'"' || byte == b'\\' || byte < b' ')
    }

    pub fn marks(bytes: &[u8; LANES], brace: u8) -> [u16; 4] {
        [
            places(bytes, |byte| byte == b'"'),
            places(bytes, |byte| byte == b'\\'),
            places(bytes, |byte| byte | brace == b'{'),
            places(bytes, |byte| byte | brace == b'}'),
        ]
    }
}

#[cfg(not(any(
    all(target_arch = "wasm32", target_feature = "simd128"),
    target_arch = "x86_64"
)))]
use plain as vector;

/// Bytes that end a plain stretch of a string: quotes, backslashes, and control
/// characters, which JSON has none of.
#[inline]
pub(super) fn special(bytes: &[u8; LANES]) -> u16 {
    vector::special(bytes)
}

/// Quotes, backslashes, and what is an opening or a closing brace once the bits
/// of `brace` are set.
#[inline]
pub(super) fn marks(bytes: &[u8; LANES], brace: u8) -> [u16; 4] {
    vector::marks(bytes, brace)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn any_byte() -> impl Strategy<Value = u8> {
        prop_oneof![any::<u8>(), prop::sample::select(b"\"\\{}[]| \x1f\x20".to_vec())]
    }

    proptest! {
        #[test]
        fn vectors_find_what_single_bytes_do(bytes in prop::array::uniform16(any_byte())) {
            prop_assert_eq!(special(&bytes), plain::special(&bytes));
            prop_assert_eq!(marks(&bytes, 0x20), plain::marks(&bytes, 0x20));
        }
    }
}
