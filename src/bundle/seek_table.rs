//! The seek table at the end of a bundle: the zstd *seekable format*, version 0.1.0, without
//! per-frame checksums (each frame has its own).

/// Magic of the skippable frame that holds the table.
const SKIPPABLE_MAGIC: u32 = 0x184D_2A5E;
/// Magic of the table's footer.
const FOOTER_MAGIC: u32 = 0x8F92_EAB1;
/// Skippable magic and length before, entry count, descriptor and magic behind the entries.
const FIXED: u64 = 8 + 9;
/// Bytes per entry.
const ENTRY: u64 = 8;
/// Length of the footer.
pub const FOOTER: usize = 9;
/// Most frames that the seekable format allows.
pub const MAX_FRAMES: u32 = 0x0800_0000;

/// Sizes of all frames, in order: (bytes in the file, bytes of content).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SeekTable(pub Vec<(u32, u32)>);

/// Why the end of a file is no seek table.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum SeekTableError {
    /// The footer's magic is not there.
    #[error("the file does not end in a seek table")]
    Missing,
    /// Something in it is not as the format prescribes.
    #[error("the seek table at the end of the file is not as prescribed: {0}")]
    Malformed(&'static str),
}

impl SeekTable {
    /// Length in bytes of a table for `frames` frames.
    pub const fn encoded_len(frames: u32) -> u64 {
        FIXED + frames as u64 * ENTRY
    }

    /// The bytes of the table.
    pub fn encode(&self) -> Vec<u8> {
        let entries = self.0.len() as u32;
        let mut out = Vec::with_capacity(Self::encoded_len(entries) as usize);
        out.extend_from_slice(&SKIPPABLE_MAGIC.to_le_bytes());
        let content = Self::encoded_len(entries) - 8;
        out.extend_from_slice(&(content as u32).to_le_bytes());
        for (compressed, content) in &self.0 {
            out.extend_from_slice(&compressed.to_le_bytes());
            out.extend_from_slice(&content.to_le_bytes());
        }
        out.extend_from_slice(&entries.to_le_bytes());
        out.push(0);
        out.extend_from_slice(&FOOTER_MAGIC.to_le_bytes());
        out
    }

    /// Reads the number of frames from a footer, the last [`FOOTER`] bytes of a file.
    ///
    /// # Errors
    /// When it is none, or has another form than a bundle's.
    pub fn frames_in_footer(footer: &[u8; FOOTER]) -> Result<u32, SeekTableError> {
        let magic = [footer[5], footer[6], footer[7], footer[8]];
        if u32::from_le_bytes(magic) != FOOTER_MAGIC {
            return Err(SeekTableError::Missing);
        }
        if footer[4] != 0 {
            return Err(SeekTableError::Malformed("its descriptor is not zero"));
        }
        let frames = u32::from_le_bytes([footer[0], footer[1], footer[2], footer[3]]);
        if frames == 0 || frames > MAX_FRAMES {
            return Err(SeekTableError::Malformed(
                "its number of frames is not possible",
            ));
        }
        Ok(frames)
    }

    /// Reads a whole table.
    ///
    /// # Errors
    /// When any of its bytes is not as prescribed.
    pub fn decode(bytes: &[u8]) -> Result<Self, SeekTableError> {
        let footer_at = bytes
            .len()
            .checked_sub(FOOTER)
            .ok_or(SeekTableError::Missing)?;
        let mut footer = [0; FOOTER];
        footer.copy_from_slice(&bytes[footer_at..]);
        let frames = Self::frames_in_footer(&footer)?;
        if bytes.len() as u64 != Self::encoded_len(frames) {
            return Err(SeekTableError::Malformed(
                "its length does not fit its number of frames",
            ));
        }
        let word = |at: usize| {
            u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
        };
        if word(0) != SKIPPABLE_MAGIC {
            return Err(SeekTableError::Malformed("it is not in a skippable frame"));
        }
        if u64::from(word(4)) != Self::encoded_len(frames) - 8 {
            return Err(SeekTableError::Malformed("its frame has another length"));
        }
        let entries = (0..frames as usize).map(|n| (word(8 + 8 * n), word(12 + 8 * n)));
        Ok(Self(entries.collect()))
    }

    /// Bytes in the file of all frames together.
    pub fn total(&self) -> u64 {
        self.0
            .iter()
            .map(|(compressed, _)| u64::from(*compressed))
            .sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_round_trips_and_every_fixed_byte_counts() {
        let table = SeekTable(vec![(10, 20), (30, 40)]);
        let bytes = table.encode();
        assert_eq!(bytes.len() as u64, SeekTable::encoded_len(2));
        assert_eq!(SeekTable::decode(&bytes).unwrap(), table);
        assert_eq!(table.total(), 40);
        for at in (0..8).chain(24..bytes.len()) {
            let mut changed = bytes.clone();
            changed[at] ^= 0x10;
            assert!(SeekTable::decode(&changed).is_err(), "byte {at}");
        }
        assert!(SeekTable::decode(&bytes[1..]).is_err());
        assert!(SeekTable::decode(&[]).is_err());
    }
}
