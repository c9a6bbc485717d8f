//! The embedded registry: pull, push, content discovery and content management of the OCI
//! distribution specification 1.1, for where the closed side has no registry yet, and, with
//! [faults](FaultPlan), as the test partner of every client.
//!
//! # The store
//!
//! Content lies on a directory, once per digest; repositories hold links. A blob is visible in a
//! repository only after it was pushed or mounted into it.
//!
//! ```text
//! STORE/registry-layout                                  marker, and lock against other processes
//! STORE/blobs/ALGORITHM/XX/HEX                           content; XX are the first digits of HEX
//! STORE/repositories/NAME/_blobs/ALGORITHM/HEX           link to a blob: an empty file
//! STORE/repositories/NAME/_manifests/ALGORITHM/HEX       link to a manifest: its media type
//! STORE/repositories/NAME/_tags/TAG                      the digest that the tag points to
//! STORE/repositories/NAME/_referrers/ALGORITHM/HEX/ALGORITHM-HEX
//!                                                        subject / descriptor of the referrer
//! STORE/uploads/ID/{data,repository}                     upload sessions
//! STORE/temporary/                                       files on their way to their names
//! ```
//!
//! Every file gets its final name in one step, when it is complete, verified and on the disk; its
//! content comes before what names it, and tags come last. So a crash leaves nothing half-done
//! visible. Upload sessions survive a restart and are removed after a day without a write.
//! The file system must tell upper from lower case in names, as tags do.

mod auth;
mod connection;
mod document;
mod error;
mod faults;
mod http;
mod log;
mod names;
mod options;
mod store;
mod tls;

#[cfg(test)]
mod tests;

use std::{
    future::{Future, IntoFuture as _},
    io,
    net::SocketAddr,
    sync::{Arc, Weak},
    time::Duration,
};

use axum::{
    extract::{ConnectInfo, Request, State},
    handler::Handler as _,
    response::Response,
};
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
    sync::watch,
    task::{JoinHandle, spawn_blocking},
    time::{Instant, sleep, timeout},
};

pub use error::ServeError;
pub use faults::{Fault, FaultParseError, FaultPlan, FaultRule};
pub use log::{LoggedRequest, RequestLog};
pub use options::{ServeOptions, TlsFiles};

use auth::BasicAuth;
use connection::{Breaker, Gate, Phase};
use faults::{ArmedFaults, Inflicted};
use http::Api;
use store::Store;

/// A connection that moves no byte for this long is closed.
const IDLE: Duration = Duration::from_secs(5 * 60);
/// How long a shutdown waits for requests that are being answered.
const DRAIN: Duration = Duration::from_secs(10);

/// A running registry. Dropping it stops it at once; [`shutdown`](Self::shutdown) lets the requests
/// that are being answered finish.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    phase: watch::Sender<Phase>,
    task: JoinHandle<io::Result<()>>,
    store: Weak<Store>,
}

impl Server {
    /// Opens the store, starts to listen, and serves on tasks of the current tokio runtime.
    ///
    /// # Errors
    /// When the store, the address or the TLS files cannot be used. Nothing is left running then.
    pub async fn start(options: ServeOptions) -> Result<Self, ServeError> {
        Self::start_with(options, IDLE).await
    }

    async fn start_with(options: ServeOptions, idle: Duration) -> Result<Self, ServeError> {
        let tls = options.tls.as_ref().map(tls::acceptor).transpose()?;
        let (path, read_only) = (options.store.clone(), options.read_only);
        let store = spawn_blocking(move || Store::open(&path, read_only))
            .await
            .map_err(|_| ServeError::Stopped)??;
        let address = options.listen;
        let failed = |source| ServeError::Listen { address, source };
        let listener = TcpListener::bind(address).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let shared = Shared {
            api: Arc::new(Api {
                read_only,
                allow_delete: options.allow_delete,
                allow_sparse_indexes: options.allow_sparse_indexes,
                auth: options
                    .basic_auth
                    .map(|(user, password)| BasicAuth::new(&user, &password)),
                ..Api::new(store)
            }),
            faults: ArmedFaults::new(options.faults).map(Arc::new),
            log: options.record,
        };
        let store = Arc::downgrade(&shared.api.store);
        let (phase, watched) = watch::channel(Phase::Running);
        let mut draining = watched.clone();
        let service = serve_request
            .with_state(shared)
            .into_make_service_with_connect_info::<Breaker>();
        let serving = axum::serve(Gate::new(listener, tls, watched, idle), service)
            .with_graceful_shutdown(async move {
                draining
                    .wait_for(|phase| *phase >= Phase::Draining)
                    .await
                    .ok();
            });
        let task = tokio::spawn(serving.into_future());
        Ok(Self {
            address,
            phase,
            task,
            store,
        })
    }

