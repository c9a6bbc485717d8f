//! What is sent is seen: recordings, and namespaces with counters.

use std::time::Duration;

use crate::support::{
    distribution::{Options, Registry},
    images::{Family, sample},
    netns::{NetNs, Packets},
    pki::TestCa,
    pusher::Access,
    recording::Recording,
    token_service::{self, Anonymous, TokenService},
    tools::{Home, Running, require, run, run_with, temp_dir, wait_until},
};

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
