//! The file that a bundle is written to: never under its final name before it is complete.
//!
//! A run writes `OUTPUT.partial` and remembers in `OUTPUT.resume` what it resolved. A later run for
//! the same request takes both up again and ends with the same bytes as an uninterrupted one.

use std::{
    collections::HashMap,
    fs::{self, File},
    io::{self, Read as _, Write as _},
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    sync::Arc,
};

use bytes::Bytes;
use rustix::{
    fs::{FlockOperation, Mode, OFlags, RenameFlags},
    io::retry_on_intr,
};
use serde::{Deserialize, Serialize};

use super::{
    Assembled, CreateError, CreateRequest, Destination, MAX_VALUES_BYTES, TOOL, files::HashedFile,
};
use crate::{
    bundle::{Lock, salvage_packed},
    oci::{Digest, canonical_json},
    request::RequestedChart,
};

/// `f_type` of FAT file systems (statfs(2)).
const MSDOS_SUPER_MAGIC: i64 = 0x4d44;
/// The first size that FAT cannot hold.
const FAT_LIMIT: u64 = 1 << 32;
/// No state is larger: a lock has at most 64 MiB, and JSON in a JSON string takes twice as much.
const MAX_STATE: u64 = 160 << 20;

/// What an interrupted run left.
#[derive(Debug)]
pub(super) struct Resume {
    /// What it resolved.
    pub(super) lock: Lock,
    /// Manifests and small blobs that it had fetched, by digest.
    pub(super) salvaged: HashMap<Digest, Bytes>,
}

/// The content of `OUTPUT.resume`.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct State {
    /// What was asked for, and by which program.
    fingerprint: String,
    /// The lock's bytes.
    lock: String,
}

/// Where the bundle goes.
#[derive(Debug)]
pub(super) enum Output {
    Stdout,
    File(PartialFile),
}

/// A bundle in the making.
#[derive(Debug)]
pub(super) struct PartialFile {
    /// The name that it gets.
    path: PathBuf,
    partial: PathBuf,
    state: PathBuf,
    pub(super) file: Arc<File>,
    force: bool,
    fingerprint: String,
    /// Whether an interrupted run is gone on with.
    pub(super) resumed: bool,
    /// Whether something is there that a later run can use.
    useful: bool,
}

impl Output {
    /// Opens the output, and what an interrupted run for the same request left.
    pub(super) fn open(
        destination: &Destination,
        fingerprint: &str,
    ) -> Result<(Self, Option<Resume>), CreateError> {
        match destination {
            Destination::Stdout => Ok((Self::Stdout, None)),
            Destination::File {
                path,
                force,
                resume,
            } => {
                let (file, resume) = PartialFile::open(path, *force, *resume, fingerprint)?;
                Ok((Self::File(file), resume))
            }
        }
    }

    /// Checks that the bundle will fit, and remembers what was resolved.
    pub(super) fn prepare(&mut self, assembled: &Assembled) -> Result<(), CreateError> {
        match self {
            Self::Stdout => Ok(()),
            Self::File(file) => file.prepare(assembled),
        }
    }

    /// Makes the bundle appear under its name, durably.
    pub(super) fn commit(&mut self) -> Result<(), CreateError> {
        match self {
            Self::Stdout => Ok(()),
            Self::File(file) => file.commit(),
        }
    }

    /// Leaves nothing behind that is of no use to a later run.
    pub(super) fn give_up(&self) {
        if let Self::File(file) = self
            && !file.useful
        {
            // The run has failed already; what cannot be removed stays.
            let _ = fs::remove_file(&file.partial);
            let _ = fs::remove_file(&file.state);
        }
    }

    /// The bundle's name, unless it goes to standard output.
    pub(super) fn path(&self) -> Option<PathBuf> {
        match self {
            Self::Stdout => None,
            Self::File(file) => Some(file.path.clone()),
        }
    }
}

impl PartialFile {
    fn open(
        path: &Path,
        force: bool,
        resume: bool,
        fingerprint: &str,
    ) -> Result<(Self, Option<Resume>), CreateError> {
        let partial = with_suffix(path, ".partial");
        let state = with_suffix(path, ".resume");
        let file = loop {
            check_free(path, force)?;
            if let Some(file) = open_locked(path, &partial)? {
                break file;
            }
        };
        // What was resolved is of no use without what was fetched: it may be out of date.
        let size = file.metadata().map_err(CreateError::write(&partial))?.len();
        let found = if resume && size > 0 {
            read_state(&state, fingerprint)
        } else {
            None
        };
        let resume = match found {
            Some(lock) => Some(Resume {
                lock,
                salvaged: salvage_packed(&file),
            }),
            None => {
                file.set_len(0).map_err(CreateError::write(&partial))?;
                None
            }
        };
        let output = Self {
            path: path.to_owned(),
            partial,
            state,
            file: Arc::new(file),
            force,
            fingerprint: fingerprint.to_owned(),
            resumed: resume.is_some(),
            useful: resume.is_some(),
        };
        Ok((output, resume))
    }

