//! Registries with TLS, users and tokens, as Debian's `docker-registry` does them.

use sneakernet::oci::Digest;

use crate::support::{
    distribution::{Options, Registry},
    images::{Family, sample, sample_index},
    pki::TestCa,
    pusher::{Access, Authorization},
    token_service::{self, Anonymous, TokenService},
    tools::{Finished, Home, require, run, temp_dir},
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
