//! A registry that somebody else has written, as a process: Debian's `docker-registry`, which is the
//! reference implementation of the distribution specification, where nothing else is said.

use std::{
    fs::File,
    net::{TcpListener, TcpStream},
    path::PathBuf,
    process::{Child, Stdio},
    time::{Duration, Instant},
};

use tempfile::TempDir;

use super::{
    netns::NetNs,
    pki::{Identity, TestCa},
    product::Product,
    pusher::{Access, Authorization, Client},
    tools::{temp_dir, tool},
};

/// What a registry is like; the default is open to everybody, over plain HTTP, on a free port.
#[derive(Clone, Default)]
pub struct Options {
    /// Which registry it is; the test asks for its program, and for `htpasswd` where it has users.
    pub product: Product,
    /// Address and port in place of a free port on 127.0.0.1.
    pub listen: Option<String>,
    /// The network namespace that it runs in; needs `listen`.
    pub netns: Option<String>,
    /// A directory with content in place of an empty one of its own.
    pub storage: Option<PathBuf>,
    /// The server certificate, and the authority that signed it in PEM.
    pub tls: Option<(Identity, String)>,
    /// Users and passwords; nobody else gets in.
    pub users: Vec<(String, String)>,
    /// Where tokens are had; nobody gets in without one.
    pub token: Option<TokenAuth>,
    /// Regular expressions of `urls` in layers that are taken (`validation.manifests.urls.allow`);
    /// without any, a manifest with such a layer is refused.
    pub allow_urls: Vec<String>,
    /// Takes an index without its children (Distribution 3:
    /// `validation.manifests.indexes.platforms: none`).
    pub sparse_indexes: bool,
    /// Refuses everything that writes.
    pub read_only: bool,
    /// Lets manifests and blobs be deleted.
    pub delete: bool,
}

/// `auth.token` in the registry's configuration.
#[derive(Clone, Debug)]
pub struct TokenAuth {
    /// The URL that the challenge names.
    pub realm: String,
    /// The audience of the tokens.
    pub service: String,
    /// The issuer of the tokens.
    pub issuer: String,
    /// The certificates that sign the tokens' keys, in PEM.
    pub root_pem: String,
}

impl Options {
    /// This registry, open to everybody.
    pub fn of(product: Product) -> Self {
        Self {
            product,
            ..Self::default()
        }
    }

    /// Serves TLS for these names and for loopback, with a certificate of this authority.
    pub fn with_tls(mut self, ca: &TestCa, names: &[&str]) -> Self {
        let mut all = names.to_vec();
        for name in ["localhost", "127.0.0.1"] {
            if !all.contains(&name) {
                all.push(name);
            }
        }
        self.tls = Some((ca.issue(&all), ca.pem()));
        self
    }

    /// Lets in this user (`htpasswd`).
    pub fn with_user(mut self, user: &str, password: &str) -> Self {
        self.users.push((user.to_owned(), password.to_owned()));
        self
    }

    /// Runs inside this namespace at this address and port.
    pub fn inside(mut self, netns: &NetNs, listen: &str) -> Self {
        self.netns = Some(netns.name().to_owned());
        self.listen = Some(listen.to_owned());
        self
    }
}

/// A running registry, ended by its process id when dropped.
pub struct Registry {
    options: Options,
    dir: TempDir,
    host: String,
    child: Option<Child>,
    /// Bytes in the log before the last start.
    said: u64,
}

impl Registry {
    /// Starts a registry and waits until it answers.
    #[track_caller]
    pub fn start(options: Options) -> Self {
        let mut registry = Self {
            options,
            dir: temp_dir("registry"),
            host: String::new(),
            child: None,
            said: 0,
        };
        // Another process can take a free port between asking for it and using it.
        let tries = if registry.options.listen.is_some() {
            1
        } else {
            5
        };
        for _ in 0..tries {
            registry.host = match &registry.options.listen {
                Some(listen) => listen.clone(),
                None => format!("127.0.0.1:{}", free_port()),
            };
            if registry.run() {
                return registry;
            }
        }
        panic!(
            "{:?} does not start:\n{}",
            registry.product(),
            registry.log()
        );
    }

    /// Which registry it is.
    pub fn product(&self) -> Product {
        self.options.product
    }

    /// Address and port, as in references.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Scheme, address and port.
    pub fn url(&self) -> String {
        let scheme = match self.options.tls {
            Some(_) => "https",
            None => "http",
        };
        format!("{scheme}://{}", self.host)
    }

    /// How the registry is reached, as its first user where it has users.
    pub fn access(&self) -> Access {
        Access {
            url: self.url(),
            ca_pem: self.options.tls.as_ref().map(|(_, ca)| ca.clone()),
            authorization: self
                .options
                .users
                .first()
                .map(|(user, password)| Authorization::Basic(user.clone(), password.clone())),
        }
    }

    /// A client that may do everything (in a token registry: nothing).
    pub fn client(&self) -> Client {
        self.access().client()
    }

    /// What the registry wrote to its log, requests included.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }

    /// The directory with its content.
    pub fn storage(&self) -> PathBuf {
        match &self.options.storage {
            Some(dir) => dir.clone(),
            None => self.dir.path().join("storage"),
        }
    }

    /// The process id.
    pub fn id(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// Ends it; its content stays for [`Registry::restart`].
    pub fn stop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Starts it again at the same address with the same content.
    #[track_caller]
    pub fn restart(&mut self) {
        self.stop();
        let started = self.run();
        assert!(
            started,
            "{:?} does not start again:\n{}",
            self.product(),
            self.log()
        );
    }

    fn run(&mut self) -> bool {
        let (dir, product) = (self.dir.path(), self.product());
        let arguments = product.configure(&self.options, &self.host, &self.storage(), dir);
        // What it wrote before it was started again stays.
        let mut open = File::options();
        let log = open.create(true).append(true).open(dir.join("log"));
        let log = log.expect("a file");
        self.said = log.metadata().expect("a file").len();
        let mut command = match &self.options.netns {
            Some(name) => super::netns::command_in(name, product.program()),
            None => tool(product.program()),
        };
        let child = command
            .args(arguments)
            .current_dir(dir)
            .env("OTEL_TRACES_EXPORTER", "none")
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a file"))
            .stderr(log)
            .spawn()
            .expect("a registry");
        self.child = Some(child);
        self.wait_until_it_listens()
    }

    fn wait_until_it_listens(&mut self) -> bool {
        let end = Instant::now() + Duration::from_secs(30);
        while Instant::now() < end {
            let child = self.child.as_mut().expect("started");
            if child.try_wait().expect("a child").is_some() {
                return false;
            }
            if self.listens() {
                return true;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        self.stop();
        false
    }

    // By its log where it has one: from outside its network namespace no connection would tell.
    fn listens(&self) -> bool {
        match self.product().listens() {
            Some(text) => self.log()[self.said as usize..].contains(text),
            None => TcpStream::connect(&self.host).is_ok(),
        }
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        self.stop();
    }
}

/// A port that was free a moment ago.
pub fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("bound").port()
}
