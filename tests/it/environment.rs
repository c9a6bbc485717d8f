//! The environment proves itself: what the other tests stand on works with the real tools.

use std::time::Duration;

use sneakernet::oci::{Digest, media_type};

use crate::support::{
    containerd::{Containerd, Pull},
    distribution::{Options, Registry},
    images::{
        self, Blob, Compression, Family, Image, ImageBuilder, Layer, artifact, empty_config,
        sample, sample_index,
    },
    netns::{NetNs, Packets},
    pki::TestCa,
    pusher::{Access, Authorization},
    recording::Recording,
    seed::{self, SeedWorld},
    token_service::{self, Anonymous, TokenService},
    tools::{Finished, Home, Running, bundle_path, require, run, run_with, temp_dir, wait_until},
};

const USER: &str = "somebody";
const PASSWORD: &str = "pass:word with %, & and ü";

#[test]
fn skopeo_copies_our_images_out_of_a_registry_with_tls_and_users() {
    require!("docker-registry", "htpasswd", "skopeo");
    let ca = TestCa::new();
    let registry = Registry::start(
        Options::default()
            .with_tls(&ca, &["registry.local"])
            .with_user(USER, PASSWORD),
    );
    let image = sample_index(1, Family::Docker);
    registry.client().push("team/app", "1.0", &image);
    registry.client().assert_holds("team/app", "1.0", &image);

    let home = Home::new();
    let certificates = temp_dir("certificates");
    ca.write_to(certificates.path());
    let target = temp_dir("layout");
    let skopeo = |home: &Home, arguments: &[&str]| {
        let mut skopeo = home.tool("skopeo");
        skopeo.args(arguments);
        run(skopeo)
    };
    let from = format!("docker://{}/team/app:1.0", registry.host());
    let directory = certificates.path().to_str().unwrap();
    let raw = ["inspect", "--raw", "--cert-dir", directory, &from];

    // Without a login nothing is given out, and so the login below is what makes the difference.
    let refused = skopeo(&home, &raw).failure();
    assert!(
        refused.stderr.contains("authentication required"),
        "{refused:?}"
    );

    home.log_in(&[(registry.host(), USER, PASSWORD)]);
    assert_eq!(skopeo(&home, &raw).success().stdout, image.bytes);
    let to = format!("dir:{}", target.path().display());
    skopeo(
        &home,
        &[
            "copy",
            "--all",
            "--preserve-digests",
            "--src-cert-dir",
            directory,
            &from,
            &to,
        ],
    )
    .success();
    for blob in image.all_blobs() {
        let copied = std::fs::read(target.path().join(blob.digest.hex())).expect("a blob");
        assert_eq!(Digest::sha256_of(&copied), blob.digest);
    }

    let without_tls = registry.url().replace("https", "http");
    let access = Access {
        url: without_tls,
        ..Access::default()
    };
    assert_eq!(
        access.client().status("/v2/"),
        400,
        "plain HTTP at a TLS port"
    );
}

#[test]
fn every_kind_of_image_is_taken_by_the_registry_and_read_by_skopeo() {
    require!("docker-registry", "skopeo");
    let registry = Registry::start(Options::default());
    let client = registry.client();
    let layer = |compression| Layer::sample(7, "kinds", 3 << 20, compression);
    let one = |family, compression| {
        ImageBuilder::new(family, "linux/amd64")
            .layer(&layer(compression))
            .build()
    };
    let kinds = [
        ("oci-gzip", one(Family::Oci, Compression::Gzip)),
        ("oci-zstd", one(Family::Oci, Compression::Zstd)),
        ("oci-plain", one(Family::Oci, Compression::None)),
        ("docker-gzip", one(Family::Docker, Compression::Gzip)),
        ("docker-plain", one(Family::Docker, Compression::None)),
        ("oci-index", sample_index(2, Family::Oci)),
        ("docker-list", sample_index(2, Family::Docker)),
    ];
    let home = Home::new();
    for (tag, image) in &kinds {
        client.push("kinds", tag, image);
        client.assert_holds("kinds", tag, image);
        let mut inspect = home.tool("skopeo");
        let place = format!("docker://{}/kinds:{tag}", registry.host());
        inspect.args(["inspect", "--tls-verify=false", "--config", &place]);
        inspect.args(["--override-os", "linux", "--override-arch", "amd64"]);
        let config = run(inspect).success().json();
        let diff_ids = config["rootfs"]["diff_ids"].as_array().expect("a list");
        let manifest = image
            .documents()
            .into_iter()
            .find(|d| !d.is_index())
            .unwrap();
        assert_diff_ids(tag, diff_ids, manifest);
    }

    let chart = artifact(
        Some("application/vnd.example.thing"),
        Blob::new("application/vnd.example.config+json", &b"{\"any\":1}"[..]),
        vec![Blob::new("application/vnd.example.data", &b"data"[..])],
        None,
    );
    client.push("artifacts", "1", &chart);
    client.assert_holds("artifacts", "1", &chart);
    let referrer = artifact(
        Some("application/vnd.example.signature"),
        empty_config(),
        vec![empty_config()],
        Some(&chart),
    );
    client.push_untagged("artifacts", &referrer);
    client.assert_holds("artifacts", &referrer.digest.to_string(), &referrer);
    assert_eq!(client.tags("artifacts"), ["1"]);
    assert_eq!(client.repositories(), ["artifacts", "kinds"]);
}

