//! Signatures, attestations and SBOMs cross the gap with the images that they are about, and nothing
//! of it is lost without a word.

use std::{collections::BTreeSet, process::Command};

use serde_json::Value;
use sneakernet::registry::referrers_tag;

use crate::support::{
    distribution::{Options, Registry},
    embedded::Embedded,
    front::answering,
    images::{Blob, Family, Image, artifact, attestation, empty_config, index_with, sample},
    netns::NetNs,
    product::Product,
    scripted::{Answer, Scripted},
    tools::{Finished, Home, offered, require, run},
};

const REPOSITORY: &str = "team/app";
const PASSWORD: &str = "of the publisher";
/// What says that there is no log of signatures outside of the gap, either.
const OFFLINE: [&str; 2] = ["--use-signing-config=false", "--tlog-upload=false"];
/// As cosign 2 writes them: under tags.
const TAG_FORM: &str = "--new-bundle-format=false";

/// An image for two platforms with an attestation of BuildKit's for each.
fn image() -> Image {
    let platforms = ["linux/amd64", "linux/arm64"];
    let members = platforms.map(|p| (p.into(), sample(71, Family::Oci, p)));
    let attestations = members.each_ref().map(|(_, image)| attestation(image));
    index_with(Family::Oci, &members, &attestations)
}

/// A publisher who signs with cosign.
struct Publisher {
    home: Home,
}

impl Publisher {
    fn new() -> Self {
        let home = Home::new();
        std::fs::write(home.path().join("predicate.json"), "{\"built\":\"here\"}").unwrap();
        std::fs::write(
            home.path().join("sbom.json"),
            "{\"spdxVersion\":\"SPDX-2.3\"}",
        )
        .unwrap();
        let publisher = Self { home };
        publisher.cosign(&["generate-key-pair", "--output-key-prefix", "publisher"]);
        publisher
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut cosign = self.home.tool("cosign");
        cosign.args(arguments).env("COSIGN_PASSWORD", PASSWORD);
        cosign
    }

    fn cosign(&self, arguments: &[&str]) {
        run(self.command(arguments)).success();
    }

    fn signs(&self, what: &str, more: &[&str], image: &str) {
        let how = ["--yes", "--key", "publisher.key", "--allow-http-registry"];
        let parts = [&[what], &how[..], &OFFLINE[..], more, &[image]];
        self.cosign(&parts.concat());
    }

    /// Signs and attests the image in both forms, its first child in the newer one, and attaches an
    /// SBOM under a tag, which is signed, too.
    fn publish(&self, host: &str, image: &Image) {
        let place = |image: &Image| format!("{host}/{REPOSITORY}@{}", image.digest);
        let top = place(image);
        let predicate = ["--type", "custom", "--predicate", "predicate.json"];
        for form in [&[][..], &[TAG_FORM]] {
            self.signs("sign", form, &top);
            self.signs("attest", &[form, &predicate[..]].concat(), &top);
        }
        let child = place(&image.children[0]);
        self.signs("sign", &[], &child);
        self.signs(
            "attest",
            &[&[TAG_FORM][..], &predicate[..]].concat(),
            &child,
        );
        let attach = ["attach", "sbom", "--allow-http-registry", "--sbom"];
        self.cosign(&[&attach[..], &["sbom.json", &top]].concat());
        let sbom = format!("{host}/{REPOSITORY}:{}.sbom", referrers_tag(&image.digest));
        self.signs("sign", &[TAG_FORM], &sbom);
    }

