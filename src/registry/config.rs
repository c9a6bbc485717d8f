//! What a [`Client`](super::Client) is told once, when it is made.

use std::{
    collections::HashMap, fmt, net::IpAddr, num::NonZeroU64, path::PathBuf, str::FromStr,
    time::Duration,
};

use super::{Credential, gate::OnPause};
use crate::oci::{Reference, Repository};

/// Everything that a client may be told. The default talks HTTPS with the system's roots, uses no
/// proxy, and finds credentials where Docker and the containers tools keep them.
#[derive(Clone)]
pub struct ClientConfig {
    /// Value of the `User-Agent` header.
    pub user_agent: String,
    /// PEM files whose certificates are trusted in addition to the system's roots.
    pub ca_files: Vec<PathBuf>,
    /// Hosts (`HOST[:PORT]`) that are spoken to in plain HTTP.
    pub plain_http: Vec<String>,
    /// Hosts (`HOST[:PORT]`) whose TLS certificate is not checked. Redirects to another host and
    /// token services elsewhere are checked all the same.
    pub insecure_skip_tls_verify: Vec<String>,
    /// Directories in which `HOST[:PORT]` is a directory with the certificates of that registry:
    /// `*.crt` are authorities that are trusted for it in addition, `NAME.cert` and `NAME.key` are
    /// what this client shows it. The first of them that has the host is used.
    pub certs_dirs: Vec<PathBuf>,
    /// What this client shows to single hosts; goes before what `certs_dirs` have.
    pub client_certificates: Vec<ClientCertificate>,
    /// Addresses of hosts that the name service is not asked for.
    pub resolve: Vec<Resolve>,
    /// Whether the proxy variables of the environment are obeyed.
    pub proxy: ProxyUse,
    /// How often one thing is attempted in total, at least once. A host that has never answered is
    /// tried four times at most.
    pub retries: u32,
    /// How long a host may fail everything, pauses that it asks for included, before it is given up
    /// on.
    pub retry_budget: Duration,
    /// First pause between two attempts; it doubles each time up to 30 seconds, with jitter.
    pub backoff: Duration,
    /// Longest time without a byte on a body, and longest wait for an answer to a request without
    /// one. The answer to an uploaded body may take five times as long: the registry moves data.
    /// It is also the time over which [`Self::min_rate`] is measured.
    pub stall_timeout: Duration,
    /// Slowest rate, in bytes a second, at which a body may come in. Only the time counts in which
    /// the server is waited for.
    pub min_rate: u64,
    /// Most bytes a second, of all connections together and in both directions; `None` for as many
    /// as there come.
    pub rate_limit: Option<NonZeroU64>,
    /// Longest time for a connection, name resolution and TLS included.
    pub connect_timeout: Duration,
    /// Size in bytes of the pieces of a chunked upload, where a registry takes none in one piece.
    pub chunk_size: u64,
    /// Where credentials come from.
    pub credentials: CredentialConfig,
    /// Hosts that are asked instead of others. Pulls only; pushes go where they are told.
    pub mirrors: Vec<Mirror>,
    /// Is told of every pause before another attempt; called from any task, and must not block.
    pub on_pause: Option<OnPause>,
}

impl fmt::Debug for ClientConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientConfig")
            .field("ca_files", &self.ca_files)
            .field("plain_http", &self.plain_http)
            .field("insecure_skip_tls_verify", &self.insecure_skip_tls_verify)
            .field("proxy", &self.proxy)
            .field("credentials", &self.credentials)
            .field("mirrors", &self.mirrors)
            .finish_non_exhaustive()
    }
}

impl Default for ClientConfig {
    fn default() -> Self {
        Self {
            user_agent: concat!("sneakernet/", env!("CARGO_PKG_VERSION")).to_owned(),
            ca_files: Vec::new(),
            plain_http: Vec::new(),
            insecure_skip_tls_verify: Vec::new(),
            certs_dirs: standard_certs_dirs(),
            client_certificates: Vec::new(),
            resolve: Vec::new(),
            proxy: ProxyUse::None,
            retries: 8,
            retry_budget: Duration::from_secs(300),
            backoff: Duration::from_millis(500),
            stall_timeout: Duration::from_secs(60),
            min_rate: 1 << 10,
            rate_limit: None,
            connect_timeout: Duration::from_secs(15),
            chunk_size: 16 << 20,
            credentials: CredentialConfig::default(),
            mirrors: Vec::new(),
            on_pause: None,
        }
    }
}

/// Where Docker and the containers tools keep the certificates of registries.
fn standard_certs_dirs() -> Vec<PathBuf> {
    let own = Environment::default().get("HOME").map(|home| {
        let mut own = PathBuf::from(home);
        own.push(".config/containers/certs.d");
        own
    });
    let system = ["/etc/containers/certs.d", "/etc/docker/certs.d"].map(PathBuf::from);
    own.into_iter().chain(system).collect()
}