/// The digests that the configuration names are those of the unpacked layers.
fn assert_diff_ids(tag: &str, diff_ids: &[serde_json::Value], manifest: &Image) {
    use std::io::Read;
    let layers = &manifest.blobs[1..];
    assert_eq!(diff_ids.len(), layers.len(), "{tag}");
    for (layer, diff_id) in layers.iter().zip(diff_ids) {
        let mut tar = Vec::new();
        let mut bytes = layer.bytes.as_ref();
        if layer.media_type.ends_with("gzip") {
            let mut decoder = flate2::read::GzDecoder::new(bytes);
            decoder.read_to_end(&mut tar).unwrap();
        } else if layer.media_type.ends_with("zstd") {
            tar = zstd::decode_all(bytes).unwrap();
        } else {
            bytes.read_to_end(&mut tar).unwrap();
        }
        assert_eq!(*diff_id, Digest::sha256_of(&tar).to_string(), "{tag}");
        assert!(tar::Archive::new(&tar[..]).entries().unwrap().count() >= 3);
    }
}

#[test]
fn the_same_seed_makes_the_same_image() {
    let digest = |seed| sample_index(seed, Family::Oci).digest;
    assert_eq!(digest(3), digest(3));
    assert_ne!(digest(3), digest(4));
    let families = [Family::Oci, Family::Docker].map(|family| sample(3, family, "linux/arm64"));
    assert_ne!(families[0].digest, families[1].digest);
    // Only one of the two families writes manifests that a serializer would write again.
    let again = |image: &Image| {
        let parsed: serde_json::Value = serde_json::from_slice(&image.bytes).unwrap();
        parsed.to_string().as_bytes() == image.bytes
    };
    assert_eq!(families.map(|image| again(&image)), [true, false]);
}

#[test]
fn foreign_layers_are_taken_only_where_their_urls_are_allowed() {
    require!("docker-registry");
    let url = "https://mcr.microsoft.com/v2/windows/blobs/sha256:1";
    let windows = ImageBuilder::new(Family::Docker, "windows/amd64")
        .foreign_layer(Digest::sha256_of(b"far away"), 1 << 30, &[url])
        .build();
    let strict = Registry::start(Options::default());
    let pushed = std::panic::catch_unwind(|| strict.client().push("win", "1", &windows));
    assert!(pushed.is_err(), "Distribution's default refuses urls");
    assert!(strict.client().manifest("win", "1").is_none());

    let lenient = Registry::start(Options {
        allow_urls: vec![seed::WINDOWS_URLS.to_owned()],
        ..Options::default()
    });
    lenient.client().push("win", "1", &windows);
    lenient.client().assert_holds("win", "1", &windows);
    let layer = Digest::sha256_of(b"far away");
    assert!(lenient.client().blob("win", layer).is_none());
}

