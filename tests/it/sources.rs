//! What `create` is asked for: references in every form, lists of them, mirrors, and what it
//! refuses; each checked by what arrives at the other end.

use std::{
    io::{Read as _, Write as _},
    net::TcpListener,
    process::Command,
};

use crate::support::{
    distribution::{Options, Registry},
    embedded::Embedded,
    images::{Family, Image, sample, sample_index},
    samples::{self, Kind},
    tools::{Finished, Home, PATIENCE, require, run, run_with},
};

/// Two versions of an image at an upstream: tag `2` and `latest` are the newer one.
struct Upstream {
    registry: Embedded,
    home: Home,
    old: Image,
    new: Image,
}

impl Upstream {
    fn new() -> Self {
        let registry = Embedded::start();
        let (old, new) = (
            sample_index(40, Family::Oci),
            sample(41, Family::Docker, "linux/amd64"),
        );
        let client = registry.client();
        client.push("team/app", "1", &old);
        client.push("team/app", "2", &new);
        client.push("team/app", "latest", &new);
        Self {
            registry,
            home: Home::new(),
            old,
            new,
        }
    }

    fn create(&self, output: &str) -> Command {
        let mut create = self.home.bundle();
        create.args(["create", "--unsigned", "-o", output]);
        create
    }

    /// The references in a bundle, each with its digest, sorted.
    #[track_caller]
    fn images(&self, bundle: &str) -> Vec<(String, String)> {
        let inspect = ["inspect", bundle, "--format", "json"];
        let inspected = self.home.run_bundle(inspect).success().json();
        let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
        let images = inspected["images"].as_array().unwrap();
        let mut images: Vec<_> = images
            .iter()
            .map(|image| (text(&image["reference"]), text(&image["digest"])))
            .collect();
        images.sort();
        images
    }

    /// Loads a bundle into an empty registry.
    #[track_caller]
    fn load(&self, bundle: &str) -> Embedded {
        let destination = Embedded::start();
        let load = [
            "load",
            bundle,
            "--allow-unsigned",
            "--to",
            &destination.host(),
        ];
        self.home.run_bundle(load).success();
        destination
    }
}

#[test]
fn references_have_tags_digests_both_or_none() {
    let upstream = Upstream::new();
    let host = upstream.registry.host();
    let (old, new) = (upstream.old.digest, upstream.new.digest);
    let forms = [
        (format!("{host}/team/app:1"), old),
        (format!("{host}/team/app"), new),
        (format!("{host}/team/app@{old}"), old),
        // The digest says what is meant; the tag has moved on since.
        (format!("{host}/team/app:2@{old}"), old),
    ];
    let mut create = upstream.create("bundle");
    for (written, _) in &forms {
        create.args(["--image", written]);
    }
    run(create).success();
    let mut expected: Vec<(String, String)> = forms
        .iter()
        .map(|(written, digest)| {
            let latest = written.ends_with("/app").then_some(":latest");
            (
                format!("{written}{}", latest.unwrap_or("")),
                digest.to_string(),
            )
        })
        .collect();
    expected.sort();
    assert_eq!(upstream.images("bundle"), expected);

    let destination = upstream.load("bundle");
    let client = destination.client();
    assert_eq!(client.tags("team/app"), ["1", "2", "latest"]);
    client.assert_holds("team/app", "1", &upstream.old);
    client.assert_holds("team/app", "2", &upstream.old);
    client.assert_holds("team/app", "latest", &upstream.new);
    client.assert_holds("team/app", &old.to_string(), &upstream.old);
}

