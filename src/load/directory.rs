//! The directory of a hand-off: what may be replaced there, and how that is done.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::{self, Read as _, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use rustix::fs::{AtFlags, CWD, OFlags, StatxAttributes, StatxFlags};
use tempfile::TempDir;

use super::{HandoffFault, LoadError};
use crate::{
    handoff::{
        HandoffFile,
        record::{MAX_RECORD_BYTES, RECORD_FILE, Record, RecordedFile},
    },
    oci::{Algorithm, Digest, Hasher},
};

/// Largest file of a hand-off that is looked into, in bytes; no hand-off has a larger one.
const MAX_FILE_BYTES: u64 = 256 << 20;
/// Files that are named when there are too many to be replaced.
const NAMED: usize = 20;

/// Where a hand-off is to be.
#[derive(Clone, Debug)]
pub(super) struct HandoffPlace {
    /// As the user wrote it, for messages.
    named: PathBuf,
    parent: PathBuf,
    target: PathBuf,
}

impl HandoffPlace {
    /// Looks whether a hand-off may be put there; changes nothing.
    ///
    /// # Errors
    /// When something else is there, or it cannot be replaced.
    pub(super) fn find(named: &Path) -> Result<Self, LoadError> {
        let refused = |problem, files| LoadError::HandoffDirectory {
            path: named.to_owned(),
            problem,
            files,
        };
        let failed = |error| LoadError::HandoffWrite {
            path: named.to_owned(),
            error,
        };
        let Some(name) = named.file_name() else {
            return Err(refused("is no name for a directory of its own", Vec::new()));
        };
        let parent = named.parent().filter(|p| !p.as_os_str().is_empty());
        let parent = parent.unwrap_or(Path::new("."));
        let parent = match parent.canonicalize() {
            Ok(parent) => parent,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Ok(Self {
                    named: named.to_owned(),
                    target: parent.join(name),
                    parent: parent.to_owned(),
                });
            }
            Err(error) => return Err(failed(error)),
        };
        let target = parent.join(name);
        let place = Self {
            named: named.to_owned(),
            parent,
            target,
        };
        let target = &place.target;
        match fs::symlink_metadata(target) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(place),
            Err(error) => return Err(failed(error)),
            Ok(found) if !found.is_dir() => {
                return Err(refused("exists and is not a hand-off", Vec::new()));
            }
            Ok(_) => {}
        }
        if std::env::current_dir().is_ok_and(|here| here.starts_with(target)) {
            let problem = "is the directory that this runs in: it cannot be replaced";
            return Err(refused(problem, Vec::new()));
        }
        if is_mount_point(target) {
            let problem = "is a mount point: it cannot be replaced";
            return Err(refused(problem, Vec::new()));
        }
        match of_others(target).map_err(failed)? {
            None => Err(refused("exists and is not a hand-off", Vec::new())),
            Some(files) if !files.is_empty() => Err(refused(
                "has files that were added or changed since it was handed off",
                files,
            )),
            Some(_) => Ok(place),
        }
    }

    /// Makes a directory to work in, beside the one that it will be.
    ///
    /// # Errors
    /// When nothing can be written there.
    pub(super) fn begin(self) -> Result<Work, LoadError> {
        let failed = |error| LoadError::HandoffWrite {
            path: self.named.clone(),
            error,
        };
        let begin = || -> io::Result<TempDir> {
            fs::create_dir_all(&self.parent)?;
            let work = tempfile::Builder::new()
                .prefix(".bundle-handoff-")
                .tempdir_in(&self.parent)?;
            fs::DirBuilder::new()
                .mode(0o755)
                .create(work.path().join(NEW))?;
            Ok(work)
        };
        let work = begin().map_err(failed)?;
        Ok(Work {
            place: self,
            work: Some(work),
            files: Vec::new(),
        })
    }

    /// The same in memory alone.
    pub(super) fn rehearse(self) -> Work {
        Work {
            place: self,
            work: None,
            files: Vec::new(),
        }
    }
}

/// In the directory to work in: what is being made, and what it replaces.
const NEW: &str = "new";
const OLD: &str = "old";

/// A hand-off that is being written; it gets its name when all is there.
#[derive(Debug)]
pub(super) struct Work {
    place: HandoffPlace,
    /// None in a rehearsal.
    work: Option<TempDir>,
    files: Vec<RecordedFile>,
}

