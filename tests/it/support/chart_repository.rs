//! A classic chart repository: a web server with an `index.yaml`, which writes down what it is asked.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use axum::{
    Router,
    body::Bytes,
    extract::{Request, State},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use sneakernet::oci::Digest;
use tokio::task::JoinHandle;

use super::{
    background::{block_on, runtime},
    helm::ChartFiles,
    pki::Identity,
    tls_listener::TlsListener,
};

/// What a repository is like; the default is open to everybody, over plain HTTP.
#[derive(Default)]
pub struct Options {
    /// The server's certificate.
    pub tls: Option<Identity>,
    /// User and password; nobody else gets in.
    pub user: Option<(&'static str, &'static str)>,
}

/// A request that was answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// The path below the host.
    pub path: String,
    /// The `Authorization` header.
    pub authorization: Option<String>,
    /// The status of the answer.
    pub status: u16,
}

/// An entry of the index.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The chart's name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Where the archive is.
    pub url: String,
    /// The digest, as the index has it.
    pub digest: Option<String>,
}

/// A running repository; it ends when dropped.
pub struct ChartRepository {
    shared: Arc<Shared>,
    address: SocketAddr,
    scheme: &'static str,
    task: JoinHandle<()>,
}

struct Shared {
    authorization: Option<String>,
    files: Mutex<BTreeMap<String, Bytes>>,
    redirects: Mutex<BTreeMap<String, String>>,
    entries: Mutex<Vec<Entry>>,
    asked: Mutex<Vec<Asked>>,
}

impl ChartRepository {
    /// An empty repository, open to everybody.
    pub fn start() -> Self {
        Self::with(Options::default())
    }

    /// An empty repository.
    pub fn with(options: Options) -> Self {
        let shared = Arc::new(Shared {
            authorization: options.user.map(|(user, password)| basic(user, password)),
            files: Mutex::default(),
            redirects: Mutex::default(),
            entries: Mutex::default(),
            asked: Mutex::default(),
        });
        let app = Router::new()
            .fallback(answer)
            .with_state(Arc::clone(&shared));
        let scheme = if options.tls.is_some() {
            "https"
        } else {
            "http"
        };
        let listener = block_on(tokio::net::TcpListener::bind("127.0.0.1:0"));
        let listener = listener.expect("a free port");
        let address = listener.local_addr().expect("bound");
        let task = runtime().spawn(async move {
            let served = match options.tls {
                Some(identity) => axum::serve(TlsListener::new(listener, &identity), app).await,
                None => axum::serve(listener, app).await,
            };
            served.expect("it serves until it is dropped");
        });
        Self {
            shared,
            address,
            scheme,
            task,
        }
    }

    /// Address and port.
    pub fn host(&self) -> String {
        self.address.to_string()
    }

    /// The address of the repository: the directory `charts` of the server.
    pub fn url(&self) -> String {
        format!("{}/charts", self.root())
    }

    /// The address of the server.
    pub fn root(&self) -> String {
        format!("{}://{}", self.scheme, self.address)
    }

    /// Puts a file on the server, in place of what is there.
    pub fn put(&self, path: &str, content: impl Into<Bytes>) {
        let mut files = self.shared.files.lock().unwrap();
        files.insert(path.to_owned(), content.into());
    }

    /// Sends whoever asks for this path to this address.
    pub fn redirect(&self, path: &str, to: &str) {
        let mut redirects = self.shared.redirects.lock().unwrap();
        redirects.insert(path.to_owned(), to.to_owned());
    }

    /// Publishes a chart: the archive, and an entry with its digest.
    pub fn publish(&self, chart: &ChartFiles) {
        let archive = chart.archive();
        let digest = Digest::sha256_of(&archive).to_string();
        let digest = digest.trim_start_matches("sha256:").to_owned();
        self.publish_archive(chart, archive, Some(digest));
    }

    /// Publishes this archive as that of the chart, with what the index is to say of its digest.
    pub fn publish_archive(&self, chart: &ChartFiles, archive: Vec<u8>, digest: Option<String>) {
        let name = chart.archive_name();
        self.put(&format!("/charts/{name}"), archive);
        self.enter(Entry {
            name: chart.name().to_owned(),
            version: chart.version().to_owned(),
            url: name,
            digest,
        });
    }

    /// Adds an entry to the index, in place of the one with its name and version.
    pub fn enter(&self, entry: Entry) {
        let index = {
            let mut entries = self.shared.entries.lock().unwrap();
            entries.retain(|known| (&known.name, &known.version) != (&entry.name, &entry.version));
            entries.push(entry);
            index_of(&entries)
        };
        self.put("/charts/index.yaml", index);
    }

    /// All requests so far.
    pub fn asked(&self) -> Vec<Asked> {
        self.shared.asked.lock().unwrap().clone()
    }
}

impl Drop for ChartRepository {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The value of the `Authorization` header for a user.
pub fn basic(user: &str, password: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{user}:{password}")))
}

fn index_of(entries: &[Entry]) -> String {
    let mut by_name: BTreeMap<&str, String> = BTreeMap::new();
    for entry in entries {
        let text = by_name.entry(&entry.name).or_default();
        text.push_str(&format!(
            "  - apiVersion: v2\n    name: {}\n    version: {:?}\n    urls: [{:?}]\n",
            entry.name, entry.version, entry.url
        ));
        if let Some(digest) = &entry.digest {
            text.push_str(&format!("    digest: {digest:?}\n"));
        }
    }
    let mut index = "apiVersion: v1\nentries:\n".to_owned();
    for (name, text) in by_name {
        index.push_str(&format!("  {name}:\n{text}"));
    }
    index
}

async fn answer(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let authorization = request.headers().get(header::AUTHORIZATION);
    let authorization = authorization.map(|value| value.to_str().unwrap_or("?").to_owned());
    let path = request.uri().path().to_owned();
    let allowed = shared.authorization.is_none() || shared.authorization == authorization;
    let file = shared.files.lock().unwrap().get(&path).cloned();
    let redirect = shared.redirects.lock().unwrap().get(&path).cloned();
    let response = match (allowed, file) {
        (true, _) if redirect.is_some() => {
            let to = [(header::LOCATION, redirect.unwrap_or_default())];
            (StatusCode::FOUND, to).into_response()
        }
        (false, _) => {
            let challenge = [(header::WWW_AUTHENTICATE, "Basic realm=\"charts\"")];
            (StatusCode::UNAUTHORIZED, challenge).into_response()
        }
        (true, Some(content)) => content.into_response(),
        (true, None) => StatusCode::NOT_FOUND.into_response(),
    };
    shared.asked.lock().unwrap().push(Asked {
        path,
        authorization,
        status: response.status().as_u16(),
    });
    response
}
