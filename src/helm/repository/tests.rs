//! Repositories as they have been seen, in front of the whole client.

use std::time::Duration;

use super::*;
use crate::{
    helm::oci::tests::{TestChart, registry},
    registry::{
        ClientConfig, Credential, CredentialConfig, Secret,
        test_server::{Reply, TestServer},
    },
};

const ARCHIVE: &[u8] = b"\x1f\x8b an archive, as far as anybody looks here";
const PROVENANCE: &str = "-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA512\n";

fn client_for(server: &TestServer) -> Client {
    let credential = Credential::Basic {
        username: "u".to_owned(),
        password: Secret::new("p"),
    };
    Client::new(ClientConfig {
        backoff: Duration::from_millis(2),
        stall_timeout: Duration::from_millis(500),
        retries: 2,
        credentials: CredentialConfig {
            explicit: Some((server.host(), credential)),
            ..CredentialConfig::anonymous()
        },
        ..ClientConfig::default()
    })
    .unwrap()
}

/// An index with one chart in one version.
fn index_of(url: &str, digest: Option<&str>) -> Reply {
    let digest = digest.map_or(String::new(), |d| format!("    digest: \"{d}\"\n"));
    Reply::new(200).body(format!(
        "apiVersion: v1\nentries:\n  demos: []\n  demo:\n  - name: demo\n    version: v1.2.0+build.7\n{digest}    \
         urls:\n    - {url}\n  - name: demo\n    version: 1.1.0\n    urls: []\n  - name: demo\n    version: 2.0.0-rc.1\n"
    ))
}

fn sha256() -> String {
    Digest::sha256_of(ARCHIVE).hex()
}

async fn get(
    server: &TestServer,
    version: Option<&str>,
    options: FetchOptions,
) -> Result<FetchedChart, SourceError> {
    let repository = Url::parse(&server.url("/charts")).unwrap();
    fetch(&client_for(server), &repository, "demo", version, options).await
}

/// A repository whose only archive is `demo.tgz`.
async fn simple(digest: Option<&str>) -> TestServer {
    let server = TestServer::scripted().await;
    server.on("GET", "/charts/index.yaml", [index_of("demo.tgz", digest)]);
    server.on("GET", "/charts/demo.tgz", [Reply::new(200).body(ARCHIVE)]);
    server
}

#[tokio::test]
async fn a_chart_is_found_fetched_and_compared() {
    for digest in [sha256(), format!("sha256:{}", sha256().to_uppercase())] {
        let server = simple(Some(&digest)).await;
        server.on(
            "GET",
            "/charts/demo.tgz.prov",
            [Reply::new(200).body(PROVENANCE)],
        );
        for wanted in [None, Some("~1.2"), Some("v1.2.0+build.7"), Some("1.2.0")] {
            let chart = get(&server, wanted, FetchOptions::default()).await.unwrap();
            assert_eq!(
                (chart.name.as_str(), chart.version.as_str()),
                ("demo", "v1.2.0+build.7")
            );
            assert_eq!(chart.archive, ARCHIVE);
            assert_eq!(chart.provenance.unwrap(), PROVENANCE);
            assert_eq!(chart.source, server.url("/charts/demo.tgz"));
            assert_eq!(
                chart.index_digest,
                IndexDigest::Matches(Digest::sha256_of(ARCHIVE))
            );
            assert_eq!(chart.notes, Vec::<String>::new());
            assert!(chart.artifact.is_none());
        }
        assert!(
            server
                .log()
                .iter()
                .all(|r| r.header("authorization") == Some("Basic dTpw"))
        );
    }
}

#[tokio::test]
async fn addresses_are_resolved_as_helm_does() {
    for (repository, location, asked) in [
        ("/charts", "demo.tgz", "/charts/demo.tgz"),
        ("/charts/", "demo.tgz", "/charts/demo.tgz"),
        ("", "a/demo.tgz", "/a/demo.tgz"),
        ("/charts?token=t", "demo.tgz", "/charts/demo.tgz?token=t"),
        ("/charts", "demo.tgz?own=1", "/charts/demo.tgz"),
        ("/charts", "/demo.tgz", "/demo.tgz"),
        ("/a/charts", "../demo.tgz", "/a/demo.tgz"),
        ("/charts", "demo-v1+b.7.tgz", "/charts/demo-v1+b.7.tgz"),
        (
            "/charts?token=t",
            "HOST/x/demo.tgz?sig=s",
            "/x/demo.tgz?sig=s",
        ),
    ] {
        let server = TestServer::start(|_| Reply::new(200).body(ARCHIVE)).await;
        let path = repository.split('?').next().unwrap().trim_end_matches('/');
        let location = location.replace("HOST", server.url("/").trim_end_matches('/'));
        server.on(
            "GET",
            &format!("{path}/index.yaml"),
            [index_of(&location, None)],
        );
        let url = Url::parse(&server.url(repository)).unwrap();
        let client = client_for(&server);
        let chart = fetch(&client, &url, "demo", None, FetchOptions::default()).await;
        assert!(!chart.unwrap().source.contains('?'));
        assert_eq!(
            server.lines()[1],
            format!("GET {asked}"),
            "{repository} {location}"
        );
        let with_prov = match asked.split_once('?') {
            Some((path, query)) => format!("GET {path}.prov?{query}"),
            None => format!("GET {asked}.prov"),
        };
        assert_eq!(server.lines()[2], with_prov);
    }
}

