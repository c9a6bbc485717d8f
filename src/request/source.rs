//! Reading the files that a request names, with limits, and only those that may be read.

use std::{
    fs,
    io::Read,
    path::{Component, Path, PathBuf},
};

use super::RequestError;

/// Reads all of `reader`, at most `limit` bytes.
pub(super) fn read_capped(
    reader: impl Read,
    shown: &str,
    limit: u64,
) -> Result<Vec<u8>, RequestError> {
    let mut content = Vec::new();
    let read = reader.take(limit + 1).read_to_end(&mut content);
    if let Err(source) = read {
        return Err(RequestError::Read {
            file: shown.to_owned(),
            source,
        });
    }
    if content.len() as u64 > limit {
        return Err(RequestError::TooLarge {
            file: shown.to_owned(),
            limit,
        });
    }
    Ok(content)
}

/// Opens a file that the user named on the command line. It may be a pipe (a shell's `<(…)`), but
/// not a directory.
pub(super) fn open_argument(path: &Path) -> Result<fs::File, RequestError> {
    let file = path.display().to_string();
    let read_error = |source| RequestError::Read {
        file: file.clone(),
        source,
    };
    let opened = fs::File::open(path).map_err(read_error)?;
    if opened.metadata().map_err(read_error)?.is_dir() {
        return Err(RequestError::NotAFile {
            file,
            what: "a directory, not a file",
        });
    }
    Ok(opened)
}

/// Checks that `path` is a regular file that can be opened.
pub(super) fn check_regular(path: &Path) -> Result<(), RequestError> {
    let file = path.display().to_string();
    let read_error = |source| RequestError::Read {
        file: file.clone(),
        source,
    };
    // Looked at before it is opened: opening a named pipe would wait for a writer.
    let kind = fs::metadata(path).map_err(read_error)?.file_type();
    if !kind.is_file() {
        let what = if kind.is_dir() {
            "a directory, not a file"
        } else {
            "not a regular file"
        };
        return Err(RequestError::NotAFile { file, what });
    }
    fs::File::open(path).map(drop).map_err(read_error)
}

/// Why a path in `bundle.yaml` is refused, from its text alone: it must lead to a file below the
/// directory of `bundle.yaml`, because that file may come from someone else than the user who
/// runs `create`, and must not carry off what only the user may read.
pub(super) fn check_contained_text(path: &str) -> Result<(), &'static str> {
    if path.is_empty() || path.contains('\0') {
        return Err("the path is empty or has a NUL byte");
    }
    for component in Path::new(path).components() {
        match component {
            Component::Normal(_) | Component::CurDir => {}
            Component::ParentDir => {
                return Err("the path must not leave the directory of the file that names it");
            }
            Component::RootDir | Component::Prefix(_) => {
                return Err("the path must be relative to the file that names it");
            }
        }
    }
    Ok(())
}

/// Resolves a path of `bundle.yaml` (checked by [`check_contained_text`]) to a regular file below
/// `base`, without symbolic links. Links inside `base` are followed, links out of it are refused.
pub(super) fn contained_file(base: &Path, path: &str) -> Result<PathBuf, RequestError> {
    let file = || path.to_owned();
    let resolved = contained_path(base, path)?;
    check_regular(&resolved).map_err(|error| match error {
        // The name that the user wrote says more than where it led.
        RequestError::NotAFile { what, .. } => RequestError::NotAFile { file: file(), what },
        RequestError::Read { source, .. } => RequestError::Read {
            file: file(),
            source,
        },
        other => other,
    })?;
    Ok(resolved)
}

/// A list of images below the directory `base`.
///
/// # Errors
/// When the path leads elsewhere, and as [`read_list`](super::read_list).
pub fn read_contained_list(
    base: &Path,
    path: &str,
) -> Result<Vec<super::ListedImage>, RequestError> {
    let opened = contained_file(base, path).and_then(|path| open_argument(&path))?;
    super::read_list(opened, path)
}

/// As [`contained_file`], for a path that may lead to a directory as well.
pub(super) fn contained_path(base: &Path, path: &str) -> Result<PathBuf, RequestError> {
    let file = || path.to_owned();
    let read_error = |source| RequestError::Read {
        file: file(),
        source,
    };
    let base = if base.as_os_str().is_empty() {
        Path::new(".")
    } else {
        base
    };
    let base = base.canonicalize().map_err(read_error)?;
    let resolved = base.join(path).canonicalize().map_err(read_error)?;
    if !resolved.starts_with(&base) {
        return Err(RequestError::NotAFile {
            file: file(),
            what: "a symbolic link out of the directory of bundle.yaml",
        });
    }
    Ok(resolved)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_path_stays_below_its_base() {
        let outside = tempfile::tempdir().unwrap();
        fs::write(outside.path().join("secret"), "x").unwrap();
        let base = tempfile::tempdir().unwrap();
        let base = base.path();
        fs::create_dir(base.join("sub")).unwrap();
        fs::write(base.join("sub/a.txt"), "a").unwrap();
        symlink("sub/a.txt", base.join("inside")).unwrap();
        symlink(outside.path().join("secret"), base.join("outside")).unwrap();
        symlink(outside.path(), base.join("away")).unwrap();
        symlink("loop", base.join("loop")).unwrap();
        let pipe = base.join("pipe");
        rustix::fs::mknodat(
            rustix::fs::CWD,
            &pipe,
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR,
            0,
        )
        .unwrap();

        let resolved = contained_file(base, "./sub/a.txt").unwrap();
        assert_eq!(contained_file(base, "inside").unwrap(), resolved);
        for (bad, says) in [
            ("outside", "out of the directory"),
            ("away/secret", "out of the directory"),
            ("sub", "is a directory"),
            ("pipe", "not a regular file"),
            ("loop", "cannot read"),
            ("absent", "cannot read absent"),
        ] {
            let message = contained_file(base, bad).unwrap_err().to_string();
            assert!(message.contains(says), "{bad}: {message}");
        }
    }

    #[test]
    fn paths_that_leave_are_refused_by_their_text() {
        for good in ["a", "./a", "a/b/c.txt", "..a"] {
            assert!(check_contained_text(good).is_ok(), "{good}");
        }
        for bad in ["", "/etc/passwd", "../a", "a/../../b", "a\0"] {
            assert!(check_contained_text(bad).is_err(), "{bad:?}");
        }
    }
}