impl Work {
    /// Writes a file.
    ///
    /// # Errors
    /// When that fails.
    pub(super) fn write(&mut self, file: &HandoffFile) -> Result<(), HandoffFault> {
        self.files.push(RecordedFile {
            path: file.path.clone(),
            digest: Digest::sha256_of(&file.content),
        });
        let Some(work) = &self.work else {
            return Ok(());
        };
        let path = work.path().join(NEW).join(&file.path);
        let write = || -> io::Result<()> {
            if let Some(directory) = path.parent() {
                fs::create_dir_all(directory)?;
            }
            // Values may hold what only their owner should read.
            let is_private = file.path.starts_with("values");
            let mode = if is_private { 0o600 } else { 0o644 };
            let mut options = fs::OpenOptions::new();
            let mut opened = options
                .write(true)
                .create_new(true)
                .mode(mode)
                .open(&path)?;
            opened.write_all(&file.content)
        };
        write().map_err(|error| HandoffFault::Write { path, error })
    }

    /// The files so far, sorted.
    pub(super) fn files(&mut self) -> &[RecordedFile] {
        self.files.sort_by(|a, b| a.path.cmp(&b.path));
        &self.files
    }

    /// Gives it its name, in place of the hand-off that was there.
    ///
    /// # Errors
    /// When something was added or changed there meanwhile, or when that fails; then what was there
    /// is there again.
    pub(super) fn finish(self) -> Result<(), HandoffFault> {
        let Some(work) = self.work else {
            return Ok(());
        };
        let target = &self.place.target;
        let failed = |error| HandoffFault::Write {
            path: self.place.named.clone(),
            error,
        };
        let (new, old) = (work.path().join(NEW), work.path().join(OLD));
        let was_there = match fs::rename(target, &old) {
            Ok(()) => true,
            Err(error) if error.kind() == io::ErrorKind::NotFound => false,
            Err(error) => return Err(failed(error)),
        };
        let replace = || -> Result<(), HandoffFault> {
            if was_there {
                let found = of_others(&old).map_err(failed)?;
                let files = found.unwrap_or_else(|| vec![RECORD_FILE.to_owned()]);
                if !files.is_empty() {
                    return Err(HandoffFault::Changed {
                        path: self.place.named.clone(),
                        files,
                    });
                }
            }
            fs::rename(&new, target).map_err(failed)
        };
        let replaced = replace();
        if replaced.is_err() && was_there && fs::rename(&old, target).is_err() {
            // What the user has must not go with the rest of the work.
            let _ = work.keep();
        }
        replaced
    }
}

fn is_mount_point(path: &Path) -> bool {
    let found = rustix::fs::statx(
        CWD,
        path,
        AtFlags::NO_AUTOMOUNT | AtFlags::SYMLINK_NOFOLLOW,
        StatxFlags::empty(),
    );
    // Before Linux 5.8 nobody knows; the rename fails then.
    found.is_ok_and(|found| found.stx_attributes.contains(StatxAttributes::MOUNT_ROOT))
}

/// What is in a directory beside the files of a hand-off as they were written, at most [`NAMED`];
/// none if it is neither a hand-off nor empty.
fn of_others(directory: &Path) -> io::Result<Option<Vec<String>>> {
    if fs::read_dir(directory)?.next().is_none() {
        return Ok(Some(Vec::new()));
    }
    let Some(record) = record(directory) else {
        return Ok(None);
    };
    let known: BTreeMap<_, _> = record
        .files
        .iter()
        .map(|f| (f.path.as_str(), f.digest))
        .collect();
    let mut directories = BTreeSet::new();
    for path in known.keys() {
        directories.extend(path.match_indices('/').map(|(end, _)| &path[..end]));
    }
    let mut others = Vec::new();
    let mut waiting = vec![String::new()];
    while let Some(below) = waiting.pop() {
        for entry in fs::read_dir(directory.join(&below))? {
            let entry = entry?;
            let name = entry.file_name();
            let name = name.to_string_lossy();
            let path = match below.as_str() {
                "" => name.into_owned(),
                below => format!("{below}/{name}"),
            };
            let kind = entry.file_type()?;
            let is_known = if kind.is_dir() {
                let known = directories.contains(path.as_str());
                if known {
                    waiting.push(path.clone());
                }
                known
            } else if path == RECORD_FILE {
                true
            } else {
                let digest = known.get(path.as_str());
                kind.is_file() && digest.is_some_and(|digest| has_digest(&entry.path(), digest))
            };
            if !is_known {
                others.push(path);
                if others.len() == NAMED {
                    return Ok(Some(others));
                }
            }
        }
    }
    others.sort();
    Ok(Some(others))
}

/// Opens a regular file without waiting for anything and without following a link.
fn open(path: &Path) -> Option<fs::File> {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let flags = i32::try_from(flags.bits()).ok()?;
    let file = fs::OpenOptions::new()
        .read(true)
        .custom_flags(flags)
        .open(path)
        .ok()?;
    file.metadata()
        .is_ok_and(|found| found.is_file())
        .then_some(file)
}

fn record(directory: &Path) -> Option<Record> {
    let mut content = Vec::new();
    let file = open(&directory.join(RECORD_FILE))?;
    file.take(MAX_RECORD_BYTES).read_to_end(&mut content).ok()?;
    Record::parse(&content).ok()
}