    /// Everything that the publisher has signed is good at this place, seen from in there.
    fn assert_verified(&self, netns: &NetNs, host: &str, image: &Image) {
        let verify = |what: &str, more: &[&str], image: &str| {
            let how = ["--key", "publisher.pub", "--allow-http-registry"];
            let offline = ["--insecure-ignore-tlog=true", image];
            let parts = [&[what], &how[..], more, &offline[..]];
            let command = self.command(&parts.concat());
            run(netns.wrap(&command)).success();
        };
        let place = |image: &Image| format!("{host}/{REPOSITORY}@{}", image.digest);
        let (top, child) = (place(image), place(&image.children[0]));
        let custom = ["--type", "custom"];
        for form in [&[][..], &[TAG_FORM]] {
            verify("verify", form, &top);
            verify("verify-attestation", &[form, &custom[..]].concat(), &top);
        }
        verify("verify", &[], &child);
        verify(
            "verify-attestation",
            &[&[TAG_FORM][..], &custom[..]].concat(),
            &child,
        );
        let sbom = format!("{host}/{REPOSITORY}:{}.sbom", referrers_tag(&image.digest));
        verify("verify", &[TAG_FORM], &sbom);
    }
}

/// A registry with the image and all that the publisher has to say of it.
fn published(publisher: &Publisher) -> Registry {
    let source = Registry::start(Options::default());
    source.client().push(REPOSITORY, "1", &image());
    publisher.publish(source.host(), &image());
    source
}

fn creating(home: &Home, source: &str, more: &[&str]) -> Command {
    let mut create = home.bundle();
    let image = format!("{source}/{REPOSITORY}:1");
    create.args([
        "create",
        "--unsigned",
        "--force",
        "-o",
        "bundle",
        "--image",
        &image,
    ]);
    create.args(more);
    create
}

fn loading(home: &Home, to: &str, more: &[&str]) -> Command {
    let mut load = home.bundle();
    load.args(["load", "bundle", "--allow-unsigned", "--to", to]);
    load.args(["--format", "json"]).args(more);
    load
}

/// What is in the bundle for the sake of something else: its name in the repository, and why.
fn referrers(home: &Home, file: &str) -> BTreeSet<(String, String)> {
    let lock = home
        .run_bundle(["inspect", file, "--raw", "lock"])
        .success();
    let lock: Value = serde_json::from_slice(&lock.stdout).unwrap();
    let images = lock["images"].as_array().unwrap().iter();
    let found = images.flat_map(|image| {
        let name = image["reference"].as_str().unwrap().to_owned();
        let name = name.split_once(REPOSITORY).unwrap().1.to_owned();
        let origins = image["requestedBy"].as_array().unwrap().iter();
        origins.filter_map(move |origin| {
            let subject = origin["subject"].as_str()?;
            Some((name.clone(), subject.rsplit('@').next().unwrap().to_owned()))
        })
    });
    found.collect()
}

/// The tree that `oras discover` shows, without the names of registries.
fn tree(command: Command) -> Value {
    fn stripped(node: &Value) -> Value {
        let mut below: Vec<_> = node["referrers"]
            .as_array()
            .unwrap()
            .iter()
            .map(stripped)
            .collect();
        below.sort_by_key(ToString::to_string);
        serde_json::json!([node["digest"], node["artifactType"], below])
    }
    stripped(&run(command).success().json())
}

fn discovering(home: &Home, host: &str, image: &Image) -> Command {
    let mut discover = home.tool("oras");
    discover.args(["discover", "--plain-http", "--format", "json"]);
    discover.arg(format!("{host}/{REPOSITORY}@{}", image.digest));
    discover
}

#[track_caller]
fn what_cosign_signed_is_good_inside(product: Product) {
    let publisher = Publisher::new();
    let source = published(&publisher);
    let home = &publisher.home;
    run(creating(home, source.host(), &[])).success();
    let found = referrers(home, "bundle");
    let top = image().digest.to_string();
    let of_top = found.iter().filter(|(_, subject)| *subject == top).count();
    // Two by the list, the list itself, and three tags.
    assert_eq!((of_top, found.len()), (6, 10), "{found:#?}");

    let netns = NetNs::new();
    let host = "127.0.0.1:5000";
    let destination = Registry::start(Options {
        listen: Some(host.to_owned()),
        netns: Some(netns.name().to_owned()),
        ..Options::of(product)
    });
    for _ in 0..2 {
        run(netns.wrap(&loading(home, host, &[]))).success();
        publisher.assert_verified(&netns, host, &image());
    }
    for of in [image(), image().children[0].clone()] {
        let at_source = tree(discovering(home, source.host(), &of));
        let inside = tree(netns.wrap(&discovering(home, host, &of)));
        assert_eq!(inside, at_source);
        assert!(!inside[2].as_array().unwrap().is_empty(), "{inside}");
    }
    drop(destination);
}

