//! Charts of classic repositories: TLS, credentials and who gets to see them, digests, versions.

use sneakernet::oci::Digest;

use crate::support::{
    chart_repository::{ChartRepository, Entry, Options, basic},
    helm::ChartFiles,
    pki::TestCa,
    shop::{self, RENDERED, Shop, chart, chart_of, images_of},
    tools::{require, run},
};

const USER: &str = "buyer";
const PASSWORD: &str = "canary-of-the-repository";

fn guarded() -> ChartRepository {
    ChartRepository::with(Options {
        user: Some((USER, PASSWORD)),
        ..Options::default()
    })
}

/// The version that `plan` takes of those that are there, or what it says.
#[track_caller]
fn version_of(shop: &Shop, repository: &ChartRepository, wanted: Option<&str>) -> String {
    let url = repository.url();
    let mut arguments = vec!["--chart", "shop", "--repo", &url, "--discover", "none"];
    arguments.extend(wanted.iter().flat_map(|version| ["--version", *version]));
    let plan = shop.plan(&arguments);
    plan["charts"][0]["version"].as_str().unwrap().to_owned()
}

#[test]
fn a_private_authority_and_a_user_are_what_it_takes() {
    require!("helm3");
    let shop = Shop::new();
    let ca = TestCa::new();
    let repository = ChartRepository::with(Options {
        tls: Some(ca.issue(&["127.0.0.1"])),
        user: Some((USER, PASSWORD)),
    });
    repository.publish(&chart());
    let url = repository.url();
    let arguments = ["--chart", "shop", "--repo", &url];

    // Without the authority nobody is spoken to; without the user nobody is let in.
    shop.refuses(&arguments, 5, &["certificate", "no bundle was written"]);
    assert_eq!(repository.asked(), []);
    let ca_file = ca.write_to(shop.dir());
    let ca_file = ca_file.to_str().unwrap();
    let with_ca = [&arguments[..], &["--ca-file", ca_file]].concat();
    shop.refuses(&with_ca, 5, &["401", "user name and the password"]);

    shop.home.log_in(&[(&repository.host(), USER, PASSWORD)]);
    let created = shop.create("shop.bundle", &with_ca).success();
    assert!(!created.stderr.contains(PASSWORD), "{created:?}");
    let asked = repository.asked();
    let last: Vec<_> = asked
        .iter()
        .rev()
        .take(3)
        .map(|a| (&*a.path, a.status))
        .collect();
    let expected = [
        ("/charts/shop-1.2.3+0.tgz.prov", 404),
        ("/charts/shop-1.2.3+0.tgz", 200),
        ("/charts/index.yaml", 200),
    ];
    assert_eq!(last, expected);
    let bundle = std::fs::read(shop.dir().join("shop.bundle")).unwrap();
    let canary = PASSWORD.as_bytes();
    assert!(!bundle.windows(canary.len()).any(|part| part == canary));
}

#[test]
fn another_host_is_shown_no_credential_unless_told() {
    require!("helm3");
    let shop = Shop::new();
    let (repository, elsewhere) = (guarded(), ChartRepository::start());
    let chart = chart();
    let archive = chart.archive();
    elsewhere.put("/files/shop.tgz", archive.clone());
    repository.enter(Entry {
        name: "shop".to_owned(),
        version: chart.version().to_owned(),
        url: format!("{}/files/shop.tgz", elsewhere.root()),
        digest: Some(Digest::sha256_of(&archive).to_string()),
    });
    shop.home.log_in(&[(&repository.host(), USER, PASSWORD)]);
    let url = repository.url();
    let arguments = ["--chart", "shop", "--repo", &url];
    let plan = shop.plan(&arguments);
    assert_eq!(images_of(&plan), RENDERED);
    assert!(elsewhere.asked().len() >= 2, "archive and provenance");
    for asked in elsewhere.asked() {
        assert_eq!(asked.authorization, None, "{asked:?}");
    }
    let before = elsewhere.asked().len();
    shop.plan(&[&arguments[..], &["--pass-credentials"]].concat());
    let told: Vec<_> = elsewhere.asked().split_off(before);
    assert!(!told.is_empty());
    for asked in told {
        assert_eq!(
            asked.authorization,
            Some(basic(USER, PASSWORD)),
            "{asked:?}"
        );
    }
}

