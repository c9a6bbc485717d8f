//! The tar stream inside a bundle: one header per member, every byte of it fixed.
//!
//! Nothing here parses. A reader knows from signed metadata which member comes next, makes the same
//! header and compares (bundle-spec, "Members").

use crate::oci::{Algorithm, Digest};

/// The unit of a tar stream, in bytes.
pub const BLOCK: u64 = 512;

/// The two zero blocks at the end of the stream.
pub const CLOSING: u64 = 2 * BLOCK;

/// The first size that no longer fits eleven octal digits.
const OCTAL_LIMIT: u64 = 1 << 33;

/// The member name of a blob: `blobs/ALGORITHM/HEX` (image-spec, "Image Layout").
pub fn blob_name(digest: &Digest) -> String {
    format!("blobs/{}/{}", digest.algorithm().name(), digest.hex())
}

/// Length in bytes of what precedes a blob's content: one header, or three blocks where the name
/// needs an extended header.
pub const fn blob_header_len(digest: &Digest) -> u64 {
    match digest.algorithm() {
        Algorithm::Sha256 => BLOCK,
        Algorithm::Sha512 => 3 * BLOCK,
    }
}

/// Zero bytes that follow content of `size` bytes up to the next block.
pub const fn padding(size: u64) -> u64 {
    size.wrapping_neg() % BLOCK
}

/// The header of a member whose name fits the 100 bytes of the name field.
pub fn header(name: &str, size: u64) -> Vec<u8> {
    raw_header(name.as_bytes(), size, b'0').to_vec()
}

/// Everything that precedes a blob's content.
pub fn blob_header(digest: &Digest, size: u64) -> Vec<u8> {
    let name = blob_name(digest);
    if name.len() <= 100 {
        return header(&name, size);
    }
    // pax record: decimal length of the whole record, then ` path=NAME\n` (POSIX pax, "Extended
    // Header"). For the one length that occurs (sha512), the length has three digits.
    let record = format!("{} path={name}\n", name.len() + " path=\n".len() + 3);
    let mut out = raw_header(b"pax/path", record.len() as u64, b'x').to_vec();
    out.extend_from_slice(record.as_bytes());
    out.resize(out.len() + padding(record.len() as u64) as usize, 0);
    // The ordinary header that follows repeats the first 100 bytes of the name.
    out.extend_from_slice(&raw_header(&name.as_bytes()[..100], size, b'0'));
    out
}

fn raw_header(name: &[u8], size: u64, kind: u8) -> [u8; 512] {
    let mut block = [0; 512];
    let mut put = |at: usize, bytes: &[u8]| block[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, name);
    put(100, b"0000644\0");
    put(108, b"0000000\0");
    put(116, b"0000000\0");
    if size < OCTAL_LIMIT {
        put(124, format!("{size:011o}\0").as_bytes());
    } else {
        // GNU base-256: the top bit set, the number big-endian.
        put(124, &[0x80, 0, 0, 0]);
        put(128, &size.to_be_bytes());
    }
    put(136, b"00000000000\0");
    put(148, b"        ");
    put(156, &[kind]);
    put(257, b"ustar\x0000");
    put(329, b"0000000\0");
    put(337, b"0000000\0");
    let sum: u32 = block.iter().map(|b| u32::from(*b)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    block
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;
    use crate::oci::Hasher;

    fn read_back(header: Vec<u8>, content: &[u8]) -> (String, u64, Vec<u8>) {
        let mut stream = header;
        stream.extend_from_slice(content);
        stream.resize(stream.len() + padding(content.len() as u64) as usize, 0);
        stream.extend_from_slice(&[0; CLOSING as usize]);
        let mut archive = tar::Archive::new(stream.as_slice());
        let mut entry = archive.entries().unwrap().next().unwrap().unwrap();
        let name = entry.path().unwrap().display().to_string();
        let mut read = Vec::new();
        entry.read_to_end(&mut read).unwrap();
        (name, entry.size(), read)
    }

    #[test]
    fn another_reader_understands_the_headers() {
        assert_eq!(
            read_back(header("oci-layout", 3), b"abc"),
            ("oci-layout".into(), 3, b"abc".into())
        );
        let mut hasher = Hasher::new(Algorithm::Sha512);
        hasher.update(b"abc");
        let digest = hasher.finish();
        let header = blob_header(&digest, 3);
        assert_eq!(header.len() as u64, blob_header_len(&digest));
        assert_eq!(
            read_back(header, b"abc"),
            (blob_name(&digest), 3, b"abc".into())
        );
    }

    #[test]
    fn sizes_beyond_eight_gibibytes_are_base_256() {
        for size in [OCTAL_LIMIT - 1, OCTAL_LIMIT, 20 << 30, 1 << 50] {
            let bytes = header("x", size);
            let parsed = tar::Header::from_byte_slice(&bytes);
            assert_eq!(parsed.entry_size().unwrap(), size);
        }
    }

    #[test]
    fn the_header_bytes_are_fixed() {
        let digest = Digest::sha256_of(b"");
        let header = blob_header(&digest, 0);
        assert_eq!(Digest::sha256_of(&header).short(), "sha256:e5fb56857186");
    }
}
