//! `login` and `logout`: keeping a credential where Docker and others find it.

use std::{
    io::Write,
    path::{Path, PathBuf},
};

use base64::prelude::*;
use serde_json::{Map, Value, json};
use zeroize::Zeroizing;

use super::{
    Client, ClientConfig, Credential, CredentialError, RegistryError, Secret,
    config::{CredentialConfig, normal_host},
    credentials::{
        auth_file::{helper_key, normal_key, read_only_form},
        docker_config_file,
        helper::Helper,
    },
};

/// Where a credential was put.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Keeper {
    /// In this file, in Docker's format, which does not encrypt.
    File(PathBuf),
    /// With the credential helper of this name.
    Helper(String),
}

/// What came of a login.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoginReport {
    /// The registry, as references spell it.
    pub host: String,
    /// Where the credential is now.
    pub kept_in: Keeper,
    /// Whether the registry wanted a credential at all and accepted this one. A registry that is
    /// open to everybody checks none.
    pub verified: bool,
}

/// Whether a host is asked before its credential is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Check {
    /// It is, and has to be a registry.
    WithRegistry,
    /// It is not: it may be any web server.
    No,
}

/// Checks a user name and password against a registry, then keeps them: with the helper that the
/// credentials file names for the host, or else in the file itself (`--authfile`,
/// `REGISTRY_AUTH_FILE`, or Docker's `config.json`), which nobody else can read afterwards. All
/// else in the file stays as it is.
///
/// # Errors
/// When the registry cannot be reached or refuses; then nothing is written.
pub async fn login(
    config: ClientConfig,
    host: &str,
    username: &str,
    password: Secret,
    check: Check,
) -> Result<LoginReport, RegistryError> {
    let host = normal_host(host).ok_or_else(|| RegistryError::Host(host.to_owned()))?;
    if username.is_empty() || username.contains(':') {
        return Err(RegistryError::Usage(
            "a user name is not empty and has no colon".to_owned(),
        ));
    }
    let store = Store::open(&config.credentials)?;
    let credential = Credential::Basic {
        username: username.to_owned(),
        password: password.clone(),
    };
    let client = Client::new(ClientConfig {
        credentials: CredentialConfig {
            explicit: Some((host.clone(), credential)),
            ..CredentialConfig::anonymous()
        },
        ..config
    })?;
    let verified = match check {
        Check::WithRegistry => client.check_credential(&host).await?,
        Check::No => false,
    };
    let kept_in = store.keep(&host, username, &password).await?;
    Ok(LoginReport {
        host,
        kept_in,
        verified,
    })
}

/// Forgets what [`login`] keeps for a host. Returns where it was, or `None` when there was nothing.
///
/// # Errors
/// When the credentials file cannot be read or written, or the helper fails.
pub async fn logout(
    config: &CredentialConfig,
    host: &str,
) -> Result<Option<Keeper>, RegistryError> {
    let host = normal_host(host).ok_or_else(|| RegistryError::Host(host.to_owned()))?;
    Ok(Store::open(config)?.forget(&host).await?)
}

/// The credentials file that is written, as it was read.
struct Store {
    path: PathBuf,
    document: Map<String, Value>,
    config: CredentialConfig,
}

