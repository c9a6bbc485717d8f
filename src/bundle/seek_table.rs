//! The seek table at the end of a bundle: the zstd *seekable format*, version 0.1.0, without
//! per-frame checksums (each frame has its own).

use std::io;

use super::io_at::ReadAt;

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

    /// Reads the number of frames from a footer, the last `FOOTER` bytes of a file.
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

    /// Checks the first eight bytes of a table of `frames` frames.
    ///
    /// # Errors
    /// When they are not as prescribed.
    pub fn check_header(header: [u8; 8], frames: u32) -> Result<(), SeekTableError> {
        let [magic, length] = [0, 4].map(|at| {
            u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]])
        });
        if magic != SKIPPABLE_MAGIC {
            return Err(SeekTableError::Malformed("it is not in a skippable frame"));
        }
        if u64::from(length) != Self::encoded_len(frames) - 8 {
            return Err(SeekTableError::Malformed("its frame has another length"));
        }
        Ok(())
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
        let mut header = [0; 8];
        header.copy_from_slice(&bytes[..8]);
        Self::check_header(header, frames)?;
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

/// A seek table that stays in its file: how many frames there are is the file's own claim until the
/// metadata is trusted, so it takes no memory before.
#[derive(Debug, Clone, Copy)]
pub struct TableInFile {
    /// Where the entries start.
    at: u64,
    frames: u32,
}

/// Entries that are read at a time.
const AT_A_TIME: u32 = 8 << 10;

impl TableInFile {
    /// The table whose first byte is at `table_at`; that it is one is the caller's to check.
    pub const fn new(table_at: u64, frames: u32) -> Self {
        let at = table_at + 8;
        Self { at, frames }
    }

    /// Number of frames.
    pub const fn frames(self) -> u32 {
        self.frames
    }

    /// One entry; none behind the last.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn entry(self, file: &impl ReadAt, number: u32) -> io::Result<Option<(u32, u32)>> {
        if number >= self.frames {
            return Ok(None);
        }
        let mut entry = None;
        self.read(file, number, 1, |_, found| {
            entry = Some(found);
            Ok::<_, io::Error>(())
        })?;
        Ok(entry)
    }

    /// Reads all entries in order: their numbers and what they say.
    ///
    /// # Errors
    /// When the file cannot be read, and those of `take`.
    pub fn for_each<E: From<io::Error>>(
        self,
        file: &impl ReadAt,
        mut take: impl FnMut(u32, (u32, u32)) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut next = 0;
        while next < self.frames {
            let count = AT_A_TIME.min(self.frames - next);
            self.read(file, next, count, &mut take)?;
            next += count;
        }
        Ok(())
    }

    fn read<E: From<io::Error>>(
        self,
        file: &impl ReadAt,
        first: u32,
        count: u32,
        mut take: impl FnMut(u32, (u32, u32)) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut bytes = vec![0; count as usize * ENTRY as usize];
        file.read_exact_at(&mut bytes, self.at + u64::from(first) * ENTRY)?;
        for (number, entry) in (first..).zip(bytes.chunks_exact(ENTRY as usize)) {
            let word = |at: usize| {
                u32::from_le_bytes([entry[at], entry[at + 1], entry[at + 2], entry[at + 3]])
            };
            take(number, (word(0), word(4)))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_in_a_file_reads_like_one_in_memory() {
        let table = SeekTable((0..20_000).map(|n| (n, n * 2)).collect());
        let file = [b"in front".to_vec(), table.encode()].concat();
        let in_file = TableInFile::new(8, 20_000);
        let mut read = Vec::new();
        let all = in_file.for_each(&file, |number, entry| {
            assert_eq!(number as usize, read.len());
            read.push(entry);
            Ok::<_, io::Error>(())
        });
        all.unwrap();
        assert_eq!(read, table.0);
        assert_eq!(in_file.entry(&file, 9_999).unwrap(), Some((9_999, 19_998)));
        assert_eq!(in_file.entry(&file, 20_000).unwrap(), None);
        assert!(TableInFile::new(8, 40_000).entry(&file, 39_999).is_err());
    }

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