#[test]
fn a_redirect_takes_no_credential_along() {
    require!("helm3");
    let shop = Shop::new();
    let (repository, elsewhere) = (guarded(), ChartRepository::start());
    let chart = chart();
    repository.publish(&chart);
    // As release files of code hosts are: an archive is a redirect to a store.
    let path = format!("/charts/{}", chart.archive_name());
    elsewhere.put("/store/1", chart.archive());
    repository.redirect(&path, &format!("{}/store/1", elsewhere.root()));
    shop.home.log_in(&[(&repository.host(), USER, PASSWORD)]);
    let url = repository.url();
    let plan = shop.plan(&["--chart", "shop", "--repo", &url]);
    assert_eq!(images_of(&plan), RENDERED);
    assert_eq!(elsewhere.asked().len(), 1);
    assert_eq!(elsewhere.asked()[0].authorization, None);
    // One that leads in circles comes to an end.
    elsewhere.redirect("/store/1", &format!("{}/store/1", elsewhere.root()));
    shop.refuses(&["--chart", "shop", "--repo", &url], 5, &["redirect"]);
    assert!(elsewhere.asked().len() < 60, "{}", elsewhere.asked().len());
}

#[test]
fn an_archive_behind_a_guard_elsewhere_is_explained() {
    require!("helm3");
    let shop = Shop::new();
    let (repository, elsewhere) = (guarded(), guarded());
    elsewhere.publish(&chart());
    repository.enter(Entry {
        name: "shop".to_owned(),
        version: shop::VERSION.to_owned(),
        url: format!("{}/shop-{}.tgz", elsewhere.url(), shop::VERSION),
        digest: None,
    });
    shop.home.log_in(&[(&repository.host(), USER, PASSWORD)]);
    let url = repository.url();
    let arguments = ["--chart", "shop", "--repo", &url];
    shop.refuses(&arguments, 5, &["another server", "--pass-credentials"]);
    let allowed = [&arguments[..], &["--pass-credentials"]].concat();
    assert_eq!(images_of(&shop.plan(&allowed)), RENDERED);
}

#[test]
fn a_digest_that_is_not_that_of_the_archive_stops_the_run_unless_told() {
    require!("helm3");
    let shop = Shop::new();
    let repository = ChartRepository::start();
    let chart = chart();
    let wrong = "0".repeat(64);
    repository.publish_archive(&chart, chart.archive(), Some(wrong.clone()));
    let url = repository.url();
    let arguments = ["--chart", "shop", "--repo", &url];
    let actual = Digest::sha256_of(&chart.archive()).to_string();
    let because = [
        "but the index says",
        &wrong,
        &actual,
        "--allow-digest-mismatch",
    ];
    shop.refuses(&arguments, 5, &because);

    let allowed = [&arguments[..], &["--allow-digest-mismatch"]].concat();
    let plan = run(shop.making(&[&["plan", "--format", "json"], &allowed[..]].concat()));
    let plan = plan.success();
    assert!(plan.stderr.contains("digest"), "{plan:?}");
    let digest = &plan.json()["charts"][0]["sourceDigest"];
    assert_eq!(digest["kind"], "mismatch");
    assert!(
        digest["said"].as_str().unwrap().contains(&wrong),
        "{digest}"
    );

    // In bundle.yaml it is a matter of one chart.
    shop.spec(&format!(
        "charts:\n  - {{name: shop, repo: {url}, allowDigestMismatch: true}}\n"
    ));
    shop.create("shop.bundle", &[]).success();
    let inspect = ["inspect", "shop.bundle", "--raw", "lock"];
    let lock = run(shop.bundle(&inspect)).success().json();
    assert_eq!(lock["charts"][0]["sourceDigest"]["kind"], "mismatch");
}

