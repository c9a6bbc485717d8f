//! Servers at other origins: what arrives there is searched for anything that is not theirs.

use std::panic::{AssertUnwindSafe, catch_unwind};

use base64::prelude::*;

use super::*;
use crate::registry::{Credential, Secret};

pub(super) const USER: &str = "robot$x";
pub(super) const PASSWORD: &str = "p:w+";
/// An identity token, and what it looks like in a form.
pub(super) const REFRESH: [&str; 2] = ["refresh+me", "refresh%2Bme"];

/// With user name and password for `server`, and plain HTTP to the others as well.
pub(super) fn logged_in(server: &TestServer, others: &[&TestServer]) -> ClientConfig {
    let mut config = config(&[&[server], others].concat());
    let credential = Credential::Basic {
        username: USER.to_owned(),
        password: Secret::new(PASSWORD),
    };
    config.credentials.explicit = Some((server.host(), credential));
    config
}

/// The header that shows [`USER`] and [`PASSWORD`].
pub(super) fn basic() -> String {
    format!("Basic {}", pair())
}

fn pair() -> String {
    BASE64_STANDARD.encode(format!("{USER}:{PASSWORD}"))
}

/// No request that arrived has a header that says who is asking, or a secret anywhere else.
pub(super) fn assert_nothing_of_ours(server: &TestServer) {
    let encoded = PASSWORD.replace(':', "%3A").replace('+', "%2B");
    let secrets = [
        USER.to_owned(),
        USER.replace('$', "%24"),
        PASSWORD.to_owned(),
        encoded,
        pair(),
        BASE64_STANDARD.encode(PASSWORD),
        REFRESH[0].to_owned(),
        REFRESH[1].to_owned(),
    ];
    for request in server.log() {
        for name in ["authorization", "proxy-authorization", "cookie", "referer"] {
            assert_eq!(request.header(name), None, "{name} of {}", request.line());
        }
        let body = String::from_utf8_lossy(&request.body);
        let all = format!("{} {:?} {body}", request.target, request.headers);
        for secret in &secrets {
            assert!(!all.contains(secret.as_str()), "{secret} in {all}");
        }
    }
}

#[tokio::test]
async fn what_is_ours_is_recognised() {
    let server = TestServer::scripted().await;
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let url = server.url("/");
    assert_nothing_of_ours(&server);
    for request in [
        http.get(&url).header("Authorization", "Bearer x"),
        http.get(&url).header("Cookie", "a=b"),
        http.get(&url).header("X-Other", basic()),
        http.get(format!("{url}?account=robot%24x")),
        http.post(&url).form(&[("refresh_token", REFRESH[0])]),
    ] {
        let server = TestServer::scripted().await;
        let mut request = request.build().unwrap();
        let port = server.host().rsplit(':').next().unwrap().parse().ok();
        request.url_mut().set_port(port).unwrap();
        http.execute(request).await.unwrap();
        assert_eq!(server.log().len(), 1);
        let seen = catch_unwind(AssertUnwindSafe(|| assert_nothing_of_ours(&server)));
        assert!(seen.is_err(), "{:?}", server.log());
    }
}