    /// The address that is listened on, with the port that was chosen where 0 was asked for.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Accepts nothing new, waits up to ten seconds for the requests that are being answered, and
    /// cuts the connections that are left.
    ///
    /// # Errors
    /// When the server had ended by itself before.
    pub async fn shutdown(mut self) -> Result<(), ServeError> {
        if self.task.is_finished() {
            return Err(ServeError::Stopped);
        }
        self.phase.send_replace(Phase::Draining);
        let drained = timeout(DRAIN, &mut self.task).await;
        self.phase.send_replace(Phase::Stopped);
        let ended = match drained {
            Ok(ended) => ended,
            Err(_) => (&mut self.task).await,
        };
        // The last writes to the disk end the use of the store: then it can be opened again.
        let deadline = Instant::now() + DRAIN;
        while self.store.strong_count() > 0 && Instant::now() < deadline {
            sleep(Duration::from_millis(1)).await;
        }
        match ended {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(ServeError::Stopped),
        }
    }

    /// Serves until `stop` is ready, then [shuts down](Self::shutdown).
    ///
    /// # Errors
    /// As of [`shutdown`](Self::shutdown), and when the server ends by itself.
    pub async fn run_until(mut self, stop: impl Future<Output = ()>) -> Result<(), ServeError> {
        tokio::select! {
            _ = &mut self.task => return Err(ServeError::Stopped),
            () = stop => {}
        }
        self.shutdown().await
    }

    /// Serves until the process gets SIGINT or SIGTERM, then [shuts down](Self::shutdown).
    ///
    /// # Errors
    /// As of [`run_until`](Self::run_until), and when signals cannot be waited for.
    pub async fn run_until_signal(self) -> Result<(), ServeError> {
        let mut interrupt = signal(SignalKind::interrupt()).map_err(ServeError::Signals)?;
        let mut terminate = signal(SignalKind::terminate()).map_err(ServeError::Signals)?;
        self.run_until(async move {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
        })
        .await
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.phase.send_replace(Phase::Stopped);
        self.task.abort();
    }
}

/// What the connections share.
#[derive(Clone)]
struct Shared {
    api: Arc<Api>,
    /// `None` when there are no rules: then requests pass without a look at them.
    faults: Option<Arc<ArmedFaults>>,
    log: Option<RequestLog>,
}

async fn serve_request(
    State(shared): State<Shared>,
    ConnectInfo(breaker): ConnectInfo<Breaker>,
    request: Request,
) -> Response {
    let Some(log) = &shared.log else {
        return with_faults(&shared, breaker, request).await;
    };
    let (request, entry) = log.begin(request);
    let response = with_faults(&shared, breaker, request).await;
    entry.answered(response)
}

async fn with_faults(shared: &Shared, breaker: Breaker, request: Request) -> Response {
    let api = Arc::clone(&shared.api);
    let fault = shared
        .faults
        .as_ref()
        .and_then(|faults| faults.select(request.method(), request.uri()));
    match fault {
        None => api.answer(request).await,
        Some(fault) => {
            let inflicted = Inflicted(fault.clone());
            let mut response = fault
                .apply(&breaker, request, |request| api.answer(request))
                .await;
            response.extensions_mut().insert(inflicted);
            response
        }
    }
}
