//! Charts on this machine: directories, packaged with what they lack, and archives.

use flate2::{Compression, write::GzEncoder};

use crate::support::{
    chart_repository::ChartRepository,
    distribution::{Options, Registry},
    embedded::Embedded,
    helm::{ChartFiles, HELMS, HelmCli},
    shop::{RENDERED, Shop, chart, chart_with, images_of},
    tools::{require, run},
};

/// A chart that depends on the chart `queue` of this repository.
fn dependent(repository: &str, version: &str) -> ChartFiles {
    let dependency = format!(
        "dependencies:\n  - {{name: queue, version: \"{version}\", repository: \"{repository}\"}}\n"
    );
    chart_with("stall", "1.0.0", "registry.example.com/shop/web:1.0").metadata(&dependency)
}

fn queue(version: &str) -> ChartFiles {
    chart_with("queue", version, "registry.example.com/shop/db:2.1")
}

#[test]
fn a_directory_is_packaged_with_the_dependencies_that_it_lacks_and_that_is_said() {
    require!("helm3", "helm4", "docker-registry");
    let shop = Shop::new();
    let repository = ChartRepository::start();
    for version in ["1.0.0", "1.4.0", "2.0.0"] {
        repository.publish(&queue(version));
    }
    dependent(&repository.url(), "^1.0.0").write_to(shop.dir());
    let planned = run(shop.making(&["plan", "--format", "json", "--chart", "./stall"]));
    let planned = planned.success();
    let said = format!(
        "queue 1.4.0 from {}, a dependency of ./stall",
        repository.url()
    );
    assert!(planned.stderr.contains(&said), "{planned:?}");
    let plan = planned.json();
    assert_eq!(images_of(&plan), ["shop/db:2.1", "shop/web:1.0"]);
    let fetched = &plan["charts"][0]["dependencies"][0];
    assert_eq!(
        (&fetched["name"], &fetched["version"]),
        (&"queue".into(), &"1.4.0".into())
    );
    assert!(
        !shop.dir().join("stall/charts").exists(),
        "the directory stays as it is"
    );

    // The archive is complete: `helm` needs no repository any more.
    shop.create("stall.bundle", &["--chart", "./stall"])
        .success();
    let destination = Registry::start(Options::default());
    shop.load("stall.bundle", destination.host(), &[]).success();
    drop(repository);
    let place = format!("oci://{}/charts/stall", destination.host());
    for helm in HELMS {
        let cli = HelmCli::new(helm);
        let template = [
            "template",
            "x",
            &place,
            "--version",
            "1.0.0",
            "--plain-http",
        ];
        let rendered = cli.run(&template).success().text();
        assert!(rendered.contains("shop/db:2.1"), "{helm}: {rendered}");
    }
}

#[test]
fn the_lock_of_a_directory_pins_its_dependencies() {
    require!("helm3");
    let shop = Shop::new();
    let repository = ChartRepository::start();
    for version in ["1.0.0", "1.4.0"] {
        repository.publish(&queue(version));
    }
    let stall = dependent(&repository.url(), "^1.0.0");
    stall.write_to(shop.dir());
    // Helm itself writes the lock, while 1.0.0 is the newest.
    let old = ChartRepository::start();
    old.publish(&queue("1.0.0"));
    let cli = HelmCli::new("helm3");
    let there = dependent(&old.url(), "^1.0.0").write_to(cli.home().path());
    cli.run(&["dependency", "update", there.to_str().unwrap()])
        .success();
    let lock = std::fs::read_to_string(there.join("Chart.lock")).unwrap();
    // The digest covers the repository's address, so a lock of another address is out of sync.
    shop.write(
        "stall/Chart.lock",
        lock.replace(&old.url(), &repository.url()),
    );
    shop.refuses(&["--chart", "./stall"], 2, &["Chart.lock"]);
    let shop = Shop::new();
    dependent(&old.url(), "^1.0.0").write_to(shop.dir());
    shop.write("stall/Chart.lock", lock);
    old.publish(&queue("1.4.0"));
    let plan = shop.plan(&["--chart", "./stall"]);
    assert_eq!(plan["charts"][0]["dependencies"][0]["version"], "1.0.0");
}

