//! Numbers that look random, and are the same in every run.

/// A generator of the same numbers for the same seed (SplitMix64).
#[derive(Clone, Debug)]
pub struct Random(pub u64);

impl Random {
    /// The next number.
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `end`.
    pub fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    /// Bytes that do not compress.
    pub fn bytes(&mut self, length: usize) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(length + 8);
        while bytes.len() < length {
            bytes.extend_from_slice(&self.next().to_le_bytes());
        }
        bytes.truncate(length);
        bytes
    }

    /// Text that compresses well.
    pub fn text(&mut self, length: usize) -> Vec<u8> {
        const WORDS: [&str; 8] = [
            "image ",
            "layer ",
            "index\n",
            "digest ",
            "platform ",
            "tag ",
            "blob ",
            "config\n",
        ];
        let mut text = Vec::with_capacity(length + 16);
        while text.len() < length {
            let mut bits = self.next();
            for _ in 0..20 {
                text.extend_from_slice(WORDS[(bits & 7) as usize].as_bytes());
                bits >>= 3;
            }
        }
        text.truncate(length);
        text
    }
}
