//! Docker credential helpers: programs named `docker-credential-NAME` that keep secrets for others.

use std::{path::PathBuf, process::Stdio, time::Duration};

use serde::{Deserialize, Serialize};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    process::Command,
};
use zeroize::Zeroizing;

use super::{Credential, CredentialError, auth_file};
use crate::registry::{Secret, config::Environment};

/// Longest that a helper may take; it may ask the user.
const TIME_LIMIT: Duration = Duration::from_secs(60);
/// Most that is read of what a helper prints, in bytes.
const MAX_OUTPUT: u64 = 64 << 10;
/// What helpers print when they have nothing; it is part of their protocol.
const NOT_FOUND: &str = "credentials not found in native keychain";

/// A helper program that was found on the path.
pub(crate) struct Helper {
    name: String,
    program: PathBuf,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Answer {
    username: String,
    secret: Secret,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Store<'a> {
    #[serde(rename = "ServerURL")]
    server: &'a str,
    username: &'a str,
    secret: &'a str,
}

/// The failure of a helper, whose name is from a file.
pub(super) fn failed(name: &str, detail: String) -> CredentialError {
    CredentialError::Helper {
        name: name.chars().take(40).collect(),
        detail,
    }
}

impl Helper {
    /// Finds the program.
    pub(crate) fn new(name: &str, environment: &Environment) -> Result<Self, CredentialError> {
        let failed = |detail: &str| failed(name, detail.to_owned());
        // The name comes from a file and becomes part of a path.
        let ok = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
        if name.is_empty() || !name.bytes().all(ok) {
            return Err(failed("not the name of a helper"));
        }
        let file = format!("docker-credential-{name}{}", std::env::consts::EXE_SUFFIX);
        let path = environment.get("PATH").unwrap_or_default();
        let program = std::env::split_paths(&path)
            .filter(|directory| directory.is_absolute())
            .map(|directory| directory.join(&file))
            .find(|candidate| candidate.is_file())
            .ok_or_else(|| failed("the program is not found on the PATH"))?;
        Ok(Self {
            name: name.to_owned(),
            program,
        })
    }

    /// Asks for the credential of a server; `None` when the helper has none.
    pub(crate) async fn get(&self, server: &str) -> Result<Option<Credential>, CredentialError> {
        let (status, output) = self.run("get", server.as_bytes()).await?;
        if !status.success() {
            return match output
                .windows(NOT_FOUND.len())
                .any(|w| w == NOT_FOUND.as_bytes())
            {
                true => Ok(None),
                false => Err(self.failed(status.to_string())),
            };
        }
        let answer: Answer = serde_json::from_slice(&output)
            .map_err(|_| self.failed("its answer is not the expected JSON".to_owned()))?;
        if answer.username.is_empty() && answer.secret.is_empty() {
            return Ok(None);
        }
        Ok(Some(auth_file::user(answer.username, answer.secret)))
    }

    /// Gives a credential to the helper to keep.
    pub(crate) async fn store(
        &self,
        server: &str,
        username: &str,
        secret: &Secret,
    ) -> Result<(), CredentialError> {
        let message = Zeroizing::new(
            serde_json::to_vec(&Store {
                server,
                username,
                secret: secret.expose(),
            })
            .map_err(|_| self.failed("cannot form its input".to_owned()))?,
        );
        let (status, _) = self.run("store", &message).await?;
        match status.success() {
            true => Ok(()),
            false => Err(self.failed(status.to_string())),
        }
    }

    /// Makes the helper forget a server; whether it had something is not told.
    pub(crate) async fn erase(&self, server: &str) -> Result<(), CredentialError> {
        let (status, output) = self.run("erase", server.as_bytes()).await?;
        let absent = output
            .windows(NOT_FOUND.len())
            .any(|w| w == NOT_FOUND.as_bytes());
        match status.success() || absent {
            true => Ok(()),
            false => Err(self.failed(status.to_string())),
        }
    }

    fn failed(&self, detail: String) -> CredentialError {
        failed(&self.name, detail)
    }

    /// Runs the program with `input` on its standard input. Its output may be a secret and is not
    /// shown anywhere.
    async fn run(
        &self,
        verb: &str,
        input: &[u8],
    ) -> Result<(std::process::ExitStatus, Zeroizing<Vec<u8>>), CredentialError> {
        let failed = |error: std::io::Error| self.failed(error.to_string());
        let mut child = Command::new(&self.program)
            .arg(verb)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .map_err(failed)?;
        let (Some(mut stdin), Some(stdout)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(self.failed("no pipe to the program".to_owned()));
        };
        let talk = async {
            // A helper that answers without reading closes the pipe; that is its business.
            let _ = stdin.write_all(input).await;
            let _ = stdin.write_all(b"\n").await;
            drop(stdin);
            let mut output = Zeroizing::new(Vec::new());
            stdout.take(MAX_OUTPUT).read_to_end(&mut output).await?;
            Ok((child.wait().await?, output))
        };
        match tokio::time::timeout(TIME_LIMIT, talk).await {
            Ok(done) => done.map_err(failed),
            Err(_) => Err(self.failed(format!("no answer within {} s", TIME_LIMIT.as_secs()))),
        }
    }
}
