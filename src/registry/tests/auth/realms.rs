//! To whom credentials are shown: by origin, never by what kind of address it is. A registry in a
//! private network may have its token service there.

use super::*;

#[tokio::test]
async fn q15_credentials_do_not_go_to_a_realm_that_may_not_have_them() {
    for realm in [
        "http://evil.invalid/token",
        "https://u:p@evil.invalid/token",
        "file:///etc/passwd",
        "http://169.254.169.254/token",
        "https://169.254.169.254/token",
        "gopher://x/",
    ] {
        let server = TestServer::start(move |_| {
            unauthorized(format!(r#"Bearer realm="{realm}",service="s""#))
        })
        .await;
        let failed = pull(with_password(&server), &server).await.unwrap_err();
        assert!(
            matches!(failed, RegistryError::RealmRefused { .. }),
            "{realm}: {failed}"
        );
        assert!(!failed.to_string().contains("u:p"), "{failed}");
    }
}

#[tokio::test]
async fn q15_a_realm_is_judged_by_its_origin_and_not_by_what_kind_of_address_it_has() {
    // The same origin in full, and another port of the same private address.
    for elsewhere in [false, true] {
        let service = TestServer::start(|_| token("T1")).await;
        let place = service.url("/auth");
        let server = TestServer::start(move |request| {
            let host = request.header("host").unwrap();
            let realm = match elsewhere {
                true => place.clone(),
                false => format!("http://{host}/auth"),
            };
            match (request.path(), request.header("authorization")) {
                ("/auth", _) => token("T1"),
                (_, Some("Bearer T1")) => image(),
                _ => unauthorized(format!(r#"Bearer realm="{realm}",service="s""#)),
            }
        })
        .await;
        pull(with_password(&server), &server).await.unwrap();
        let asked = if elsewhere { &service } else { &server };
        let log = asked.log();
        let request = log.iter().find(|r| r.path() == "/auth").unwrap();
        assert_eq!(request.header("authorization"), Some(basic().as_str()));
    }
}

#[tokio::test]
async fn q16_a_redirected_token_request_carries_no_credentials_elsewhere() {
    for status in [301, 302, 303, 307, 308] {
        let other = TestServer::start(|_| token("Tother")).await;
        let server = bearer_registry().await;
        let to_other = Reply::new(status).header("Location", other.url("/elsewhere"));
        server.on("GET", TOKEN, [to_other]);
        pull(with_password(&server), &server).await.unwrap();
        assert_eq!(other.lines(), ["GET /elsewhere"]);

        // A refresh token is in the body and therefore goes nowhere else at all.
        let gone = Reply::new(status).header("Location", other.url("/post"));
        server.on("POST", TOKEN, [gone]);
        let identity = Credential::IdentityToken(Secret::new(REFRESH[0]));
        let failed = pull(with_credential(&server, identity), &server).await;
        assert!(failed.is_err());
        assert_eq!(other.log().len(), 1);
        assert_nothing_of_ours(&other);
    }
}

#[tokio::test]
async fn q16_where_a_token_service_redirects_to_is_judged_anew() {
    for target in [
        "http://169.254.169.254/latest",
        "http://evil.invalid/token",
        "https://u:p@evil.invalid/token",
        "file:///etc/passwd",
    ] {
        let server = bearer_registry().await;
        let away = Reply::new(302).header("Location", target);
        server.on("GET", TOKEN, [away]);
        let failed = pull(with_password(&server), &server).await.unwrap_err();
        assert!(
            matches!(failed, RegistryError::RealmRefused { .. }),
            "{target}: {failed}"
        );
    }
    let server = bearer_registry().await;
    let again = Reply::new(307).header("Location", TOKEN);
    server.on("GET", TOKEN, [again]);
    let failed = pull(with_password(&server), &server).await.unwrap_err();
    assert!(failed.to_string().contains("redirects"), "{failed}");
    assert_eq!(server.count("GET", TOKEN), 6);
}
