//! Registries at the destination that lie, send the bundle elsewhere, or have other content under
//! the same names: exit code 6, before the first push where that can be known, and never a tag that
//! points to something else than was signed.

use sneakernet::oci::{Digest, media_type};

use crate::support::{
    attempt::{Bench, QUICK, Watched, assert_refused, watch},
    embedded::Embedded,
    forge::{CONFIG, CONTENT, Forge, manifest},
    images::{Family, sample},
    scripted::{Answer, Scripted},
};

const OCI: &str = media_type::OCI_MANIFEST;

fn load_into(bench: &Bench, bundle: &[u8], host: &str, more: &[&str]) -> Watched {
    let file = bench.file(bundle);
    let mut command = bench.home.bundle();
    command.args([
        "load",
        file.to_str().unwrap(),
        "--to",
        host,
        "--key",
        "cosign.pub",
    ]);
    command.args(["--retries", "3"]).args(more);
    watch(command, Vec::new(), QUICK * 3)
}

fn honest(bench: &Bench) -> Vec<u8> {
    Forge::honest().signed_by(bench.key("cosign")).build()
}

#[test]
fn uploads_that_are_sent_elsewhere_take_no_credentials_along() {
    let bench = Bench::new();
    let bundle = honest(&bench);
    let elsewhere = Scripted::start(|_| Answer::status(404));
    let evil = elsewhere.host();
    let registry_that_sends_to = |location: String, status: u16| {
        Scripted::start(move |asked| {
            if asked.header("authorization").is_none() {
                return Answer::status(401).header("www-authenticate", "Basic realm=\"x\"");
            }
            match asked.method.as_str() {
                "GET" => Answer::ok("application/json", "{}"),
                "POST" => Answer::status(status).header("location", &location),
                _ => Answer::status(404),
            }
        })
    };
    let targets = [
        format!("http://{evil}/v2/a/one/blobs/uploads/1"),
        format!("https://{evil}/v2/a/one/blobs/uploads/1"),
        format!("//{evil}/upload"),
        format!("http://user:password@{evil}/upload"),
        "http://169.254.169.254/upload".to_owned(),
        "file:///etc/passwd".to_owned(),
        "ftp://127.0.0.1/upload".to_owned(),
        String::new(),
        "http://".to_owned(),
        "x".repeat(100_000),
    ];
    for target in targets {
        for status in [202, 307] {
            let registry = registry_that_sends_to(target.clone(), status);
            bench
                .home
                .log_in(&[(&registry.host(), "canary-user", "canary-password")]);
            let watched = load_into(&bench, &bundle, &registry.host(), &[]);
            assert_refused(&target[..target.len().min(80)], &watched, 6);
            assert!(registry.asked().iter().all(|asked| asked.method != "PUT"));
        }
    }
    // The commit of a blob, redirected.
    for method in ["PUT", "PATCH"] {
        let location = format!("http://{evil}/upload");
        let registry = Scripted::start(move |asked| match asked.method.as_str() {
            "GET" => Answer::ok("application/json", "{}"),
            "POST" => Answer::status(202).header("location", "/v2/a/one/blobs/uploads/1"),
            asked if asked == method => Answer::status(307).header("location", &location),
            "HEAD" => Answer::status(404),
            _ => Answer::status(405),
        });
        let watched = load_into(&bench, &bundle, &registry.host(), &[]);
        assert_refused(method, &watched, 6);
    }
    for asked in elsewhere.asked() {
        assert_eq!(asked.header("authorization"), None, "{}", asked.line());
        assert_eq!(asked.header("cookie"), None, "{}", asked.line());
    }
}

#[test]
fn a_registry_that_stores_nothing_gets_no_tag() {
    let bench = Bench::new();
    let bundle = honest(&bench);
    let wrong = manifest(CONFIG, &[b"other"]);
    let answers: [(&str, Answer); 4] = [
        ("nothing", Answer::status(404)),
        ("another manifest", Answer::ok(OCI, wrong)),
        ("a page", Answer::ok("text/html", "<html>Log in</html>")),
        ("an empty answer", Answer::ok(OCI, "")),
    ];
    for (what, read_back) in answers {
        let registry = Scripted::start(move |asked| {
            let of_manifest = asked.path.contains("/manifests/");
            match (asked.method.as_str(), of_manifest) {
                ("GET", false) => Answer::ok("application/json", "{}"),
                ("HEAD", _) => Answer::status(404),
                ("POST", _) => Answer::status(202).header("location", "/v2/a/one/blobs/uploads/1"),
                ("PUT", _) => {
                    let digest = match asked.path.split_once("digest=") {
                        Some((_, digest)) => digest.replace("%3A", ":"),
                        None => Digest::sha256_of(&asked.body).to_string(),
                    };
                    let place = asked.path.split('?').next().unwrap_or_default().to_owned();
                    let created = Answer::status(201).header("location", place);
                    created.header("docker-content-digest", digest)
                }
                _ => read_back.clone(),
            }
        });
        let watched = load_into(&bench, &bundle, &registry.host(), &[]);
        assert_refused(what, &watched, 6);
        let put = |path: &str| {
            let asked = registry.asked();
            asked
                .iter()
                .any(|a| a.method == "PUT" && a.path.contains(path))
        };
        assert!(put("/manifests/sha256:"), "{what}: {:?}", watched.finished);
        assert!(!put("/manifests/1"), "{what}: the tag was written");
    }
}

