//! The program's own registry inside the test process: it can be told to misbehave, and writes down
//! what it is asked.

use std::path::PathBuf;

use sneakernet::serve::{RequestLog, ServeOptions, Server};
use tempfile::TempDir;

use super::{
    background::{block_on, runtime},
    pusher::{Access, Client},
    tools::temp_dir,
};

/// A running registry; it ends when dropped.
pub struct Embedded {
    server: Server,
    dir: TempDir,
    /// What it was asked.
    pub log: RequestLog,
}

impl Embedded {
    /// An empty registry that does what it should.
    pub fn start() -> Self {
        Self::failing("")
    }

    /// An empty registry with faults, in the text form of a fault plan.
    #[track_caller]
    pub fn failing(faults: &str) -> Self {
        Self::with(|options| options.faults = faults.parse().expect("a plan of faults"))
    }

    /// An empty registry with these options.
    #[track_caller]
    pub fn with(set: impl FnOnce(&mut ServeOptions)) -> Self {
        let dir = temp_dir("embedded");
        let log = RequestLog::default();
        let address = "127.0.0.1:0".parse().expect("an address");
        let mut options = ServeOptions::new(dir.path().join("store"), address);
        options.record = Some(log.clone());
        set(&mut options);
        let _runtime = runtime().enter();
        let server = block_on(Server::start(options)).expect("a registry");
        Self { server, dir, log }
    }

    /// Address and port, as in references.
    pub fn host(&self) -> String {
        self.server.local_addr().to_string()
    }

    /// A client for it.
    pub fn client(&self) -> Client {
        Access {
            url: format!("http://{}", self.host()),
            ..Access::default()
        }
        .client()
    }

    /// The directory with its content.
    pub fn store(&self) -> PathBuf {
        self.dir.path().join("store")
    }

    /// The manifests and tags that somebody put, as `METHOD PATH`.
    pub fn manifests_put(&self) -> Vec<String> {
        let puts = self.log.mutating().into_iter();
        puts.filter(|request| request.path.contains("/manifests/"))
            .map(|request| format!("{} {}", request.method, request.path))
            .collect()
    }
}
