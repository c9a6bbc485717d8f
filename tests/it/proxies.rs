//! A registry behind a proxy, by the variables that name one: `create` obeys them, `load` does not
//! unless it is told to.

use std::{
    io,
    process::Command,
    sync::{Arc, Mutex},
};

use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, copy_bidirectional},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

use crate::support::{
    background::{block_on, runtime},
    embedded::Embedded,
    images::{Family, sample},
    pki::TestCa,
    pusher::Access,
    tools::{Finished, Home, run},
};

/// No name service knows it; the proxy does, and so does whoever is told with `--resolve`.
const NAME: &str = "registry.sneakernet.test";

/// A proxy for TLS (`CONNECT`), that connects to this machine whatever name it is given.
struct Proxy {
    port: u16,
    asked: Arc<Mutex<Vec<String>>>,
    accepting: JoinHandle<()>,
}

impl Proxy {
    fn start() -> Self {
        let listener = block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let port = listener.local_addr().unwrap().port();
        let asked = Arc::<Mutex<Vec<String>>>::default();
        let log = Arc::clone(&asked);
        let accepting = runtime().spawn(async move {
            while let Ok((connection, _)) = listener.accept().await {
                tokio::spawn(tunnel(connection, Arc::clone(&log)));
            }
        });
        Self {
            port,
            asked,
            accepting,
        }
    }

    /// What it was asked for since the last time.
    fn take(&self) -> Vec<String> {
        let mut asked = std::mem::take(&mut *self.asked.lock().unwrap());
        asked.sort();
        asked.dedup();
        asked
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn tunnel(connection: TcpStream, log: Arc<Mutex<Vec<String>>>) -> io::Result<()> {
    let mut client = BufReader::new(connection);
    let mut first = String::new();
    client.read_line(&mut first).await?;
    log.lock().unwrap().push(first.trim().to_owned());
    let mut line = String::new();
    while client.read_line(&mut line).await? > 2 {
        line.clear();
    }
    let target = first.split_whitespace().nth(1).unwrap_or_default();
    let port = target.rsplit(':').next().unwrap_or_default();
    let mut server = TcpStream::connect(format!("127.0.0.1:{port}")).await?;
    client.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await?;
    copy_bidirectional(&mut client, &mut server).await?;
    Ok(())
}

/// An embedded registry with TLS, known by [`NAME`] and by its address.
struct Named {
    registry: Embedded,
    ca: TestCa,
    place: String,
    _files: Home,
}

impl Named {
    fn start() -> Self {
        let (files, ca) = (Home::new(), TestCa::new());
        let identity = ca.issue(&[NAME, "127.0.0.1"]).write_to(files.path());
        let registry = Embedded::with(|options| {
            options.tls = Some(sneakernet::serve::TlsFiles {
                certificate: identity.certificate.clone(),
                key: identity.key.clone(),
            });
        });
        let port = registry.host().rsplit(':').next().unwrap().to_owned();
        Self {
            registry,
            ca,
            place: format!("{NAME}:{port}"),
            _files: files,
        }
    }

    fn access(&self) -> Access {
        Access {
            url: format!("https://{}", self.registry.host()),
            ca_pem: Some(self.ca.pem()),
            ..Access::default()
        }
    }
}

#[test]
fn q83_create_obeys_the_variables_and_load_does_not_unless_asked() {
    let (source, target, proxy) = (Named::start(), Named::start(), Proxy::start());
    let image = sample(83, Family::Oci, "linux/amd64");
    source.access().client().push("team/app", "1", &image);
    let home = Home::new();
    home.run_bundle(["keygen", "--no-password"]).success();
    let certs_d = |place: &str, named: &Named| {
        let dir = home.path().join(".config/containers/certs.d").join(place);
        std::fs::create_dir_all(&dir).unwrap();
        named.ca.write_to(&dir);
    };
    for named in [&source, &target] {
        certs_d(&named.place, named);
        certs_d(&named.registry.host(), named);
    }
    let with_proxy = |mut command: Command, exceptions: &str| -> Finished {
        let url = format!("http://127.0.0.1:{}", proxy.port);
        command.env("HTTPS_PROXY", &url).env("HTTP_PROXY", &url);
        command.env("NO_PROXY", exceptions);
        run(command)
    };
    let create = |place: &str, exceptions: &str, more: &[&str]| {
        let mut create = home.bundle();
        create.args(["create", "--key", "cosign.key", "--force", "-o", "x.zst"]);
        create.args(["--retries", "1", "--image"]);
        create.arg(format!("{place}/team/app:1")).args(more);
        with_proxy(create, exceptions)
    };
    let load = |place: &str, exceptions: &str, more: &[&str]| {
        let mut load = home.bundle();
        load.args(["load", "x.zst", "--key", "cosign.pub", "--retries", "1"]);
        load.args(["--to", place]).args(more);
        with_proxy(load, exceptions)
    };
    let directly = |named: &Named| format!("{}=127.0.0.1", named.place);
    let nothing: [String; 0] = [];

    create(&source.place, "", &[]).success();
    assert_eq!(proxy.take(), [format!("CONNECT {} HTTP/1.1", source.place)]);
    // An exception is asked directly, and its name is not known.
    let refused = create(&source.place, ".sneakernet.test", &[]).exits(5);
    assert!(refused.stderr.contains("does not resolve"), "{refused:?}");
    let resolve = ["--resolve", &directly(&source)];
    create(&source.place, NAME, &resolve).success();
    // So is this machine.
    create(&source.registry.host(), "", &[]).success();
    assert_eq!(proxy.take(), nothing);

    let refused = load(&target.place, "", &[]).exits(6);
    assert!(refused.stderr.contains("does not resolve"), "{refused:?}");
    let resolve = ["--resolve", &directly(&target)];
    load(&target.place, "", &resolve).success();
    assert_eq!(proxy.take(), nothing);
    let through = ["--proxy-from-environment"];
    load(&target.place, "", &through).success();
    assert_eq!(proxy.take(), [format!("CONNECT {} HTTP/1.1", target.place)]);
    let client = target.access().client();
    client.assert_holds("team/app", "1", &image);

    // What is kept for a host and cannot be used is for its user to mend.
    for named in [&source, &target] {
        let dir = home.path().join(".config/containers/certs.d");
        std::fs::write(dir.join(&named.place).join("own.key"), "").unwrap();
    }
    for refused in [
        create(&source.place, "", &[]),
        load(&target.place, "", &through),
    ] {
        let refused = refused.exits(2);
        for part in ["own.key", "*.cert", "hint: "] {
            assert!(refused.stderr.contains(part), "{refused:?}");
        }
    }
    assert_eq!(proxy.take(), nothing);
}