#[test]
fn a_registry_keeps_its_content_and_address_over_a_restart() {
    require!("docker-registry");
    let image = sample(5, Family::Oci, "linux/amd64");
    let mut registry = Registry::start(Options::default());
    registry.client().push("kept", "1", &image);
    let host = registry.host().to_owned();
    registry.stop();
    registry.restart();
    assert_eq!(registry.host(), host);
    registry.client().assert_holds("kept", "1", &image);
    assert!(registry.log().contains("GET /v2/kept/manifests/1"));

    let storage = registry.storage();
    let read_only = Registry::start(Options {
        storage: Some(storage),
        read_only: true,
        ..Options::default()
    });
    read_only.client().assert_holds("kept", "1", &image);
    let other = sample(6, Family::Oci, "linux/amd64");
    let pushed = std::panic::catch_unwind(|| read_only.client().push("kept", "2", &other));
    assert!(pushed.is_err(), "it is read-only");
}

#[test]
fn the_token_registry_refuses_the_nameless_and_accepts_tokens() {
    require!("docker-registry", "skopeo");
    let tokens = TokenService::start(token_service::Options {
        service: "test.registry".to_owned(),
        users: vec![(USER.to_owned(), PASSWORD.to_owned())],
        ..token_service::Options::default()
    });
    let registry = Registry::start(Options {
        token: Some(tokens.auth()),
        ..Options::default()
    });
    let image = sample(8, Family::Docker, "linux/amd64");
    let with = |scopes: &[&str]| Access {
        authorization: Some(Authorization::Bearer(tokens.token(scopes))),
        ..registry.access()
    };
    assert_eq!(registry.client().status("/v2/"), 401);
    let foreign = with(&["repository:other:pull,push"]);
    assert_eq!(foreign.client().status("/v2/private/manifests/1"), 401);
    let granted = with(&["repository:private:pull,push"]);
    granted.client().push("private", "1", &image);
    assert!(
        tokens.requests().is_empty(),
        "none of this asked the service"
    );

    let home = Home::new();
    let inspect = |home: &Home| -> Finished {
        let mut skopeo = home.tool("skopeo");
        let place = format!("docker://{}/private:1", registry.host());
        skopeo.args(["inspect", "--raw", "--tls-verify=false", &place]);
        run(skopeo)
    };
    inspect(&home).failure();
    home.log_in(&[(registry.host(), USER, "wrong")]);
    inspect(&home).failure();
    home.log_in(&[(registry.host(), USER, PASSWORD)]);
    assert_eq!(inspect(&home).success().stdout, image.bytes);

    let requests = tokens.requests();
    let statuses: Vec<u16> = requests.iter().map(|request| request.status).collect();
    assert_eq!(statuses.first(), Some(&401), "{requests:?}");
    let last = requests.last().unwrap();
    assert_eq!(last.status, 200);
    assert_eq!(last.user.as_deref(), Some(USER));
    assert_eq!(last.scopes, ["repository:private:pull"]);
}

#[test]
fn a_public_token_service_lets_everybody_pull_but_not_push() {
    require!("docker-registry", "skopeo");
    let tokens = TokenService::start(token_service::Options {
        service: "test.registry".to_owned(),
        anonymous: Anonymous::Pulls,
        ..token_service::Options::default()
    });
    let registry = Registry::start(Options {
        token: Some(tokens.auth()),
        ..Options::default()
    });
    let image = sample(9, Family::Oci, "linux/amd64");
    let token = tokens.token(&["repository:public:pull,push"]);
    let access = Access {
        authorization: Some(Authorization::Bearer(token)),
        ..registry.access()
    };
    access.client().push("public", "1", &image);
    let home = Home::new();
    let skopeo = |arguments: &[&str]| {
        let mut skopeo = home.tool("skopeo");
        skopeo.args(arguments);
        run(skopeo)
    };
    let place = format!("docker://{}/public:1", registry.host());
    let raw = ["inspect", "--raw", "--tls-verify=false", &place];
    assert_eq!(skopeo(&raw).success().stdout, image.bytes);
    let copy = format!("docker://{}/public:2", registry.host());
    let insecure = ["--src-tls-verify=false", "--dest-tls-verify=false"];
    skopeo(&["copy", insecure[0], insecure[1], &place, &copy]).failure();
    assert_eq!(access.client().tags("public"), ["1"]);
}

