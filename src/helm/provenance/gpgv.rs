//! Verifying with GnuPG's `gpgv`, which does nothing else: no configuration, no agent, no network.

use std::{
    env, fs, io,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use tokio::{process::Command, time::timeout};

use crate::helm::chart::clip;

use super::{Keyring, Provenance, ProvenanceError, clear_signed};

/// It takes milliseconds.
const PATIENCE: Duration = Duration::from_secs(30);

/// Who made a signature that holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signer {
    /// The key's user id: `NAME (COMMENT) <EMAIL>`.
    pub user_id: String,
    /// Fingerprint of the primary key, in upper-case hexadecimal digits.
    pub fingerprint: String,
}

/// The `gpgv` of this host.
#[derive(Clone, Debug)]
pub struct Gpgv {
    path: PathBuf,
}

impl Gpgv {
    /// Finds `gpgv`: the one that is named, or the first in the absolute directories of `PATH`.
    ///
    /// # Errors
    /// When there is none.
    pub fn find(explicit: Option<&Path>) -> Result<Self, ProvenanceError> {
        let in_path = || {
            let directories = env::var_os("PATH").unwrap_or_default();
            env::split_paths(&directories)
                .filter(|directory| directory.is_absolute())
                .map(|directory| directory.join("gpgv"))
                .find(|path| is_executable(path))
        };
        match explicit {
            Some(path) => fs::canonicalize(path)
                .ok()
                .filter(|path| is_executable(path)),
            None => in_path(),
        }
        .map(|path| Self { path })
        .ok_or(ProvenanceError::NoGpgv)
    }

    /// Verifies the signature of a provenance file. What it says is taken from what was verified, and
    /// nothing else in the file.
    ///
    /// # Errors
    /// When `gpgv` cannot be run, and when any signature is missing, does not hold, is by a key
    /// that is not in the keyring, expired or revoked, or uses a hash that can be forged.
    pub async fn verify(
        &self,
        provenance: &[u8],
        keyring: &Keyring,
    ) -> Result<(Provenance, Vec<Signer>), ProvenanceError> {
        // Refuses what stands around the message.
        let text = clear_signed::text_of(provenance)?;
        let home = tempfile::tempdir().map_err(ProvenanceError::Run)?;
        let file = |name: &str| home.path().join(name);
        fs::write(file("keyring.gpg"), keyring.bytes()).map_err(ProvenanceError::Run)?;
        fs::write(file("message.prov"), provenance).map_err(ProvenanceError::Run)?;
        let status = self.run(home.path()).await?;
        let signers = signers(&status)?;
        let verified = fs::read(file("message")).map_err(ProvenanceError::Run)?;
        let verified = String::from_utf8_lossy(&verified).replace("\r\n", "\n");
        let same = |a: &str, b: &str| {
            a.lines()
                .map(str::trim_end)
                .eq(b.lines().map(str::trim_end))
        };
        if !same(&verified, &text) {
            return Err(ProvenanceError::BadSignature {
                reason: "gpgv reads another text out of the file than this program".to_owned(),
            });
        }
        Ok((Provenance::from_signed_text(&verified)?, signers))
    }

    /// Returns the status lines.
    async fn run(&self, home: &Path) -> Result<String, ProvenanceError> {
        let mut command = Command::new(&self.path);
        command
            .args(["--homedir", "."])
            .args(["--keyring", "./keyring.gpg"])
            .args(["--status-fd", "1", "--output", "message", "message.prov"])
            .current_dir(home)
            .env_clear()
            .env("LC_ALL", "C")
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true);
        let output = timeout(PATIENCE, command.output()).await;
        let output = output.map_err(|_| ProvenanceError::Timeout {
            seconds: PATIENCE.as_secs(),
        })?;
        let output = output.map_err(ProvenanceError::Run)?;
        let status = String::from_utf8_lossy(&output.stdout).into_owned();
        if !output.status.success() {
            // The status lines say it better than the exit code, which is 1 or 2 for everything.
            signers(&status)?;
            return Err(ProvenanceError::Run(io::Error::other(format!(
                "it ended with {}",
                output.status
            ))));
        }
        Ok(status)
    }
}

fn is_executable(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0)
}

/// Reads the status lines (GnuPG's `doc/DETAILS`). Every signature must be good.
fn signers(status: &str) -> Result<Vec<Signer>, ProvenanceError> {
    let bad = |reason: String| Err(ProvenanceError::BadSignature { reason });
    let mut signatures = 0;
    let mut user_id = None;
    let mut signers = Vec::new();
    let mut unknown = None;
    for line in status.lines() {
        let Some(line) = line.strip_prefix("[GNUPG:] ") else {
            continue;
        };
        let (keyword, rest) = line.split_once(' ').unwrap_or((line, ""));
        let by = || {
            clip(&unescape(
                rest.split_once(' ').map_or(rest, |(_, name)| name),
            ))
        };
        match keyword {
            "NEWSIG" => signatures += 1,
            "GOODSIG" => user_id = Some(by()),
            "BADSIG" => return bad(format!("the text was changed after {} signed it", by())),
            "EXPSIG" => return bad(format!("the signature of {} has expired", by())),
            "EXPKEYSIG" => return bad(format!("the key of {} has expired", by())),
            "REVKEYSIG" => return bad(format!("the key of {} was revoked", by())),
            "NO_PUBKEY" => unknown = Some(clip(rest)),
            "ERRSIG" => {
                let key = rest.split(' ').next().unwrap_or_default();
                unknown.get_or_insert_with(|| clip(key));
            }
            "VALIDSIG" => {
                let fields: Vec<&str> = rest.split(' ').collect();
                let (Some(hash), Some(user_id)) = (fields.get(7), user_id.take()) else {
                    return bad("gpgv says too little about it".to_owned());
                };
                // 8 to 11: SHA-256, SHA-384, SHA-512, SHA-224; 12 and 14: SHA-3.
                if !matches!(*hash, "8" | "9" | "10" | "11" | "12" | "14") {
                    return bad("it uses a hash that can be forged".to_owned());
                }
                let fingerprint = fields
                    .get(9)
                    .or(fields.first())
                    .copied()
                    .unwrap_or_default();
                signers.push(Signer {
                    user_id,
                    fingerprint: clip(fingerprint),
                });
            }
            _ => {}
        }
    }
    if let Some(key) = unknown {
        return Err(ProvenanceError::UnknownKey { key });
    }
    if signers.is_empty() || signers.len() != signatures {
        return bad("gpgv found no valid signature".to_owned());
    }
    Ok(signers)
}

/// `%XX` in a user id.
fn unescape(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let escaped = match tail {
            [a, b, ..] if *first == b'%' => hex::decode([*a, *b])
                .ok()
                .and_then(|byte| byte.first().copied()),
            _ => None,
        };
        bytes.push(escaped.unwrap_or(*first));
        rest = if escaped.is_some() { &tail[2..] } else { tail };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests;
