//! File operations that survive a crash: what has been renamed into place is complete, and stays.

use std::{
    fs::{self, File},
    io::{self, Write as _},
    path::Path,
};

use tempfile::NamedTempFile;

/// Puts `bytes` at `target`, replacing what is there in one step. `temporary` is a directory on
/// the same file system.
pub(super) fn write(temporary: &Path, target: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = NamedTempFile::new_in(temporary)?;
    file.write_all(bytes)?;
    file.as_file().sync_all()?;
    create_parents(target)?;
    file.persist(target).map_err(|failed| failed.error)?;
    sync_parent(target)
}

/// Moves a file that was written and synchronised before into its final place.
pub(super) fn rename(from: &Path, target: &Path) -> io::Result<()> {
    create_parents(target)?;
    fs::rename(from, target)?;
    sync_parent(target)
}

/// Makes an empty file whose name is all that matters.
pub(super) fn touch(target: &Path) -> io::Result<()> {
    if fs::exists(target)? {
        return Ok(());
    }
    create_parents(target)?;
    File::create(target)?;
    sync_parent(target)
}

/// Removes a file; `false` when there was none.
pub(super) fn remove(target: &Path) -> io::Result<bool> {
    match fs::remove_file(target) {
        Ok(()) => sync_parent(target).map(|()| true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// The content of a small file, `None` when there is none; an error when it is larger than `cap`.
pub(super) fn read_small(path: &Path, cap: u64) -> io::Result<Option<Vec<u8>>> {
    use io::Read as _;
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut bytes = Vec::new();
    file.take(cap + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > cap {
        return Err(damaged("a file in the store is larger than it can be"));
    }
    Ok(Some(bytes))
}

/// The names in a directory that are UTF-8 (all that the store writes are); none when the
/// directory does not exist.
pub(super) fn names_in(directory: &Path) -> io::Result<Vec<String>> {
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut names = Vec::new();
    for entry in entries {
        if let Ok(name) = entry?.file_name().into_string() {
            names.push(name);
        }
    }
    Ok(names)
}

/// An error for content that the store itself cannot have written.
pub(super) fn damaged(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

fn create_parents(target: &Path) -> io::Result<()> {
    match target.parent() {
        Some(parent) => create_directories(parent),
        None => Ok(()),
    }
}

/// Like `create_dir_all`, and each new name is on the disk afterwards.
fn create_directories(path: &Path) -> io::Result<()> {
    if path.as_os_str().is_empty() || path.is_dir() {
        return Ok(());
    }
    create_parents(path)?;
    match fs::create_dir(path) {
        Ok(()) => sync_parent(path),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error),
    }
}

fn sync_parent(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(parent) => File::open(parent)?.sync_all(),
        None => Ok(()),
    }
}