#[test]
fn containerd_pulls_and_unpacks_from_a_registry_with_tls_and_users() {
    require!("docker-registry", "htpasswd", "containerd", "ctr", "root");
    let ca = TestCa::new();
    let registry = Registry::start(
        Options::default()
            .with_tls(&ca, &[])
            .with_user(USER, "password"),
    );
    let image = sample_index(10, Family::Oci);
    registry.client().push("node/app", "1", &image);
    let containerd = Containerd::start();
    let reference = format!("{}/node/app:1", registry.host());
    let dir = temp_dir("ca");
    let mut how = Pull {
        ca_file: Some(ca.write_to(dir.path())),
        platform: Some("linux/amd64".to_owned()),
        ..Pull::default()
    };
    containerd.pull(&reference, &how).failure();
    how.user = Some((USER.to_owned(), "password".to_owned()));
    containerd.pull(&reference, &how).success();
    let digest = image.digest.to_string();
    assert_eq!(containerd.images(), [(reference.clone(), digest)]);
    assert!(containerd.is_unpacked(&reference));
    let platform = containerd.read_file(&reference, "etc/platform");
    assert_eq!(platform.as_deref(), Some(&b"linux/amd64 10\n"[..]));
    let name = containerd.read_file(&reference, "usr/share/base/name");
    assert_eq!(name.as_deref(), Some(&b"base\n"[..]));
    let removed = containerd.read_file(&reference, "usr/share/base/run.sh");
    assert_eq!(removed, None, "the upper layer takes it away");
}

#[test]
fn containerd_imports_an_archive() {
    require!("docker-registry", "skopeo", "containerd", "ctr", "root");
    let registry = Registry::start(Options::default());
    let image = sample(11, Family::Oci, "linux/amd64");
    registry.client().push("app", "1", &image);
    let dir = temp_dir("archive");
    let file = dir.path().join("image.tar");
    let mut skopeo = Home::new().tool("skopeo");
    skopeo.args(["copy", "--src-tls-verify=false", "--preserve-digests"]);
    skopeo.arg(format!("docker://{}/app:1", registry.host()));
    skopeo.arg(format!("oci-archive:{}:example.test/app:1", file.display()));
    skopeo.current_dir(dir.path());
    run(skopeo).success();
    let containerd = Containerd::start();
    let archive = std::fs::read(&file).unwrap();
    containerd.import(archive).success();
    let digest = image.digest.to_string();
    let images = containerd.images();
    assert!(
        images.iter().any(|(_, found)| *found == digest),
        "{images:?}"
    );
    containerd.import(b"not an archive".to_vec()).failure();
}

#[test]
fn a_recording_sees_every_connection_and_request() {
    require!("docker-registry", "crane");
    let registry = Registry::start(Options::default());
    let image = sample(12, Family::Docker, "linux/amd64");
    registry.client().push("app", "1", &image);

    let recording = Recording::in_front_of(registry.host());
    recording.assert_untouched();
    let home = Home::new();
    let mut crane = home.tool("crane");
    crane.args(["copy", "--insecure"]);
    crane.arg(format!("{}/app:1", registry.host()));
    crane.arg(format!("{}/copy:2", recording.host()));
    run(crane).success();
    registry.client().assert_holds("copy", "2", &image);
    let record = recording.record();
    assert!(record.connections > 0 && record.bytes > 0, "{record:?}");
    let tagged = "PUT /v2/copy/manifests/2 HTTP/1.1".to_owned();
    assert_eq!(record.requests.last(), Some(&tagged), "{record:?}");
    assert!(record.requests.contains(&"GET /v2/ HTTP/1.1".to_owned()));

    let refusing = Recording::refusing();
    let access = Access {
        url: format!("http://{}", refusing.host()),
        ..Access::default()
    };
    assert_eq!(access.client().status("/v2/"), 503);
    let record = refusing.record();
    assert_eq!(record.connections, 1);
    assert_eq!(record.requests, ["GET /v2/ HTTP/1.1"]);
    drop(refusing);
    let untouched = Recording::refusing();
    let _ = std::net::TcpStream::connect(untouched.host()).unwrap();
    let connected = || untouched.record().connections == 1;
    wait_until(
        "a bare connection counts",
        Duration::from_secs(5),
        connected,
    );
}

