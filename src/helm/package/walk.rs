//! The files of a chart's directory, and nothing from outside of it.
//!
//! Helm follows symbolic links wherever they lead, so that a chart from somewhere else can take
//! along the user's own files (CVE-2019-18658). Here a link may lead to another place within the
//! chart, and nowhere else.

use std::{
    fs, io,
    io::Read as _,
    path::{Path, PathBuf},
};

use rustix::fs::{Mode, OFlags};

use crate::helm::chart::{File, MAX_DECOMPRESSED_BYTES, MAX_FILE_BYTES, MAX_MEMBERS, clip};

use super::{PackageError, ignore::Rules};

/// Deepest nesting of directories.
const MAX_DEPTH: usize = 64;
/// Largest `.helmignore`, in bytes.
const MAX_IGNORE_BYTES: u64 = 1 << 20;

/// What a directory holds.
#[derive(Debug, Default)]
pub(super) struct Walked {
    /// Everything that is not ignored, in Helm's order: by name, directory by directory.
    pub files: Vec<File>,
    /// What `.helmignore` leaves out; a directory ends in `/`.
    pub excluded: Vec<String>,
    /// Links that were followed, all of them within the chart.
    pub links: Vec<String>,
}

/// Reads all files of a directory that its `.helmignore` does not leave out.
pub(super) fn walk(directory: &Path) -> Result<Walked, PackageError> {
    let root = fs::canonicalize(directory).map_err(|error| unreadable(directory, error))?;
    if !root.is_dir() {
        return Err(PackageError::NotADirectory {
            path: directory.to_owned(),
        });
    }
    let mut walker = Walker {
        rules: rules(&root)?,
        left: MAX_DECOMPRESSED_BYTES,
        root,
        walked: Walked::default(),
    };
    walker.directory(&walker.root.clone(), "", &mut Vec::new())?;
    Ok(walker.walked)
}

fn rules(root: &Path) -> Result<Rules, PackageError> {
    const NAME: &str = ".helmignore";
    let path = root.join(NAME);
    let text = match fs::canonicalize(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        Err(error) => return Err(unreadable(&path, error)),
        Ok(target) if !target.starts_with(root) => return refuse(NAME, OUTSIDE),
        Ok(target) => read_file(&target, NAME, MAX_IGNORE_BYTES)?,
    };
    let text = String::from_utf8(text).or_else(|_| refuse(NAME, "is not UTF-8"))?;
    Rules::parse(&text).map_err(|bad| PackageError::Ignore {
        line: bad.line,
        reason: bad.reason,
    })
}

const OUTSIDE: &str = "is a symbolic link that leads out of the chart";

struct Walker {
    /// Without any link in it.
    root: PathBuf,
    rules: Rules,
    /// Bytes that the chart may still have.
    left: u64,
    walked: Walked,
}

impl Walker {
    /// `path` has no link in it; `above` are the directories on the way here, likewise.
    fn directory(
        &mut self,
        path: &Path,
        name: &str,
        above: &mut Vec<PathBuf>,
    ) -> Result<(), PackageError> {
        if above.iter().any(|other| other == path) {
            return refuse(name, "is a symbolic link that leads in a circle");
        }
        if above.len() > MAX_DEPTH {
            return refuse(
                name,
                format!("is nested deeper than {MAX_DEPTH} directories"),
            );
        }
        let mut names = Vec::new();
        for entry in fs::read_dir(path).map_err(|error| unreadable(path, error))? {
            let entry = entry.map_err(|error| unreadable(path, error))?;
            let file_name = entry.file_name().into_string().or_else(|raw| {
                let shown = format!("{name}/{}", raw.to_string_lossy());
                refuse(
                    shown.trim_start_matches('/'),
                    "has a name that is not UTF-8",
                )
            })?;
            names.push(file_name);
        }
        names.sort_unstable();
        above.push(path.to_owned());
        for file_name in names {
            let name = match name {
                "" => file_name.clone(),
                above => format!("{above}/{file_name}"),
            };
            self.entry(&path.join(file_name), name, above)?;
        }
        above.pop();
        Ok(())
    }

    fn entry(
        &mut self,
        path: &Path,
        name: String,
        above: &mut Vec<PathBuf>,
    ) -> Result<(), PackageError> {
        let own = fs::symlink_metadata(path).map_err(|error| unreadable(path, error))?;
        let target = match own.is_symlink() {
            true => fs::canonicalize(path),
            false => Ok(path.to_owned()),
        };
        let is_directory = target.as_ref().is_ok_and(|target| target.is_dir());
        if self.rules.ignore(&name, is_directory) {
            let end = if is_directory { "/" } else { "" };
            self.walked.excluded.push(format!("{name}{end}"));
            return Ok(());
        }
        let target = target.or_else(|_| refuse(&name, "is a symbolic link that leads nowhere"))?;
        if own.is_symlink() {
            if !target.starts_with(&self.root) {
                return refuse(&name, OUTSIDE);
            }
            self.walked.links.push(name.clone());
        }
        if is_directory {
            return self.directory(&target, &name, above);
        }
        if self.walked.files.len() >= MAX_MEMBERS {
            return refuse(&name, format!("is one more than {MAX_MEMBERS} files"));
        }
        let data = read_file(&target, &name, MAX_FILE_BYTES.min(self.left))?;
        self.left -= data.len() as u64;
        self.walked.files.push(File { name, data });
        Ok(())
    }
}

/// Reads a file, never waiting for a FIFO and never following a link that was put there meanwhile.
fn read_file(path: &Path, name: &str, limit: u64) -> Result<Vec<u8>, PackageError> {
    // What is looked at first cannot be opened, or opening it does something.
    let metadata = fs::symlink_metadata(path).map_err(|error| unreadable(path, error))?;
    if !metadata.is_file() {
        return refuse(name, "is neither a file nor a directory");
    }
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let opened = rustix::fs::open(path, flags, Mode::empty());
    let file = fs::File::from(opened.map_err(|error| unreadable(path, error.into()))?);
    let metadata = file.metadata().map_err(|error| unreadable(path, error))?;
    if !metadata.is_file() {
        return refuse(name, "is neither a file nor a directory");
    }
    let mut data = Vec::new();
    file.take(limit + 1)
        .read_to_end(&mut data)
        .map_err(|error| unreadable(path, error))?;
    if data.len() as u64 > limit {
        return refuse(
            name,
            match limit {
                MAX_FILE_BYTES => {
                    format!("is larger than the {limit} bytes that Helm reads of one file")
                }
                MAX_IGNORE_BYTES => format!("is larger than {limit} bytes"),
                _ => format!("makes the chart larger than {MAX_DECOMPRESSED_BYTES} bytes"),
            },
        );
    }
    Ok(data)
}

fn unreadable(path: &Path, source: io::Error) -> PackageError {
    PackageError::Read {
        path: path.to_owned(),
        source,
    }
}

fn refuse<T>(file: &str, problem: impl Into<String>) -> Result<T, PackageError> {
    Err(PackageError::File {
        file: clip(file),
        problem: problem.into(),
    })
}
