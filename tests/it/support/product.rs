//! The registries that the tests run, and how each is told what to be.

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
    time::Duration,
};

use serde_json::{Value, json};

use super::{
    distribution::Options,
    tools::{run_with, tool},
};

/// A registry that somebody else has written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Product {
    /// Distribution 2.8, as Debian has it.
    #[default]
    Distribution2,
    /// Distribution 3.
    Distribution3,
    /// The registry of go-containerregistry (`crane registry serve`): it has neither TLS nor users.
    Ggcr,
    /// zot; its minimal build is enough.
    Zot,
}

impl Product {
    /// All of them.
    pub const ALL: [Self; 4] = [
        Self::Distribution2,
        Self::Distribution3,
        Self::Ggcr,
        Self::Zot,
    ];

    /// The tool that a test with it asks for.
    pub fn program(self) -> &'static str {
        match self {
            Self::Distribution2 => "docker-registry",
            Self::Distribution3 => "distribution3",
            Self::Ggcr => "crane",
            Self::Zot => "zot",
        }
    }

    /// The text in the log by which it says that it listens; those that say nothing are asked.
    pub(super) fn listens(self) -> Option<&'static str> {
        match self {
            Self::Distribution2 | Self::Distribution3 => Some("listening on"),
            Self::Ggcr | Self::Zot => None,
        }
    }

    /// Writes its configuration into `dir`; returns the arguments to start it with.
    pub(super) fn configure(
        self,
        options: &Options,
        host: &str,
        storage: &Path,
        dir: &Path,
    ) -> Vec<OsString> {
        std::fs::create_dir_all(storage).expect("a directory");
        let config = match self {
            Self::Distribution2 | Self::Distribution3 => distribution(options, host, storage, dir),
            Self::Zot => zot(options, host, storage, dir),
            Self::Ggcr => {
                let guarded = options.tls.is_some() || !options.users.is_empty();
                assert!(!guarded, "it has neither TLS nor users");
                let arguments = ["registry", "serve", "--address", host, "--disk"];
                let mut arguments: Vec<OsString> = arguments.map(OsString::from).into();
                arguments.push(storage.into());
                return arguments;
            }
        };
        // Distribution reads YAML; JSON is YAML, too.
        let file = write(dir, "config.json", &config.to_string());
        vec!["serve".into(), file.into()]
    }
}

fn distribution(options: &Options, host: &str, storage: &Path, dir: &Path) -> Value {
    let mut http = json!({"addr": host, "secret": "of no consequence"});
    if let Some((identity, _)) = &options.tls {
        let files = identity.write_to(dir);
        http["tls"] = json!({"certificate": files.certificate, "key": files.key});
    }
    let mut config = json!({
        "version": "0.1",
        "log": {"level": "info", "accesslog": {"disabled": false}},
        "storage": {
            "filesystem": {"rootdirectory": storage},
            "delete": {"enabled": options.delete},
            "maintenance": {
                "uploadpurging": {"enabled": false},
                "readonly": {"enabled": options.read_only},
            },
        },
        "http": http,
    });
    if !options.users.is_empty() {
        let file = write_users(dir, &options.users);
        config["auth"] = json!({"htpasswd": {"realm": "test", "path": file}});
    }
    if let Some(token) = &options.token {
        let roots = write(dir, "token-roots.crt", &token.root_pem);
        config["auth"] = json!({"token": {
            "realm": token.realm,
            "service": token.service,
            "issuer": token.issuer,
            "rootcertbundle": roots,
        }});
    }
    if !options.allow_urls.is_empty() {
        config["validation"]["manifests"]["urls"] = json!({"allow": options.allow_urls});
    }
    if options.sparse_indexes {
        config["validation"]["manifests"]["indexes"] = json!({"platforms": "none"});
    }
    config
}

fn zot(options: &Options, host: &str, storage: &Path, dir: &Path) -> Value {
    assert!(options.token.is_none() && !options.read_only, "not written");
    let (address, port) = host.rsplit_once(':').expect("an address and a port");
    let mut http = json!({
        "address": address,
        "port": port,
        // Without it, manifests of Docker's types are refused.
        "compat": ["docker2s2"],
    });
    if let Some((identity, _)) = &options.tls {
        let files = identity.write_to(dir);
        http["tls"] = json!({"cert": files.certificate, "key": files.key});
    }
    if !options.users.is_empty() {
        let file = write_users(dir, &options.users);
        // A wrong password costs five seconds otherwise.
        http["auth"] = json!({"htpasswd": {"path": file}, "failDelay": 0});
    }
    json!({
        "distSpecVersion": "1.1.1",
        "storage": {"rootDirectory": storage, "gc": false},
        "http": http,
        "log": {"level": "info"},
    })
}

fn write(dir: &Path, name: &str, text: &str) -> PathBuf {
    let file = dir.join(name);
    std::fs::write(&file, text).expect("a file");
    file
}

/// Writes a file with users and passwords as `htpasswd` makes it.
pub(super) fn write_users(dir: &Path, users: &[(String, String)]) -> PathBuf {
    let line = |(user, password): &(String, String)| {
        let mut command = tool("htpasswd");
        // The lowest cost of bcrypt: these are not secrets. The password comes from stdin.
        command.args(["-n", "-i", "-B", "-C", "4", user]);
        let input = password.clone().into_bytes();
        let finished = run_with(command, input, Duration::from_secs(20));
        finished.success().text().trim().to_owned()
    };
    let lines: String = users.iter().map(|user| line(user) + "\n").collect();
    write(dir, "htpasswd", &lines)
}
