//! `bundle.lock`, the lock beside a bundle.yaml.

use std::{
    fs::{self, Permissions},
    io::{self, Write as _},
    os::unix::fs::PermissionsExt as _,
    path::Path,
};

use crate::{
    bundle::Lock,
    cli::{
        escape::escape_path,
        exit::{CliError, Exit},
    },
};

/// Reads a lock.
///
/// # Errors
/// With exit code 2 when it is not there or not a lock.
pub fn read(path: &Path) -> Result<Lock, CliError> {
    let shown = escape_path(path);
    let bytes = fs::read(path).map_err(|error| CliError::usage(format!("{shown}: {error}")))?;
    // An editor may have put a line break at the end; nothing else may be changed by hand.
    let bytes = bytes.strip_suffix(b"\n").unwrap_or(&bytes);
    Lock::parse(bytes).map_err(|error| {
        CliError::usage(format!("{shown}: {error}")).hint("make the lock anew: bundle plan")
    })
}

/// Writes a lock: all of it or nothing.
///
/// # Errors
/// With exit code 7 when it cannot be written.
pub fn write(path: &Path, lock: &Lock) -> Result<(), CliError> {
    let failed =
        |error: io::Error| CliError::new(Exit::LocalIo, format!("{}: {error}", escape_path(path)));
    let mut bytes = lock
        .to_bytes()
        .map_err(|error| CliError::new(Exit::Internal, error))?;
    bytes.push(b'\n');
    let directory = path
        .parent()
        .filter(|p| !p.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    let mut file = tempfile::NamedTempFile::new_in(directory).map_err(failed)?;
    file.write_all(&bytes).map_err(failed)?;
    file.as_file()
        .set_permissions(Permissions::from_mode(0o644))
        .map_err(failed)?;
    file.as_file().sync_all().map_err(failed)?;
    file.persist(path).map_err(|error| failed(error.error))?;
    Ok(())
}
