//! Layers: tar archives with real files.

use std::io::Write;

use bytes::Bytes;
use sneakernet::oci::Digest;

use super::{Blob, Family};
use crate::support::random::Random;

/// How a layer's tar archive is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// Not at all.
    None,
    /// gzip, the usual form.
    Gzip,
    /// zstd, which only the OCI family names.
    Zstd,
}

/// A layer, not yet of one family or the other.
#[derive(Clone, Debug)]
pub struct Layer {
    compression: Compression,
    bytes: Bytes,
    digest: Digest,
    /// The digest of the tar archive, as configurations name it.
    pub diff_id: Digest,
}

/// An entry of a layer's tar archive.
#[derive(Clone, Debug)]
pub enum Entry {
    /// A regular file: path, mode, content.
    File(String, u32, Vec<u8>),
    /// A directory.
    Dir(String),
    /// A symbolic link: path, target.
    Link(String, String),
}

impl Layer {
    /// A layer of these entries.
    pub fn of(entries: &[Entry], compression: Compression) -> Self {
        let tar = tar_of(entries);
        let diff_id = Digest::sha256_of(&tar);
        let bytes = match compression {
            Compression::None => tar,
            Compression::Gzip => {
                let level = flate2::Compression::fast();
                let mut encoder = flate2::GzBuilder::new().write(Vec::new(), level);
                encoder.write_all(&tar).expect("memory");
                encoder.finish().expect("memory")
            }
            Compression::Zstd => zstd::encode_all(tar.as_slice(), 1).expect("memory"),
        };
        Self {
            compression,
            digest: Digest::sha256_of(&bytes),
            bytes: bytes.into(),
            diff_id,
        }
    }

    /// A layer with files below `/usr/share/NAME` of about `size` bytes together: half of them
    /// random, half of them text, so that it shrinks, but not to nothing.
    pub fn sample(seed: u64, name: &str, size: usize, compression: Compression) -> Self {
        let mut random = Random(seed);
        let home = format!("usr/share/{name}");
        let mut entries = vec![
            Entry::Dir("usr/".into()),
            Entry::Dir("usr/share/".into()),
            Entry::Dir(format!("{home}/")),
            Entry::File(
                format!("{home}/name"),
                0o644,
                format!("{name}\n").into_bytes(),
            ),
            Entry::Link(format!("{home}/link"), "name".into()),
            Entry::File(
                format!("{home}/run.sh"),
                0o755,
                format!("#!/bin/sh\necho {name}\n").into_bytes(),
            ),
        ];
        let files = size.div_ceil(512 << 10).max(2);
        for number in 0..files {
            let length = size / files;
            let content = if number % 2 == 0 {
                random.bytes(length)
            } else {
                random.text(length)
            };
            entries.push(Entry::File(
                format!("{home}/data-{number:03}"),
                0o644,
                content,
            ));
        }
        Self::of(&entries, compression)
    }

    /// The digest of the layer as it is stored.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// The bytes of the layer as it is stored.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// The layer as a blob with the family's media type.
    pub fn blob(&self, family: Family) -> Blob {
        let media_type = match (family, self.compression) {
            (Family::Oci, Compression::None) => "application/vnd.oci.image.layer.v1.tar",
            (Family::Oci, Compression::Gzip) => "application/vnd.oci.image.layer.v1.tar+gzip",
            (Family::Oci, Compression::Zstd) => "application/vnd.oci.image.layer.v1.tar+zstd",
            (Family::Docker, Compression::None) => "application/vnd.docker.image.rootfs.diff.tar",
            (Family::Docker, Compression::Gzip) => {
                "application/vnd.docker.image.rootfs.diff.tar.gzip"
            }
            (Family::Docker, Compression::Zstd) => panic!("Docker's family has no zstd layers"),
        };
        Blob {
            media_type: media_type.to_owned(),
            digest: self.digest,
            bytes: self.bytes.clone(),
        }
    }
}

fn tar_of(entries: &[Entry]) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    for entry in entries {
        let mut header = tar::Header::new_ustar();
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(1_700_000_000);
        let (path, content): (&str, &[u8]) = match entry {
            Entry::File(path, mode, content) => {
                header.set_entry_type(tar::EntryType::Regular);
                header.set_mode(*mode);
                (path, content)
            }
            Entry::Dir(path) => {
                header.set_entry_type(tar::EntryType::Directory);
                header.set_mode(0o755);
                (path, &[])
            }
            Entry::Link(path, target) => {
                header.set_entry_type(tar::EntryType::Symlink);
                header.set_mode(0o777);
                header.set_link_name(target).expect("a short target");
                (path, &[])
            }
        };
        header.set_size(content.len() as u64);
        tar.append_data(&mut header, path, content).expect("memory");
    }
    tar.into_inner().expect("memory")
}
