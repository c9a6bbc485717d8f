//! Charts that their publisher has signed: carried with the signature, checked where a keyring is
//! given, and good for `helm pull --verify` at the other end.

use crate::support::{
    chart_repository::ChartRepository,
    distribution::{Options, Registry},
    helm::{HELMS, HelmCli},
    publisher::Publisher,
    shop::{Shop, chart},
    tools::{require, run},
};

#[test]
fn a_signed_chart_is_checked_here_and_by_helm_at_the_other_end() {
    require!("gpg", "gpgv", "helm3", "helm4", "docker-registry");
    let shop = Shop::new();
    let publisher = Publisher::new("publisher");
    let (archive, provenance) = publisher.package(&chart());
    let name = chart().archive_name();
    shop.write(&name, &archive);
    shop.write(&format!("{name}.prov"), &provenance);
    for keyring in [publisher.keyring(), publisher.armored()] {
        let arguments = ["--chart", &name, "--keyring", keyring.to_str().unwrap()];
        let plan = shop.plan(&arguments);
        let signed_by = plan["charts"][0]["provenance"].as_str().unwrap();
        assert!(signed_by.contains("publisher@example.com"), "{signed_by}");
    }
    // Without a keyring nobody says that it was checked, and it travels all the same.
    let plan = shop.plan(&["--chart", &name]);
    assert_eq!(plan["charts"][0].get("provenance"), None);
    shop.create("shop.bundle", &["--chart", &name]).success();
    let destination = Registry::start(Options::default());
    shop.load("shop.bundle", destination.host(), &[]).success();

    let place = format!("oci://{}/charts/shop", destination.host());
    let stranger = Publisher::new("stranger");
    for helm in HELMS {
        let cli = HelmCli::new(helm);
        let pull = |keyring: &Publisher| {
            let mut pull = cli.command();
            pull.args([
                "pull",
                &place,
                "--version",
                "1.2.3+0",
                "--plain-http",
                "--verify",
            ]);
            pull.arg("--keyring").arg(keyring.keyring());
            run(pull)
        };
        let pulled = pull(&publisher).success();
        let said = format!("{}{}", pulled.text(), pulled.stderr);
        assert!(said.contains("publisher@example.com"), "{helm}: {said}");
        let file = cli.home().path().join(&name);
        assert_eq!(std::fs::read(&file).unwrap(), archive, "{helm}");
        std::fs::remove_file(file).unwrap();
        pull(&stranger).failure();
    }
}

#[test]
fn a_chart_that_is_not_signed_as_it_should_be_is_refused() {
    require!("gpg", "gpgv", "helm3");
    let shop = Shop::new();
    let publisher = Publisher::new("publisher");
    let (archive, provenance) = publisher.package(&chart());
    let name = chart().archive_name();
    let beside = format!("{name}.prov");
    let keyring = publisher.keyring();
    let arguments = ["--chart", &name, "--keyring", keyring.to_str().unwrap()];

    shop.write(&name, &archive);
    shop.refuses(&arguments, 5, &["has no provenance", "--keyring"]);

    let stranger = Publisher::new("stranger");
    shop.write(&beside, stranger.package(&chart()).1);
    shop.refuses(&arguments, 5, &["not in the keyring"]);

    let text = String::from_utf8(provenance.clone()).unwrap();
    shop.write(&beside, text.replace("sells things", "steals things"));
    shop.refuses(&arguments, 5, &["is not good"]);

    shop.write(&beside, &provenance);
    shop.plan(&arguments);
    let other = chart().file("README.md", "another archive\n").archive();
    shop.write(&name, other);
    shop.refuses(&arguments, 5, &["its provenance says"]);

    let private = publisher.private();
    let wrong = ["--chart", &name, "--keyring", private.to_str().unwrap()];
    shop.refuses(&wrong, 2, &["private key"]);
    shop.refuses(
        &["--chart", &name, "--keyring", "gone.gpg"],
        7,
        &["gone.gpg"],
    );
}

#[test]
fn the_provenance_of_a_repository_lies_beside_the_archive() {
    require!("gpg", "gpgv", "helm3");
    let shop = Shop::new();
    let publisher = Publisher::new("publisher");
    let (archive, provenance) = publisher.package(&chart());
    let repository = ChartRepository::start();
    repository.publish_archive(&chart(), archive, None);
    let url = repository.url();
    let keyring = publisher.keyring();
    let arguments = [
        "--chart",
        "shop",
        "--repo",
        &url,
        "--keyring",
        keyring.to_str().unwrap(),
    ];
    shop.refuses(&arguments, 5, &["has no provenance"]);
    let beside = format!("/charts/{}.prov", chart().archive_name());
    repository.put(&beside, provenance);
    let plan = shop.plan(&arguments);
    let signed_by = plan["charts"][0]["provenance"].as_str().unwrap();
    assert!(signed_by.contains("publisher@example.com"), "{signed_by}");
    // A page that says "not found" with status 200 is no provenance.
    repository.put(&beside, "<html>not found</html>");
    shop.refuses(&arguments, 5, &["has no provenance"]);
    let plan = run(shop.making(&["plan", "--chart", "shop", "--repo", &url])).success();
    assert!(plan.stderr.contains("is no provenance file"), "{plan:?}");
}
