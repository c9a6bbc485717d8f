//! TLS: whom to trust, and when not to do without.

use std::{io::Write, path::PathBuf, sync::Arc};

use rcgen::{BasicConstraints, Certificate, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tempfile::TempDir;
use tokio_rustls::rustls::{
    RootCertStore, ServerConfig, crypto::aws_lc_rs, server::WebPkiClientVerifier,
};

use super::*;
use crate::registry::{
    ClientCertificate, ConnectionFault, Credential, RegistryError, Secret, test_registry::error,
};

/// An authority that no machine trusts.
type Authority = CertifiedIssuer<'static, KeyPair>;

fn authority() -> Authority {
    let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// A certificate for these names, and its key.
fn issue(authority: &Authority, names: &[&str]) -> (Certificate, KeyPair) {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(names).unwrap();
    (params.signed_by(&key, authority).unwrap(), key)
}

/// A server configuration with this certificate; where `clients` is given, only clients with a
/// certificate of that authority get in.
fn server_config(
    (certificate, key): &(Certificate, KeyPair),
    clients: Option<&Authority>,
) -> Arc<ServerConfig> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = ServerConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .unwrap();
    let builder = match clients {
        None => builder.with_no_client_auth(),
        Some(authority) => {
            let mut roots = RootCertStore::empty();
            roots.add(authority.der().clone()).unwrap();
            let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), provider);
            builder.with_client_cert_verifier(verifier.build().unwrap())
        }
    };
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let config = builder.with_single_cert(vec![certificate.der().clone()], key);
    Arc::new(config.unwrap())
}

/// A server configuration for 127.0.0.1 and localhost, and a file with the authority behind it.
pub(super) fn certified() -> (Arc<ServerConfig>, tempfile::NamedTempFile) {
    let authority = authority();
    let identity = issue(&authority, &["127.0.0.1", "localhost"]);
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(authority.pem().as_bytes()).unwrap();
    (server_config(&identity, None), file)
}

/// A registry that wants a certificate of the client, and the files that lead in.
struct Guarded {
    server: TestServer,
    authority: Authority,
    dir: TempDir,
}

impl Guarded {
    async fn start() -> Self {
        let (authority, dir) = (authority(), tempfile::tempdir().unwrap());
        let identity = issue(&authority, &["127.0.0.1"]);
        let config = server_config(&identity, Some(&authority));
        let server = TestServer::start_tls(config, |_| Reply::new(200).body("{}")).await;
        let guarded = Self {
            server,
            authority,
            dir,
        };
        guarded.write("ca.pem", &guarded.authority.pem());
        guarded
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let file = self.dir.path().join(name);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(&file, text).unwrap();
        file
    }

    /// Writes a client's certificate and key with these names.
    fn write_identity(&self, certificate: &str, key: &str) -> (PathBuf, PathBuf) {
        let (own, own_key) = issue(&self.authority, &["client"]);
        (
            self.write(certificate, &own.pem()),
            self.write(key, &own_key.serialize_pem()),
        )
    }

    /// A client that trusts the server.
    fn config(&self) -> ClientConfig {
        ClientConfig {
            ca_files: vec![self.dir.path().join("ca.pem")],
            certs_dirs: Vec::new(),
            ..https(config(&[]))
        }
    }

    fn showing(&self, certificate: PathBuf, key: PathBuf) -> ClientConfig {
        ClientConfig {
            client_certificates: vec![ClientCertificate {
                host: self.server.host(),
                certificate,
                key,
            }],
            ..self.config()
        }
    }

    /// A client that knows nothing but a directory `certs.d`.
    fn with_certs_d(&self) -> ClientConfig {
        let absent = self.dir.path().join("absent");
        ClientConfig {
            ca_files: Vec::new(),
            certs_dirs: vec![absent, self.dir.path().join("certs.d")],
            ..self.config()
        }
    }

    async fn ping(&self, config: ClientConfig) -> Result<(), RegistryError> {
        Client::new(config)?.ping(&self.server.host()).await
    }
}

fn https(config: ClientConfig) -> ClientConfig {
    ClientConfig {
        plain_http: Vec::new(),
        ..config
    }
}

