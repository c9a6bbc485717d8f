//! What fails while bundles are made and loaded, with real parts: a registry that is killed, a token
//! service that is down, a line that cuts every connection.

use std::{
    net::TcpListener,
    process::Command,
    time::{Duration, Instant},
};

use super::{
    PASSWORD, Traveller, USER, is_ready,
    load::{Load, is_long, tell_measured},
};
use crate::support::{
    attempt::{MEMORY, watch},
    distribution::{Options, Registry},
    embedded::Embedded,
    images::{Blob, Image, artifact, empty_config, sample},
    line::{Faults, Line},
    product::Product::{self, *},
    pusher::{Access, Authorization},
    random::Random,
    token_service::{self, TokenService},
    tools::{Running, require},
};

/// How long the program may take, whatever fails meanwhile.
const PATIENCE: Duration = Duration::from_secs(1800);

/// Starts a command, waits until the line holds, does something, and lets the program come to its
/// end, which has to be a good one.
#[track_caller]
fn interrupted(command: Command, line: &mut Line, happens: impl FnOnce(&mut Line)) {
    let mut running = Running::start(command, Vec::new());
    line.wait_until_held();
    assert!(running.is_running());
    happens(line);
    running.finish(PATIENCE).success();
}

/// An artifact of six blobs of eight mebibytes that do not compress.
fn heavy() -> Image {
    let layer = |seed| {
        let bytes = Random(seed).bytes(8 << 20);
        Blob::new("application/vnd.oci.image.layer.v1.tar+gzip", bytes)
    };
    artifact(None, empty_config(), (0..6).map(layer).collect(), None)
}

/// A registry that can be started again: nobody else asks for a free port on its address.
fn restartable(product: Product) -> Registry {
    let listener = TcpListener::bind("127.0.0.2:0").expect("a free port");
    let address = listener.local_addr().expect("bound").to_string();
    drop(listener);
    Registry::start(Options {
        listen: Some(address),
        ..Options::of(product)
    })
}

/// Kills the registry while the line holds, and starts it again after a while in which the program
/// has nobody to talk to.
fn killed(registry: &mut Registry) -> impl FnOnce(&mut Line) + '_ {
    |line| {
        registry.stop();
        line.go_down();
        std::thread::sleep(Duration::from_secs(3));
        registry.restart();
        line.come_back();
    }
}

const HALFWAY: Faults = Faults {
    cut_after: None,
    hold_at: Some(20 << 20),
};

#[track_caller]
fn survives_a_kill_while_loading(product: Product) {
    if !is_ready(&[product], &[]) {
        return;
    }
    let traveller = Traveller::new();
    let source = Embedded::start();
    let image = heavy();
    source.client().push("team/heavy", "1", &image);
    let file = traveller.create(&[format!("{}/team/heavy:1", source.host())], &[]);

    let mut registry = restartable(product);
    let mut line = Line::to(registry.host(), HALFWAY);
    let mut load = traveller.bundle(&["load", "--allow-unsigned", "--to", &line.host()]);
    load.arg(&file);
    interrupted(load, &mut line, killed(&mut registry));
    registry.client().assert_holds("team/heavy", "1", &image);
}

#[test]
fn distribution_2_is_killed_and_started_again_while_a_bundle_is_loaded() {
    survives_a_kill_while_loading(Distribution2);
}

#[test]
fn distribution_3_is_killed_and_started_again_while_a_bundle_is_loaded() {
    survives_a_kill_while_loading(Distribution3);
}

#[test]
fn zot_is_killed_and_started_again_while_a_bundle_is_loaded() {
    survives_a_kill_while_loading(Zot);
}

#[test]
fn a_registry_is_killed_and_started_again_while_a_bundle_is_made() {
    require!("docker-registry");
    let traveller = Traveller::new();
    let image = heavy();
    let mut registry = restartable(Distribution2);
    registry.client().push("team/heavy", "1", &image);
    let mut line = Line::to(registry.host(), HALFWAY);
    let mut create = traveller.bundle(&["create", "--unsigned", "-o", "made", "--image"]);
    create.arg(format!("{}/team/heavy:1", line.host()));
    interrupted(create, &mut line, killed(&mut registry));
    assert_holds(&traveller, "made", "team/heavy", &image);
}

/// Asserts that a bundle has the image, by loading it into a registry.
#[track_caller]
fn assert_holds(traveller: &Traveller, file: &str, repository: &str, image: &Image) {
    let target = Embedded::start();
    let file = traveller.home.path().join(file);
    traveller.load(&file, &target.host(), &[]).success();
    target.client().assert_holds(repository, "1", image);
}

/// A registry whose token service is behind a line.
struct Guarded {
    registry: Registry,
    tokens: TokenService,
    line: Line,
}

/// The repositories of the images that are guarded: each wants a token of its own.
const REPOSITORIES: [&str; 6] = ["a/one", "a/two", "a/three", "b/four", "b/five", "b/six"];