#[test]
fn what_is_not_there_is_named_all_at_once() {
    let upstream = Upstream::new();
    let host = upstream.registry.host();
    let other = sample(42, Family::Oci, "linux/amd64").digest;
    let missing = [
        format!("{host}/team/app:3"),
        format!("{host}/team/app@{other}"),
        format!("{host}/team/app:1@{other}"),
        format!("{host}/team/nothing:1"),
    ];
    let mut create = upstream.create("never");
    create.args(["--image", &format!("{host}/team/app:1")]);
    for reference in &missing {
        create.args(["--image", reference]);
    }
    let refused = run(create).exits(5);
    for reference in &missing {
        assert!(
            refused.stderr.contains(reference),
            "{reference}: {refused:?}"
        );
    }
    assert!(refused.stderr.contains("4 of 5 images"), "{refused:?}");
    assert!(!upstream.home.path().join("never").exists());

    let mut create = upstream.create("never");
    create.args(["--image", "Alpine", "--image", "a//b", "--image", "ok:1"]);
    let refused = run(create).exits(2);
    assert!(refused.stderr.contains("`Alpine`"), "{refused:?}");
    assert!(refused.stderr.contains("`a//b`"), "{refused:?}");
}

#[test]
fn a_mirror_is_asked_and_the_true_name_stays() {
    let upstream = Upstream::new();
    let host = upstream.registry.host();
    upstream
        .registry
        .client()
        .push("cache/library/app", "1", &upstream.old);
    let mut create = upstream.create("bundle");
    create.args(["--mirror", &format!("quay.io={host}")]);
    create.args(["--mirror", &format!("docker.io={host}/cache")]);
    create.args(["--image", "quay.io/team/app:2", "--image", "app:1"]);
    run(create).success();
    let expected = [
        (
            "docker.io/library/app:1".to_owned(),
            upstream.old.digest.to_string(),
        ),
        (
            "quay.io/team/app:2".to_owned(),
            upstream.new.digest.to_string(),
        ),
    ];
    assert_eq!(upstream.images("bundle"), expected);
    let lock = ["inspect", "bundle", "--raw", "lock"];
    let lock = upstream.home.run_bundle(lock).success().text();
    assert!(
        !lock.contains(&host),
        "where it came from is nobody's business: {lock}"
    );
    let destination = upstream.load("bundle");
    destination
        .client()
        .assert_holds("library/app", "1", &upstream.old);

    // What the mirror does not have is missing under its own name, and nobody else is asked.
    let mut create = upstream.create("never");
    create.args(["--mirror", &format!("quay.io={host}")]);
    create.args(["--image", "quay.io/team/app:9"]);
    let refused = run(create).exits(5);
    assert!(refused.stderr.contains("quay.io/team/app:9"), "{refused:?}");
}

#[test]
fn lists_are_read_as_editors_write_them() {
    let upstream = Upstream::new();
    let host = upstream.registry.host();
    let list = format!(
        "\u{feff}# all of it\r\n\r\n  {host}/team/app:1   # the old one\r\n\t{host}/team/app:2\r\n\
         #{host}/team/never:1\r\n{host}/team/app:1\r\n{host}/team/app@{}",
        upstream.old.digest
    );
    std::fs::write(upstream.home.path().join("images.txt"), &list).unwrap();
    let mut create = upstream.create("from-file");
    create.args(["--images-from", "images.txt"]);
    let told = run(create).success();
    assert!(
        told.stderr.contains("1 image is asked for more than once"),
        "{told:?}"
    );
    let mut create = upstream.create("from-stdin");
    create.args(["--images-from", "-"]);
    run_with(create, list.into_bytes(), PATIENCE).success();
    let images = upstream.images("from-file");
    assert_eq!(images.len(), 3);
    assert_eq!(images, upstream.images("from-stdin"));
    assert_eq!(
        upstream.load("from-file").client().tags("team/app"),
        ["1", "2"]
    );

    let wrong = "alpine\nAlpine\n\na b\r\nhttp://x/y:1\n";
    std::fs::write(upstream.home.path().join("wrong.txt"), wrong).unwrap();
    let mut create = upstream.create("never");
    create.args(["--images-from", "wrong.txt", "--images-from", "absent.txt"]);
    let refused = run(create).exits(2);
    for place in ["wrong.txt:2", "wrong.txt:4", "wrong.txt:5", "absent.txt"] {
        assert!(refused.stderr.contains(place), "{place}: {refused:?}");
    }
    assert!(!refused.stderr.contains("wrong.txt:1:"), "{refused:?}");
}

