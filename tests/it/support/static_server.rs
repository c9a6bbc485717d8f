//! Files over TLS: what a classic chart repository is.

use std::{
    collections::BTreeMap,
    net::{SocketAddr, TcpListener},
    sync::{Arc, Mutex},
};

use axum::{
    Router,
    extract::State,
    http::{StatusCode, Uri},
    response::{IntoResponse, Response},
};
use tokio::task::JoinHandle;

use super::{background::runtime, pki::Identity, tls_listener::TlsListener};

/// A running server; it ends when dropped.
pub struct StaticServer {
    shared: Arc<Shared>,
    address: SocketAddr,
    task: JoinHandle<()>,
}

struct Shared {
    files: BTreeMap<String, Vec<u8>>,
    requests: Mutex<Vec<String>>,
}

impl StaticServer {
    /// Serves these files, by path, with this certificate.
    pub fn start(
        listener: TcpListener,
        identity: Identity,
        files: BTreeMap<String, Vec<u8>>,
    ) -> Self {
        let address = listener.local_addr().expect("bound");
        listener.set_nonblocking(true).expect("a socket");
        let shared = Arc::new(Shared {
            files,
            requests: Mutex::default(),
        });
        let app = Router::new()
            .fallback(answer)
            .with_state(Arc::clone(&shared));
        let task = runtime().spawn(async move {
            let listener = tokio::net::TcpListener::from_std(listener).expect("a socket");
            let served = axum::serve(TlsListener::new(listener, &identity), app).await;
            served.expect("it serves until it is dropped");
        });
        Self {
            shared,
            address,
            task,
        }
    }

    /// Address and port.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The paths that were asked for so far.
    pub fn requests(&self) -> Vec<String> {
        self.shared.requests.lock().unwrap().clone()
    }
}

impl Drop for StaticServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn answer(State(shared): State<Arc<Shared>>, uri: Uri) -> Response {
    let path = uri.path();
    shared.requests.lock().unwrap().push(path.to_owned());
    match shared.files.get(path) {
        Some(content) => content.clone().into_response(),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}
