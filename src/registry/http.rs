//! One HTTP exchange: connection, TLS, time limits and caps, without any thought of registries.

use std::{
    error::Error as _,
    io,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use reqwest::{Method, Request, Response, Url};
use rustls::AlertDescription;
use tokio::time::{Instant, timeout};

use super::{
    clients::Clients,
    config::ClientConfig,
    error::{Asked, ConnectionFault, RegistryError},
    rate::{Pace, RateLimit},
};

/// How much longer than for a byte we wait for the answer to an uploaded body.
const ANSWER_FACTOR: u32 = 5;

/// The HTTP clients and their time limits.
pub(crate) struct Http {
    clients: Clients,
    stall: Duration,
    min_rate: u64,
    rate_limit: Option<Arc<RateLimit>>,
}

impl Http {
    pub(crate) fn new(config: &ClientConfig) -> Result<Self, RegistryError> {
        Ok(Self {
            clients: Clients::new(config)?,
            stall: config.stall_timeout,
            min_rate: config.min_rate,
            rate_limit: config.rate_limit.map(|rate| Arc::new(RateLimit::new(rate))),
        })
    }

    /// Longest time without a byte.
    pub(crate) fn stall(&self) -> Duration {
        self.stall
    }

    /// The limit that all bodies share, if there is one.
    pub(crate) fn rate_limit(&self) -> Option<&Arc<RateLimit>> {
        self.rate_limit.as_ref()
    }

    /// A request that asks for bytes as they are.
    ///
    /// # Errors
    /// When the certificates that are kept for the host cannot be used.
    pub(crate) fn request(
        &self,
        method: Method,
        url: &Url,
    ) -> Result<reqwest::RequestBuilder, RegistryError> {
        let request = self.clients.of(url)?.request(method, url.clone());
        Ok(request.header(reqwest::header::ACCEPT_ENCODING, "identity"))
    }

    /// Sends a request and waits for the head of the answer, no longer than the body makes progress.
    pub(crate) async fn execute(
        &self,
        request: reqwest::RequestBuilder,
        progress: &Progress,
        asked: &Asked,
    ) -> Result<Response, RegistryError> {
        let (client, request) = request.build_split();
        let request: Request = request.map_err(|error| RegistryError::Setup(deepest(&error)))?;
        tokio::select! {
            done = client.execute(request) => done.map_err(|error| from_reqwest(&error, asked)),
            () = progress.stalled(self.stall) => Err(stalled(asked)),
        }
    }

    /// The next piece of a body; `None` at its end. `pace` belongs to the body.
    pub(crate) async fn chunk(
        &self,
        response: &mut Response,
        pace: &mut Pace,
        asked: &Asked,
    ) -> Result<Option<Bytes>, RegistryError> {
        let start = Instant::now();
        let chunk = match timeout(self.stall, response.chunk()).await {
            Ok(chunk) => chunk.map_err(|error| from_reqwest(&error, asked))?,
            Err(_) => return Err(stalled(asked)),
        };
        let Some(chunk) = chunk else { return Ok(None) };
        if pace.is_too_slow(chunk.len(), start.elapsed(), self.stall, self.min_rate) {
            return Err(RegistryError::Connection {
                asked: Box::new(asked.clone()),
                fault: ConnectionFault::Stalled,
                detail: format!("it sends less than {} bytes a second", self.min_rate),
            });
        }
        if let Some(limit) = &self.rate_limit {
            limit.take(chunk.len()).await;
        }
        Ok(Some(chunk))
    }

    /// A whole body of at most `cap` bytes, however slowly it comes, as long as it comes.
    pub(crate) async fn body(
        &self,
        response: &mut Response,
        cap: usize,
        asked: &Asked,
    ) -> Result<Bytes, RegistryError> {
        let too_large = || RegistryError::TooLarge {
            asked: Box::new(asked.clone()),
            limit: cap as u64,
        };
        let announced = response.content_length();
        if announced.is_some_and(|size| size > cap as u64) {
            return Err(too_large());
        }
        let mut pace = Pace::default();
        let Some(first) = self.chunk(response, &mut pace, asked).await? else {
            return Ok(Bytes::new());
        };
        if announced == Some(first.len() as u64) {
            return Ok(first);
        }
        // The announced length is within the cap, and lets the buffer be made once.
        let length = announced.and_then(|length| usize::try_from(length).ok());
        let mut all = BytesMut::with_capacity(length.unwrap_or_default());
        all.extend_from_slice(&first);
        while let Some(chunk) = self.chunk(response, &mut pace, asked).await? {
            if all.len() + chunk.len() > cap {
                return Err(too_large());
            }
            all.extend_from_slice(&chunk);
        }
        match all.len() > cap {
            true => Err(too_large()),
            false => Ok(all.freeze()),
        }
    }
}

fn stalled(asked: &Asked) -> RegistryError {
    RegistryError::Connection {
        asked: Box::new(asked.clone()),
        fault: ConnectionFault::Stalled,
        detail: "no data within the time limit".to_owned(),
    }
}

fn from_reqwest(error: &reqwest::Error, asked: &Asked) -> RegistryError {
    // What the other side thinks of our certificate may come after the handshake (TLS 1.3).
    let fault = match tls_error(error) {
        Some(rustls::Error::AlertReceived(alert)) if is_about_client(*alert) => {
            ConnectionFault::ClientCertificate
        }
        _ if error.is_dns() => ConnectionFault::Name,
        _ if !error.is_connect() => ConnectionFault::Broken,
        Some(rustls::Error::InvalidCertificate(_)) => ConnectionFault::Certificate,
        Some(_) => ConnectionFault::Tls,
        None if error.is_timeout() => ConnectionFault::ConnectTimeout,
        None => ConnectionFault::Unreachable,
    };
    RegistryError::Connection {
        asked: Box::new(asked.clone()),
        fault,
        detail: deepest(error),
    }
}

/// Whether an alert of a server (RFC 8446, section 6.2) says that it wants another certificate, or
/// one at all.
fn is_about_client(alert: AlertDescription) -> bool {
    matches!(
        alert,
        AlertDescription::CertificateRequired
            | AlertDescription::NoCertificate
            | AlertDescription::BadCertificate
            | AlertDescription::UnsupportedCertificate
            | AlertDescription::CertificateRevoked
            | AlertDescription::CertificateExpired
            | AlertDescription::CertificateUnknown
            | AlertDescription::UnknownCA
            // Of another authority with the same name.
            | AlertDescription::DecryptError
            | AlertDescription::AccessDenied
    )
}

/// The TLS error at the bottom, if there is one.
fn tls_error(error: &reqwest::Error) -> Option<&rustls::Error> {
    let mut next = error.source();
    while let Some(inner) = next {
        if let Some(tls) = inner.downcast_ref() {
            return Some(tls);
        }
        // `source` of an `io::Error` passes over what it wraps, which may be another one.
        next = match inner
            .downcast_ref::<io::Error>()
            .and_then(io::Error::get_ref)
        {
            Some(wrapped) => Some(wrapped as &(dyn std::error::Error + 'static)),
            None => inner.source(),
        };
    }
    None
}

/// The innermost cause, which is the one that tells something; never the outermost, which shows
/// the URL.
pub(super) fn deepest(error: &reqwest::Error) -> String {
    let mut text = match error.source() {
        Some(source) => source.to_string(),
        None => "the HTTP client failed".to_owned(),
    };
    let mut source = error.source().and_then(|s| s.source());
    while let Some(inner) = source {
        text = inner.to_string();
        source = inner.source();
    }
    text.chars().take(300).collect()
}

/// Whether a body that is being sent moves on. Time in which its own source is slow does not count.
#[derive(Debug)]
pub(crate) struct Progress {
    moved: Mutex<Instant>,
    in_source: AtomicBool,
    sent: AtomicBool,
}

impl Progress {
    /// Of a request without a body.
    pub(crate) fn none() -> Self {
        Self {
            moved: Mutex::new(Instant::now()),
            in_source: AtomicBool::new(false),
            sent: AtomicBool::new(false),
        }
    }

    /// Of a request whose whole body is handed over at once.
    pub(crate) fn at_once() -> Self {
        let progress = Self::none();
        progress.finished();
        progress
    }

    /// The source is being read.
    pub(crate) fn reading(&self) {
        self.in_source.store(true, Ordering::Relaxed);
    }

    /// The source gave something, which is now being sent.
    pub(crate) fn sending(&self) {
        *self.moved.lock().unwrap_or_else(|e| e.into_inner()) = Instant::now();
        self.in_source.store(false, Ordering::Relaxed);
    }

    /// Everything is handed over; the answer may take its time.
    pub(crate) fn finished(&self) {
        self.sending();
        self.sent.store(true, Ordering::Relaxed);
    }

    /// Returns when nothing has moved for too long.
    async fn stalled(&self, stall: Duration) {
        loop {
            let limit = match self.sent.load(Ordering::Relaxed) {
                true => stall * ANSWER_FACTOR,
                false => stall,
            };
            let idle = match self.in_source.load(Ordering::Relaxed) {
                true => Duration::ZERO,
                false => self
                    .moved
                    .lock()
                    .unwrap_or_else(|e| e.into_inner())
                    .elapsed(),
            };
            let Some(left) = limit.checked_sub(idle).filter(|left| !left.is_zero()) else {
                return;
            };
            // The source may come back, and the limit change, while we sleep.
            tokio::time::sleep(left.min(stall)).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn q47_only_the_network_can_stall() {
        let stall = Duration::from_millis(20);
        let progress = Progress::none();
        progress.reading();
        assert!(timeout(stall * 5, progress.stalled(stall)).await.is_err());
        progress.sending();
        let start = Instant::now();
        progress.stalled(stall).await;
        assert!(start.elapsed() >= stall);
        progress.finished();
        let start = Instant::now();
        progress.stalled(stall).await;
        assert!(start.elapsed() >= stall * ANSWER_FACTOR);
    }

    #[test]
    fn a_ca_file_must_hold_certificates() {
        let file = tempfile::NamedTempFile::new().unwrap();
        for path in [file.path().to_owned(), file.path().join("absent")] {
            let config = ClientConfig {
                ca_files: vec![path.clone()],
                ..ClientConfig::default()
            };
            let error = Http::new(&config).err().unwrap();
            assert!(matches!(&error, RegistryError::CaFile { path: p, .. } if *p == path));
        }
    }
}
