//! Registries that lie at the source: wrong content, pages in place of manifests, answers that are
//! cut or endless, redirects and token services that are after credentials. `create` ends with exit
//! code 5 and leaves no bundle, and credentials go to nobody but the registry they belong to.

use std::path::PathBuf;

use sneakernet::oci::{Digest, media_type};

use crate::support::{
    attempt::{Bench, QUICK, Watched, assert_refused, watch},
    embedded::Embedded,
    forge::{CONFIG, CONTENT, index, manifest},
    images::{Family, sample},
    scripted::{Answer, Asked, Scripted},
};

const OCI: &str = media_type::OCI_MANIFEST;

fn create(bench: &Bench, host: &str) -> (Watched, PathBuf) {
    create_trying(bench, host, "2")
}

fn create_trying(bench: &Bench, host: &str, retries: &str) -> (Watched, PathBuf) {
    let out = bench.home.path().join("made.bundle.tar.zst");
    let mut command = bench.home.bundle();
    let image = format!("{host}/a/one:1");
    command.args([
        "create",
        "--image",
        &image,
        "--key",
        "cosign.key",
        "--retries",
        retries,
    ]);
    command.arg("-o").arg(&out);
    (watch(command, Vec::new(), QUICK * 3), out)
}

#[track_caller]
fn assert_no_bundle(what: &str, made: &(Watched, PathBuf), code: i32) {
    assert_refused(what, &made.0, code);
    assert!(!made.1.exists(), "{what}: there is a bundle");
}

/// A registry that holds one image, and changes what `lie` changes.
fn registry(lie: impl Fn(&Asked, Answer) -> Answer + Send + Sync + 'static) -> Scripted {
    let plain = manifest(CONFIG, &[CONTENT]);
    Scripted::start(move |asked| {
        let blob = |content: &[u8]| Answer::ok(media_type::OCTET_STREAM, content);
        let path = asked.path.split('?').next().unwrap_or_default();
        let digest = |content: &[u8]| Digest::sha256_of(content).to_string();
        let honest = if path == "/v2/" {
            Answer::ok("application/json", "{}")
        } else if path.contains("/manifests/") {
            let digest = digest(plain.as_bytes());
            Answer::ok(OCI, plain.clone()).header("docker-content-digest", digest)
        } else if path.ends_with(&digest(CONFIG)) {
            blob(CONFIG)
        } else if path.ends_with(&digest(CONTENT)) {
            blob(CONTENT)
        } else {
            Answer::status(404)
        };
        lie(asked, honest)
    })
}

