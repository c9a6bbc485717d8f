//! Reading the files out of a chart archive that may be hostile.
//!
//! What Helm accepts is a subset of tar, and what this accepts is a subset of that: everything that
//! two readers could understand differently is refused, since it is Helm that reads the archive in
//! the end.

use std::{
    cell::Cell,
    collections::{BTreeMap, BTreeSet},
    io::{self, Read},
    rc::Rc,
};

use flate2::read::MultiGzDecoder;
use tar::{Archive, Entry, EntryType};

use super::error::{ChartError, clip};

/// Largest archive that is read, in bytes.
pub const MAX_ARCHIVE_BYTES: u64 = 64 << 20;
/// Most that the files of a chart may have together, in bytes, sub-charts included. As in Helm,
/// where the limit is per archive.
pub const MAX_DECOMPRESSED_BYTES: u64 = 100 << 20;
/// Largest single file, in bytes. As in Helm.
pub const MAX_FILE_BYTES: u64 = 5 << 20;
/// Most members of an archive, sub-charts included.
pub const MAX_MEMBERS: usize = 20_000;

/// Longest path of a member, in bytes.
const MAX_PATH: usize = 1024;
/// Headers, padding and long names come on top of the content of the files.
const HEADER_BYTES: u64 = MAX_MEMBERS as u64 * 2048;

/// A file of a chart, its name relative to the chart's directory.
#[derive(Clone, Debug)]
pub(crate) struct File {
    pub name: String,
    pub data: Vec<u8>,
}

/// What an archive holds.
#[derive(Debug)]
pub(crate) struct Unpacked {
    /// The one directory that everything lies in.
    pub directory: String,
    pub files: Vec<File>,
}

/// What may still be decompressed. One for a chart with all its sub-charts, so that archives in
/// archives do not multiply.
#[derive(Debug)]
pub(crate) struct Budget {
    bytes: u64,
    members: usize,
}

impl Budget {
    pub(crate) fn new() -> Self {
        Self {
            bytes: MAX_DECOMPRESSED_BYTES,
            members: MAX_MEMBERS,
        }
    }

    fn take_member(&mut self) -> Result<(), ChartError> {
        self.members = self
            .members
            .checked_sub(1)
            .ok_or(ChartError::TooManyMembers { limit: MAX_MEMBERS })?;
        Ok(())
    }

    fn take_bytes(&mut self, member: &str, size: u64) -> Result<(), ChartError> {
        if size > MAX_FILE_BYTES {
            return Err(ChartError::FileTooLarge {
                member: clip(member),
                size,
                limit: MAX_FILE_BYTES,
            });
        }
        self.bytes = self.bytes.checked_sub(size).ok_or(TOO_LARGE)?;
        Ok(())
    }
}

const TOO_LARGE: ChartError = ChartError::DecompressedTooLarge {
    limit: MAX_DECOMPRESSED_BYTES,
};

/// Reads all files of a gzip-compressed tar.
pub(crate) fn unpack(archive: &[u8], budget: &mut Budget) -> Result<Unpacked, ChartError> {
    check_gzip(archive)?;
    let exceeded = Rc::new(Cell::new(false));
    let stream = Capped {
        inner: MultiGzDecoder::new(archive),
        left: budget.bytes + HEADER_BYTES,
        exceeded: Rc::clone(&exceeded),
    };
    let result = read_members(stream, budget);
    // Running into the cap looks like damage to the decoders above it.
    if exceeded.get() {
        return Err(TOO_LARGE);
    }
    result
}

fn check_gzip(archive: &[u8]) -> Result<(), ChartError> {
    if archive.len() as u64 > MAX_ARCHIVE_BYTES {
        return Err(ChartError::ArchiveTooLarge {
            size: archive.len() as u64,
            limit: MAX_ARCHIVE_BYTES,
        });
    }
    let what = match archive {
        [0x1f, 0x8b, 8, ..] => return Ok(()),
        [] => "it is empty",
        [b'P', b'K', ..] => "it is a zip file",
        [b'<', ..] => "it is an HTML page",
        _ if archive.get(257..262) == Some(b"ustar".as_slice()) => "it is a tar without gzip",
        _ => "it is not gzip",
    };
    Err(ChartError::NotAnArchive { what })
}

