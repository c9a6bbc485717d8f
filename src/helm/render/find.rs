//! Which `helm` is used, and whether it is new enough.

use std::{
    ffi::OsStr,
    fs, io,
    os::unix::fs::PermissionsExt as _,
    path::{self, Path, PathBuf},
};

use super::{HelmError, message::clip};

/// The most that `helm version` may print, in bytes.
pub(super) const MAX_VERSION_OUTPUT: u64 = 4096;

/// The first minor version of Helm 3 that has every flag that is used here.
const FIRST_MINOR_OF_3: u64 = 12;

/// The program as an absolute path. Symbolic links stay as they are: some programs do what the
/// name says that they were called by.
pub(super) fn locate(
    explicit: Option<&Path>,
    search_path: Option<&OsStr>,
) -> Result<PathBuf, HelmError> {
    if let Some(explicit) = explicit {
        let unusable = |cause| HelmError::Unusable {
            program: explicit.to_owned(),
            cause,
        };
        check_executable(explicit).map_err(unusable)?;
        return path::absolute(explicit).map_err(unusable);
    }
    std::env::split_paths(search_path.unwrap_or_default())
        .filter(|directory| directory.is_absolute())
        .map(|directory| directory.join("helm"))
        .find(|file| check_executable(file).is_ok())
        .ok_or(HelmError::NotFound)
}

fn check_executable(file: &Path) -> io::Result<()> {
    let metadata = fs::metadata(file)?;
    if !metadata.is_file() {
        return Err(io::Error::other("not a regular file"));
    }
    if metadata.permissions().mode() & 0o111 == 0 {
        return Err(io::Error::other("not executable"));
    }
    Ok(())
}

/// The version that `helm version` printed, if it is one that is supported.
pub(super) fn accepted_version(program: &Path, printed: &[u8]) -> Result<String, HelmError> {
    let printed = String::from_utf8_lossy(printed);
    let version = printed.trim();
    let Some((major, minor)) = major_and_minor(version) else {
        return Err(HelmError::NotHelm {
            program: program.to_owned(),
            said: clip(version),
        });
    };
    match (major, minor) {
        (3, FIRST_MINOR_OF_3..) | (4, _) => Ok(version.to_owned()),
        _ => Err(HelmError::Unsupported {
            program: program.to_owned(),
            version: version.to_owned(),
        }),
    }
}

/// Of `v3.17.3`, and of what distributions make of it: `3.18.0-rc.1`, `v3.18+unreleased`.
fn major_and_minor(version: &str) -> Option<(u64, u64)> {
    const LONGEST: usize = 64;
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '+' | '~');
    if version.len() > LONGEST || !version.chars().all(plain) {
        return None;
    }
    let numbers = version.strip_prefix('v').unwrap_or(version);
    let (major, rest) = numbers.split_once('.')?;
    let minor = rest.split(|c: char| !c.is_ascii_digit()).next()?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;

    use super::*;

    fn accepted(printed: &str) -> Result<String, HelmError> {
        accepted_version(Path::new("/usr/bin/helm"), printed.as_bytes())
    }

    #[test]
    fn versions_from_3_12_on_and_4_are_accepted() {
        for version in [
            "v3.12.0",
            "v3.17.3",
            "v4.0.0-rc.1",
            "v4.3.1",
            "3.18+unreleased",
        ] {
            assert_eq!(accepted(&format!("{version}\n")).unwrap(), version);
        }
    }

    #[test]
    fn other_versions_are_refused_by_their_name() {
        for version in ["v2.17.0", "v3.11.3", "v3.9.0", "v5.0.0"] {
            let error = accepted(version).unwrap_err();
            assert!(matches!(&error, HelmError::Unsupported { version: v, .. } if v == version));
        }
    }

    #[test]
    fn what_is_no_version_is_not_helm() {
        for printed in [
            "",
            "helm",
            "v3",
            "3",
            "v3.x.1",
            "v3.12.0 \u{1b}[2J",
            "<html>",
        ] {
            let error = accepted(printed).unwrap_err();
            assert!(matches!(error, HelmError::NotHelm { .. }), "{printed:?}");
        }
        let error = accepted(&"4.".repeat(40)).unwrap_err();
        assert!(matches!(error, HelmError::NotHelm { .. }));
    }

    fn program(directory: &Path, mode: u32) -> PathBuf {
        let file = directory.join("helm");
        fs::create_dir_all(directory).unwrap();
        fs::write(&file, "").unwrap();
        fs::set_permissions(&file, Permissions::from_mode(mode)).unwrap();
        file
    }

    #[test]
    fn the_first_executable_on_the_search_path_is_taken() {
        let root = tempfile::tempdir().unwrap();
        program(&root.path().join("not-executable"), 0o644);
        fs::create_dir_all(root.path().join("directory/helm")).unwrap();
        let wanted = program(&root.path().join("right"), 0o755);
        program(&root.path().join("later"), 0o755);
        let names = ["missing", "not-executable", "directory", "right", "later"];
        let search_path = std::env::join_paths(names.map(|n| root.path().join(n))).unwrap();
        assert_eq!(locate(None, Some(&search_path)).unwrap(), wanted);
    }

    #[test]
    fn relative_directories_on_the_search_path_are_left_alone() {
        // `.` and the empty entry mean the current directory, which may hold what was downloaded.
        let error = locate(None, Some(OsStr::new(".::bin"))).unwrap_err();
        assert!(matches!(error, HelmError::NotFound));
        assert!(matches!(locate(None, None), Err(HelmError::NotFound)));
    }

    #[test]
    fn a_named_program_has_to_be_there_and_executable() {
        let root = tempfile::tempdir().unwrap();
        let missing = locate(Some(&root.path().join("helm")), None).unwrap_err();
        assert!(matches!(missing, HelmError::Unusable { .. }));
        let file = program(root.path(), 0o600);
        let error = locate(Some(&file), None).unwrap_err();
        assert!(error.to_string().ends_with("not executable"), "{error}");
        let error = locate(Some(root.path()), None).unwrap_err();
        assert!(error.to_string().ends_with("not a regular file"), "{error}");
        program(root.path(), 0o755);
        assert_eq!(locate(Some(&file), None).unwrap(), file);
    }
}