#[test]
fn what_cosign_signed_is_good_inside_with_distribution_2() {
    require!("cosign", "oras", "docker-registry", "root");
    what_cosign_signed_is_good_inside(Product::Distribution2);
}

#[test]
fn what_cosign_signed_is_good_inside_with_distribution_3() {
    require!("cosign", "oras", "docker-registry", "distribution3", "root");
    what_cosign_signed_is_good_inside(Product::Distribution3);
}

#[test]
fn what_cosign_signed_is_good_inside_with_zot() {
    require!("cosign", "oras", "docker-registry", "root");
    if offered(Product::Zot.program()) {
        what_cosign_signed_is_good_inside(Product::Zot);
    }
}

/// An artifact about another.
fn about(subject: &Image, artifact_type: &str) -> Image {
    let layer = Blob::new("text/plain", format!("{artifact_type} {}", subject.digest));
    artifact(
        Some(artifact_type),
        empty_config(),
        vec![layer],
        Some(subject),
    )
}

/// The embedded registry with an image that has a signature, which has a time stamp, and a child with
/// a report.
struct Signed {
    registry: Embedded,
    image: Image,
    signature: Image,
    stamp: Image,
    report: Image,
}

impl Signed {
    fn new() -> Self {
        let (registry, image) = (Embedded::start(), image());
        let signature = about(&image, "application/x.signature");
        let stamp = about(&signature, "application/x.stamp");
        let report = about(&image.children[1], "application/x.report");
        let client = registry.client();
        client.push(REPOSITORY, "1", &image);
        for referrer in [&signature, &stamp, &report] {
            client.push_untagged(REPOSITORY, referrer);
        }
        Self {
            registry,
            image,
            signature,
            stamp,
            report,
        }
    }

    fn expected(&self, of: &[(&Image, &Image)]) -> BTreeSet<(String, String)> {
        let pair = |(referrer, subject): &(&Image, &Image)| {
            (format!("@{}", referrer.digest), subject.digest.to_string())
        };
        of.iter().map(pair).collect()
    }
}

#[test]
fn options_say_what_comes_along_and_the_lock_says_so_too() {
    let signed = Signed::new();
    let (home, host) = (Home::new(), signed.registry.host());
    let Signed {
        image,
        signature,
        stamp,
        report,
        ..
    } = &signed;
    let (of_top, of_signature) = ((signature, image), (stamp, signature));
    let of_child = (report, &image.children[1]);
    for (options, expected) in [
        (&[][..], &[of_top, of_signature, of_child][..]),
        (&["--no-referrers"], &[]),
        (&["--referrer-type", "application/x.signature"], &[of_top]),
        // What refers to something that is left out is left out with it.
        (&["--referrer-type", "application/x.stamp"], &[]),
        (
            &["--referrer-type", ".sig,application/x.report"],
            &[of_child],
        ),
        // And so is what refers to a platform that is not taken.
        (&["--platform", "linux/amd64"], &[of_top, of_signature]),
    ] {
        let created = run(creating(&home, &host, options)).success();
        assert_eq!(
            referrers(&home, "bundle"),
            signed.expected(expected),
            "{options:?}"
        );
        let told = created
            .stderr
            .contains("application/x.report not taken along");
        let left_out = options.first() == Some(&"--referrer-type");
        assert_eq!(
            told,
            left_out && !options[1].contains("report"),
            "{created:?}"
        );
    }
    let both = ["--no-referrers", "--referrer-type", ".sig"];
    run(creating(&home, &host, &both)).exits(2);
    run(creating(&home, &host, &["--referrer-type", "sig"])).exits(2);
}