#[tokio::test]
async fn another_server_sees_no_credentials_unless_told() {
    let store = TestServer::start(|request| match request.header("authorization") {
        Some("Basic dTpw") if request.path() == "/demo.tgz" => Reply::new(200).body(ARCHIVE),
        Some(_) => Reply::new(404),
        None => Reply::new(401),
    })
    .await;
    let server = TestServer::scripted().await;
    let index = index_of(&store.url("/demo.tgz"), Some(&sha256()));
    server.on("GET", "/charts/index.yaml", [index]);
    let refused = get(&server, None, FetchOptions::default())
        .await
        .unwrap_err();
    assert!(
        refused.hint().unwrap().contains("another server"),
        "{refused}"
    );
    assert_eq!(store.log().len(), 1);
    assert_eq!(store.log()[0].header("authorization"), None);
    let options = FetchOptions {
        pass_credentials: true,
        ..FetchOptions::default()
    };
    assert_eq!(get(&server, None, options).await.unwrap().archive, ARCHIVE);
}

#[tokio::test]
async fn a_digest_that_does_not_match_stops_unless_permitted() {
    let permitted = FetchOptions {
        allow_digest_mismatch: true,
        ..FetchOptions::default()
    };
    let actual = Digest::sha256_of(ARCHIVE);
    for (digest, found) in [
        (
            "1".repeat(64),
            IndexDigest::Mismatch {
                expected: format!("sha256:{}", "1".repeat(64)).parse().unwrap(),
                actual,
            },
        ),
        ("abc".to_owned(), IndexDigest::Unreadable("abc".to_owned())),
    ] {
        let server = simple(Some(&digest)).await;
        let refused = get(&server, None, FetchOptions::default())
            .await
            .unwrap_err();
        let text = refused.to_string();
        assert!(
            text.contains(&digest) && text.contains(&actual.hex()),
            "{text}"
        );
        assert!(refused.hint().is_some());
        let chart = get(&server, None, permitted).await.unwrap();
        assert_eq!(chart.index_digest, found);
        assert!(chart.notes[0].contains(&digest), "{:?}", chart.notes);
    }
    let chart = get(&simple(None).await, None, FetchOptions::default())
        .await
        .unwrap();
    assert_eq!(chart.index_digest, IndexDigest::Missing);
    assert!(chart.notes[0].contains("no digest"));
}

#[tokio::test]
async fn provenance_is_absent_or_there_but_never_uncertain() {
    for (reply, taken, notes) in [
        (Reply::new(404), true, 0),
        (Reply::new(403), true, 1),
        (Reply::new(200).body("<html>"), true, 1),
        (Reply::new(401), false, 0),
        (Reply::new(500), false, 0),
        (
            Reply::new(200).header("content-length", "4194305"),
            false,
            0,
        ),
    ] {
        let server = simple(Some(&sha256())).await;
        server.on("GET", "/charts/demo.tgz.prov", [reply.clone()]);
        let chart = get(&server, None, FetchOptions::default()).await;
        assert_eq!(chart.is_ok(), taken, "{reply:?}");
        if let Ok(chart) = chart {
            assert_eq!(chart.provenance, None);
            assert_eq!(chart.notes.len(), notes, "{:?}", chart.notes);
        }
    }
}