#[test]
fn an_index_without_digests_is_taken_and_that_is_recorded() {
    require!("helm3");
    let shop = Shop::new();
    let repository = ChartRepository::start();
    let chart = chart();
    repository.publish_archive(&chart, chart.archive(), None);
    let url = repository.url();
    let plan = shop.plan(&["--chart", "shop", "--repo", &url]);
    assert_eq!(plan["charts"][0]["sourceDigest"]["kind"], "missing");
    repository.publish(&chart);
    let plan = shop.plan(&["--chart", "shop", "--repo", &url]);
    assert_eq!(plan["charts"][0]["sourceDigest"]["kind"], "match");
}

#[test]
fn versions_are_chosen_as_helm_chooses_them() {
    require!("helm3", "helm4");
    let shop = Shop::new();
    let repository = ChartRepository::start();
    for version in ["1.9.0", "v1.10.0", "1.2.3+0", "1.2.3+1", "2.0.0-rc.1"] {
        repository.publish(&chart_of(version));
    }
    let url = repository.url();
    for (wanted, expected) in [
        (None, "v1.10.0"),
        (Some("1.9.0"), "1.9.0"),
        (Some("v1.9.0"), "1.9.0"),
        (Some("~1.9"), "1.9.0"),
        (Some("^1"), "v1.10.0"),
        (Some("1.2.3+1"), "1.2.3+1"),
        (Some(">1.0.0, <1.10.0"), "1.9.0"),
        (Some("2.0.0-rc.1"), "2.0.0-rc.1"),
        (Some(">0.0.0-0"), "2.0.0-rc.1"),
        (Some("1.2.x || 1.9.x"), "1.9.0"),
    ] {
        assert_eq!(
            version_of(&shop, &repository, wanted),
            expected,
            "{wanted:?}"
        );
        // `helm show` has the same opinion.
        for helm in crate::support::helm::HELMS {
            let helm = crate::support::helm::HelmCli::new(helm);
            let mut arguments = vec!["show", "chart", "shop", "--repo", &url];
            arguments.extend(wanted.iter().flat_map(|version| ["--version", *version]));
            let shown = helm.run(&arguments).success().text();
            let line = shown
                .lines()
                .find_map(|line| line.strip_prefix("version: "));
            assert_eq!(line, Some(expected), "{wanted:?}");
        }
    }
}

#[test]
fn what_is_not_there_is_answered_with_what_is() {
    let shop = Shop::new();
    let repository = ChartRepository::start();
    for version in ["1.2.3", "1.2.4", "7.0.0"] {
        repository.publish(&chart_of(version));
    }
    repository.publish(&ChartFiles::new("early", "0.1.0-alpha.1"));
    let url = repository.url();
    let refused = |chart: &str, version: &[&str], code, because: &[&str]| {
        let arguments = [&["--chart", chart, "--repo", &url], version].concat();
        shop.refuses(&arguments, code, because);
    };
    refused(
        "shop",
        &["--version", "1.2.5"],
        5,
        &["no version `1.2.5`", "1.2.4"],
    );
    refused(
        "shop",
        &["--version", ">=8"],
        5,
        &["no version `>=8`", "7.0.0"],
    );
    refused("shop", &["--version", "newest"], 2, &["newest"]);
    refused(
        "shoop",
        &[],
        5,
        &["has no chart `shoop`", "there are: shop"],
    );
    refused("early", &[], 5, &["no stable version", "0.1.0-alpha.1"]);
    let nothing = format!("{}/nothing", repository.root());
    let arguments = ["--chart", "shop", "--repo", &nothing];
    shop.refuses(&arguments, 5, &["404", "index.yaml"]);
}