#[test]
fn what_is_not_what_it_should_be_makes_no_bundle() {
    let bench = Bench::new();
    let honest = registry(|_, answer| answer);
    let (watched, out) = create(&bench, &honest.host());
    watched.finished.success();
    std::fs::remove_file(out).unwrap();

    type Lie = fn(&Asked, Answer) -> Answer;
    fn of_manifest(asked: &Asked) -> bool {
        asked.path.contains("/manifests/")
    }
    fn of_blob(asked: &Asked) -> bool {
        asked.path.contains("/blobs/")
    }
    let lies: [(&str, Lie); 21] = [
        (
            "a manifest with another digest in the header",
            |asked, answer| {
                let other = manifest(CONFIG, &[b"other"]);
                let named = Digest::sha256_of(manifest(CONFIG, &[CONTENT]).as_bytes());
                match of_manifest(asked) {
                    true => Answer::ok(OCI, other).header("docker-content-digest", named),
                    false => answer,
                }
            },
        ),
        ("another layer", |asked, answer| match of_blob(asked) {
            true => Answer::ok("application/octet-stream", vec![b'x'; CONTENT.len()]),
            false => answer,
        }),
        ("a longer layer", |asked, answer| match of_blob(asked) {
            true => answer.body([CONTENT, b"more"].concat()),
            false => answer,
        }),
        ("a shorter layer", |asked, answer| match of_blob(asked) {
            true => answer.body(&CONTENT[..10]),
            false => answer,
        }),
        ("a layer that ends early", |asked, answer| {
            match of_blob(asked) {
                true => answer.cut_after(10),
                false => answer,
            }
        }),
        (
            "a manifest that ends early",
            |asked, answer| match of_manifest(asked) {
                true => answer.cut_after(10),
                false => answer,
            },
        ),
        ("a layer without a length", |asked, answer| {
            match of_blob(asked) {
                true => answer.header("transfer-encoding", "chunked"),
                false => answer,
            }
        }),
        (
            "a page in place of a manifest",
            |asked, answer| match of_manifest(asked) {
                true => Answer::ok("text/html", "<html>Log in</html>"),
                false => answer,
            },
        ),
        ("pages everywhere", |_, _| {
            Answer::ok("text/html", "<html>Log in</html>")
        }),
        (
            "a page in place of a layer",
            |asked, answer| match of_blob(asked) {
                true => Answer::ok("text/html", "<html>Log in</html>"),
                false => answer,
            },
        ),
        (
            "an error with status 200",
            |asked, answer| match of_manifest(asked) {
                true => Answer::ok("application/json", r#"{"errors":[{"code":"DENIED"}]}"#),
                false => answer,
            },
        ),
        (
            "nothing with status 200",
            |asked, answer| match of_manifest(asked) {
                true => Answer::ok(OCI, ""),
                false => answer,
            },
        ),
        ("no content", |asked, answer| match of_manifest(asked) {
            true => Answer::status(204),
            false => answer,
        }),
        ("not modified", |asked, answer| match of_manifest(asked) {
            true => Answer::status(304),
            false => answer,
        }),
        ("part of a layer", |asked, answer| match of_blob(asked) {
            true => Answer::status(206)
                .header("content-range", "bytes 0-9/26")
                .body(&CONTENT[..10]),
            false => answer,
        }),
        (
            "a layer that is said to be gzip",
            |asked, answer| match of_blob(asked) {
                true => answer.header("content-encoding", "gzip"),
                false => answer,
            },
        ),
        (
            "a manifest of a tebibyte",
            |asked, answer| match of_manifest(asked) {
                true => answer.header("content-length", 1_u64 << 40),
                false => answer,
            },
        ),
        ("a manifest of 64 MiB", |asked, answer| {
            match of_manifest(asked) {
                true => Answer::ok(OCI, vec![b' '; 64 << 20]),
                false => answer,
            }
        }),
        (
            "an index that is said to be a manifest",
            |asked, answer| match of_manifest(asked) {
                true => Answer::ok(OCI, index(&[&manifest(CONFIG, &[CONTENT])])),
                false => answer,
            },
        ),
        (
            "a manifest with manifests (CVE-2021-41190)",
            |asked, answer| match of_manifest(asked) {
                true => {
                    let text = manifest(CONFIG, &[CONTENT]);
                    Answer::ok(OCI, text.replacen('{', "{\"manifests\":[],", 1))
                }
                false => answer,
            },
        ),
        ("a thousand headers", |_, answer| {
            (0..1000).fold(answer, |a, n| a.header(&format!("x-{n}"), "x".repeat(1000)))
        }),
    ];
    for (what, lie) in lies {
        let source = registry(lie);
        assert_no_bundle(what, &create(&bench, &source.host()), 5);
    }
}

#[test]
fn what_a_header_says_does_not_matter_where_the_digest_is_right() {
    let bench = Bench::new();
    for (name, value) in [
        ("content-encoding", "identity"),
        ("docker-content-digest", "sha256:../../etc/passwd"),
        ("content-disposition", "attachment; filename=../../x"),
    ] {
        let source = registry(
            move |asked, answer| match asked.path.contains("/manifests/") {
                true => Answer::ok(OCI, manifest(CONFIG, &[CONTENT])).header(name, value),
                false => answer.header(name, value),
            },
        );
        let (watched, out) = create(&bench, &source.host());
        watched.finished.success();
        std::fs::remove_file(out).unwrap();
    }
}

#[test]
fn a_pinned_digest_goes_before_everything_that_a_registry_says() {
    let bench = Bench::new();
    let source = registry(|_, answer| answer);
    let out = bench.home.path().join("pinned");
    let pinned = |digest: Digest| {
        let image = format!("{}/a/one:1@{digest}", source.host());
        let mut command = bench.home.bundle();
        command.args([
            "create",
            "--image",
            &image,
            "--key",
            "cosign.key",
            "--retries",
            "2",
            "-o",
        ]);
        command.arg(&out);
        watch(command, Vec::new(), QUICK)
    };
    let watched = pinned(Digest::sha256_of(b"what it once was"));
    assert_refused("another digest", &watched, 5);
    assert!(!out.exists());
    let right = Digest::sha256_of(manifest(CONFIG, &[CONTENT]).as_bytes());
    pinned(right).finished.success();
}

/// Whether anybody sent anything that could be a credential here.
fn credentials(server: &Scripted) -> Vec<String> {
    let asked = server.asked();
    let headers = asked.iter().flat_map(|asked| &asked.headers);
    let secret = |name: &str| matches!(name, "authorization" | "cookie" | "proxy-authorization");
    let mut found: Vec<String> = headers
        .filter(|(name, _)| secret(name))
        .map(|(name, value)| format!("{name}: {value}"))
        .collect();
    found.extend(
        asked
            .iter()
            .map(|a| format!("{} {}", a.path, String::from_utf8_lossy(&a.body)))
            .filter(|text| text.contains("canary")),
    );
    found
}

#[test]
fn redirects_take_no_credentials_along() {
    let bench = Bench::new();
    let evil = Scripted::start(|asked| {
        if asked.path.contains("challenge") {
            let here = asked.header("host").unwrap_or_default().to_owned();
            let realm = format!("Bearer realm=\"http://{here}/token\",service=\"x\"");
            return Answer::status(401).header("www-authenticate", realm);
        }
        match asked.path.contains("config") {
            true => Answer::ok("application/octet-stream", CONFIG),
            false => Answer::ok("application/octet-stream", CONTENT),
        }
    });
    let config = Digest::sha256_of(CONFIG).to_string();
    for (place, code) in [("", 0), ("challenge-", 5)] {
        for status in [301, 302, 303, 307, 308] {
            let (host, config) = (evil.host(), config.clone());
            let source = registry(move |asked, answer| {
                if asked.header("authorization").is_none() {
                    return Answer::status(401).header("www-authenticate", "Basic realm=\"x\"");
                }
                if !asked.path.contains("/blobs/") {
                    return answer;
                }
                let what = if asked.path.ends_with(&config) {
                    "config"
                } else {
                    "layer"
                };
                Answer::status(status).header("location", format!("http://{host}/{place}{what}"))
            });
            bench
                .home
                .log_in(&[(&source.host(), "canary-user", "canary-password")]);
            let (watched, out) = create(&bench, &source.host());
            let finished = &watched.finished;
            assert_eq!(
                finished.code(),
                Some(code),
                "{status} {place}: {finished:?}"
            );
            let _ = std::fs::remove_file(out);
        }
    }
    assert!(!evil.asked().is_empty(), "the redirects were followed");
    assert_eq!(credentials(&evil), [""; 0]);
}

#[test]
fn redirects_to_where_nobody_should_go_are_not_followed() {
    let bench = Bench::new();
    for target in [
        "file:///etc/passwd",
        "ftp://127.0.0.1/x",
        "gopher://127.0.0.1/x",
        "http://",
        "/v2/a/one/manifests/1",
        "http://user:password@127.0.0.1:1/x",
    ] {
        let source = registry(
            move |asked, answer| match asked.path.contains("/manifests/") {
                true => Answer::status(307).header("location", target),
                false => answer,
            },
        );
        assert_no_bundle(target, &create(&bench, &source.host()), 5);
        assert!(
            source.asked().len() < 60,
            "{target}: {} requests",
            source.asked().len()
        );
    }
}

#[test]
fn a_token_service_that_a_stranger_names_gets_no_password() {
    let bench = Bench::new();
    let evil = Scripted::start(|_| Answer::ok("application/json", r#"{"token":"t"}"#));
    let port = evil.host().rsplit(':').next().unwrap().to_owned();
    for realm in [
        format!("http://registry.example:{port}/token"),
        format!("http://user:password@{}/token", evil.host()),
        "file:///etc/passwd".to_owned(),
        "http://169.254.169.254/latest/meta-data".to_owned(),
        String::new(),
    ] {
        let challenge = format!("Bearer realm=\"{realm}\",service=\"x\",scope=\"y\"");
        let source =
            Scripted::start(move |_| Answer::status(401).header("www-authenticate", &challenge));
        bench
            .home
            .log_in(&[(&source.host(), "canary-user", "canary-password")]);
        assert_no_bundle(&realm, &create(&bench, &source.host()), 5);
    }
    assert_eq!(credentials(&evil), [""; 0]);
    // Credentials of a host that only looks like this one are not this one's.
    let source = registry(|asked, answer| match asked.header("authorization") {
        None => answer,
        Some(_) => Answer::status(500),
    });
    let host = source.host();
    let logins: Vec<String> = vec![format!("{host}1"), format!("1{host}"), "127.0.0.1".into()];
    let logins: Vec<_> = logins
        .iter()
        .map(|h| (h.as_str(), "canary-user", "x"))
        .collect();
    bench.home.log_in(&logins);
    create(&bench, &host).0.finished.success();
    assert_eq!(credentials(&source), [""; 0]);
}

#[test]
fn a_source_that_is_busy_or_breaks_off_is_asked_again_but_not_for_ever() {
    let bench = Bench::new();
    let image = sample(5, Family::Docker, "linux/amd64");
    for (faults, retries, code) in [
        ("GET::status=429:retry-after=1:times=2", "5", 0),
        ("GET:/blobs/:cut=1000:times=2", "5", 0),
        ("GET:/blobs/:corrupt=70000:times=1", "5", 0),
        ("GET:/blobs/:reset:times=2", "5", 0),
        ("GET::status=429:retry-after=1", "2", 5),
        ("GET:/blobs/:cut=1000", "2", 5),
        ("GET:/blobs/:corrupt=500", "2", 5),
        ("GET:/manifests/:corrupt=50", "2", 5),
        ("GET:/blobs/:status=404", "2", 5),
    ] {
        let source = Embedded::failing(faults);
        source.client().push("a/one", "1", &image);
        let (watched, out) = create_trying(&bench, &source.host(), retries);
        let finished = &watched.finished;
        if code == 0 {
            assert_eq!(finished.code(), Some(0), "{faults}: {finished:?}");
            std::fs::remove_file(out).unwrap();
        } else {
            assert_no_bundle(faults, &(watched, out), code);
        }
    }
}