#[test]
fn refusals_of_the_registry_leave_every_tag_as_it_was() {
    let bench = Bench::new();
    let bundle = honest(&bench);
    for faults in [
        "POST:/blobs/uploads/:status=403",
        "POST:/blobs/uploads/:status=503",
        "PUT:/blobs/uploads/:status=400",
        "PUT:/blobs/uploads/:status=507",
        "PUT:/manifests/sha256:status=400",
        "PUT:/manifests/sha256:status=413",
        "GET:/manifests/sha256:status=404",
        "GET:/manifests/sha256:corrupt=5",
        "HEAD:/manifests/:status=500",
        "GET:^/v2/:status=404",
        "GET:^/v2/:status=503",
        "PUT:/manifests/1:status=409",
    ] {
        let registry = Embedded::failing(faults);
        let watched = load_into(&bench, &bundle, &registry.host(), &[]);
        assert_refused(faults, &watched, 6);
        let tag = registry.store().join("repositories/a/one/_tags/1");
        assert!(!tag.exists(), "{faults}");
        let deleted = registry.log.mutating().into_iter();
        let deleted: Vec<_> = deleted
            .filter(|r| r.method == "DELETE" && !r.path.contains("/blobs/uploads/"))
            .collect();
        assert!(deleted.is_empty(), "{faults}: {deleted:?}");
    }
    // What passes is not a failure.
    for faults in [
        "POST:/blobs/uploads/:status=429:retry-after=1:times=1",
        "PUT:/blobs/uploads/:reset:times=1",
        "PUT:/manifests/:lose-answer:times=1",
        "HEAD::status=503:times=2",
    ] {
        let registry = Embedded::failing(faults);
        let watched = load_into(&bench, &bundle, &registry.host(), &[]);
        assert_eq!(
            watched.finished.code(),
            Some(0),
            "{faults}: {:?}",
            watched.finished
        );
        let tag = registry.store().join("repositories/a/one/_tags/1");
        assert!(tag.exists(), "{faults}");
    }
}

#[test]
fn a_tag_that_is_something_else_is_refused_kept_or_replaced_as_told() {
    let bench = Bench::new();
    let two = manifest(CONFIG, &[b"second"]);
    let bundle = Forge::honest()
        .image("quay.io/a/two:1", OCI, &[&two], &[CONFIG, b"second"])
        .signed_by(bench.key("cosign"))
        .build();
    let theirs = sample(3, Family::Oci, "linux/amd64");
    let start = || {
        let registry = Embedded::start();
        registry.client().push("a/one", "1", &theirs);
        registry.log.clear();
        registry
    };
    let tag = |registry: &Embedded, name: &str| {
        let found = registry.client().manifest(name, "1");
        found.map(|manifest| Digest::sha256_of(&manifest.bytes))
    };
    let ours = Digest::sha256_of(manifest(CONFIG, &[CONTENT]).as_bytes());
    let second = Digest::sha256_of(two.as_bytes());

    let registry = start();
    let watched = load_into(&bench, &bundle, &registry.host(), &[]);
    assert_refused("refuse", &watched, 6);
    let message = &watched.finished.stderr;
    assert!(
        message.contains("a/one:1") && message.contains("--on-conflict"),
        "{message}"
    );
    assert_eq!(registry.log.mutating(), [], "refused before the first push");
    assert_eq!(tag(&registry, "a/one"), Some(theirs.digest));

    let keep = ["--on-conflict", "keep"];
    load_into(&bench, &bundle, &registry.host(), &keep)
        .finished
        .success();
    assert_eq!(tag(&registry, "a/one"), Some(theirs.digest));
    assert_eq!(tag(&registry, "a/two"), Some(second));

    let registry = start();
    let replace = ["--on-conflict", "replace"];
    load_into(&bench, &bundle, &registry.host(), &replace)
        .finished
        .success();
    assert_eq!(tag(&registry, "a/one"), Some(ours));
    assert_eq!(tag(&registry, "a/two"), Some(second));
}

