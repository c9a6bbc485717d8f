//! The content-addressed store on a directory. All functions block; the request handlers run them
//! on blocking threads. See the [module documentation](super) for the layout on disk.

mod blobs;
mod durable;
mod manifests;
mod uploads;

use std::{
    fs::{self, File, TryLockError},
    io,
    path::{Path, PathBuf},
    sync::{Mutex, RwLock},
    time::Instant,
};

pub(super) use manifests::{NewManifest, Referrer};
pub(super) use uploads::{FinishError, Upload};

use super::{ServeError, names::RepositoryName};
use crate::oci::{Algorithm, Digest};

/// File that marks a directory as a store; its content is the version of the layout.
const MARKER: &str = "registry-layout";
const LAYOUT: &[u8] = b"1\n";
/// What a fresh file system may hold before the store is made on it.
const HARMLESS: [&str; 1] = ["lost+found"];

/// An opened store.
#[derive(Debug)]
pub(super) struct Store {
    root: PathBuf,
    /// Held for reading while content gets a new link, for writing while content without links is
    /// removed, so that no link to removed content can come to be.
    links: RwLock<()>,
    /// When abandoned uploads were last removed.
    swept: Mutex<Instant>,
    /// Keeps other processes out for as long as the store is open.
    _lock: Option<File>,
}

impl Store {
    /// Opens the store at `root`. Unless `read_only`, it is created when missing, locked against
    /// other processes, and freed of what a crash or an abandoned upload left behind.
    pub(super) fn open(root: &Path, read_only: bool) -> Result<Self, ServeError> {
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |source| ServeError::Store { path, source }
        };
        if !read_only {
            fs::create_dir_all(root).map_err(failed(root))?;
        }
        let marker = root.join(MARKER);
        match durable::read_small(&marker, 64).map_err(failed(&marker))? {
            Some(layout) if layout == LAYOUT => {}
            Some(_) => return Err(ServeError::Layout { path: marker }),
            None => {
                let names = fs::read_dir(root)
                    .and_then(|_| durable::names_in(root))
                    .map_err(failed(root))?;
                let foreign = names.iter().any(|name| !HARMLESS.contains(&name.as_str()));
                if read_only || foreign {
                    return Err(ServeError::NotAStore {
                        path: root.to_owned(),
                    });
                }
                fs::write(&marker, LAYOUT).map_err(failed(&marker))?;
            }
        }
        let lock = match read_only {
            true => None,
            false => Some(lock(root, &marker)?),
        };
        let store = Self {
            root: root.to_owned(),
            links: RwLock::new(()),
            swept: Mutex::new(Instant::now()),
            _lock: lock,
        };
        if !read_only {
            store.clean().map_err(failed(root))?;
        }
        Ok(store)
    }

    /// What a crash can leave behind: temporary files (nobody else uses them, the store is locked)
    /// and uploads that nobody continued.
    fn clean(&self) -> io::Result<()> {
        for directory in ["blobs", "repositories", "uploads", "temporary"] {
            fs::create_dir_all(self.root.join(directory))?;
        }
        let temporary = self.temporary();
        for name in durable::names_in(&temporary)? {
            fs::remove_file(temporary.join(name))?;
        }
        self.remove_abandoned_uploads().map(drop)
    }

    /// All repositories, in byte order.
    pub(super) fn repositories(&self) -> io::Result<Vec<RepositoryName>> {
        let mut found = Vec::new();
        let mut open = vec![String::new()];
        while let Some(path) = open.pop() {
            let names = durable::names_in(&self.root.join("repositories").join(&path))?;
            if names.iter().any(|name| name.starts_with('_')) {
                found.extend(RepositoryName::parse(&path));
            }
            for name in names {
                let below = match path.is_empty() {
                    true => name,
                    false => format!("{path}/{name}"),
                };
                // Anything else was not made by a push.
                if RepositoryName::parse(&below).is_some() {
                    open.push(below);
                }
            }
        }
        found.sort();
        Ok(found)
    }

    /// Whether anything was ever pushed into the repository.
    pub(super) fn repository_exists(&self, repository: &RepositoryName) -> io::Result<bool> {
        let names = durable::names_in(&self.repository(repository))?;
        Ok(names.iter().any(|name| name.starts_with('_')))
    }

    fn temporary(&self) -> PathBuf {
        self.root.join("temporary")
    }

    fn repository(&self, repository: &RepositoryName) -> PathBuf {
        self.root.join("repositories").join(repository.as_str())
    }

    /// Where content lies; two digits of the digest keep the directories small.
    fn content(&self, digest: &Digest) -> PathBuf {
        let hex = digest.hex();
        self.root
            .join("blobs")
            .join(digest.algorithm().name())
            .join(&hex[..2])
            .join(hex)
    }

    fn blob_link(&self, repository: &RepositoryName, digest: &Digest) -> PathBuf {
        below(self.repository(repository).join("_blobs"), digest)
    }

    fn manifest_link(&self, repository: &RepositoryName, digest: &Digest) -> PathBuf {
        below(self.repository(repository).join("_manifests"), digest)
    }

    fn tag(&self, repository: &RepositoryName, tag: &str) -> PathBuf {
        self.repository(repository).join("_tags").join(tag)
    }

    fn referrers_of(&self, repository: &RepositoryName, subject: &Digest) -> PathBuf {
        below(self.repository(repository).join("_referrers"), subject)
    }

    /// Removes content that no repository names any more. The caller holds `links` for writing.
    fn remove_unlinked(&self, digest: &Digest) -> io::Result<()> {
        for repository in self.repositories()? {
            if fs::exists(self.blob_link(&repository, digest))?
                || fs::exists(self.manifest_link(&repository, digest))?
            {
                return Ok(());
            }
        }
        durable::remove(&self.content(digest)).map(drop)
    }
}

fn lock(root: &Path, marker: &Path) -> Result<File, ServeError> {
    let failed = |source| ServeError::Store {
        path: marker.to_owned(),
        source,
    };
    let file = File::options().append(true).open(marker).map_err(failed)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(ServeError::InUse {
            path: root.to_owned(),
        }),
        Err(TryLockError::Error(source)) => Err(failed(source)),
    }
}

fn below(directory: PathBuf, digest: &Digest) -> PathBuf {
    directory.join(digest.algorithm().name()).join(digest.hex())
}

/// A digest as one file name, and back.
fn file_name(digest: &Digest) -> String {
    format!("{}-{}", digest.algorithm().name(), digest.hex())
}

fn from_file_name(name: &str) -> Option<Digest> {
    let (algorithm, hex) = name.split_once('-')?;
    let known = [Algorithm::Sha256, Algorithm::Sha512];
    known.iter().find(|known| known.name() == algorithm)?;
    format!("{algorithm}:{hex}").parse().ok()
}