#[tokio::test]
async fn q83_a_private_authority_is_trusted_when_it_is_named() {
    let (tls, file) = certified();
    let server = TestServer::start_tls(tls, |_| Reply::new(200).body("{}")).await;
    let config = ClientConfig {
        ca_files: vec![file.path().to_owned()],
        ..https(config(&[]))
    };
    Client::new(config)
        .unwrap()
        .ping(&server.host())
        .await
        .unwrap();
}

#[tokio::test]
async fn an_unknown_certificate_is_refused_even_on_this_machine() {
    let (tls, _) = certified();
    let server = TestServer::start_tls(tls, |_| Reply::new(200).body("{}")).await;
    let failed = Client::new(https(config(&[])))
        .unwrap()
        .ping(&server.host())
        .await
        .unwrap_err();
    assert!(
        matches!(
            failed,
            RegistryError::Connection {
                fault: ConnectionFault::Certificate,
                ..
            }
        ),
        "{failed}"
    );
    assert!(failed.hint().unwrap().contains("--ca-file"));
    assert_eq!(server.lines(), Vec::<String>::new());
}

#[tokio::test]
async fn checks_can_be_left_out_for_one_host_only() {
    let (tls, _) = certified();
    let server = TestServer::start_tls(tls.clone(), |_| Reply::new(200).body("{}")).await;
    let other = TestServer::start_tls(tls, |_| Reply::new(200).body("{}")).await;
    let config = ClientConfig {
        insecure_skip_tls_verify: vec![server.host()],
        ..https(config(&[]))
    };
    let client = Client::new(config).unwrap();
    client.ping(&server.host()).await.unwrap();
    assert!(client.ping(&other.host()).await.is_err());
}

#[tokio::test]
async fn a_loopback_registry_without_tls_is_found() {
    let (content, server) = registry().await;
    content.add_manifest("a/b", "1", IMAGE_TYPE, IMAGE);
    let client = Client::new(https(config(&[]))).unwrap();
    let repository = repository(&server, "a/b");
    client.manifest(&repository, &tag("1")).await.unwrap();
}

