//! Scopes: which, in which order, and for which request.

use super::*;

#[tokio::test]
async fn q07_a_missing_scope_is_added_in_front() {
    let server = bearer_registry().await;
    server.on(
        "GET",
        MANIFEST,
        [
            unauthorized(
                r#"Bearer realm="/token",service="s",scope="repository:base:pull repository:a/b:pull",error="insufficient_scope""#,
            ),
            image(),
        ],
    );
    pull(config(&[&server]), &server).await.unwrap();
    let log = server.log();
    let second = log.iter().rfind(|r| r.path() == TOKEN).unwrap();
    assert_eq!(
        second.query(),
        "service=s&scope=repository%3Abase%3Apull&scope=repository%3Aa%2Fb%3Apull"
    );
}

#[tokio::test]
async fn q07_a_missing_scope_is_added_once() {
    let server = bearer_registry().await;
    let insufficient = unauthorized(
        r#"Bearer realm="/token",service="s",scope="repository:base:pull",error="insufficient_scope""#,
    );
    server.on("GET", MANIFEST, [insufficient]);
    let failed = pull(config(&[&server]), &server).await.unwrap_err();
    assert!(failed.is_denied(), "{failed}");
    assert_eq!(server.count("GET", MANIFEST), 2);
    assert_eq!(server.count("GET", TOKEN), 2);
}

#[tokio::test]
async fn q07_a_scope_is_asked_for_only_where_it_was_missing() {
    let server = bearer_registry().await;
    let insufficient = unauthorized(
        r#"Bearer realm="/token",service="s",scope="repository:base:pull",error="insufficient_scope""#,
    );
    server.on("GET", MANIFEST, [insufficient, image()]);
    // Refused without a word on what is missing.
    server.on(
        "GET",
        "/v2/c/manifests/1",
        [error(401, "UNAUTHORIZED"), image()],
    );
    let client = client(&server);
    for path in ["a/b", "c"] {
        let repository = repository(&server, path);
        client.manifest(&repository, &tag("1")).await.unwrap();
    }
    let log = server.log();
    let asked: Vec<_> = log.iter().filter(|r| r.path() == TOKEN).collect();
    assert_eq!(asked.len(), 4);
    for request in &asked[2..] {
        assert_eq!(request.query(), "service=s&scope=repository%3Ac%3Apull");
    }
}

/// A service whose tokens hold only the first scope that is asked for, and a registry that looks.
async fn first_scope_only() -> TestServer {
    TestServer::start(|request| {
        if request.path() == TOKEN {
            let mut query = request.query().split('&');
            let first = query.find_map(|p| p.strip_prefix("scope=")).unwrap();
            let scope = first
                .replace("%3A", ":")
                .replace("%2F", "/")
                .replace("%2C", ",");
            return token(&scope);
        }
        let missing = |scope: &str| {
            unauthorized(format!(
                r#"Bearer realm="/token",service="s",scope="{scope}",error="insufficient_scope""#
            ))
        };
        let holds =
            |scope: &str| request.header("authorization") == Some(&format!("Bearer {scope}"));
        let (push, from) = ("repository:a/b:pull,push", "repository:from/here:pull");
        if request.query().contains("mount=") && !holds(from) {
            return missing(from);
        }
        match request.method.as_str() {
            "GET" if request.path() == "/v2/" => {
                unauthorized(r#"Bearer realm="/token",service="s""#)
            }
            _ if !holds(push) => missing(push),
            "POST" => Reply::new(202).header("Location", "/v2/a/b/blobs/uploads/u1"),
            "PUT" => Reply::new(201),
            _ => Reply::new(404),
        }
    })
    .await
}

#[tokio::test]
async fn q08_the_scope_that_matters_comes_first() {
    let server = first_scope_only().await;
    let client = client(&server);
    let to = repository(&server, "a/b");
    let digest = Digest::sha256_of(b"blob");
    let mount = client.mount_blob(&to, &digest, "from/here").await.unwrap();
    assert!(matches!(mount, crate::registry::Mount::Refused(None)));
    let blob = Arc::new(bytes::Bytes::from("blob"));
    client.push_blob(&to, &digest, 4, blob).await.unwrap();
    let log = server.log();
    let scopes: Vec<_> = log
        .iter()
        .filter(|r| r.path() == TOKEN)
        .map(|r| {
            r.query()
                .replace("%3A", ":")
                .replace("%2F", "/")
                .replace("%2C", ",")
        })
        .collect();
    assert_eq!(
        scopes,
        [
            // The mount; the same again with what was missing in front; the upload.
            "service=s&scope=repository:a/b:pull,push&scope=repository:from/here:pull",
            "service=s&scope=repository:from/here:pull&scope=repository:a/b:pull,push",
            "service=s&scope=repository:a/b:pull,push",
        ]
    );
}

#[tokio::test]
async fn q07_what_was_missing_once_is_asked_for_at_once_the_next_time() {
    let server = bearer_registry().await;
    let insufficient = || {
        unauthorized(
            r#"Bearer realm="/token",service="s",scope="repository:base:pull",error="insufficient_scope""#,
        )
    };
    server.on("GET", MANIFEST, [insufficient(), image(), image()]);
    let client = client(&server);
    let repository = repository(&server, "a/b");
    for _ in 0..2 {
        client.manifest(&repository, &tag("1")).await.unwrap();
    }
    assert_eq!(server.count("GET", MANIFEST), 3, "no body goes twice");
    assert_eq!(server.count("GET", TOKEN), 2);
}