#[test]
fn a_namespace_counts_every_packet_that_goes_elsewhere() {
    require!("docker-registry", "crane", "nft", "root");
    let (inside, server) = (NetNs::new(), NetNs::new());
    inside.connect(&server, "10.88.0.1", "10.88.0.2");
    inside.hosts(&[("10.88.0.2", "registry.local")]);
    let ca = TestCa::new();
    let registry = Registry::start(
        Options::default()
            .with_tls(&ca, &["registry.local"])
            .inside(&server, "10.88.0.2:5000"),
    );
    inside.count_packets("10.88.0.2:5000".parse().unwrap());

    let home = Home::new();
    let ca_file = ca.write_to(home.path());
    let crane = |arguments: &[&str]| {
        let mut crane = home.tool("crane");
        crane.args(arguments).env("SSL_CERT_FILE", &ca_file);
        run(inside.wrap(&crane))
    };
    let catalog = crane(&["catalog", "registry.local:5000"]).success();
    assert_eq!(catalog.text().trim(), "");
    assert!(registry.log().contains("GET /v2/_catalog"));
    let quiet = inside.packets();
    assert!(quiet.expected > 5, "{quiet:?}");
    assert_eq!(quiet.other, 0, "only the destination was spoken to");

    // Each of these would go unnoticed if only the link were counted.
    let mut before = quiet.other;
    for elsewhere in ["203.0.113.1:443", "127.0.0.1:5000", "10.88.0.2:443"] {
        let mut connect = inside.tool("bash");
        connect.args([
            "-c",
            &format!("exec 3<>/dev/tcp/{}", elsewhere.replace(':', "/")),
        ]);
        let mut patient = Running::start(connect, Vec::new());
        let noticed = || inside.packets().other > before;
        wait_until(elsewhere, Duration::from_secs(10), noticed);
        patient.kill();
        before = inside.packets().other;
    }
    let Packets { other, .. } = inside.packets();
    let mut lookup = inside.tool("getent");
    lookup.args(["hosts", "registry.example"]);
    run_with(lookup, Vec::new(), Duration::from_secs(60)).failure();
    assert!(
        inside.packets().other > other,
        "a question for a name counts"
    );
}

#[test]
fn sockets_of_the_test_work_inside_a_namespace() {
    require!("root", "curl");
    let netns = NetNs::new();
    netns.hosts(&[("127.0.0.9", "auth.test")]);
    let ca = TestCa::new();
    let tokens = TokenService::start(token_service::Options {
        listener: Some(netns.listen("127.0.0.9:443")),
        name: Some("auth.test".to_owned()),
        tls: Some(ca.issue(&["auth.test"])),
        service: "test".to_owned(),
        anonymous: Anonymous::Pulls,
        ..token_service::Options::default()
    });
    assert_eq!(tokens.realm(), "https://auth.test/token");
    let dir = temp_dir("ca");
    let file = ca.write_to(dir.path());
    let ask = |netns: &NetNs| {
        let mut curl = netns.tool("curl");
        curl.args([
            "--silent",
            "--show-error",
            "--fail",
            "--max-time",
            "10",
            "--cacert",
        ]);
        curl.arg(&file);
        curl.arg(format!(
            "{}?service=test&scope=repository:a:pull",
            tokens.realm()
        ));
        run(curl)
    };
    let token = ask(&netns).success().json();
    assert!(
        token["token"]
            .as_str()
            .is_some_and(|token| token.split('.').count() == 3)
    );
    assert_eq!(tokens.requests().len(), 1);

    // Next door there is the name, but nobody.
    let elsewhere = NetNs::new();
    elsewhere.hosts(&[("127.0.0.9", "auth.test")]);
    ask(&elsewhere).failure();
    assert_eq!(tokens.requests().len(), 1);
}

