//! Which credential belongs to which repository.
//!
//! The order is: the command line; the one file that was named (`--authfile` or
//! `REGISTRY_AUTH_FILE`), which then is the only one; otherwise `DOCKER_AUTH_CONFIG`, the containers
//! tools' `auth.json` files and Docker's `config.json`. The first of them that knows the repository
//! wins, and within one file the longest path prefix does (containers-auth.json(5)), then a host with
//! wildcards.

pub(crate) mod auth_file;
pub(crate) mod helper;
mod kubernetes;
mod pattern;

use std::{
    collections::HashMap,
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
};

use tokio::sync::{Mutex, OnceCell};

use self::{
    auth_file::{AuthFile, Found},
    helper::Helper,
};
use super::{
    Secret,
    config::{CredentialConfig, Environment, normal_host},
};

/// What proves to a registry who is asking.
#[derive(Clone, PartialEq, Eq)]
pub enum Credential {
    /// User name and password, or the access token that a registry takes in its place.
    Basic {
        /// The user name.
        username: String,
        /// The password.
        password: Secret,
    },
    /// An OAuth2 refresh token that the token service exchanges (`identitytoken`).
    IdentityToken(Secret),
    /// A bearer token that is sent to the registry as it is (`registrytoken`).
    RegistryToken(Secret),
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Basic { username, .. } => write!(f, "Basic({username}:***)"),
            Self::IdentityToken(_) => f.write_str("IdentityToken(***)"),
            Self::RegistryToken(_) => f.write_str("RegistryToken(***)"),
        }
    }
}

/// Why credentials could not be read or written. Never shows a file's content or a helper's output.
#[derive(Debug, thiserror::Error)]
pub enum CredentialError {
    /// A file that was named, or exists, cannot be read or written.
    #[error("credentials file {}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file is not of Docker's format.
    #[error("credentials file {}: {detail}", path.display())]
    Format {
        /// The file, or the variable that holds it.
        path: PathBuf,
        /// What is wrong, without any content.
        detail: String,
    },
    /// A credential helper cannot be run, or failed.
    #[error("credential helper docker-credential-{name}: {detail}")]
    Helper {
        /// The helper's name without `docker-credential-`.
        name: String,
        /// What happened.
        detail: String,
    },
    /// No place to keep credentials.
    #[error("there is no place for credentials: neither DOCKER_CONFIG nor HOME is set")]
    NoHome,
}

impl CredentialError {
    /// What the user can do about it.
    pub fn hint(&self) -> Option<String> {
        let text = match self {
            Self::Helper { .. } => {
                "install the helper, or name another credentials file with --authfile"
            }
            Self::File { .. } | Self::Format { .. } => {
                "correct the file, or name another one with --authfile"
            }
            Self::NoHome => "name a file with --authfile",
        };
        Some(text.to_owned())
    }
}

/// A helper and the server name it was asked for.
type HelperKey = (String, String);
/// What a helper said, or why it failed; asked once.
type HelperAnswer = Arc<OnceCell<Result<Option<Credential>, String>>>;

/// Finds credentials; reads each file and asks each helper at most once.
pub(crate) struct CredentialStore {
    explicit: Option<(String, Credential)>,
    authfile: Option<PathBuf>,
    environment: Environment,
    files: OnceCell<Vec<AuthFile>>,
    helper_answers: Mutex<HashMap<HelperKey, HelperAnswer>>,
}

impl CredentialStore {
    pub(crate) fn new(config: CredentialConfig) -> Self {
        let explicit = config
            .explicit
            .map(|(host, credential)| (normal_host(&host).unwrap_or(host), credential));
        Self {
            explicit,
            authfile: config.authfile,
            environment: config.environment,
            files: OnceCell::new(),
            helper_answers: Mutex::default(),
        }
    }

    /// The credential for a repository, or for a host when `path` is empty; `None` means anonymous.
    pub(crate) async fn find(
        &self,
        host: &str,
        path: &str,
    ) -> Result<Option<Credential>, CredentialError> {
        if let Some((for_host, credential)) = &self.explicit
            && for_host == host
        {
            return Ok(Some(credential.clone()));
        }
        let files = self.files.get_or_try_init(|| self.read_files()).await?;
        for file in files {
            match file.find(host, path) {
                Found::Nothing => {}
                Found::Credential(credential) => return Ok(Some(credential)),
                Found::Helper { name, server } => {
                    if let Some(credential) = self.ask_helper(name, server).await? {
                        return Ok(Some(credential));
                    }
                }
            }
        }
        Ok(None)
    }

