//! nginx, as it stands in front of registries.

use std::{
    path::Path,
    process::{Child, Stdio},
    time::Duration,
};

use tempfile::TempDir;

use super::{
    distribution::free_port,
    pki::{Identity, TestCa},
    product::write_users,
    pusher::{Access, Authorization},
    tools::{temp_dir, tool, wait_until},
};

/// The tool that a test with it asks for; `htpasswd` too where it has users.
pub const TOOL: &str = "nginx";

/// What tells the registry how it was asked: without it, the registry names other addresses.
pub const HONEST: &str =
    "proxy_set_header Host $http_host; proxy_set_header X-Forwarded-Proto $scheme;";

/// How nginx stands in front of a registry with plain HTTP.
#[derive(Clone, Default)]
pub struct Options {
    /// Address and port of the registry; without it, `directives` have to answer.
    pub upstream: Option<String>,
    /// The server certificate, and the authority that signed it in PEM.
    pub tls: Option<(Identity, String)>,
    /// Users and passwords; nobody else gets in.
    pub users: Vec<(String, String)>,
    /// `client_max_body_size`: `4m`; no limit without.
    pub body_limit: Option<&'static str>,
    /// More directives for all addresses, such as [`HONEST`].
    pub directives: String,
}

impl Options {
    /// In front of the registry at this address and port, with [`HONEST`] headers.
    pub fn in_front_of(upstream: &str) -> Self {
        Self {
            upstream: Some(upstream.to_owned()),
            directives: HONEST.to_owned(),
            ..Self::default()
        }
    }

    /// Serves TLS for loopback, with a certificate of this authority.
    pub fn with_tls(mut self, ca: &TestCa) -> Self {
        self.tls = Some((ca.issue(&["localhost", "127.0.0.1"]), ca.pem()));
        self
    }

    /// Lets in this user.
    pub fn with_user(mut self, user: &str, password: &str) -> Self {
        self.users.push((user.to_owned(), password.to_owned()));
        self
    }
}

/// A running nginx, ended by its process id when dropped.
pub struct Nginx {
    options: Options,
    dir: TempDir,
    host: String,
    child: Child,
}

impl Nginx {
    /// Starts nginx and waits until it listens.
    #[track_caller]
    pub fn start(options: Options) -> Self {
        let dir = temp_dir("nginx");
        // Another process can take a free port between asking for it and using it.
        for _ in 0..5 {
            let host = format!("127.0.0.1:{}", free_port());
            let config = dir.path().join("nginx.conf");
            std::fs::write(&config, configuration(&options, &host, dir.path())).expect("a file");
            let mut child = tool(TOOL)
                .arg("-p")
                .arg(dir.path())
                .arg("-e")
                .arg(dir.path().join("error.log"))
                .arg("-c")
                .arg(&config)
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .expect("nginx");
            let mut ended = false;
            // It writes its process id when it has all its sockets.
            wait_until("nginx listens", Duration::from_secs(30), || {
                ended = child.try_wait().expect("a child").is_some();
                let id = std::fs::read_to_string(dir.path().join("pid")).unwrap_or_default();
                ended || id.trim() == child.id().to_string()
            });
            if !ended {
                return Self {
                    options,
                    dir,
                    host,
                    child,
                };
            }
        }
        let said = std::fs::read_to_string(dir.path().join("error.log"));
        panic!("nginx does not start: {said:?}");
    }

    /// Address and port, as in references.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// How what stands behind it is reached, as its first user where it has users.
    pub fn access(&self) -> Access {
        let scheme = match self.options.tls {
            Some(_) => "https",
            None => "http",
        };
        let users = self.options.users.first();
        let basic = |(user, password): &(String, String)| {
            Authorization::Basic(user.clone(), password.clone())
        };
        Access {
            url: format!("{scheme}://{}", self.host),
            ca_pem: self.options.tls.as_ref().map(|(_, ca)| ca.clone()),
            authorization: users.map(basic),
        }
    }

    /// The requests that it has answered: method, address, status, bytes of the request.
    pub fn requests(&self) -> Vec<Request> {
        let log = std::fs::read_to_string(self.dir.path().join("access.log")).unwrap_or_default();
        log.lines().filter_map(Request::parse).collect()
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // The one process is both master and worker.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A request that nginx has answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// Its method.
    pub method: String,
    /// The path, with the query.
    pub path: String,
    /// The status of the answer.
    pub status: u16,
    /// Bytes of the request that came in, the head included.
    pub length: u64,
}

impl Request {
    fn parse(line: &str) -> Option<Self> {
        let mut fields = line.split(' ');
        let mut next = || fields.next().map(str::to_owned);
        Some(Self {
            method: next()?,
            path: next()?,
            status: next()?.parse().ok()?,
            length: next()?.parse().ok()?,
        })
    }
}

fn configuration(options: &Options, host: &str, dir: &Path) -> String {
    let mut server = String::new();
    let mut listen = host.to_owned();
    if let Some((identity, _)) = &options.tls {
        let files = identity.write_to(dir);
        listen += " ssl";
        let (certificate, key) = (files.certificate.display(), files.key.display());
        server += &format!("ssl_certificate {certificate}; ssl_certificate_key {key};\n");
    }
    if !options.users.is_empty() {
        let file = write_users(dir, &options.users);
        server += &format!(
            "auth_basic test; auth_basic_user_file {};\n",
            file.display()
        );
    }
    let limit = options.body_limit.unwrap_or("0");
    let pass = match &options.upstream {
        Some(upstream) => format!("proxy_pass http://{upstream};"),
        None => String::new(),
    };
    let directives = &options.directives;
    // One process, so that its end is the end of all; bodies go through as they come.
    format!(
        "daemon off; master_process off; pid pid;
         events {{ worker_connections 512; }}
         http {{
             log_format requests '$request_method $request_uri $status $request_length';
             access_log access.log requests;
             client_body_temp_path temp; proxy_temp_path temp; fastcgi_temp_path temp;
             uwsgi_temp_path temp; scgi_temp_path temp;
             server {{
                 listen {listen};
                 {server}
                 client_max_body_size {limit};
                 proxy_http_version 1.1;
                 proxy_request_buffering off;
                 proxy_buffering off;
                 location / {{ {directives} {pass} }}
             }}
         }}\n"
    )
}
