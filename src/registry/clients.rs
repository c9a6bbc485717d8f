//! The HTTP clients: one for most hosts, and one of its own for each host of which the user or a
//! file says something that must mean nothing for others.

use std::{
    collections::HashMap,
    net::SocketAddr,
    path::PathBuf,
    sync::{Mutex, PoisonError},
};

use reqwest::{Certificate, Client, ClientBuilder, Identity, Url, redirect};

use super::{
    config::{ClientConfig, ProxyUse, normal_host},
    error::RegistryError,
    http::deepest,
    origin, tls,
};

/// Idle connections that are kept per host; more than any sensible concurrency.
const IDLE_PER_HOST: usize = 32;

/// The clients, made when they are needed.
pub(super) struct Clients {
    config: ClientConfig,
    roots: Vec<Certificate>,
    usual: Client,
    /// By origin; `None` where the usual one does.
    special: Mutex<HashMap<String, Option<Client>>>,
    shown: Vec<Shown>,
}

/// A client certificate that was named for a host.
struct Shown {
    host: String,
    file: PathBuf,
    identity: Identity,
}

/// What is different for one host.
#[derive(Default)]
struct Difference {
    unchecked: bool,
    direct: bool,
    addresses: Vec<SocketAddr>,
    roots: Vec<Certificate>,
    identity: Option<Identity>,
    /// Where the identity is from.
    file: PathBuf,
}

impl Clients {
    /// Reads the files that are named; those of `certs_dirs` are read when their host is asked.
    pub(super) fn new(config: &ClientConfig) -> Result<Self, RegistryError> {
        let mut config = config.clone();
        let named =
            |host: &String| normal_host(host).ok_or_else(|| RegistryError::Host(host.clone()));
        let unchecked: Result<_, _> = config.insecure_skip_tls_verify.iter().map(named).collect();
        config.insecure_skip_tls_verify = unchecked?;
        let mut roots = Vec::new();
        for path in &config.ca_files {
            let found = tls::read_certificates(path).map_err(|detail| RegistryError::CaFile {
                path: path.clone(),
                detail,
            })?;
            roots.extend(found);
        }
        let mut shown = Vec::new();
        for certificate in &config.client_certificates {
            shown.push(Shown {
                host: named(&certificate.host)?,
                file: certificate.key.clone(),
                identity: tls::read_identity(&certificate.certificate, &certificate.key)?,
            });
        }
        let usual = trusting(&config, &roots, |builder| builder).map_err(setup)?;
        Ok(Self {
            config,
            roots,
            usual,
            special: Mutex::default(),
            shown,
        })
    }

    /// The client for an address.
    pub(super) fn of(&self, url: &Url) -> Result<Client, RegistryError> {
        let mut special = self.special.lock().unwrap_or_else(PoisonError::into_inner);
        let key = origin::show(url);
        if let Some(known) = special.get(&key) {
            return Ok(known.as_ref().unwrap_or(&self.usual).clone());
        }
        let made = match self.difference(url)? {
            Some(difference) => Some(self.make(url, difference)?),
            None => None,
        };
        let client = made.as_ref().unwrap_or(&self.usual).clone();
        special.insert(key, made);
        Ok(client)
    }

    fn difference(&self, url: &Url) -> Result<Option<Difference>, RegistryError> {
        let config = &self.config;
        let mut difference = Difference {
            unchecked: config
                .insecure_skip_tls_verify
                .iter()
                .any(|host| origin::is_at(url, host)),
            // As programs in Go do: a proxy cannot reach this machine itself.
            direct: config.proxy == ProxyUse::Environment && origin::is_loopback(url),
            addresses: self.addresses(url),
            ..Difference::default()
        };
        if url.scheme() == "https" {
            if let Some(dir) = self.directory(url) {
                let found = tls::read_directory(&dir)?;
                difference.roots = found.roots;
                difference.identity = found.identity;
                difference.file = dir;
            }
            let shown = self.shown.iter();
            if let Some(shown) = shown.rev().find(|shown| origin::is_at(url, &shown.host)) {
                difference.identity = Some(shown.identity.clone());
                difference.file = shown.file.clone();
            }
        }
        let usual = !difference.unchecked
            && !difference.direct
            && difference.addresses.is_empty()
            && difference.roots.is_empty()
            && difference.identity.is_none();
        Ok((!usual).then_some(difference))
    }

    fn addresses(&self, url: &Url) -> Vec<SocketAddr> {
        let host = url.host_str().unwrap_or_default();
        let port = url.port_or_known_default();
        let resolve = self.config.resolve.iter();
        resolve
            .filter(|known| known.host == host && (known.port.is_none() || known.port == port))
            .map(|known| SocketAddr::new(known.address, port.unwrap_or_default()))
            .collect()
    }

    fn directory(&self, url: &Url) -> Option<PathBuf> {
        let dirs = &self.config.certs_dirs;
        let with_port = || {
            let (host, port) = (url.host_str()?, url.port_or_known_default()?);
            tls::directory_of(&format!("{host}:{port}"), dirs)
        };
        tls::directory_of(&origin::host_port(url), dirs).or_else(with_port)
    }

    fn make(&self, url: &Url, difference: Difference) -> Result<Client, RegistryError> {
        let mut roots = self.roots.clone();
        roots.extend(difference.roots);
        let has_identity = difference.identity.is_some();
        let client = trusting(&self.config, &roots, |mut builder| {
            if difference.unchecked {
                builder = builder.tls_danger_accept_invalid_certs(true);
            }
            if difference.direct {
                builder = builder.no_proxy();
            }
            if let Some(identity) = &difference.identity {
                builder = builder.identity(identity.clone());
            }
            if !difference.addresses.is_empty() {
                let host = url.host_str().unwrap_or_default();
                builder = builder.resolve_to_addrs(host, &difference.addresses);
            }
            builder
        });
        // Files that were fine one by one need not go together.
        client.map_err(|error| match has_identity {
            true => tls::wrong(&difference.file, deepest(&error)),
            false => setup(error),
        })
    }
}

/// A client that trusts these authorities and those of the system, if it has any: a machine
/// without can still speak plain HTTP and use its CA file.
fn trusting(
    config: &ClientConfig,
    roots: &[Certificate],
    complete: impl Fn(ClientBuilder) -> ClientBuilder,
) -> reqwest::Result<Client> {
    let builder = || complete(builder(config));
    builder()
        .tls_certs_merge(roots.to_vec())
        .build()
        .or_else(|_| builder().tls_certs_only(roots.to_vec()).build())
}

fn builder(config: &ClientConfig) -> ClientBuilder {
    let builder = Client::builder()
        .user_agent(&config.user_agent)
        .redirect(redirect::Policy::none())
        .retry(reqwest::retry::never())
        .referer(false)
        .connect_timeout(config.connect_timeout)
        .pool_max_idle_per_host(IDLE_PER_HOST)
        .tcp_nodelay(true)
        // Large parallel transfers are faster on connections of their own than as streams of one.
        .http1_only();
    match config.proxy {
        ProxyUse::Environment => builder,
        ProxyUse::None => builder.no_proxy(),
    }
}

fn setup(error: reqwest::Error) -> RegistryError {
    RegistryError::Setup(deepest(&error))
}