    async fn ask_helper(
        &self,
        name: String,
        server: String,
    ) -> Result<Option<Credential>, CredentialError> {
        let answer = {
            let mut answers = self.helper_answers.lock().await;
            let key = (name.clone(), server.clone());
            answers.entry(key).or_default().clone()
        };
        let ask = || async {
            let asked = async { Helper::new(&name, &self.environment)?.get(&server).await };
            asked.await.map_err(|error| match error {
                CredentialError::Helper { detail, .. } => detail,
                other => other.to_string(),
            })
        };
        let answer = answer.get_or_init(ask).await;
        answer
            .clone()
            .map_err(|detail| helper::failed(&name, detail))
    }

    async fn read_files(&self) -> Result<Vec<AuthFile>, CredentialError> {
        let named = self.authfile.clone().or_else(|| {
            self.environment
                .get("REGISTRY_AUTH_FILE")
                .map(PathBuf::from)
        });
        if let Some(path) = named {
            // A file that was asked for must be there.
            return Ok(vec![AuthFile::read(&path).await?]);
        }
        let mut files = Vec::new();
        if let Some(text) = self.environment.get("DOCKER_AUTH_CONFIG") {
            let name = Path::new("$DOCKER_AUTH_CONFIG");
            files.push(AuthFile::parse(name, text.as_bytes())?);
        }
        for path in default_files(&self.environment) {
            match AuthFile::read(&path).await {
                Ok(file) => files.push(file),
                Err(CredentialError::File { source, .. }) if is_absent(&source) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(files)
    }
}

impl fmt::Debug for CredentialStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CredentialStore").finish_non_exhaustive()
    }
}

fn is_absent(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{NotADirectory, NotFound};
    matches!(error.kind(), NotFound | NotADirectory)
}

/// Where credentials are looked for when no file was named, in order.
fn default_files(environment: &Environment) -> Vec<PathBuf> {
    let home = environment.get("HOME").map(PathBuf::from);
    let mut files = Vec::new();
    if let Some(run) = environment.get("XDG_RUNTIME_DIR") {
        files.push(PathBuf::from(run).join("containers/auth.json"));
    }
    let config = environment
        .get("XDG_CONFIG_HOME")
        .map(PathBuf::from)
        .or_else(|| home.as_ref().map(|home| home.join(".config")));
    if let Some(config) = config {
        files.push(config.join("containers/auth.json"));
    }
    files.extend(docker_config_file(environment));
    files
}