/// A certificate by which a registry knows this client (mutual TLS).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientCertificate {
    /// The host (`HOST[:PORT]`) that it is shown to; no other sees it.
    pub host: String,
    /// PEM file with the certificate, and those between it and its authority.
    pub certificate: PathBuf,
    /// PEM file with its key, not encrypted.
    pub key: PathBuf,
}

/// An address for a host, in place of what the name service says: `HOST[:PORT]=ADDRESS`. Names are
/// still checked against certificates. A proxy finds out addresses by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resolve {
    /// The host name, lower case.
    pub host: String,
    /// The port that this is for; `None` is any.
    pub port: Option<u16>,
    /// Where it is.
    pub address: IpAddr,
}

/// A `--resolve` argument that is not `HOST[:PORT]=ADDRESS`.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error(
    "`{0}` is not HOST[:PORT]=ADDRESS with an IP address, for example registry.local:5000=10.0.0.7"
)]
pub struct ResolveError(String);

impl FromStr for Resolve {
    type Err = ResolveError;

    fn from_str(text: &str) -> Result<Self, ResolveError> {
        let wrong = || ResolveError(text.chars().take(120).collect());
        let (place, address) = text.split_once('=').ok_or_else(wrong)?;
        // Not an alias of another host: this is about the name in addresses.
        let place = place.to_ascii_lowercase();
        Repository::new(&place, "a").map_err(|_| wrong())?;
        let (host, port) = match place.rsplit_once(':') {
            Some((host, port)) => (host, Some(port.parse().map_err(|_| wrong())?)),
            None => (place.as_str(), None),
        };
        // As URLs write an address of IPv6, which not everybody does.
        let bare = address.strip_prefix('[').and_then(|a| a.strip_suffix(']'));
        let address = bare.unwrap_or(address).parse().map_err(|_| wrong())?;
        // An address as a name has no other address.
        match host.starts_with('[') || host.parse::<IpAddr>().is_ok() {
            true => Err(wrong()),
            false => Ok(Self {
                host: host.to_owned(),
                port,
                address,
            }),
        }
    }
}

/// Whether `HTTP_PROXY`, `HTTPS_PROXY`, `ALL_PROXY` and `NO_PROXY` mean anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum ProxyUse {
    /// They are obeyed, as on a connected host. This machine itself is asked without a proxy.
    Environment,
    /// They are ignored, as inside an air gap: the registry is asked directly or not at all.
    #[default]
    None,
}

/// Where credentials come from.
#[derive(Clone, Debug, Default)]
pub struct CredentialConfig {
    /// A credential for one host (`HOST[:PORT]`), from the command line. It wins over all files.
    pub explicit: Option<(String, Credential)>,
    /// A file in Docker's format that is read instead of all others.
    pub authfile: Option<PathBuf>,
    /// The variables that say where files and helpers are.
    pub environment: Environment,
}

impl CredentialConfig {
    /// No credential from anywhere: every registry is asked anonymously.
    pub fn anonymous() -> Self {
        Self {
            environment: Environment::fixed([]),
            ..Self::default()
        }
    }
}

/// Where environment variables are looked up: the process's own, or a fixed set.
#[derive(Clone, Default)]
pub struct Environment(Option<HashMap<String, String>>);

impl Environment {
    /// A fixed set of variables; nothing else is visible.
    pub fn fixed<const N: usize>(variables: [(&str, &str); N]) -> Self {
        let own = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
        Self(Some(variables.into_iter().map(own).collect()))
    }

    /// The value of a variable that is set and not empty.
    pub fn get(&self, name: &str) -> Option<String> {
        let value = match &self.0 {
            Some(fixed) => fixed.get(name).cloned(),
            None => std::env::var(name).ok(),
        };
        value.filter(|value| !value.is_empty())
    }
}

/// Values may be secrets (`DOCKER_AUTH_CONFIG`), so only the kind is shown.
impl fmt::Debug for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            Some(_) => "Environment(fixed)",
            None => "Environment(process)",
        })
    }
}

/// A host that is asked instead of another: `quay.io=mirror.local:5000/quay` makes a pull of
/// `quay.io/a/b` ask `mirror.local:5000/quay/a/b`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mirror {
    /// The host in the image name.
    pub from_host: String,
    /// The host that is asked.
    pub to_host: String,
    /// What is put in front of the repository path, without slashes around it; may be empty.
    pub to_path_prefix: String,
}

impl Mirror {
    /// The repository to ask for `repository`, if this mirror is for its host.
    pub fn apply(&self, repository: &Repository) -> Option<Repository> {
        if repository.host() != self.from_host {
            return None;
        }
        let path = match self.to_path_prefix.as_str() {
            "" => repository.path().to_owned(),
            prefix => format!("{prefix}/{}", repository.path()),
        };
        Repository::new(&self.to_host, &path).ok()
    }
}