#[test]
fn dependencies_that_cannot_be_had_are_named() {
    let shop = Shop::new();
    let repository = ChartRepository::start();
    repository.publish(&queue("1.0.0"));
    let refuses = |repository: &str, version: &str, code: i32, because: &[&str]| {
        let _ = std::fs::remove_dir_all(shop.dir().join("stall"));
        dependent(repository, version).write_to(shop.dir());
        shop.refuses(&["--chart", "./stall"], code, because);
    };
    refuses(
        &repository.url(),
        "^2",
        5,
        &["queue", "no version `^2`", "1.0.0"],
    );
    refuses(
        &format!("{}/no", repository.root()),
        "^1",
        5,
        &["queue", "404"],
    );
    refuses("@mine", "^1", 2, &["queue", "@mine"]);
    refuses("", "^1", 2, &["queue", "names no repository"]);
    refuses("file://../queue", "^1", 2, &["queue"]);
    queue("3.0.0").write_to(shop.dir());
    refuses("file://../queue", "^1", 2, &["queue", "^1", "3.0.0"]);
    // A chart that needs itself.
    let own =
        "dependencies:\n  - {name: stall, version: \"1.0.0\", repository: \"file://../stall\"}\n";
    let _ = std::fs::remove_dir_all(shop.dir().join("stall"));
    ChartFiles::new("stall", "1.0.0")
        .metadata(own)
        .write_to(shop.dir());
    shop.refuses(&["--chart", "./stall"], 2, &["stall"]);
    // An archive cannot be completed: its bytes are its publisher's.
    let archive = shop.archive(&dependent(&repository.url(), "^1"));
    shop.refuses(
        &["--chart", &archive],
        2,
        &["not in it: queue", "unpacked directory"],
    );
}

#[test]
fn what_helmignore_names_stays_and_what_looks_private_stops_the_run() {
    require!("helm3");
    let shop = Shop::new();
    let secret = "-----BEGIN OPENSSH PRIVATE KEY-----canary\n";
    let stall = chart_with("stall", "1.0.0", "registry.example.com/shop/web:1.0")
        .file(".helmignore", "notes/\n*.bak\n")
        .file("notes/private.txt", "canary of the notes\n")
        .file("values.bak", "canary of the copy\n");
    stall.write_to(shop.dir());
    shop.write("stall/id_rsa", secret);
    shop.write("stall/.git/config", "[core]\n");
    let because = ["id_rsa", ".git/", ".helmignore", "--allow-secrets"];
    let refused = shop.refuses(&["--chart", "./stall"], 2, &because);
    assert!(!refused.stderr.contains("canary"), "{refused:?}");

    shop.write("stall/.helmignore", "notes/\n*.bak\nid_rsa\n.git/\n");
    let content = |file: &str| {
        let destination = Embedded::start();
        shop.load(file, &destination.host(), &[]).success();
        let manifest = destination
            .client()
            .manifest("charts/stall", "1.0.0")
            .unwrap();
        let manifest: serde_json::Value = serde_json::from_slice(&manifest.bytes).unwrap();
        let digest = manifest["layers"][0]["digest"].as_str().unwrap();
        let archive = destination
            .client()
            .blob("charts/stall", digest.parse().unwrap());
        let archive = archive.unwrap();
        let mut tar = tar::Archive::new(flate2::read::GzDecoder::new(&archive[..]));
        let entries = tar.entries().unwrap();
        let mut names: Vec<String> = entries
            .map(|entry| entry.unwrap().path().unwrap().display().to_string())
            .collect();
        names.sort();
        names
    };
    shop.create("clean.bundle", &["--chart", "./stall"])
        .success();
    let expected = [
        "stall/.helmignore",
        "stall/Chart.yaml",
        "stall/templates/pod.yaml",
        "stall/values.yaml",
    ];
    assert_eq!(content("clean.bundle"), expected);
    shop.write("stall/.helmignore", "notes/\n*.bak\n.git/\n");
    let all = ["--chart", "./stall", "--allow-secrets"];
    shop.create("all.bundle", &all).success();
    assert!(content("all.bundle").contains(&"stall/id_rsa".to_owned()));
}