#[test]
fn q56_schema_1_is_refused_and_named_with_everything_else() {
    let upstream = Upstream::new();
    let old = schema_1_registry();
    let mut create = upstream.create("never");
    create.args(["--mirror", &format!("quay.io={old}")]);
    create.args([
        "--image",
        "quay.io/very/old:1",
        "--image",
        "quay.io/very/old:2",
    ]);
    create.args([
        "--image",
        &format!("{}/team/app:1", upstream.registry.host()),
    ]);
    let refused = run(create).exits(5);
    for name in ["quay.io/very/old:1", "quay.io/very/old:2"] {
        let line = refused.stderr.lines().find(|line| line.contains(name));
        let line = line.unwrap_or_else(|| panic!("{name}: {refused:?}"));
        assert!(line.contains("schema 1"), "{refused:?}");
    }
    assert!(refused.stderr.contains("2 of 3 images"), "{refused:?}");
    assert!(!upstream.home.path().join("never").exists());
}

/// Answers every request for a manifest with one of schema 1, until the test process ends.
fn schema_1_registry() -> String {
    const BODY: &str = r#"{"schemaVersion":1,"name":"very/old","tag":"1","architecture":"amd64",
        "fsLayers":[],"history":[],"signatures":[]}"#;
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let host = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            std::thread::spawn(move || {
                let mut request = [0; 4096];
                let count = stream.read(&mut request).unwrap_or(0);
                let request = String::from_utf8_lossy(&request[..count]).into_owned();
                let media_type = "application/vnd.docker.distribution.manifest.v1+prettyjws";
                let (media_type, body) = match request.contains("/manifests/") {
                    true => (media_type, BODY),
                    false => ("application/json", "{}"),
                };
                let length = body.len();
                let body = if request.starts_with("HEAD ") {
                    ""
                } else {
                    body
                };
                let answer = format!(
                    "HTTP/1.1 200 OK\r\nContent-Type: {media_type}\r\n\
                     Content-Length: {length}\r\nConnection: close\r\n\r\n{body}"
                );
                // A client that has gone has its reasons.
                let _ = stream.write_all(answer.as_bytes());
            });
        }
    });
    host
}

#[test]
fn q51_every_kind_arrives_byte_for_byte_through_real_registries() {
    require!("docker-registry");
    let upstream = Registry::start(Options::default());
    let samples = samples::samples();
    samples::push(&upstream.client(), &samples);
    let home = Home::new();
    let mut create = home.bundle();
    create.args(["create", "--unsigned", "-o", "bundle"]);
    create.args(samples::mirrors(upstream.host()));
    for sample in &samples {
        create.args(["--image", &sample.written]);
    }
    run(create).success();
    drop(upstream);
    let real = Registry::start(Options::default());
    let embedded = Embedded::start();
    let load = |to: &str, input: Option<Vec<u8>>| -> Finished {
        let file = if input.is_some() { "-" } else { "bundle" };
        let mut load = home.bundle();
        load.args(["load", file, "--allow-unsigned", "--to", to]);
        run_with(load, input.unwrap_or_default(), PATIENCE).success()
    };
    let bytes = std::fs::read(home.path().join("bundle")).unwrap();
    load(real.host(), None);
    load(&embedded.host(), Some(bytes));
    for client in [real.client(), embedded.client()] {
        for sample in &samples {
            client.assert_holds(&sample.repository, &sample.tag, &sample.image);
        }
    }
    let artifacts = samples.iter().filter(|s| s.kind == Kind::Artifact);
    assert_eq!(artifacts.count(), 2);
}