fn read_members(stream: impl Read, budget: &mut Budget) -> Result<Unpacked, ChartError> {
    let mut archive = Archive::new(stream);
    let mut directory: Option<String> = None;
    let mut files = Vec::new();
    let mut names = Names::default();
    for entry in archive.entries().map_err(damaged)? {
        let mut entry = entry.map_err(damaged)?;
        budget.take_member()?;
        // `git archive` writes one that holds a comment; it says nothing about any member.
        if entry.header().entry_type() == EntryType::XGlobalHeader {
            continue;
        }
        let path = member_path(&mut entry)?;
        let is_file = check_kind(&entry, &path)?;
        let path = path.strip_suffix('/').unwrap_or(&path);
        check_path(path)?;
        let (top, name) = path.split_once('/').unwrap_or((path, ""));
        if name.is_empty() && is_file {
            return refuse(path, "lies beside the chart's directory, not in it");
        }
        match &directory {
            None => directory = Some(top.to_owned()),
            Some(known) if known == top => {}
            Some(_) => return refuse(path, "lies in a second top directory"),
        }
        if name.is_empty() {
            continue;
        }
        names.add(name, is_file)?;
        if is_file {
            budget.take_bytes(path, entry.size())?;
            let data = read_exactly(&mut entry, path)?;
            files.push(File {
                name: name.to_owned(),
                data,
            });
        }
    }
    names.check_files_are_no_directories()?;
    check_end(archive.into_inner())?;
    match directory {
        Some(directory) if !files.is_empty() => Ok(Unpacked { directory, files }),
        _ => Err(ChartError::FileMissing {
            file: "Chart.yaml",
            found: None,
        }),
    }
}

/// The name of a member as every reader of tar understands it.
fn member_path<R: Read>(entry: &mut Entry<'_, R>) -> Result<String, ChartError> {
    let path = entry.path_bytes().into_owned();
    let shown = clip(&String::from_utf8_lossy(&path));
    if let Some(records) = entry.pax_extensions().map_err(damaged)? {
        for record in records {
            let record = record.map_err(damaged)?;
            let key = record.key_bytes();
            let tricky = key.starts_with(b"GNU.sparse.")
                || matches!(key, b"size" | b"linkpath" | b"hdrcharset")
                // A GNU long name and a pax path for one member: readers differ in which one counts.
                || (key == b"path" && record.value_bytes() != path);
            if tricky {
                return refuse(
                    &shown,
                    "has a pax header that readers understand differently",
                );
            }
        }
    }
    String::from_utf8(path).or_else(|_| refuse(&shown, "has a name that is not UTF-8"))
}

/// Whether a member is a file; otherwise it is a directory.
fn check_kind<R: Read>(entry: &Entry<'_, R>, path: &str) -> Result<bool, ChartError> {
    let header = entry.header();
    let kind_in_mode = header.mode().map_err(damaged)? & 0o170_000;
    match header.entry_type() {
        EntryType::Regular if path.ends_with('/') => {
            refuse(path, "is a file with the name of a directory")
        }
        EntryType::Regular if !matches!(kind_in_mode, 0 | 0o100_000) => {
            refuse(path, "is a file with the mode of something else")
        }
        EntryType::Regular => Ok(true),
        EntryType::Directory if entry.size() != 0 => refuse(path, "is a directory with content"),
        EntryType::Directory => Ok(false),
        EntryType::Symlink => refuse(path, "is a symbolic link"),
        EntryType::Link => refuse(path, "is a hard link"),
        EntryType::Char | EntryType::Block => refuse(path, "is a device"),
        EntryType::Fifo => refuse(path, "is a FIFO"),
        EntryType::GNUSparse => refuse(path, "is a sparse file"),
        _ => refuse(path, "is neither a file nor a directory"),
    }
}