#[test]
fn a_tag_whose_digest_the_registry_does_not_tell_properly_is_not_taken_for_a_new_one() {
    let bench = Bench::new();
    let bundle = honest(&bench);
    for named in [
        "sha384:00",
        "sha256:../../x",
        "md5:d41d8cd98f00b204e9800998ecf8427e",
    ] {
        let theirs = manifest(CONFIG, &[b"theirs"]);
        let registry = Scripted::start(move |asked| {
            if asked.path == "/v2/" {
                return Answer::ok("application/json", "{}");
            }
            match asked.method.as_str() {
                "GET" | "HEAD" if asked.path.ends_with("/manifests/1") => {
                    Answer::ok(OCI, theirs.clone()).header("docker-content-digest", named)
                }
                _ => Answer::status(404),
            }
        });
        let watched = load_into(&bench, &bundle, &registry.host(), &[]);
        assert_refused(named, &watched, 6);
        let message = &watched.finished.stderr;
        assert!(message.contains("--on-conflict"), "{named}: {message}");
        let asked = registry.asked();
        let read_only = asked
            .iter()
            .all(|a| matches!(a.method.as_str(), "GET" | "HEAD"));
        assert!(read_only, "{named}");
    }
}

#[test]
fn q80_two_images_do_not_get_one_name() {
    let bench = Bench::new();
    let two = manifest(CONFIG, &[b"second"]);
    let one = manifest(CONFIG, &[CONTENT]);
    // In the order of the root, which is that of the names.
    let bundle = Forge::default()
        .image("docker.io/a/one:1", OCI, &[&two], &[CONFIG, b"second"])
        .image("quay.io/a/one:1", OCI, &[&one], &[CONFIG, CONTENT])
        .signed_by(bench.key("cosign"))
        .build();
    let file = bench.file(&bundle);
    for more in [
        &[][..],
        &["--on-conflict", "replace"],
        &["--on-conflict", "keep"],
        &["--layout", "flat"],
        &["--layout", "last2"],
        &["--dry-run"],
        &[
            "--layout",
            "host",
            "--map",
            "quay.io=x",
            "--map",
            "docker.io=x",
        ],
    ] {
        let watched = bench.load(&file, more);
        assert_refused(&format!("{more:?}"), &watched, 6);
        let message = &watched.finished.stderr;
        assert!(message.contains("quay.io/a/one:1"), "{message}");
        assert!(message.contains("docker.io/a/one:1"), "{message}");
    }
    for to in [
        "127.0.0.1:1/../x",
        "127.0.0.1:1/A",
        "http://127.0.0.1:1",
        "127.0.0.1:99999",
        "",
    ] {
        let name = file.to_str().unwrap();
        let watched = bench.run(&["load", name, "--to", to], vec![]);
        assert_refused(to, &watched, 2);
    }
    bench.recording.assert_untouched();
    // Kept apart, both arrive.
    let registry = Embedded::start();
    let host = ["--layout", "host"];
    load_into(&bench, &bundle, &registry.host(), &host)
        .finished
        .success();
    for name in ["quay.io/a/one", "docker.io/a/one"] {
        assert!(registry.client().manifest(name, "1").is_some(), "{name}");
    }
    // The same content under two names is no clash.
    let same = Forge::honest()
        .image("docker.io/a/one:1", OCI, &[&one], &[CONFIG, CONTENT])
        .signed_by(bench.key("cosign"))
        .build();
    let registry = Embedded::start();
    load_into(&bench, &same, &registry.host(), &[])
        .finished
        .success();
    assert!(registry.client().manifest("a/one", "1").is_some());
}

#[test]
fn texts_of_a_registry_do_not_reach_the_terminal_as_they_are() {
    let bench = Bench::new();
    let bundle = honest(&bench);
    let evil = "\u{1b}[2J\u{1b}]0;owned\u{7}\u{9b}31m\u{202e}\r\nerror: all is well";
    let bodies = [
        serde_json::json!({"errors": [{"code": evil, "message": evil, "detail": evil}]})
            .to_string(),
        evil.to_owned(),
        "x".repeat(1 << 20),
        format!(
            "{{\"errors\":[{}]}}",
            vec!["{\"code\":\"A\"}"; 50_000].join(",")
        ),
    ];
    for body in bodies {
        for status in [400, 403, 418] {
            let text = body.clone();
            let registry = Scripted::start(move |asked| match asked.path.as_str() {
                "/v2/" => Answer::ok("application/json", "{}"),
                _ => Answer::status(status)
                    .header("content-type", "application/json")
                    .header("warning", "299 - \"\u{9b}31mhello\"")
                    .body(text.clone()),
            });
            let watched = load_into(&bench, &bundle, &registry.host(), &[]);
            assert_refused("an error with escape sequences", &watched, 6);
            let message = &watched.finished.stderr;
            assert!(!message.contains('\u{202e}'), "{message}");
            assert!(message.len() < 20_000, "{} bytes", message.len());
        }
    }
}