/// A file that cannot be read is not known to be as it was.
fn has_digest(path: &Path, wanted: &Digest) -> bool {
    let Some(mut file) = open(path) else {
        return false;
    };
    if file
        .metadata()
        .is_ok_and(|found| found.len() > MAX_FILE_BYTES)
    {
        return false;
    }
    let mut hasher = Hasher::new(Algorithm::Sha256);
    let mut piece = vec![0; 1 << 16];
    loop {
        match file.read(&mut piece) {
            Ok(0) => return hasher.finish() == *wanted,
            Ok(count) => hasher.update(&piece[..count]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bundle::Name;

    fn file(path: &str, content: &str) -> HandoffFile {
        HandoffFile {
            path: path.to_owned(),
            content: content.as_bytes().to_vec(),
        }
    }

    /// Writes a hand-off of some files.
    fn hand_off(place: HandoffPlace, text: &str) -> Result<(), HandoffFault> {
        let mut work = place.begin().expect("a place");
        work.write(&file("INSTALL.md", text))?;
        work.write(&file("values/a/values.yaml", text))?;
        let (api_version, kind) = Record::heading();
        let record = Record {
            api_version,
            kind,
            bundle: Name {
                name: "demo".into(),
                version: "1".into(),
            },
            root: Digest::sha256_of(b"x"),
            destination: "r.local".into(),
            mirrored_hosts: vec![],
            images: vec![],
            releases: vec![],
            checked: true,
            only_by_mirror: vec![],
            files: work.files().to_vec(),
        };
        let content = record.to_bytes().unwrap();
        work.write(&HandoffFile {
            path: RECORD_FILE.to_owned(),
            content,
        })?;
        work.finish()
    }

    fn refusal(path: &Path) -> String {
        let error = HandoffPlace::find(path).unwrap_err();
        format!("{error} {:?}", error.details())
    }

    #[test]
    fn only_a_hand_off_as_it_was_written_is_replaced() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("deep/er/handoff");
        hand_off(HandoffPlace::find(&path).unwrap(), "one").unwrap();
        hand_off(HandoffPlace::find(&path).unwrap(), "two").unwrap();
        assert_eq!(fs::read(path.join("INSTALL.md")).unwrap(), b"two");
        // A file that is gone is no loss.
        fs::remove_file(path.join("INSTALL.md")).unwrap();
        HandoffPlace::find(&path).unwrap();
        fs::write(path.join("values/a/values.yaml"), "mine").unwrap();
        fs::write(path.join("auth.json"), "mine").unwrap();
        fs::create_dir(path.join("notes")).unwrap();
        let said = refusal(&path);
        for name in ["\"auth.json\"", "\"notes\"", "\"values/a/values.yaml\""] {
            assert!(said.contains(name), "{name}: {said}");
        }
        let siblings = fs::read_dir(path.parent().unwrap()).unwrap().count();
        assert_eq!(siblings, 1, "nothing is left of the work");
    }

    #[test]
    fn what_is_changed_during_a_load_is_kept() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("handoff");
        hand_off(HandoffPlace::find(&path).unwrap(), "one").unwrap();
        let place = HandoffPlace::find(&path).unwrap();
        fs::write(path.join("INSTALL.md"), "mine").unwrap();
        let error = hand_off(place, "two").unwrap_err();
        assert!(matches!(error, HandoffFault::Changed { .. }), "{error}");
        assert_eq!(fs::read(path.join("INSTALL.md")).unwrap(), b"mine");
        assert_eq!(fs::read_dir(home.path()).unwrap().count(), 1);
        // The same where there was nothing.
        let path = home.path().join("new");
        let place = HandoffPlace::find(&path).unwrap();
        fs::create_dir(&path).unwrap();
        fs::write(path.join("x"), "mine").unwrap();
        hand_off(place, "two").unwrap_err();
        assert_eq!(fs::read(path.join("x")).unwrap(), b"mine");
    }

    #[test]
    fn places_that_cannot_be_replaced_are_refused() {
        let home = tempfile::tempdir().unwrap();
        let here = std::env::current_dir().unwrap();
        let link = home.path().join("link");
        std::os::unix::fs::symlink(home.path(), &link).unwrap();
        for (path, because) in [
            (Path::new("."), "no name"),
            (Path::new(".."), "no name"),
            (Path::new("/"), "no name"),
            (&home.path().join("x/.."), "no name"),
            (&here, "runs in"),
            (here.parent().unwrap(), "runs in"),
            (Path::new("/proc"), "mount point"),
            (&link, "not a hand-off"),
            (home.path(), "not a hand-off"),
        ] {
            let said = refusal(path);
            assert!(said.contains(because), "{}: {said}", path.display());
        }
    }
}