#[test]
fn what_appears_later_does_not_change_a_bundle_made_from_a_lock() {
    let signed = Signed::new();
    let (home, host) = (Home::new(), signed.registry.host());
    let name = format!("{host}/{REPOSITORY}:1");
    let plan = ["plan", "--image", &name, "-o", "the.lock"];
    let planned = home.run_bundle(plan).success().text();
    let why = format!(
        "refers to {host}/{REPOSITORY}@{}",
        &signed.image.digest.to_string()[..19]
    );
    assert!(planned.contains(&why), "{planned}");
    assert!(planned.contains("1 image · 3 referrers"), "{planned}");
    home.run_bundle([&plan[..], &["--check"]].concat())
        .success();
    run(creating(&home, &host, &["--lock", "the.lock"])).success();
    let before = std::fs::read(home.path().join("bundle")).unwrap();

    let later = about(&signed.image, "application/x.later");
    signed.registry.client().push_untagged(REPOSITORY, &later);
    let asked = signed.registry.log.entries().len();
    run(creating(&home, &host, &["--lock", "the.lock"])).success();
    assert!(std::fs::read(home.path().join("bundle")).unwrap() == before);
    let log = signed.registry.log.entries();
    let looks = log[asked..]
        .iter()
        .filter(|asked| asked.path.contains("/referrers/"));
    assert_eq!(looks.count(), 0, "with a lock nobody is asked");
    let stale = home.run_bundle([&plan[..], &["--check"]].concat()).exits(5);
    assert!(
        stale.stderr.contains(&later.digest.to_string()),
        "{stale:?}"
    );
    for options in [&["--no-referrers"][..], &["--referrer-type", ".sig"]] {
        let with_lock = [&["--lock", "the.lock"], options].concat();
        let refused = run(creating(&home, &host, &with_lock)).exits(2);
        assert!(refused.stderr.contains("referrers"), "{refused:?}");
    }
    run(creating(&home, &host, &["--no-lock"])).success();
    assert_eq!(referrers(&home, "bundle").len(), 4);
}

/// What a look-up that fails for ever is answered.
fn answers() -> Vec<(&'static str, Option<Answer>)> {
    let refused = |status| Some(Answer::status(status).body("{}"));
    let page = Some(Answer::ok("text/html", "<html>Log in</html>"));
    vec![
        ("401", refused(401)),
        ("403", refused(403)),
        ("429", refused(429)),
        ("500", refused(500)),
        ("503", refused(503)),
        ("a page", page),
        (
            "broken off",
            Some(Answer::ok("application/vnd.oci.image.index.v1+json", "{}").cut_after(1)),
        ),
    ]
}

#[test]
fn a_look_up_that_fails_makes_no_bundle() {
    let signed = Signed::new();
    let tag = referrers_tag(&signed.image.digest);
    let places = [
        format!("/referrers/{}", signed.image.digest),
        format!("/referrers/{}", signed.image.children[1].digest),
        format!("/referrers/{}", signed.signature.digest),
        format!("/manifests/{tag}"),
        format!("/manifests/{tag}.sig"),
        format!("/manifests/{tag}.sbom"),
    ];
    for (number, place) in places.iter().enumerate() {
        for (what, answer) in answers() {
            // Each place fails in its own way as well as in all ways of the first.
            if number > 0 && !["403", "a page"].contains(&what) {
                continue;
            }
            let front = failing_at(&signed, place, answer.unwrap());
            let home = Home::new();
            let retries = ["--retries", "1"];
            let failed = run(creating(&home, &front.host(), &retries));
            assert_no_bundle(&home, failed.exits(5), what, place);
        }
    }
}

fn failing_at(signed: &Signed, place: &str, answer: Answer) -> Scripted {
    let place = place.to_owned();
    answering(&signed.registry.host(), move |asked| {
        asked.path.ends_with(&place).then(|| answer.clone())
    })
}

#[track_caller]
fn assert_no_bundle(home: &Home, failed: Finished, what: &str, place: &str) {
    let name = home.path().join("bundle");
    assert!(!name.exists(), "{what} at {place}: {failed:?}");
    assert!(
        failed.stderr.contains("--no-referrers"),
        "{what} at {place}: {failed:?}"
    );
}