/// A `--mirror` argument that is not `HOST=HOST[/PATH]`.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error(
    "`{0}` is not a mirror: expected HOST=HOST[:PORT][/PATH], for example quay.io=mirror.local:5000/quay"
)]
pub struct MirrorError(String);

impl FromStr for Mirror {
    type Err = MirrorError;

    fn from_str(text: &str) -> Result<Self, MirrorError> {
        let wrong = || MirrorError(text.chars().take(120).collect());
        let (from, to) = text.split_once('=').ok_or_else(wrong)?;
        let (to_host, prefix) = to.split_once('/').unwrap_or((to, ""));
        let prefix = prefix.trim_end_matches('/');
        // A reference knows the grammar of hosts and paths, and the aliases of Docker Hub.
        let from_host = normal_host(from).ok_or_else(wrong)?;
        let to_host = normal_host(to_host).ok_or_else(wrong)?;
        let path = if prefix.is_empty() { "a" } else { prefix };
        Repository::new(&to_host, path).map_err(|_| wrong())?;
        Ok(Self {
            from_host,
            to_host,
            to_path_prefix: prefix.to_owned(),
        })
    }
}

/// A host as references spell it: lower case, and Docker Hub is `docker.io`. `None` when it is no
/// host at all.
pub(crate) fn normal_host(host: &str) -> Option<String> {
    let lower = host.to_ascii_lowercase();
    Repository::new(&lower, "a").ok()?;
    // Only a reference applies the aliases; a word without dot or port is a host here, but would
    // be a path there.
    match format!("{lower}/a/a").parse::<Reference>() {
        Ok(reference) if reference.repository().path() == "a/a" => {
            Some(reference.repository().host().to_owned())
        }
        _ => Some(lower),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mirror_replaces_the_host_and_prefixes_the_path() {
        let mirror: Mirror = "quay.io=mirror.local:5000/cache/quay/".parse().unwrap();
        let asked = mirror
            .apply(&Repository::new("quay.io", "tigera/cni").unwrap())
            .unwrap();
        assert_eq!(asked.to_string(), "mirror.local:5000/cache/quay/tigera/cni");
        assert_eq!(
            mirror.apply(&Repository::new("ghcr.io", "a").unwrap()),
            None
        );
    }

    #[test]
    fn a_mirror_of_docker_hub_may_be_written_with_any_of_its_names() {
        let mirror: Mirror = "index.docker.io=m.local".parse().unwrap();
        assert_eq!(mirror.from_host, "docker.io");
        assert_eq!(mirror.to_path_prefix, "");
    }

    #[test]
    fn what_is_no_mirror_is_refused() {
        for text in [
            "",
            "a",
            "a.b=",
            "=a.b",
            "a.b=c.d/Upper",
            "a.b=c d",
            "a.b=c.d//x",
        ] {
            assert!(text.parse::<Mirror>().is_err(), "{text:?} was accepted");
        }
    }

    #[test]
    fn q83_an_address_is_for_a_host_and_perhaps_a_port() {
        let resolve = |text: &str| text.parse::<Resolve>();
        let found = resolve("Registry.Local:5000=10.0.0.7").unwrap();
        assert_eq!(
            (found.host.as_str(), found.port),
            ("registry.local", Some(5000))
        );
        assert_eq!(found.address.to_string(), "10.0.0.7");
        for text in ["registry=[fd00::7]", "registry=fd00::7"] {
            let found = resolve(text).unwrap();
            assert_eq!((found.host.as_str(), found.port), ("registry", None));
            assert_eq!(found.address.to_string(), "fd00::7");
        }
        for text in [
            "",
            "a",
            "a=",
            "=10.0.0.7",
            "a=b",
            "a:x=10.0.0.7",
            "a:5000:10.0.0.7",
            "a/b=10.0.0.7",
            "a=10.0.0.7:5000",
            "10.0.0.1=10.0.0.7",
            "[::1]:5000=10.0.0.7",
        ] {
            assert!(resolve(text).is_err(), "{text:?} was accepted");
        }
    }

    #[test]
    fn hosts_have_one_spelling() {
        assert_eq!(normal_host("Registry-1.Docker.io").unwrap(), "docker.io");
        assert_eq!(normal_host("REGISTRY:5000").unwrap(), "registry:5000");
        assert_eq!(normal_host("registry").unwrap(), "registry");
        assert_eq!(normal_host("https://x"), None);
    }

    #[test]
    fn configuration_shows_no_secret() {
        let mut config = ClientConfig::default();
        config.credentials.explicit = Some((
            "a.b".to_owned(),
            Credential::Basic {
                username: "u".to_owned(),
                password: "hunter2".to_owned().into(),
            },
        ));
        config.credentials.environment = Environment::fixed([("DOCKER_AUTH_CONFIG", "hunter2")]);
        assert!(!format!("{config:?}").contains("hunter2"));
    }
}