#[tokio::test]
async fn what_is_not_there_is_answered_with_what_is() {
    let server = simple(None).await;
    let repository = Url::parse(&server.url("/charts")).unwrap();
    let opened = ClassicRepository::open(&client_for(&server), &repository, "demo")
        .await
        .unwrap();
    let fail = async |name: &str, version: Option<&str>| {
        let failed = opened.fetch(name, version, FetchOptions::default()).await;
        let failed = failed.unwrap_err();
        (failed.to_string(), failed.hint().unwrap())
    };
    let place = server.url("/charts");
    let (text, hint) = fail("dmo", None).await;
    assert_eq!(text, format!("{place} has no chart `dmo`"));
    assert_eq!(hint, "there are: demo, demos");
    let (text, hint) = fail("demo", Some("1.1.1")).await;
    assert_eq!(
        text,
        format!("chart `demo` in {place} has no version `1.1.1`")
    );
    assert_eq!(hint, "there are: 1.1.0");
    let (text, _) = fail("demo", Some("newest")).await;
    assert_eq!(text, "chart `demo`: `newest` is not a version constraint");
    let (text, _) = fail("demo", Some("1.1.0")).await;
    assert_eq!(
        text,
        format!("chart `demo` 1.1.0 in {place}: it names no address")
    );
    let (text, hint) = fail("demos", None).await;
    assert_eq!(
        text,
        format!("chart `demos` in {place} has no stable version")
    );
    assert_eq!(hint, "there is no version at all");
    assert_eq!(server.log().len(), 1, "the index is fetched once");
}

#[tokio::test]
async fn a_packed_index_is_unpacked_and_a_deprecated_chart_said() {
    let text = "entries: {demo: [{version: 1.0.0, urls: [demo.tgz], deprecated: true}]}";
    let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::Write::write_all(&mut packer, text.as_bytes()).unwrap();
    let server = simple(None).await;
    let index = Reply::new(200)
        .header("content-encoding", "gzip")
        .body(packer.finish().unwrap());
    server.on("GET", "/charts/index.yaml", [index]);
    let chart = get(&server, None, FetchOptions::default()).await.unwrap();
    assert!(chart.deprecated);
    assert_eq!(chart.notes.len(), 2, "{:?}", chart.notes);
    assert_eq!(server.log()[0].header("accept-encoding"), Some("gzip"));
    assert_eq!(server.log()[1].header("accept-encoding"), Some("identity"));
}

#[tokio::test]
async fn what_is_no_repository_or_no_archive_is_refused() {
    let server = TestServer::scripted().await;
    let failed = get(&server, None, FetchOptions::default())
        .await
        .unwrap_err();
    assert!(failed.hint().unwrap().contains("index.yaml"), "{failed}");
    server.on(
        "GET",
        "/charts/index.yaml",
        [Reply::new(200).body("<html>")],
    );
    let failed = get(&server, None, FetchOptions::default())
        .await
        .unwrap_err();
    assert!(failed.to_string().ends_with("it is a web page"), "{failed}");
    let too_large = Reply::new(200).header("content-length", "67108865");
    server.on("GET", "/b/index.yaml", [too_large.clone()]);
    let url = Url::parse(&server.url("/b")).unwrap();
    let failed = ClassicRepository::open(&client_for(&server), &url, "demo")
        .await
        .unwrap_err();
    assert!(failed.to_string().contains("67108864"), "{failed}");

    for (reply, words) in [
        (Reply::new(200).body("<html>"), "a web page"),
        (Reply::new(200).body(""), "nothing"),
        (Reply::new(200).body("PK"), "no gzip file"),
        (too_large, "larger than 67108864"),
        (Reply::new(404), "404"),
    ] {
        let server = TestServer::scripted().await;
        server.on("GET", "/charts/index.yaml", [index_of("demo.tgz", None)]);
        server.on("GET", "/charts/demo.tgz", [reply]);
        let failed = get(&server, None, FetchOptions::default())
            .await
            .unwrap_err();
        assert!(failed.to_string().contains(words), "{failed}");
    }
    for location in [
        "ftp://example.com/x",
        "https://169.254.169.254/x",
        "https://u:p@127.0.0.1/x",
    ] {
        let server = TestServer::scripted().await;
        server.on("GET", "/charts/index.yaml", [index_of(location, None)]);
        let failed = get(&server, None, FetchOptions::default())
            .await
            .unwrap_err();
        assert!(failed.to_string().contains("is not fetched"), "{failed}");
        assert!(!failed.to_string().contains("u:p"));
    }
}

#[tokio::test]
async fn an_index_may_lead_into_a_registry() {
    let chart = TestChart::new("demo", "v1.2.0+build.7");
    let (content, images) = registry().await;
    let manifest = chart.push(&content, "charts/demo", "v1.2.0_build.7");
    let server = TestServer::scripted().await;
    let location = format!("oci://{}/charts/demo:v1.2.0+build.7", images.host());
    let digests = [Digest::sha256_of(&chart.archive), manifest];
    for digest in digests {
        let index = index_of(&location, Some(&digest.hex()));
        server.on("GET", "/charts/index.yaml", [index]);
        let fetched = get(&server, None, FetchOptions::default()).await.unwrap();
        assert_eq!(fetched.archive, chart.archive);
        assert_eq!(fetched.index_digest, IndexDigest::Matches(digest));
        assert_eq!(fetched.artifact.unwrap().manifest.digest, manifest);
    }
}