#[test]
fn what_refers_to_an_image_goes_where_the_image_goes() {
    let signed = Signed::new();
    let (home, host) = (Home::new(), signed.registry.host());
    run(creating(&home, &host, &[])).success();
    let under_host = format!("{}/{REPOSITORY}", host.replace(':', "-"));
    let map = format!("{host}/team=elsewhere/x");
    for (options, path) in [
        (&["--layout", "strip"][..], REPOSITORY),
        (&["--layout", "host"], under_host.as_str()),
        (&["--layout", "last2"], REPOSITORY),
        (&["--layout", "flat"], "app"),
        (&["--map", &map], "elsewhere/x/app"),
    ] {
        let destination = Embedded::start();
        run(loading(&home, &destination.host(), options)).success();
        let client = destination.client();
        assert_eq!(client.repositories(), [path]);
        for image in [
            &signed.image,
            &signed.signature,
            &signed.stamp,
            &signed.report,
        ] {
            client.assert_holds(path, &image.digest.to_string(), image);
        }
        let puts = destination.manifests_put();
        let at = |image: &Image| {
            let digest = image.digest.to_string();
            puts.iter().position(|put| put.ends_with(&digest)).unwrap()
        };
        assert!(
            at(&signed.image) < at(&signed.signature),
            "subjects first: {puts:#?}"
        );
        assert!(
            at(&signed.signature) < at(&signed.stamp),
            "subjects first: {puts:#?}"
        );
        assert!(
            at(&signed.image.children[1]) < at(&signed.report),
            "{puts:#?}"
        );
    }
}

#[test]
fn what_refers_to_an_image_under_two_names_goes_to_both() {
    let signed = Signed::new();
    let (home, host) = (Home::new(), signed.registry.host());
    signed
        .registry
        .client()
        .push("library/app", "1", &signed.image);
    signed
        .registry
        .client()
        .push_untagged("library/app", &signed.signature);
    let mirror = format!("docker.io={host}");
    // As `last2` has it, these are two places: it goes by what the user wrote.
    let pinned = format!("docker.io/library/app@{}", signed.image.digest);
    let mut create = home.bundle();
    create.args(["create", "--unsigned", "-o", "bundle", "--mirror", &mirror]);
    create.args(["--image", "app:1", "--image", &pinned]);
    run(create).success();
    let destination = Embedded::start();
    run(loading(&home, &destination.host(), &["--layout", "last2"])).success();
    let client = destination.client();
    assert_eq!(client.repositories(), ["app", "library/app"]);
    for path in ["app", "library/app"] {
        for image in [&signed.image, &signed.signature] {
            client.assert_holds(path, &image.digest.to_string(), image);
        }
    }
}

#[test]
fn a_hand_off_names_what_nodes_pull_and_not_its_signatures() {
    let signed = Signed::new();
    let (home, host) = (Home::new(), signed.registry.host());
    let tag = format!("{}.sig", referrers_tag(&signed.image.digest));
    // As cosign 2 writes them, it looks like an image.
    let config = Blob::new(
        "application/vnd.oci.image.config.v1+json",
        "{\"architecture\":\"\",\"os\":\"\"}",
    );
    let of_cosign = artifact(None, config, vec![Blob::new("text/plain", "x")], None);
    signed.registry.client().push(REPOSITORY, &tag, &of_cosign);
    run(creating(&home, &host, &[])).success();
    let destination = Embedded::start();
    let loaded = run(loading(&home, &destination.host(), &["--handoff", "out"]))
        .success()
        .json();
    let listed = loaded["images"].as_array().unwrap();
    assert_eq!(listed.len(), 5, "{loaded}");
    let table = std::fs::read_to_string(home.path().join("out/images.csv")).unwrap();
    assert_eq!(table.matches(REPOSITORY).count(), 2, "from and to: {table}");
    assert!(!table.contains(".sig"), "{table}");
}
