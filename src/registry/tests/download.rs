//! Plain files from plain web servers.

use std::io::Write;

use flate2::{Compression, write::GzEncoder};
use reqwest::Url;

use super::*;
use crate::registry::{
    Credential, Download, Encoding, RegistryError, Secret, ShowCredentials, test_server::Fault,
};

fn download(url: &str) -> Download {
    Download {
        url: Url::parse(url).unwrap(),
        named_by: None,
        what: "file `x`".to_owned(),
        limit: 1000,
        credentials: ShowCredentials::Never,
        encoding: Encoding::Plain,
    }
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn with_credential_for(server: &TestServer) -> Client {
    let mut config = config(&[]);
    let credential = Credential::Basic {
        username: "u".to_owned(),
        password: Secret::new("p"),
    };
    config.credentials.explicit = Some((server.host(), credential));
    Client::new(config).unwrap()
}

#[tokio::test]
async fn a_file_is_fetched_as_it_is_and_again_when_it_breaks_off() {
    let server = TestServer::scripted().await;
    let file = || Reply::new(200).body(pattern(900));
    server.on(
        "GET",
        "/x",
        [
            Reply::new(503),
            file().fault(Fault::CutAfter(500)),
            file().fault(Fault::NoAnswer),
            file(),
        ],
    );
    let mut config = config(&[]);
    config.retries = 4;
    let client = Client::new(config).unwrap();
    let bytes = client.download(&download(&server.url("/x?a=b"))).await;
    assert_eq!(bytes.unwrap(), pattern(900));
    assert_eq!(server.lines(), ["GET /x?a=b"; 4]);
    assert_eq!(server.log()[0].header("accept-encoding"), Some("identity"));
    assert_eq!(server.log()[0].header("authorization"), None);
}

#[tokio::test]
async fn what_is_not_there_is_said_at_once() {
    let server = TestServer::scripted().await;
    let client = client(&server);
    let absent = client.download(&download(&server.url("/y"))).await;
    assert!(absent.unwrap_err().is_not_found());
    server.on("GET", "/x", [Reply::new(204)]);
    let empty = client.download(&download(&server.url("/x"))).await;
    assert!(matches!(empty, Err(RegistryError::Unexpected { .. })));
    assert_eq!(server.log().len(), 2);
}

#[tokio::test]
async fn nothing_larger_than_the_limit_is_read() {
    let server = TestServer::scripted().await;
    let announced = Reply::new(200).body(pattern(1001));
    let bomb = Reply::new(200)
        .header("content-encoding", "gzip")
        .body(gzip(&[0; 100_000]));
    server.on("GET", "/announced", [announced.clone()]);
    server.on("GET", "/open", [announced.until_close()]);
    server.on("GET", "/bomb", [bomb]);
    for path in ["/announced", "/open", "/bomb"] {
        let request = Download {
            encoding: Encoding::Compressed,
            ..download(&server.url(path))
        };
        let failed = client(&server).download(&request).await.unwrap_err();
        assert!(
            matches!(failed, RegistryError::TooLarge { limit: 1000, .. }),
            "{path}: {failed}"
        );
        assert_eq!(server.count("GET", path), 1);
    }
}

#[tokio::test]
async fn encodings_are_undone_kept_or_refused() {
    let server = TestServer::scripted().await;
    let packed = gzip(b"text");
    let encoded = |name: &str| {
        Reply::new(200)
            .header("content-encoding", name)
            .body(&packed)
    };
    server.on("GET", "/gzip", [encoded("gzip")]);
    server.on("GET", "/x-gzip", [encoded("x-gzip")]);
    server.on("GET", "/br", [encoded("br")]);
    server.on("GET", "/damaged", [encoded("gzip").body(&packed[..20])]);
    let client = client(&server);
    let get = |path: &str, encoding| {
        let request = Download {
            encoding,
            ..download(&server.url(path))
        };
        let client = client.clone();
        async move { client.download(&request).await }
    };
    assert_eq!(get("/gzip", Encoding::Compressed).await.unwrap(), "text");
    assert_eq!(server.log()[0].header("accept-encoding"), Some("gzip"));
    assert_eq!(get("/gzip", Encoding::GzipFile).await.unwrap(), packed);
    assert_eq!(server.log()[1].header("accept-encoding"), Some("identity"));
    assert_eq!(get("/x-gzip", Encoding::GzipFile).await.unwrap(), packed);
    for (path, encoding) in [
        ("/gzip", Encoding::Plain),
        ("/br", Encoding::GzipFile),
        ("/br", Encoding::Compressed),
        ("/damaged", Encoding::Compressed),
    ] {
        let refused = get(path, encoding).await;
        assert!(
            matches!(refused, Err(RegistryError::Unexpected { .. })),
            "{path} {encoding:?}"
        );
    }
}

#[tokio::test]
async fn credentials_stay_with_their_origin() {
    let other = TestServer::start(|_| Reply::new(200).body("other")).await;
    let server = TestServer::scripted().await;
    server.on("GET", "/here", [Reply::new(200).body("here")]);
    let away = Reply::new(302).header("Location", other.url("/there"));
    server.on("GET", "/away", [away]);
    let client = with_credential_for(&server);
    let basic = Some("Basic dTpw");
    for (url, credentials, shown) in [
        (server.url("/here"), ShowCredentials::Own, basic),
        (server.url("/here"), ShowCredentials::Never, None),
        (other.url("/x"), ShowCredentials::Own, None),
        (
            other.url("/x"),
            ShowCredentials::OwnOrOf(Url::parse(&server.url("/")).unwrap()),
            basic,
        ),
    ] {
        let asked = match url.starts_with(&server.url("/")) {
            true => &server,
            false => &other,
        };
        let request = Download {
            credentials,
            ..download(&url)
        };
        client.download(&request).await.unwrap();
        let last = asked.log().pop().unwrap();
        assert_eq!(last.header("authorization"), shown, "{request:?}");
    }
    let request = Download {
        credentials: ShowCredentials::Own,
        ..download(&server.url("/away"))
    };
    assert_eq!(client.download(&request).await.unwrap(), "other");
    assert_eq!(server.log().pop().unwrap().header("authorization"), basic);
    let behind = other.log().pop().unwrap();
    assert_eq!(behind.line(), "GET /there");
    assert_eq!(behind.header("authorization"), None);
}

#[tokio::test]
async fn a_refusal_tells_whom_to_log_in_to() {
    let server = TestServer::start(|_| Reply::new(401)).await;
    let failed = client(&server)
        .download(&download(&server.url("/x?token=secret")))
        .await
        .unwrap_err();
    assert!(failed.is_denied());
    assert!(failed.hint().unwrap().contains(&server.host()));
    assert!(!format!("{failed} {failed:?}").contains("secret"));
    assert_eq!(server.log().len(), 1);
}

#[tokio::test]
async fn addresses_that_must_not_be_asked_are_not() {
    let client = Client::new(config(&[])).unwrap();
    let repository = "https://charts.example/";
    for (url, named_by, words) in [
        ("http://charts.example/x", None, "not encrypted"),
        ("ftp://charts.example/x", None, "http and https"),
        ("file:///etc/passwd", None, "http and https"),
        ("https://u:p@charts.example/x", None, "user name"),
        ("http://127.0.0.1:1/x", Some(repository), "machine itself"),
        ("https://127.0.0.1:1/x", Some(repository), "machine itself"),
        ("https://169.254.169.254/x", Some(repository), "link-local"),
    ] {
        let request = Download {
            named_by: named_by.map(|url| Url::parse(url).unwrap()),
            ..download(url)
        };
        let refused = client.download(&request).await.unwrap_err();
        assert!(
            matches!(&refused, RegistryError::Address { reason, .. } if reason.contains(words)),
            "{url}: {refused}"
        );
        assert!(!refused.to_string().contains("u:p"));
        let named = words == "not encrypted" || words == "user name";
        assert_eq!(refused.hint().is_some(), named, "{url}");
    }
}

#[tokio::test]
async fn what_a_document_names_is_judged_before_the_mirror_that_the_user_names() {
    let server = TestServer::start(|_| Reply::new(200).body("a chart")).await;
    let mut config = config(&[&server]);
    config.mirrors = ["charts.example", "169.254.169.254"]
        .map(|host| format!("{host}={}/m", server.host()).parse().unwrap())
        .into();
    let client = Client::new(config).unwrap();
    let named_by = Url::parse("https://charts.example/charts").unwrap();
    let request = |url: &str| Download {
        named_by: Some(named_by.clone()),
        ..download(url)
    };
    let mirrored = request("https://charts.example/charts/x-1.tgz");
    assert_eq!(client.download(&mirrored).await.unwrap(), "a chart");
    assert_eq!(server.lines(), ["GET /m/charts/x-1.tgz"]);
    for url in ["http://charts.example/x", "https://169.254.169.254/x"] {
        let refused = client.download(&request(url)).await.unwrap_err();
        assert!(
            matches!(refused, RegistryError::Address { .. }),
            "{refused}"
        );
    }
    assert_eq!(server.lines().len(), 1);
}

#[tokio::test]
async fn a_server_that_answered_in_between_has_its_whole_budget_again() {
    let server = TestServer::scripted().await;
    let file = || Reply::new(200).body("file");
    let replies = [Reply::new(502), file(), Reply::new(502), file()];
    server.on("GET", "/x", replies);
    let mut config = config(&[]);
    config.retry_budget = Duration::from_millis(100);
    let client = Client::new(config).unwrap();
    let request = download(&server.url("/x"));
    client.download(&request).await.unwrap();
    tokio::time::sleep(Duration::from_millis(150)).await;
    client.download(&request).await.unwrap();
}
