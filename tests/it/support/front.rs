//! A front for a registry: it passes everything on but what a test lets it answer itself.

use reqwest::{Client, Method};

use super::{
    background::block_on,
    scripted::{Answer, Asked, Scripted},
};

/// A server in front of the registry at `upstream` (`HOST:PORT`, plain HTTP). What `own` answers is
/// not passed on; `after` may change what the registry answers.
pub fn in_front_of(
    upstream: &str,
    own: impl Fn(&Asked) -> Option<Answer> + Send + Sync + 'static,
    after: impl Fn(&Asked, Answer) -> Answer + Send + Sync + 'static,
) -> Scripted {
    let http = Client::builder()
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .build()
        .expect("a client");
    let upstream = upstream.to_owned();
    Scripted::start(move |asked| {
        own(asked).unwrap_or_else(|| after(asked, passed_on(&http, &upstream, asked)))
    })
}

/// As [`in_front_of`], with the answers of the registry as they are.
pub fn answering(
    upstream: &str,
    own: impl Fn(&Asked) -> Option<Answer> + Send + Sync + 'static,
) -> Scripted {
    in_front_of(upstream, own, |_, answer| answer)
}

fn passed_on(http: &Client, upstream: &str, asked: &Asked) -> Answer {
    let method = Method::from_bytes(asked.method.as_bytes()).expect("a method");
    let mut request = http.request(method, format!("http://{upstream}{}", asked.path));
    for (name, value) in &asked.headers {
        // The host stays that of the front, so that the registry sends uploads there.
        if !matches!(name.as_str(), "content-length" | "connection") {
            request = request.header(name, value);
        }
    }
    let request = request.body(asked.body.clone());
    block_on(async {
        let Ok(response) = request.send().await else {
            return Answer::status(502);
        };
        let mut answer = Answer::status(response.status().as_u16());
        let is_head = asked.method == "HEAD";
        for (name, value) in response.headers() {
            let value = value.to_str().expect("ASCII");
            match name.as_str() {
                "connection" | "transfer-encoding" => {}
                "content-length" if !is_head => {}
                name => answer = answer.header(name, value),
            }
        }
        answer.body(response.bytes().await.unwrap_or_default())
    })
}