/// Docker's own configuration file.
pub(crate) fn docker_config_file(environment: &Environment) -> Option<PathBuf> {
    let directory = match environment.get("DOCKER_CONFIG") {
        Some(directory) => PathBuf::from(directory),
        None => PathBuf::from(environment.get("HOME")?).join(".docker"),
    };
    Some(directory.join("config.json"))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn basic(username: &str, password: &str) -> Option<Credential> {
        Some(Credential::Basic {
            username: username.to_owned(),
            password: Secret::new(password),
        })
    }

    /// `auths` of one host with user and password `name`.
    fn file_for(host: &str, name: &str) -> String {
        format!(r#"{{"auths":{{"{host}":{{"username":"{name}","password":"{name}"}}}}}}"#)
    }

    fn write(path: &Path, text: &str) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    async fn find(config: CredentialConfig, host: &str, path: &str) -> Option<Credential> {
        CredentialStore::new(config).find(host, path).await.unwrap()
    }

    #[tokio::test]
    async fn q12_the_first_source_that_knows_the_host_wins() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        write(&at("run/containers/auth.json"), &file_for("run.io", "run"));
        write(
            &at("home/.config/containers/auth.json"),
            r#"{"auths":{"run.io":{"username":"x","password":"x"},"config.io":{"username":"config","password":"config"}}}"#,
        );
        write(&at("home/.docker/config.json"), &file_for("config.io", "x"));
        write(&at("docker/config.json"), &file_for("docker.io", "docker"));
        write(&at("named.json"), &file_for("named.io", "named"));
        let text = |path: PathBuf| path.to_str().unwrap().to_owned();
        let (run, home, docker, named) = (
            text(at("run")),
            text(at("home")),
            text(at("docker")),
            text(at("named.json")),
        );

        let default = CredentialConfig {
            environment: Environment::fixed([
                ("HOME", &home),
                ("XDG_RUNTIME_DIR", &run),
                ("DOCKER_CONFIG", &docker),
            ]),
            ..CredentialConfig::default()
        };
        assert_eq!(
            find(default.clone(), "run.io", "a").await,
            basic("run", "run")
        );
        assert_eq!(
            find(default.clone(), "config.io", "a").await,
            basic("config", "config")
        );
        assert_eq!(
            find(default.clone(), "docker.io", "library/a").await,
            basic("docker", "docker")
        );
        assert_eq!(find(default.clone(), "other.io", "a").await, None);

        let by_variable = CredentialConfig {
            environment: Environment::fixed([("HOME", &home), ("REGISTRY_AUTH_FILE", &named)]),
            ..CredentialConfig::default()
        };
        assert_eq!(
            find(by_variable.clone(), "named.io", "a").await,
            basic("named", "named")
        );
        assert_eq!(find(by_variable, "config.io", "a").await, None);

        let explicit = CredentialConfig {
            explicit: Some(("Run.io".to_owned(), basic("me", "p$+:w").unwrap())),
            ..default
        };
        assert_eq!(find(explicit, "run.io", "a").await, basic("me", "p$+:w"));
    }

    #[tokio::test]
    async fn a_named_file_must_exist_and_be_readable() {
        for (name, content) in [
            ("absent.json", None),
            ("broken.json", Some("{\"auths\": [secret")),
        ] {
            let directory = tempfile::tempdir().unwrap();
            let path = directory.path().join(name);
            if let Some(content) = content {
                fs::write(&path, content).unwrap();
            }
            let config = CredentialConfig {
                authfile: Some(path),
                ..CredentialConfig::anonymous()
            };
            let error = CredentialStore::new(config)
                .find("a.io", "")
                .await
                .unwrap_err();
            assert!(error.to_string().contains(name), "{error}");
            assert!(!error.to_string().contains("secret"), "{error}");
        }
    }

    #[tokio::test]
    async fn q12_docker_auth_config_is_read_from_the_variable() {
        let text = file_for("ci.io", "ci");
        let config = CredentialConfig {
            environment: Environment::fixed([("DOCKER_AUTH_CONFIG", &text)]),
            ..CredentialConfig::default()
        };
        assert_eq!(find(config, "ci.io", "a/b").await, basic("ci", "ci"));
    }

    #[cfg(unix)]
    #[tokio::test]
    async fn q12_a_helper_is_asked_once_for_its_host_and_the_store_for_all_others() {
        use std::os::unix::fs::PermissionsExt;
        let directory = tempfile::tempdir().unwrap();
        let bin = directory.path().join("bin");
        let log = directory.path().join("log");
        let script = |name: &str, body: &str| {
            let path = bin.join(format!("docker-credential-{name}"));
            write(
                &path,
                &format!(
                    "#!/bin/sh\nread server\necho \"$0 $1 $server\" >> {}\n{body}\n",
                    log.display()
                ),
            );
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        };
        script(
            "one",
            r#"sleep 0.2; echo "{\"ServerURL\":\"$server\",\"Username\":\"<token>\",\"Secret\":\"idt\"}""#,
        );
        script(
            "store",
            "echo 'credentials not found in native keychain'; exit 1",
        );
        script("sick", "echo hunter2; exit 3");
        let file = directory.path().join("config.json");
        fs::write(&file, r#"{"credHelpers":{"one.io":"one","sick.io":"sick","gone.io":"gone"},"credsStore":"store"}"#).unwrap();
        let config = CredentialConfig {
            authfile: Some(file),
            environment: Environment::fixed([("PATH", bin.to_str().unwrap())]),
            ..CredentialConfig::default()
        };
        let store = Arc::new(CredentialStore::new(config));
        let mut tasks = tokio::task::JoinSet::new();
        for n in 0..8 {
            let store = store.clone();
            tasks.spawn(async move {
                assert_eq!(
                    store.find("one.io", &format!("a/{n}")).await.unwrap(),
                    Some(Credential::IdentityToken(Secret::new("idt")))
                );
                assert_eq!(store.find("docker.io", "library/a").await.unwrap(), None);
                store.find("sick.io", "a").await.unwrap_err();
            });
        }
        while let Some(done) = tasks.join_next().await {
            done.unwrap();
        }
        for (host, expected) in [("sick.io", "exit status: 3"), ("gone.io", "not found")] {
            let error = store.find(host, "a").await.unwrap_err().to_string();
            assert!(
                error.contains(expected) && !error.contains("hunter2"),
                "{error}"
            );
        }
        let log = fs::read_to_string(log).unwrap();
        let calls: Vec<_> = log.lines().map(|l| l.rsplit('/').next().unwrap()).collect();
        assert_eq!(log.matches("one get one.io").count(), 1, "{calls:?}");
        assert_eq!(log.matches("sick get sick.io").count(), 1, "{calls:?}");
        assert_eq!(
            log.matches("store get https://index.docker.io/v1/").count(),
            1,
            "{log}"
        );
    }
}
