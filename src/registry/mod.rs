//! A client for registries (OCI distribution specification 1.1), for both directions.
//!
//! What it promises: a credential goes to its own origin and to the token service that this origin
//! named, nowhere else; nothing that a server says is believed where it can be computed; no body
//! is read without a cap or waited for without a limit; what fails for a moment is tried again,
//! and what the user must know is in the error.

mod advice;
mod auth;
mod blob;
mod body;
mod chunked;
mod chunks;
mod clients;
mod config;
mod credentials;
mod download;
mod error;
mod gate;
mod host;
mod http;
mod link;
pub mod login;
mod media;
mod origin;
mod pull;
mod push;
mod rate;
mod referrers;
mod retry;
mod secret;
mod session;
#[cfg(test)]
pub(crate) mod test_registry;
#[cfg(test)]
pub(crate) mod test_server;
#[cfg(test)]
mod tests;
mod tls;
mod transport;
mod upload;

use std::{fmt, sync::Arc};

use reqwest::{Method, header::HeaderMap};

use self::{
    auth::scope::Scopes,
    body::Payload,
    host::Host,
    transport::{Call, Transport},
};
pub use self::{
    blob::BlobStream,
    body::{BlobReader, BlobSource, OpenBlob},
    chunked::ChunkedUpload,
    config::{
        ClientCertificate, ClientConfig, CredentialConfig, Environment, Mirror, MirrorError,
        ProxyUse, Resolve, ResolveError,
    },
    credentials::{Credential, CredentialError},
    download::{Download, Encoding, ShowCredentials},
    error::{Asked, ConnectionFault, RegistryError, ServerMessage},
    gate::{OnPause, Pause},
    pull::{ManifestHead, PulledManifest},
    push::{Mount, Taken},
    referrers::{FoundReferrers, ReferrersTag, referrers_tag, subject_of_tag},
    secret::Secret,
    session::UploadSession,
};
use crate::oci::Repository;

/// A client for any number of registries. Clones share connections, tokens and what was learned
/// about hosts.
#[derive(Clone)]
pub struct Client {
    transport: Arc<Transport>,
    turns: Arc<referrers::Turns>,
    without_lists: Arc<referrers::WithoutLists>,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").finish_non_exhaustive()
    }
}

impl Client {
    /// Makes a client. Nothing is asked of anybody yet.
    ///
    /// # Errors
    /// When a CA file or a host name in the configuration cannot be used.
    pub fn new(config: ClientConfig) -> Result<Self, RegistryError> {
        Ok(Self {
            transport: Arc::new(Transport::new(config)?),
            turns: Arc::default(),
            without_lists: Arc::default(),
        })
    }

    /// Checks that a registry answers at `host` (`HOST[:PORT]`). Every other method does the same
    /// by itself, once per host.
    ///
    /// # Errors
    /// When there is no connection, or what answers is not a registry.
    pub async fn ping(&self, host: &str) -> Result<(), RegistryError> {
        let name = config::normal_host(host).ok_or_else(|| RegistryError::Host(host.to_owned()))?;
        let host = self.transport.host(&name);
        self.transport.base(&host).await.map(|_| ())
    }

    /// Whether a host was found to speak plain HTTP; `false` where it was not asked yet.
    pub fn speaks_plain_http(&self, host: &str) -> bool {
        let name = config::normal_host(host);
        let host = name.map(|name| self.transport.host(&name));
        let base = host.as_ref().and_then(|host| host.base.get());
        base.is_some_and(|base| base.url.scheme() == "http")
    }

    /// Shows a host the credential that is kept for it; `false` when it wants none.
    ///
    /// # Errors
    /// Also when it refuses the credential.
    pub async fn check_credential(&self, host: &str) -> Result<bool, RegistryError> {
        let name = config::normal_host(host).ok_or_else(|| RegistryError::Host(host.to_owned()))?;
        let host = self.transport.host(&name);
        let base = self.transport.base(&host).await?;
        let wanted = !host.challenges(base).is_empty();
        let mut url = base.url.clone();
        url.set_path("/v2/");
        let call = Call {
            method: Method::GET,
            url,
            host: host.clone(),
            path: String::new(),
            scopes: Scopes::default(),
            headers: HeaderMap::new(),
            body: Payload::Empty,
            what: format!("login to `{name}`"),
            beside: false,
        };
        let answer = self.transport.send(&call).await?;
        match answer.status().is_success() {
            true => Ok(wanted),
            false => Err(self.transport.error(answer).await),
        }
    }

    /// What servers asked to be shown to the user since the last time (distribution specification,
    /// "Warnings"), each text once, with the host in front.
    pub fn take_warnings(&self) -> Vec<String> {
        self.transport.take_warnings()
    }

    /// Where a repository is read: at its mirror, if it has one.
    fn read_place(&self, repository: &Repository) -> Place {
        let mirrors = &self.transport.config.mirrors;
        let asked = mirrors.iter().find_map(|mirror| mirror.apply(repository));
        self.place(asked.unwrap_or_else(|| repository.clone()), repository)
    }

    /// Where a repository is written: at itself.
    fn write_place(&self, repository: &Repository) -> Place {
        self.place(repository.clone(), repository)
    }

    fn place(&self, asked: Repository, shown: &Repository) -> Place {
        Place {
            client: self.clone(),
            host: self.transport.host(asked.host()),
            asked,
            shown: shown.clone(),
        }
    }
}

/// A repository as it is asked for, with the name under which errors speak of it.
#[derive(Clone)]
struct Place {
    client: Client,
    host: Arc<Host>,
    asked: Repository,
    shown: Repository,
}

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Place({})", self.shown)
    }
}

impl Place {
    fn transport(&self) -> &Transport {
        &self.client.transport
    }

    /// A request below `/v2/<name>/`; `rest` is a path of checked parts, perhaps with a query.
    async fn call(
        &self,
        method: Method,
        rest: &str,
        scopes: Scopes,
        what: String,
    ) -> Result<Call, RegistryError> {
        let base = self.transport().base(&self.host).await?;
        let path = format!("/v2/{}/{rest}", self.asked.path());
        let url = base
            .url
            .join(&path)
            .map_err(|_| RegistryError::Usage(format!("`{path}` cannot be part of an address")))?;
        Ok(Call {
            method,
            url,
            host: self.host.clone(),
            path: self.asked.path().to_owned(),
            scopes,
            headers: HeaderMap::new(),
            body: Payload::Empty,
            what,
            beside: false,
        })
    }

    fn pull_scopes(&self) -> Scopes {
        Scopes::pull(self.asked.path())
    }

    fn push_scopes(&self) -> Scopes {
        Scopes::push(self.asked.path())
    }
}