#[test]
fn an_archive_must_have_the_version_that_is_asked_for() {
    require!("helm3");
    let shop = Shop::new();
    let archive = shop.archive(&chart());
    for fits in ["1.2.3+0", "1.2.x", ">=1"] {
        let plan = shop.plan(&["--chart", &archive, "--version", fits]);
        assert_eq!(images_of(&plan), RENDERED, "{fits}");
    }
    let arguments = ["--chart", &archive, "--version", "2.x"];
    shop.refuses(
        &arguments,
        2,
        &["its version is 1.2.3+0, `2.x` was asked for"],
    );
    shop.refuses(&["--chart", "gone.tgz"], 2, &["gone.tgz"]);
}

/// An archive with these entries: kind, name, content or target.
fn hostile(entries: &[(tar::EntryType, &str, &[u8])]) -> Vec<u8> {
    let mut tar = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::fast()));
    for (kind, name, content) in entries {
        let mut header = tar::Header::new_ustar();
        header.set_mode(0o644);
        header.set_entry_type(*kind);
        // Written by hand: the library makes no such names.
        header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
        let is_file = *kind == tar::EntryType::Regular;
        if !is_file {
            header.as_old_mut().linkname[..content.len()].copy_from_slice(content);
        }
        header.set_size(if is_file { content.len() as u64 } else { 0 });
        header.set_cksum();
        tar.append(&header, if is_file { *content } else { &[] })
            .unwrap();
    }
    tar.into_inner().unwrap().finish().unwrap()
}

#[test]
fn archives_that_are_up_to_something_are_refused() {
    use tar::EntryType::{Char, Link, Regular, Symlink};
    let shop = Shop::new();
    let meta = (
        Regular,
        "shop/Chart.yaml",
        &b"apiVersion: v2\nname: shop\nversion: 1.0.0\n"[..],
    );
    let zeros = vec![0; 6 << 20];
    let many: Vec<String> = (0..30)
        .map(|number| format!("shop/files/{number}"))
        .collect();
    let bomb: Vec<_> = many
        .iter()
        .map(|name| {
            (
                Regular,
                name.as_str(),
                &zeros[..zeros.len() - (1 << 20) - 1],
            )
        })
        .collect();
    let mut truncated = chart().archive();
    truncated.truncate(truncated.len() / 2);
    for (what, archive, because) in [
        (
            "symbolic link",
            hostile(&[meta, (Symlink, "shop/values.yaml", b"/etc/passwd")]),
            "shop/values.yaml",
        ),
        (
            "hard link",
            hostile(&[meta, (Link, "shop/values.yaml", b"shop/Chart.yaml")]),
            "shop/values.yaml",
        ),
        (
            "device",
            hostile(&[meta, (Char, "shop/tty", b"")]),
            "shop/tty",
        ),
        (
            "way out",
            hostile(&[meta, (Regular, "shop/../../out", b"x")]),
            "shop/../../out",
        ),
        (
            "absolute",
            hostile(&[meta, (Regular, "/etc/cron.d/x", b"x")]),
            "etc/cron.d",
        ),
        (
            "two tops",
            hostile(&[meta, (Regular, "stall/values.yaml", b"a: 1\n")]),
            "stall",
        ),
        (
            "large file",
            hostile(&[meta, (Regular, "shop/large", &zeros)]),
            "shop/large",
        ),
        (
            "bomb",
            hostile(&[&[meta][..], &bomb].concat()),
            "larger than",
        ),
        (
            "no metadata",
            hostile(&[(Regular, "shop/values.yaml", b"a: 1\n")]),
            "Chart.yaml",
        ),
        (
            "another name",
            hostile(&[(Regular, "stall/Chart.yaml", meta.2)]),
            "stall",
        ),
        ("truncated", truncated, "damaged"),
        ("no archive", b"hello".to_vec(), "not a chart archive"),
        ("nothing", Vec::new(), "not a chart archive"),
    ] {
        shop.write("shop.tgz", &archive);
        let refused = shop.refuses(&["--chart", "shop.tgz"], 2, &["shop.tgz", because]);
        assert!(!refused.stderr.contains("panicked"), "{what}: {refused:?}");
    }
}
