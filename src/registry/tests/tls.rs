//! TLS: whom to trust, and when not to do without.

use std::{io::Write, sync::Arc};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio_rustls::rustls::{ServerConfig, crypto::aws_lc_rs};

use super::*;
use crate::registry::{ConnectionFault, Credential, RegistryError, Secret, test_registry::error};

/// A server configuration for 127.0.0.1 and localhost, and a file with the authority behind it.
pub(super) fn certified() -> (Arc<ServerConfig>, tempfile::NamedTempFile) {
    let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let names = vec!["127.0.0.1".to_owned(), "localhost".to_owned()];
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(names)
        .unwrap()
        .signed_by(&key, &authority)
        .unwrap();
    let config = ServerConfig::builder_with_provider(aws_lc_rs::default_provider().into())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![certificate.der().clone()],
            PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der())),
        )
        .unwrap();
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(authority.pem().as_bytes()).unwrap();
    (Arc::new(config), file)
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
