//! What is known of a registry host: how it is spoken to, and what it turned out to take.

use std::{
    collections::HashMap,
    sync::{
        Arc, RwLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use reqwest::{StatusCode, Url};
use tokio::sync::OnceCell;

use super::{
    auth::{
        challenge::{self, Challenge},
        scope::Scopes,
    },
    error::{Asked, ConnectionFault, RegistryError},
    gate::{Gate, OnPause},
    media, origin,
    transport::{Answer, Transport},
};

/// The host that serves the registry API of Docker Hub.
pub(super) const DOCKER_HUB_API: &str = "registry-1.docker.io";
/// What registries put into the answer to a ping.
const API_VERSION: &str = "docker-distribution-api-version";
/// Longest that a loopback host may take to show that it speaks TLS.
const LOOPBACK_TLS: Duration = Duration::from_secs(5);
/// Smallest chunk that uploads are cut down to, in bytes.
const MIN_CHUNK: u64 = 512 << 10;
/// Largest body of a ping that is read, in bytes.
const MAX_PING_BODY: usize = 64 << 10;

/// One registry host, shared by all requests to it.
pub(crate) struct Host {
    /// `HOST[:PORT]` as references spell it.
    pub(crate) name: String,
    /// Set by the first ping that is answered.
    pub(crate) base: OnceCell<Base>,
    /// Every request goes through it.
    pub(crate) gate: Arc<Gate>,
    learned: RwLock<Vec<Challenge>>,
    /// What requests for these scopes turned out to need, by the key of the scopes.
    wider: RwLock<HashMap<String, Scopes>>,
    uploads: Uploads,
}

/// The address of a host and the answer to the first ping.
pub(crate) struct Base {
    /// `https://HOST[:PORT]/`.
    pub(crate) url: Url,
    challenges: Vec<Challenge>,
}

/// What a registry, or the proxy in front of it, was seen to take.
struct Uploads {
    /// From this size on, blobs go in chunks.
    chunked_from: AtomicU64,
    chunk_size: AtomicU64,
    no_chunks: AtomicBool,
    cut: AtomicBool,
}

impl Host {
    pub(crate) fn new(name: &str, chunk_size: u64, on_pause: Option<OnPause>) -> Self {
        Self {
            name: name.to_owned(),
            base: OnceCell::new(),
            gate: Gate::new(name, on_pause),
            learned: RwLock::default(),
            wider: RwLock::default(),
            uploads: Uploads {
                chunked_from: AtomicU64::new(u64::MAX),
                chunk_size: AtomicU64::new(chunk_size.max(1)),
                no_chunks: AtomicBool::new(false),
                cut: AtomicBool::new(false),
            },
        }
    }

    /// The challenges that hold: the latest that a real request met, or those of the ping.
    pub(crate) fn challenges(&self, base: &Base) -> Vec<Challenge> {
        let learned = self.learned.read().unwrap_or_else(|e| e.into_inner());
        match learned.is_empty() {
            true => base.challenges.clone(),
            false => learned.clone(),
        }
    }

    pub(crate) fn learn(&self, challenges: Vec<Challenge>) {
        *self.learned.write().unwrap_or_else(|e| e.into_inner()) = challenges;
    }

    /// The scopes that a request for these turned out to need.
    pub(crate) fn scopes(&self, scopes: &Scopes) -> Scopes {
        let wider = self.wider.read().unwrap_or_else(|e| e.into_inner());
        wider.get(&scopes.key()).unwrap_or(scopes).clone()
    }

    /// A request for these scopes was taken with wider ones.
    pub(crate) fn learn_scopes(&self, scopes: &Scopes, wider: Scopes) {
        let mut learned = self.wider.write().unwrap_or_else(|e| e.into_inner());
        learned.insert(scopes.key(), wider);
    }

    /// Whether a blob of this size is known not to be taken in one piece.
    pub(crate) fn wants_chunks(&self, size: u64) -> bool {
        size >= self.uploads.chunked_from.load(Ordering::Relaxed)
            && !self.uploads.no_chunks.load(Ordering::Relaxed)
    }

    /// A blob of this size was refused in one piece and taken in chunks.
    pub(crate) fn learn_chunked_from(&self, size: u64) {
        self.uploads.chunked_from.fetch_min(size, Ordering::Relaxed);
    }

    /// The registry takes no chunks.
    pub(crate) fn learn_no_chunks(&self) {
        self.uploads.no_chunks.store(true, Ordering::Relaxed);
    }

    /// Whether a connection has broken under a large body.
    pub(crate) fn cuts_bodies(&self) -> bool {
        self.uploads.cut.load(Ordering::Relaxed)
    }

    /// A connection broke under a large body.
    pub(crate) fn learn_cut(&self) {
        self.uploads.cut.store(true, Ordering::Relaxed);
    }

    /// Size of the chunks that are sent, in bytes.
    pub(crate) fn chunk_size(&self) -> u64 {
        self.uploads.chunk_size.load(Ordering::Relaxed)
    }

    /// A chunk of `size` was too large; whether a smaller one can be tried.
    pub(crate) fn shrink_chunk(&self, size: u64) -> bool {
        let smaller = size / 2;
        if smaller < MIN_CHUNK {
            return false;
        }
        self.uploads
            .chunk_size
            .fetch_min(smaller, Ordering::Relaxed);
        true
    }
}

impl Transport {
    /// Finds out how a host is spoken to: HTTPS, unless it was named for plain HTTP or is this
    /// machine itself and does not answer TLS. A certificate that is not accepted stays an error.
    pub(crate) async fn probe(&self, host: &Host) -> Result<Base, RegistryError> {
        host.gate.wait().await;
        if self.config.plain_http.contains(&host.name) {
            return self.ping(host, "http").await;
        }
        let https = base_url(&host.name, "https")?;
        if !origin::is_loopback(&https) {
            return self.ping(host, "https").await;
        }
        let limit = LOOPBACK_TLS.min(self.config.connect_timeout);
        match tokio::time::timeout(limit, self.ping(host, "https")).await {
            Ok(Err(RegistryError::Connection { fault, .. })) if !speaks_tls(fault) => {}
            Ok(done) => return done,
            Err(_) => {}
        }
        self.ping(host, "http").await
    }

    /// `GET /v2/` (distribution specification, "Determining Support"), without credentials.
    async fn ping(&self, host: &Host, scheme: &str) -> Result<Base, RegistryError> {
        let url = base_url(&host.name, scheme)?;
        let mut ping = url.clone();
        ping.set_path("/v2/");
        // The call needs no more of a host than its name.
        let stand_in = Arc::new(Host::new(&host.name, 1, None));
        let what = format!("the API of `{}`", host.name);
        let answer = self.plain_get(&stand_in, ping, what).await?;
        let challenges = self.judge_ping(answer).await?;
        Ok(Base { url, challenges })
    }

    async fn judge_ping(&self, mut answer: Answer) -> Result<Vec<Challenge>, RegistryError> {
        let not_a_registry = |asked: Box<Asked>, detail: &str| {
            Err(RegistryError::NotARegistry {
                asked,
                detail: detail.to_owned(),
            })
        };
        let is_api = answer.header(API_VERSION).is_some();
        match answer.status() {
            StatusCode::UNAUTHORIZED if answer.foreign => Ok(Vec::new()),
            StatusCode::UNAUTHORIZED => Ok(challenge::parse(answer.headers())),
            _ if is_api && !retry_worthy(answer.status()) => Ok(Vec::new()),
            StatusCode::OK => {
                let html = answer
                    .header("content-type")
                    .and_then(media::essence)
                    .is_some_and(|t| t == "text/html");
                let body = self.body(&mut answer, MAX_PING_BODY).await?;
                match html || media::looks_like_html(&body) {
                    true => not_a_registry(answer.asked, "it answers with a web page"),
                    false => Ok(Vec::new()),
                }
            }
            StatusCode::NOT_FOUND => not_a_registry(answer.asked, "it knows no /v2/"),
            // The registry may be closed as such while single repositories are open.
            StatusCode::FORBIDDEN | StatusCode::METHOD_NOT_ALLOWED => Ok(Vec::new()),
            _ => Err(self.error(answer).await),
        }
    }
}

/// Whether whoever failed in this way showed that it speaks TLS.
fn speaks_tls(fault: ConnectionFault) -> bool {
    matches!(
        fault,
        ConnectionFault::Certificate | ConnectionFault::ClientCertificate
    )
}

fn retry_worthy(status: StatusCode) -> bool {
    super::retry::is_transient(status)
}

fn base_url(host: &str, scheme: &str) -> Result<Url, RegistryError> {
    let api = match host {
        "docker.io" => DOCKER_HUB_API,
        other => other,
    };
    Url::parse(&format!("{scheme}://{api}/")).map_err(|_| RegistryError::Host(host.to_owned()))
}
