//! Generated names, drawn from the call's seed so that a replay draws the same.

/// Characters that form no words, as Kubernetes uses them.
const ALPHABET: &[u8; 27] = b"bcdfghjklmnpqrstvwxz2456789";

/// The longest prefix that leaves room for the suffix in a DNS label.
const LONGEST_PREFIX: usize = 58;

/// A stream of pseudo-random numbers (splitmix64).
#[derive(Debug, Clone)]
pub struct Random(u64);

impl Random {
    /// Usually from [`Context::seed`](crate::Context::seed).
    pub fn new(seed: u64) -> Self {
        Random(seed)
    }

    /// The next number.
    pub fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.0)
    }

    /// `prefix` (cut if need be) and five characters.
    pub fn name(&mut self, prefix: &str) -> String {
        let mut name = cut(prefix, LONGEST_PREFIX).to_owned();
        let mut number = self.next_u64();
        for _ in 0..5 {
            name.push(char::from(ALPHABET[(number % 27) as usize]));
            number /= 27;
        }
        name
    }
}

/// A good 64-bit finalizer: every input bit reaches every output bit.
pub fn mix(number: u64) -> u64 {
    let number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}

/// 64-bit FNV-1a: the same on every machine and in every build.
pub fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, &byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

/// A hash as a name part: up to ten characters that form no words.
pub fn encode_hash(hash: u32) -> String {
    hash.to_string().bytes().map(|digit| char::from(ALPHABET[usize::from(digit) % 27])).collect()
}

/// At most so many characters.
pub fn cut(text: &str, longest: usize) -> &str {
    match text.char_indices().nth(longest) {
        Some((end, _)) => &text[..end],
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_repeat_with_the_seed_and_fit_a_label() {
        let name = Random::new(7).name("web-");
        assert_eq!(name, Random::new(7).name("web-"));
        assert_ne!(name, Random::new(8).name("web-"));
        assert_eq!(name.len(), "web-".len() + 5);
        assert_eq!(Random::new(7).name(&"a".repeat(80)).len(), 63);
    }
}