    fn prepare(&mut self, assembled: &Assembled) -> Result<(), CreateError> {
        self.check_space(assembled)?;
        if self.resumed {
            return Ok(());
        }
        let lock = assembled
            .lock
            .to_bytes()
            .map_err(crate::bundle::BundleError::from)?;
        let state = State {
            fingerprint: self.fingerprint.clone(),
            lock: String::from_utf8_lossy(&lock).into_owned(),
        };
        let bytes = canonical_json::to_vec(&state).map_err(crate::bundle::BundleError::from)?;
        // Nothing was fetched yet: if this is interrupted, what is there is not read as a state,
        // and starting over costs nothing.
        let write = || -> io::Result<()> {
            fs::remove_file(&self.state).or_else(ignore_missing)?;
            let mut options = File::options();
            let options = options.write(true).create_new(true).mode(0o600);
            let mut file = options.open(&self.state)?;
            file.write_all(&bytes)?;
            file.sync_all()
        };
        write().map_err(CreateError::write(&self.state))?;
        self.useful = true;
        Ok(())
    }

    /// Before the first byte: does the result fit here?
    fn check_space(&self, assembled: &Assembled) -> Result<(), CreateError> {
        let failed = |error: rustix::io::Errno| CreateError::write(&self.partial)(error.into());
        let (needed, _) = assembled.plan.file_len_bounds();
        let kind = rustix::fs::fstatfs(&*self.file).map_err(failed)?;
        #[allow(
            clippy::unnecessary_cast,
            reason = "the type differs between architectures"
        )]
        if kind.f_type as i64 == MSDOS_SUPER_MAGIC && needed >= FAT_LIMIT {
            return Err(CreateError::FileTooLarge {
                path: self.path.clone(),
                needed,
            });
        }
        let space = rustix::fs::fstatvfs(&*self.file).map_err(failed)?;
        let metadata = self
            .file
            .metadata()
            .map_err(CreateError::write(&self.partial))?;
        let held = metadata.blocks() * 512;
        let available = space
            .f_bavail
            .saturating_mul(space.f_frsize)
            .saturating_add(held);
        if needed > available {
            return Err(CreateError::Space {
                path: self.path.clone(),
                needed,
                available,
            });
        }
        Ok(())
    }

    fn commit(&mut self) -> Result<(), CreateError> {
        self.file
            .sync_all()
            .map_err(CreateError::write(&self.partial))?;
        // Opened before: what fails now must not fail when the bundle has its name. A directory
        // that one may write to but not read cannot be synchronised.
        let directory = match File::open(parent(&self.path)) {
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => None,
            opened => Some(opened.map_err(CreateError::write(&self.path))?),
        };
        self.rename().map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => CreateError::OutputExists(self.path.clone()),
            _ => CreateError::write(&self.path)(error),
        })?;
        if let Some(directory) = directory
            && let Err(error) = sync_directory(&directory)
        {
            // A run that fails leaves no bundle. One that was replaced is gone already; then the
            // new one stays, which is whole.
            if !self.force {
                let _ = fs::rename(&self.path, &self.partial);
            }
            return Err(CreateError::write(&self.path)(error));
        }
        // Without its partial file it is of no meaning; nothing is lost when it stays.
        let _ = fs::remove_file(&self.state);
        Ok(())
    }

    fn rename(&self) -> io::Result<()> {
        if self.force {
            return fs::rename(&self.partial, &self.path);
        }
        let here = rustix::fs::CWD;
        match rustix::fs::renameat_with(
            here,
            &self.partial,
            here,
            &self.path,
            RenameFlags::NOREPLACE,
        ) {
            // File systems without the flag: nothing was there at the start.
            Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS) => {
                fs::rename(&self.partial, &self.path)
            }
            other => Ok(other?),
        }
    }
}