#[tokio::test]
async fn q20_https_never_becomes_http() {
    let plain = TestServer::start(|_| image()).await;
    let (tls, file) = certified();
    let target = plain.url("/x");
    let store = target.replace("127.0.0.1", "localhost");
    let realm = format!(r#"Bearer realm="{}""#, plain.url("/token"));
    let server = TestServer::start_tls(tls, move |request| match request.path() {
        "/v2/" => Reply::new(200).body("{}"),
        "/v2/a/b/manifests/1" => Reply::new(307).header("Location", target.clone()),
        "/v2/a/b/blobs/uploads/" => Reply::new(202).header("Location", store.clone()),
        _ => error(401, "UNAUTHORIZED").header("WWW-Authenticate", realm.clone()),
    })
    .await;
    let mut config = ClientConfig {
        ca_files: vec![file.path().to_owned()],
        ..https(config(&[]))
    };
    let credential = Credential::Basic {
        username: "u".to_owned(),
        password: Secret::new("p"),
    };
    config.credentials.explicit = Some((server.host(), credential));
    let client = Client::new(config.clone()).unwrap();
    let repository = repository(&server, "a/b");

    let redirect = client.manifest(&repository, &tag("1")).await;
    assert!(
        matches!(redirect, Err(RegistryError::RedirectRefused { .. })),
        "{redirect:?}"
    );
    let realm = client.manifest(&repository, &tag("2")).await;
    assert!(
        matches!(realm, Err(RegistryError::RealmRefused { .. })),
        "{realm:?}"
    );
    let upload = Client::new(config)
        .unwrap()
        .push_blob(
            &repository,
            &Digest::sha256_of(b"x"),
            1,
            Arc::new(bytes::Bytes::from("x")),
        )
        .await
        .unwrap_err();
    assert!(
        matches!(upload, RegistryError::UploadLocation { .. }),
        "{upload}"
    );
    assert!(upload.hint().unwrap().contains("X-Forwarded-Proto"));
    assert_eq!(plain.lines(), Vec::<String>::new());
}

#[tokio::test]
async fn q83_a_client_certificate_is_shown_to_its_host_and_no_other() {
    let guarded = Guarded::start().await;
    let (certificate, key) = guarded.write_identity("own.pem", "own-key.pem");
    let config = guarded.showing(certificate, key);
    guarded.ping(config.clone()).await.unwrap();

    let mut elsewhere = config;
    elsewhere.client_certificates[0].host = "registry.example:5000".to_owned();
    for config in [elsewhere, guarded.config()] {
        let asked = guarded.server.lines().len();
        let refused = guarded.ping(config).await.unwrap_err();
        assert!(
            matches!(refused, RegistryError::Connection { .. }),
            "{refused}"
        );
        assert_eq!(guarded.server.lines().len(), asked);
    }
}

#[tokio::test]
async fn q83_a_directory_of_certificates_is_for_its_host_only() {
    let guarded = Guarded::start().await;
    let host = guarded.server.host();
    let config = guarded.with_certs_d();
    guarded.write(&format!("certs.d/{host}/ca.crt"), &guarded.authority.pem());
    guarded.write_identity(
        &format!("certs.d/{host}/client.cert"),
        &format!("certs.d/{host}/client.key"),
    );
    guarded.write(
        &format!("certs.d/{host}/notes.txt"),
        "nothing of importance",
    );
    guarded.ping(config.clone()).await.unwrap();

    // Another port is another host, and its authority is not known.
    let identity = issue(&guarded.authority, &["127.0.0.1"]);
    let other = TestServer::start_tls(server_config(&identity, None), |_| {
        Reply::new(200).body("{}")
    })
    .await;
    let client = Client::new(config).unwrap();
    let refused = client.ping(&other.host()).await.unwrap_err();
    let fault = match &refused {
        RegistryError::Connection { fault, .. } => Some(*fault),
        _ => None,
    };
    assert_eq!(fault, Some(ConnectionFault::Certificate), "{refused}");
    assert_eq!(other.lines(), Vec::<String>::new());
}

#[tokio::test]
async fn q83_certificates_that_cannot_be_used_are_told_by_name() {
    let guarded = Guarded::start().await;
    let (certificate, key) = guarded.write_identity("own.pem", "own-key.pem");
    let (_, foreign) = guarded.write_identity("other.pem", "other-key.pem");
    let absent = guarded.dir.path().join("absent.pem");
    let empty = guarded.write("empty.pem", "");
    let encrypted = guarded.write(
        "encrypted.pem",
        "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n",
    );
    for (certificate, key, named, word) in [
        (&absent, &key, &absent, "No such file"),
        (&certificate, &absent, &absent, "No such file"),
        (&empty, &key, &empty, "no PEM certificate"),
        (&key, &key, &key, "no PEM certificate"),
        (&certificate, &empty, &empty, "no private key"),
        (&certificate, &certificate, &certificate, "no private key"),
        (&certificate, &encrypted, &encrypted, "encrypted"),
        (
            &certificate,
            &foreign,
            &foreign,
            "keys may not be consistent",
        ),
    ] {
        let config = guarded.showing(certificate.clone(), key.clone());
        let wrong = guarded.ping(config).await.unwrap_err();
        assert_told(&wrong, named, word);
    }
    let dir = format!("certs.d/{}", guarded.server.host());
    let pem = guarded.authority.pem();
    for (files, named, word) in [
        (&[("a.key", "")][..], "a.key", "the certificate of this key"),
        (
            &[("a.cert", &pem[..])],
            "a.cert",
            "its key is not beside it",
        ),
        (
            &[("a.crt", "no certificate")],
            "a.crt",
            "no PEM certificate",
        ),
    ] {
        for (name, text) in files {
            guarded.write(&format!("{dir}/{name}"), text);
        }
        let wrong = guarded.ping(guarded.with_certs_d()).await.unwrap_err();
        assert_told(&wrong, &guarded.dir.path().join(&dir).join(named), word);
        std::fs::remove_dir_all(guarded.dir.path().join(&dir)).unwrap();
    }
    assert_eq!(guarded.server.lines(), Vec::<String>::new());
}

#[track_caller]
fn assert_told(wrong: &RegistryError, named: &std::path::Path, word: &str) {
    let named_it = matches!(wrong, RegistryError::Certificate { path, .. } if path == named);
    assert!(named_it, "{wrong}: expected {}", named.display());
    assert!(wrong.to_string().contains(word), "{wrong}: expected {word}");
    assert!(wrong.hint().unwrap().contains("--client-key"));
}

#[tokio::test]
async fn q83_a_registry_that_misses_a_client_certificate_is_understood() {
    let guarded = Guarded::start().await;
    let stranger = issue(&authority(), &["client"]);
    let certificate = guarded.write("stranger.pem", &stranger.0.pem());
    let key = guarded.write("stranger-key.pem", &stranger.1.serialize_pem());
    for config in [guarded.config(), guarded.showing(certificate, key)] {
        let refused = guarded.ping(config).await.unwrap_err();
        let understood = matches!(
            &refused,
            RegistryError::Connection {
                fault: ConnectionFault::ClientCertificate,
                ..
            }
        );
        assert!(understood, "{refused}");
        assert!(refused.hint().unwrap().contains("--client-cert"));
    }
    // That is not a reason to ask this machine without TLS.
    assert_eq!(guarded.server.lines(), Vec::<String>::new());
}

#[tokio::test]
async fn q83_an_address_has_to_be_in_the_certificate() {
    let authority = authority();
    for (name, accepted) in [
        ("127.0.0.1", true),
        ("127.0.0.2", false),
        ("localhost", false),
    ] {
        let config = server_config(&issue(&authority, &[name]), None);
        let server = TestServer::start_tls(config, |_| Reply::new(200).body("{}")).await;
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(authority.pem().as_bytes()).unwrap();
        let config = ClientConfig {
            ca_files: vec![file.path().to_owned()],
            ..https(super::config(&[]))
        };
        let answer = Client::new(config).unwrap().ping(&server.host()).await;
        assert_eq!(answer.is_ok(), accepted, "{name}: {answer:?}");
        assert_eq!(!server.lines().is_empty(), accepted, "{name}");
    }
}

#[tokio::test]
async fn q83_an_address_stands_for_a_name_and_the_name_is_still_checked() {
    let authority = authority();
    let identity = issue(&authority, &["registry.example"]);
    let server = TestServer::start_tls(server_config(&identity, None), |_| {
        Reply::new(200).body("{}")
    })
    .await;
    let port = server.host().rsplit_once(':').unwrap().1.to_owned();
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(authority.pem().as_bytes()).unwrap();
    let config = |resolve: &str| ClientConfig {
        ca_files: vec![file.path().to_owned()],
        resolve: vec![resolve.parse().unwrap()],
        ..https(super::config(&[]))
    };
    for resolve in [
        "registry.example=127.0.0.1",
        &format!("registry.example:{port}=127.0.0.1"),
    ] {
        let client = Client::new(config(resolve)).unwrap();
        client
            .ping(&format!("registry.example:{port}"))
            .await
            .unwrap();
    }
    let asked = server.lines().len();
    // The address of another port, and another name at that address.
    for (resolve, host) in [
        ("registry.example:1=127.0.0.1", "registry.example"),
        ("other.example=127.0.0.1", "other.example"),
    ] {
        let client = Client::new(config(resolve)).unwrap();
        let refused = client.ping(&format!("{host}:{port}")).await;
        assert!(
            matches!(refused, Err(RegistryError::Connection { .. })),
            "{refused:?}"
        );
    }
    assert_eq!(server.lines().len(), asked);
}

#[tokio::test]
async fn q84_a_host_that_is_not_this_machine_is_never_asked_without_tls_by_itself() {
    // The name says nothing of this machine, though it leads here.
    let plain = TestServer::start(|_| image()).await;
    let port = plain.host().rsplit_once(':').unwrap().1.to_owned();
    let host = format!("registry.example:{port}");
    let mut config = config(&[]);
    config.resolve = vec![format!("{host}=127.0.0.1").parse().unwrap()];
    let repository = Repository::new(&host, "a/b").unwrap();
    let client = Client::new(config.clone()).unwrap();
    let failed = client.manifest(&repository, &tag("1")).await.unwrap_err();
    assert!(
        matches!(&failed, RegistryError::Connection { .. }),
        "{failed}"
    );
    let hint = failed.hint().unwrap_or_default();
    assert_eq!(plain.lines(), Vec::<String>::new(), "{hint}");
    config.plain_http = vec![host];
    let client = Client::new(config).unwrap();
    client.manifest(&repository, &tag("1")).await.unwrap();
}
