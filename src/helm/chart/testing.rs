//! Archives for tests.

use std::io::Write as _;

use flate2::{Compression, write::GzEncoder};
use tar::{Builder, EntryType, Header};

/// A member of a tar that may be anything.
pub(crate) fn header(kind: EntryType, size: usize) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_size(size as u64);
    header.set_mode(0o644);
    header.set_mtime(0);
    header
}

/// A tar whose member names are written as they are, whatever they say.
pub(crate) fn tar(members: &[(EntryType, &str, &[u8])]) -> Vec<u8> {
    let mut builder = Builder::new(Vec::new());
    for (kind, name, data) in members {
        let mut header = header(*kind, data.len());
        header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
        header.set_cksum();
        builder.append(&header, *data).unwrap();
    }
    builder.into_inner().unwrap()
}

/// gzip.
pub(crate) fn gzip(data: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(data).unwrap();
    encoder.finish().unwrap()
}

/// An archive of files.
pub(crate) fn tgz(files: &[(&str, &[u8])]) -> Vec<u8> {
    let members: Vec<_> = files
        .iter()
        .map(|(name, data)| (EntryType::Regular, *name, *data))
        .collect();
    gzip(&tar(&members))
}

/// A `Chart.yaml`.
pub(crate) fn chart_yaml(name: &str, more: &str) -> Vec<u8> {
    format!("apiVersion: v2\nname: {name}\nversion: 1.2.3\n{more}").into_bytes()
}

/// An archive of a chart that is nothing but its `Chart.yaml`.
pub(crate) fn chart(name: &str, more: &str) -> Vec<u8> {
    tgz(&[(&format!("{name}/Chart.yaml"), &chart_yaml(name, more))])
}