/// What identifies a run: two runs with the same fingerprint make the same bundle, apart from what
/// tags point to. The programs' versions are part of it, for they decide about the bytes.
pub(super) fn fingerprint(
    create: &CreateRequest,
    files: &[HashedFile],
) -> Result<String, CreateError> {
    let request = &create.request;
    let images: Vec<_> = request
        .images
        .iter()
        .map(|i| (i.reference.to_string(), i.platforms.clone()))
        .collect();
    let files: Vec<_> = files
        .iter()
        .map(|f| (&f.locked.name, f.locked.digest))
        .collect();
    let values = |chart: &RequestedChart| -> Vec<_> {
        let values = chart.values.iter();
        values
            .map(|file| {
                let mut content = Vec::new();
                let opened = File::open(&file.path)?;
                opened
                    .take(MAX_VALUES_BYTES + 1)
                    .read_to_end(&mut content)?;
                Ok::<_, io::Error>(Digest::sha256_of(&content))
            })
            // What cannot be read is told when it is needed.
            .filter_map(Result::ok)
            .collect()
    };
    let charts: Vec<_> = request
        .charts
        .iter()
        .map(|chart| (format!("{chart:?}"), values(chart)))
        .collect();
    let keys: Vec<_> = create
        .keys
        .iter()
        .map(|key| key.public().fingerprint())
        .collect();
    let document = serde_json::json!({
        "tool": TOOL,
        "zstd": zstd::zstd_safe::version_string(),
        "name": request.name,
        "version": request.version,
        "platforms": request.platforms,
        "images": images,
        "files": files,
        "charts": charts,
        "referrers": request.referrers.in_lock(),
        "operators": format!("{:?}", request.operators),
        "chartOptions": format!("{:?}", create.charts),
        "keys": keys,
        "lock": create.lock,
    });
    let bytes = canonical_json::to_vec(&document).map_err(crate::bundle::BundleError::from)?;
    Ok(Digest::sha256_of(&bytes).to_string())
}

/// Whether the bundle may get this name.
fn check_free(path: &Path, force: bool) -> Result<(), CreateError> {
    match fs::symlink_metadata(path) {
        Ok(existing) if !existing.is_file() => Err(CreateError::OutputKind(path.to_owned())),
        Ok(_) if !force => Err(CreateError::OutputExists(path.to_owned())),
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(CreateError::write(path)(error)),
    }
}

/// Opens the partial file for this run alone. None when, in between, another run has finished with
/// the file and it has another name now, or none.
fn open_locked(path: &Path, partial: &Path) -> Result<Option<File>, CreateError> {
    let flags =
        OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let file = match rustix::fs::open(partial, flags, Mode::from_raw_mode(0o666)) {
        Ok(file) => File::from(file),
        // A symbolic link, a directory, a device.
        Err(rustix::io::Errno::LOOP | rustix::io::Errno::ISDIR | rustix::io::Errno::NXIO) => {
            return Err(CreateError::OutputKind(partial.to_owned()));
        }
        Err(error) => return Err(CreateError::write(partial)(error.into())),
    };
    let metadata = file.metadata().map_err(CreateError::write(partial))?;
    // A second name would be another file of the user's.
    if !metadata.is_file() || metadata.nlink() > 1 {
        return Err(CreateError::OutputKind(partial.to_owned()));
    }
    let lock = FlockOperation::NonBlockingLockExclusive;
    match retry_on_intr(|| rustix::fs::flock(&file, lock)) {
        Ok(()) => {}
        Err(rustix::io::Errno::WOULDBLOCK) => return Err(CreateError::Locked(path.to_owned())),
        // Some network file systems have no locks; writing there is still possible.
        Err(rustix::io::Errno::NOTSUP | rustix::io::Errno::NOLCK) => {}
        Err(error) => return Err(CreateError::write(partial)(error.into())),
    }
    match fs::symlink_metadata(partial) {
        Ok(named) if (named.dev(), named.ino()) == (metadata.dev(), metadata.ino()) => {
            Ok(Some(file))
        }
        Ok(_) => Ok(None),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(CreateError::write(partial)(error)),
    }
}

/// Makes the new name durable, on file systems that know this for directories.
fn sync_directory(directory: &File) -> io::Result<()> {
    match retry_on_intr(|| rustix::fs::fsync(directory)) {
        Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOTSUP) => Ok(()),
        done => Ok(done?),
    }
}

/// The lock of an interrupted run, if it was for the same request. Whatever is wrong with the
/// state, starting over is right. It decides what gets signed, so only a file is believed that this
/// user has written.
fn read_state(path: &Path, fingerprint: &str) -> Option<Lock> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let file = File::from(rustix::fs::open(path, flags, Mode::empty()).ok()?);
    let metadata = file.metadata().ok()?;
    let own = metadata.uid() == rustix::process::geteuid().as_raw();
    if !metadata.is_file() || !own || metadata.len() > MAX_STATE {
        return None;
    }
    let mut bytes = Vec::new();
    file.take(MAX_STATE).read_to_end(&mut bytes).ok()?;
    let state: State = serde_json::from_slice(&bytes).ok()?;
    if state.fingerprint != fingerprint {
        return None;
    }
    Lock::parse(state.lock.as_bytes()).ok()
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

fn parent(path: &Path) -> &Path {
    path.parent()
        .filter(|parent| !parent.as_os_str().is_empty())
        .unwrap_or(Path::new("."))
}

fn ignore_missing(error: io::Error) -> io::Result<()> {
    if error.kind() == io::ErrorKind::NotFound {
        Ok(())
    } else {
        Err(error)
    }
}