fn check_path(path: &str) -> Result<(), ChartError> {
    if path.len() > MAX_PATH {
        return refuse(path, "has a name that is longer than 1024 bytes");
    }
    if path.contains('\0') {
        return refuse(path, "has a NUL in its name");
    }
    if path.contains('\\') {
        return refuse(path, "has a backslash in its name");
    }
    if path.chars().any(char::is_control) {
        return refuse(path, "has a control character in its name");
    }
    if path.starts_with('/') {
        return refuse(path, "is an absolute path");
    }
    for part in path.split('/') {
        match part.as_bytes() {
            [] => return refuse(path, "has an empty part in its path"),
            b"." => return refuse(path, "has `.` in its path"),
            b".." => return refuse(path, "leads out of the chart with `..`"),
            [letter, b':', ..] if letter.is_ascii_alphabetic() => {
                return refuse(path, "has a drive letter in its path");
            }
            _ => {}
        }
    }
    Ok(())
}

fn read_exactly<R: Read>(entry: &mut Entry<'_, R>, path: &str) -> Result<Vec<u8>, ChartError> {
    let size = entry.size();
    let mut data = Vec::new();
    entry.take(size).read_to_end(&mut data).map_err(damaged)?;
    if data.len() as u64 != size {
        return Err(ChartError::Damaged {
            reason: format!("it ends within `{}`", clip(path)),
        });
    }
    Ok(data)
}

/// Behind the end of the archive nothing but padding may follow.
fn check_end(mut stream: impl Read) -> Result<(), ChartError> {
    let mut buffer = [0; 8192];
    loop {
        match stream.read(&mut buffer).map_err(damaged)? {
            0 => return Ok(()),
            read if buffer[..read].iter().all(|byte| *byte == 0) => {}
            _ => {
                return Err(ChartError::Damaged {
                    reason: "something follows the end of the tar".to_owned(),
                });
            }
        }
    }
}

/// The names seen so far, so that nothing is there twice.
#[derive(Default)]
struct Names {
    /// Name to whether it is a file.
    seen: BTreeMap<String, bool>,
    /// Directories that hold a `Chart.yaml`, however that is spelt.
    charts: BTreeSet<String>,
}

impl Names {
    fn add(&mut self, name: &str, is_file: bool) -> Result<(), ChartError> {
        match self.seen.insert(name.to_owned(), is_file) {
            None => {}
            Some(false) if !is_file => {}
            Some(_) => return refuse(name, "is in the archive twice"),
        }
        let (parent, file) = name.rsplit_once('/').unwrap_or(("", name));
        if file.eq_ignore_ascii_case("Chart.yaml") && !self.charts.insert(parent.to_owned()) {
            return refuse(name, "is a second Chart.yaml, told apart by case alone");
        }
        Ok(())
    }

    /// Checks, when all names are known, that no file is also a directory.
    fn check_files_are_no_directories(&self) -> Result<(), ChartError> {
        for (name, _) in self.seen.iter().filter(|(_, is_file)| **is_file) {
            let below = format!("{name}/");
            if let Some((other, _)) = self.seen.range(below.clone()..).next()
                && other.starts_with(&below)
            {
                return refuse(other, "lies below a file");
            }
        }
        Ok(())
    }
}

fn refuse<T>(member: &str, problem: &'static str) -> Result<T, ChartError> {
    Err(ChartError::Member {
        member: clip(member),
        problem,
    })
}

fn damaged(error: io::Error) -> ChartError {
    ChartError::Damaged {
        reason: clip(&error.to_string()),
    }
}

/// Ends with an error where more is decompressed than may be.
struct Capped<R> {
    inner: R,
    left: u64,
    exceeded: Rc<Cell<bool>>,
}

impl<R: Read> Read for Capped<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.left = self.left.checked_sub(read as u64).ok_or_else(|| {
            self.exceeded.set(true);
            io::Error::other("larger than may be decompressed")
        })?;
        Ok(read)
    }
}