impl Guarded {
    /// The line to the token service holds when some tokens have been given, and others are wanted.
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("bound").to_string();
        let held = Faults {
            hold_at: Some(8 << 10),
            ..Faults::default()
        };
        let line = Line::to(&address, held);
        let tokens = TokenService::start(token_service::Options {
            listener: Some(listener),
            name: Some(line.host()),
            service: "registry.test".to_owned(),
            users: vec![(USER.to_owned(), PASSWORD.to_owned())],
            ..token_service::Options::default()
        });
        let registry = Registry::start(Options {
            token: Some(tokens.auth()),
            ..Options::default()
        });
        Self {
            registry,
            tokens,
            line,
        }
    }

    /// How everything in it is reached without asking the service.
    fn access(&self) -> Access {
        let scopes = REPOSITORIES.map(|name| format!("repository:{name}:pull,push"));
        let token = self.tokens.token(&scopes.each_ref().map(String::as_str));
        Access {
            authorization: Some(Authorization::Bearer(token)),
            ..self.registry.access()
        }
    }
}

/// Down for ten seconds.
fn down(line: &mut Line) {
    line.go_down();
    std::thread::sleep(Duration::from_secs(10));
    line.come_back();
}

fn images() -> [(&'static str, Image); 6] {
    let mut seed = 70;
    REPOSITORIES.map(|name| {
        seed += 1;
        let family = crate::support::images::Family::Oci;
        (name, sample(seed, family, "linux/amd64"))
    })
}

#[test]
fn a_token_service_is_down_for_a_while_when_a_bundle_is_loaded() {
    require!("docker-registry");
    let traveller = Traveller::new();
    let source = Embedded::start();
    let images = images();
    for (name, image) in &images {
        source.client().push(name, "1", image);
    }
    let names = REPOSITORIES.map(|name| format!("{}/{name}:1", source.host()));
    let file = traveller.create(&names, &[]);

    let mut target = Guarded::start();
    traveller.log_in(&[target.registry.host()]);
    let to = target.registry.host().to_owned();
    let mut load = traveller.bundle(&["load", "--allow-unsigned", "--to", &to]);
    load.arg(&file);
    interrupted(load, &mut target.line, down);
    let client = target.access().client();
    for (name, image) in &images {
        client.assert_holds(name, "1", image);
    }
}

#[test]
fn a_token_service_is_down_for_a_while_when_a_bundle_is_made() {
    require!("docker-registry");
    let traveller = Traveller::new();
    let images = images();
    let mut source = Guarded::start();
    let client = source.access().client();
    let host = source.registry.host().to_owned();
    traveller.log_in(&[&host]);
    let mut create = traveller.bundle(&["create", "--unsigned", "-o", "made"]);
    for (name, image) in &images {
        client.push(name, "1", image);
        create.args(["--image", &format!("{host}/{name}:1")]);
    }
    interrupted(create, &mut source.line, down);
    for (name, image) in &images {
        assert_holds(&traveller, "made", name, image);
    }
}

#[track_caller]
fn carries_everything(from: Product, to: Product) {
    if !is_ready(&[from, to], &["oras", "curl"]) {
        return;
    }
    // Long, it is the line that was met in practice: 50 MB.
    let (cut_after, sizes): (u64, &[u64]) = match is_long() {
        true => (50 << 20, &[400 << 20, 120 << 20, 40 << 20, 10 << 20]),
        false => (3 << 20, &[8 << 20, 5 << 20, 1 << 20]),
    };
    let faults = Faults {
        cut_after: Some(cut_after),
        ..Faults::default()
    };
    let traveller = Traveller::new();
    let load = Load::in_a(from, sizes);
    let line = Line::to(load.host(), faults);
    let file = load.bundled_from(&line.host(), &traveller, &[]);
    let least = sizes.iter().sum::<u64>() / cut_after / 2;
    assert!(line.cuts() >= least, "{}", line.cuts());

    let target = Registry::start(Options::of(to));
    let line = Line::to(target.host(), faults);
    let mut command = traveller.bundle(&["load", "--allow-unsigned", "--to", &line.host()]);
    command.arg(&file);
    let started = Instant::now();
    let loaded = watch(command, Vec::new(), PATIENCE);
    tell_measured(sizes.iter().sum(), started.elapsed(), &loaded);
    loaded.finished.success();
    assert!(loaded.peak <= MEMORY, "{} MiB", loaded.peak >> 20);
    assert!(line.cuts() > 0);
    load.assert_arrived(target.host());
}

#[test]
fn a_line_cuts_every_connection_to_distribution_2() {
    carries_everything(Distribution2, Distribution2);
}

#[test]
fn a_line_cuts_every_connection_to_distribution_3() {
    carries_everything(Distribution3, Distribution3);
}

#[test]
fn a_line_cuts_every_connection_to_zot() {
    carries_everything(Zot, Zot);
}