impl Store {
    fn open(config: &CredentialConfig) -> Result<Self, CredentialError> {
        let variable = || config.environment.get("REGISTRY_AUTH_FILE");
        let path = config
            .authfile
            .clone()
            .or_else(|| variable().map(PathBuf::from))
            .or_else(|| docker_config_file(&config.environment))
            .ok_or(CredentialError::NoHome)?;
        // A link is kept, and what it leads to is written.
        let path = path.canonicalize().unwrap_or(path);
        let text = match std::fs::read(&path) {
            Ok(text) => Zeroizing::new(text),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                Zeroizing::new(Vec::new())
            }
            Err(source) => return Err(CredentialError::File { path, source }),
        };
        let document = if text.iter().all(u8::is_ascii_whitespace) {
            Map::new()
        } else {
            match serde_json::from_slice(&text) {
                Ok(Value::Object(document)) => match read_only_form(&document) {
                    None => document,
                    Some(form) => {
                        return Err(CredentialError::Format {
                            path,
                            detail: format!("{form}, which is only read; it is left as it is"),
                        });
                    }
                },
                _ => {
                    return Err(CredentialError::Format {
                        path,
                        detail: "not a JSON object; it is left as it is".to_owned(),
                    });
                }
            }
        };
        Ok(Self {
            path,
            document,
            config: config.clone(),
        })
    }

    /// The helper that is responsible for a host, as Docker decides it.
    fn helper(&self, host: &str) -> Option<String> {
        let helpers = self.document.get("credHelpers").and_then(Value::as_object);
        let own = helpers.and_then(|all| {
            let (_, name) = all.iter().find(|(key, _)| normal_key(key) == host)?;
            name.as_str()
        });
        own.or_else(|| self.document.get("credsStore").and_then(Value::as_str))
            .filter(|name| !name.is_empty())
            .map(str::to_owned)
    }

    async fn keep(
        mut self,
        host: &str,
        username: &str,
        password: &Secret,
    ) -> Result<Keeper, CredentialError> {
        let key = helper_key(host);
        if let Some(name) = self.helper(host) {
            let helper = Helper::new(&name, &self.config.environment)?;
            helper.store(&key, username, password).await?;
            // The file lists the host, without the secret, as Docker does it.
            self.replace(host, Some((key, json!({}))))?;
            self.write()?;
            return Ok(Keeper::Helper(name));
        }
        let pair = Zeroizing::new(format!("{username}:{}", password.expose()));
        let entry = json!({ "auth": BASE64_STANDARD.encode(pair.as_bytes()) });
        self.replace(host, Some((key, entry)))?;
        self.write()?;
        Ok(Keeper::File(self.path))
    }

    async fn forget(mut self, host: &str) -> Result<Option<Keeper>, CredentialError> {
        let helper = self.helper(host);
        if let Some(name) = &helper {
            let helper = Helper::new(name, &self.config.environment)?;
            helper.erase(&helper_key(host)).await?;
        }
        let listed = self.replace(host, None)?;
        if listed {
            self.write()?;
        }
        Ok(match helper {
            Some(name) => Some(Keeper::Helper(name)),
            None => listed.then_some(Keeper::File(self.path)),
        })
    }

    /// Removes all spellings of a host from `auths` and puts an entry in their place, if there is
    /// one; whether there were any. Entries for paths below the host stay.
    fn replace(
        &mut self,
        host: &str,
        entry: Option<(String, Value)>,
    ) -> Result<bool, CredentialError> {
        let auths = self.document.entry("auths").or_insert_with(|| json!({}));
        if auths.is_null() {
            *auths = json!({});
        }
        let Value::Object(auths) = auths else {
            return Err(CredentialError::Format {
                path: self.path.clone(),
                detail: "`auths` is not an object; the file is left as it is".to_owned(),
            });
        };
        let before = auths.len();
        auths.retain(|key, _| normal_key(key) != host);
        let listed = auths.len() < before;
        auths.extend(entry);
        Ok(listed)
    }

    /// Replaces the file in one step; on Unix only its owner can read it.
    fn write(&self) -> Result<(), CredentialError> {
        let failed = |source| CredentialError::File {
            path: self.path.clone(),
            source,
        };
        let mut text = Zeroizing::new(
            serde_json::to_vec_pretty(&self.document).map_err(|e| failed(e.into()))?,
        );
        text.push(b'\n');
        let parent = self.path.parent().filter(|p| !p.as_os_str().is_empty());
        let directory = parent.unwrap_or(Path::new("."));
        std::fs::create_dir_all(directory).map_err(failed)?;
        // Temporary files are made with mode 0600, which the rename keeps.
        let mut file = tempfile::NamedTempFile::new_in(directory).map_err(failed)?;
        file.write_all(&text).map_err(failed)?;
        file.as_file().sync_all().map_err(failed)?;
        file.persist(&self.path).map_err(|e| failed(e.error))?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::registry::{
        Environment,
        test_server::{Reply, TestServer},
    };

    const SECRET: &str = "pa$s:w+rd";

    async fn basic_registry() -> TestServer {
        TestServer::start(|request| {
            let right = format!("Basic {}", BASE64_STANDARD.encode(format!("me:{SECRET}")));
            match request.header("authorization") {
                Some(header) if header == right => Reply::new(200).body("{}"),
                _ => Reply::new(401).header("WWW-Authenticate", "Basic realm=\"r\""),
            }
        })
        .await
    }

    fn config(server: &TestServer, file: &Path) -> ClientConfig {
        ClientConfig {
            plain_http: vec![server.host()],
            credentials: CredentialConfig {
                authfile: Some(file.to_owned()),
                ..CredentialConfig::anonymous()
            },
            ..ClientConfig::default()
        }
    }

    #[tokio::test]
    async fn login_writes_what_docker_reads_and_keeps_the_rest() {
        let server = basic_registry().await;
        let host = server.host();
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("sub/config.json");
        fs::create_dir(file.parent().unwrap()).unwrap();
        let old = json!({
            "auths": { "other.io": {"auth": "eDp5"}, (format!("https://{host}/v1/")): {"auth": "eDp5"} },
            "HttpHeaders": {"X-A": "b"},
            "unknown": [1, 2],
        });
        fs::write(&file, old.to_string()).unwrap();
        let config = config(&server, &file);

        let report = login(
            config.clone(),
            &host,
            "me",
            Secret::new(SECRET),
            Check::WithRegistry,
        )
        .await
        .unwrap();
        assert!(report.verified);
        let file = file.canonicalize().unwrap();
        assert_eq!(report.kept_in, Keeper::File(file.clone()));
        let new: Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
        let auth = BASE64_STANDARD.encode(format!("me:{SECRET}"));
        assert_eq!(new["auths"][&host]["auth"], auth);
        assert_eq!(new["auths"].as_object().unwrap().len(), 2);
        assert_eq!(new["auths"]["other.io"], old["auths"]["other.io"]);
        assert_eq!(new["HttpHeaders"], old["HttpHeaders"]);
        assert_eq!(new["unknown"], old["unknown"]);
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let mode = fs::metadata(&file).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
        }
        let left: Vec<_> = fs::read_dir(file.parent().unwrap()).unwrap().collect();
        assert_eq!(left.len(), 1, "{left:?}");

        let client = Client::new(config.clone()).unwrap();
        assert!(client.check_credential(&host).await.unwrap());

        let gone = logout(&config.credentials, &host).await.unwrap();
        assert_eq!(gone, Some(Keeper::File(file.clone())));
        assert_eq!(logout(&config.credentials, &host).await.unwrap(), None);
        let new: Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
        assert_eq!(new["auths"].as_object().unwrap().len(), 1);
    }

    #[tokio::test]
    async fn a_wrong_password_is_not_kept() {
        let server = basic_registry().await;
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("config.json");
        let config = config(&server, &file);
        let error = login(
            config,
            &server.host(),
            "me",
            Secret::new("wrong"),
            Check::WithRegistry,
        )
        .await
        .unwrap_err();
        assert!(error.is_denied(), "{error}");
        assert!(!error.to_string().contains("wrong"), "{error}");
        assert!(!file.exists());
    }

    #[tokio::test]
    async fn a_registry_that_wants_no_credential_verifies_none() {
        let server = TestServer::start(|_| Reply::new(200).body("{}")).await;
        let directory = tempfile::tempdir().unwrap();
        let config = config(&server, &directory.path().join("config.json"));
        let report = login(
            config,
            &server.host(),
            "me",
            Secret::new("x"),
            Check::WithRegistry,
        )
        .await
        .unwrap();
        assert!(!report.verified);
    }

    #[cfg(unix)]
    #[tokio::test]
    async fn a_helper_keeps_the_secret_when_the_file_names_one() {
        use std::os::unix::fs::PermissionsExt;
        let server = basic_registry().await;
        let host = server.host();
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        let helper = at("docker-credential-vault");
        let log = at("log");
        let script = format!(
            "#!/bin/sh\nread line\necho \"$1 $line\" >> {}\n",
            log.display()
        );
        fs::write(&helper, script).unwrap();
        fs::set_permissions(&helper, fs::Permissions::from_mode(0o755)).unwrap();
        let file = at("config.json");
        fs::write(&file, r#"{"credsStore":"vault"}"#).unwrap();
        let mut config = config(&server, &file);
        let path = directory.path().to_str().unwrap();
        config.credentials.environment = Environment::fixed([("PATH", path)]);

        let report = login(
            config.clone(),
            &host,
            "me",
            Secret::new(SECRET),
            Check::WithRegistry,
        )
        .await
        .unwrap();
        assert_eq!(report.kept_in, Keeper::Helper("vault".to_owned()));
        logout(&config.credentials, &host).await.unwrap();
        let log = fs::read_to_string(log).unwrap();
        let stored = json!({"ServerURL": host, "Username": "me", "Secret": SECRET}).to_string();
        let line = log.lines().next().unwrap().strip_prefix("store ").unwrap();
        let line: Value = serde_json::from_str(line).unwrap();
        assert_eq!(line.to_string(), stored);
        assert_eq!(log.lines().nth(1), Some(format!("erase {host}").as_str()));
        assert!(!fs::read_to_string(&file).unwrap().contains("auth\""));
    }

    #[tokio::test]
    async fn a_file_that_is_not_understood_is_left_alone() {
        let server = basic_registry().await;
        for text in [
            "[]",
            "{\"auths\": 3}",
            "not json",
            r#"{"kind": "Secret", "data": {}}"#,
            r#"{"h.io": {"auth": "dTpwOnc="}}"#,
        ] {
            let directory = tempfile::tempdir().unwrap();
            let file = directory.path().join("config.json");
            fs::write(&file, text).unwrap();
            let config = config(&server, &file);
            let result = login(
                config,
                &server.host(),
                "me",
                Secret::new(SECRET),
                Check::WithRegistry,
            )
            .await;
            assert!(result.is_err());
            assert_eq!(fs::read_to_string(&file).unwrap(), text);
        }
    }
}