#[test]
fn the_seed_world_holds_all_references_on_loopback() {
    require!("docker-registry", "skopeo");
    let world = SeedWorld::on_loopback();
    let images = &world.content.images;
    assert_eq!(images.len(), 41);
    for seed in images {
        let access = world.access(&seed.host, &seed.repository);
        let served = access.client().manifest(&seed.repository, &seed.tag);
        let served = served.unwrap_or_else(|| panic!("{} is missing", seed.written));
        assert_eq!(served.bytes, seed.image.bytes, "{}", seed.written);
        assert_eq!(served.media_type, seed.image.media_type, "{}", seed.written);
    }
    let of_type = |media_type: &str| {
        let documents = images.iter().flat_map(|seed| seed.image.documents());
        documents.filter(|d| d.media_type == media_type).count()
    };
    for media_type in [
        media_type::OCI_INDEX,
        media_type::OCI_MANIFEST,
        media_type::DOCKER_LIST,
        media_type::DOCKER_MANIFEST,
    ] {
        assert!(of_type(media_type) > 1, "{media_type}");
    }
    let foreign = images::DOCKER_FOREIGN_LAYER.as_bytes();
    let mentions = |image: &Image| {
        let mut documents = image.documents().into_iter();
        documents.any(|d| d.bytes.windows(foreign.len()).any(|part| part == foreign))
    };
    let windows: Vec<&str> = images
        .iter()
        .filter(|seed| mentions(&seed.image))
        .map(|seed| seed.repository.as_str())
        .collect();
    assert_eq!(windows, ["tigera/fluentd-windows"]);
    let blobs: std::collections::BTreeMap<Digest, usize> = images
        .iter()
        .flat_map(|seed| seed.image.all_blobs())
        .map(|blob| (blob.digest, blob.bytes.len()))
        .collect();
    let total: usize = blobs.values().sum();
    assert!((40 << 20..90 << 20).contains(&total), "{total} bytes");

    // A mirror is no way around the login.
    assert_eq!(world.mirrors().len(), 6);
    let home = Home::new();
    let place = format!("docker://{}/tigera/operator:v1.29.4", world.quay.host());
    let manifest = || {
        let mut skopeo = home.tool("skopeo");
        skopeo.args(["inspect", "--raw", "--tls-verify=false", &place]);
        run(skopeo)
    };
    manifest().failure();
    world.log_in(&home);
    let operator = images
        .iter()
        .find(|seed| seed.repository == "tigera/operator");
    assert_eq!(manifest().success().stdout, operator.unwrap().image.bytes);
}

#[test]
fn the_seed_world_answers_by_its_real_names_in_a_namespace() {
    require!("docker-registry", "crane", "root");
    let netns = NetNs::new();
    let ca = TestCa::new();
    let world = SeedWorld::inside(&netns, &ca);
    let home = Home::new();
    let ca_file = ca.write_to(home.path());
    world.log_in(&home);
    for name in ["cc-operator", "fluentd-windows", "alpine"] {
        let seed = world
            .content
            .images
            .iter()
            .find(|seed| seed.repository.ends_with(name))
            .unwrap();
        let mut crane = home.tool("crane");
        crane.args(["manifest", &seed.written]);
        crane.env("SSL_CERT_FILE", &ca_file);
        let finished = run(netns.wrap(&crane)).success();
        assert_eq!(finished.stdout, seed.image.bytes, "{name}");
    }
    let users: Vec<_> = world.quay_tokens.requests();
    assert_eq!(
        users.last().and_then(|r| r.user.as_deref()),
        Some(seed::USER)
    );
    assert!(!world.hub_tokens.requests().is_empty());
}

#[test]
fn a_home_hides_the_environment_from_the_program() {
    let home = Home::new();
    let mut command = home.bundle();
    assert_eq!(command.get_program(), bundle_path());
    command.env("ADDED", "1");
    let names: Vec<String> = command
        .get_envs()
        .map(|(name, _)| name.to_string_lossy().into_owned())
        .collect();
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("CARGO")) {
        assert!(!names.contains(&name), "{name} is handed on");
    }
    let mut env = home.tool("env");
    env.env("ADDED", "1");
    let seen = run(env).success().text();
    assert!(seen.contains("ADDED=1"));
    assert!(seen.contains(&format!("HOME={}", home.path().display())));
    assert!(!seen.contains("CARGO"), "{seen}");
}

#[test]
fn a_command_that_takes_too_long_is_ended_and_told() {
    let late = std::panic::catch_unwind(|| {
        let home = Home::new();
        let mut sleep = home.tool("sh");
        sleep.args(["-c", "echo started; exec sleep 100"]);
        run_with(sleep, Vec::new(), Duration::from_millis(300))
    });
    let message = late.unwrap_err();
    let message = message.downcast_ref::<String>().expect("a message");
    assert!(message.contains("not done after"), "{message}");
    assert!(message.contains("started"), "{message}");
}
