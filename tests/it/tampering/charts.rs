//! Charts and releases behind a valid signature: a lock that says something else than the root or a
//! manifest, artifacts that do not follow from it, names that are paths. Refused with exit code 3 by
//! every command, with nothing pushed and nothing written.

use std::{collections::BTreeSet, path::Path};

use bytes::Bytes;
use sneakernet::{
    bundle::{Absent, AbsentReason, Discover, EntryKind, LockedFile, Release, Setting},
    oci::{Digest, media_type},
};

use super::documents::replace;
use crate::support::{
    attempt::{Bench, assert_refused},
    forge::{
        ARCHIVE, CHART_CONFIG, CONFIG, CONTENT, Forge, VALUES, chart_manifest, manifest, release,
    },
};

/// What it is, the bundle, and what the program says of it.
type Case = (String, Forge, &'static str);

const SHOP: &str = "localhost/shop:1.0.0";
const HELM: &str = media_type::HELM_CONFIG;
const TGZ: &str = media_type::HELM_CONTENT;
const PROVENANCE: &str = "application/vnd.cncf.helm.chart.provenance.v1.prov";

fn honest() -> Forge {
    Forge::honest_chart()
}

/// A chart without a release, of this configuration and these layers.
fn chart(config_type: &str, layers: &[(&str, &[u8])], archive: &[u8]) -> Forge {
    let manifest = chart_manifest(config_type, layers);
    let mut blobs = vec![CHART_CONFIG];
    blobs.extend(layers.iter().map(|(_, layer)| *layer));
    Forge::default().chart(SHOP, &manifest, archive, &blobs)
}

/// The honest chart with this release.
fn with_release(release: Release, values: &[&[u8]]) -> Forge {
    chart(HELM, &[(TGZ, ARCHIVE)], ARCHIVE).release(release, values)
}

fn odd_release(edit: impl FnOnce(&mut String)) -> Forge {
    let release = release("one", &[("values.yaml", VALUES)]);
    chart(HELM, &[(TGZ, ARCHIVE)], ARCHIVE).odd_release(release, &[VALUES], edit)
}

fn files(edit: impl FnOnce(&mut String)) -> Forge {
    Forge::honest().odd_files(&[("a", b"a"), ("b", b"bb")], edit)
}

fn absent(content: &[u8]) -> Absent {
    Absent {
        digest: Digest::sha256_of(content),
        size: content.len() as u64,
        media_type: TGZ.into(),
        reason: AbsentReason::Foreign,
        platform: None,
        urls: vec![],
    }
}

/// Everything that a key can sign and no reader takes.
pub fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for (what, forge, because) in root_and_lock().into_iter().chain(artifacts()) {
        cases.push((what.to_owned(), forge, because));
    }
    for (what, forge, because) in archives().into_iter().chain(texts()) {
        cases.push((what.to_owned(), forge, because));
    }
    cases.extend(names());
    cases
}

/// Root and lock say different things of charts and releases.
fn root_and_lock() -> Vec<(&'static str, Forge, &'static str)> {
    let other = Digest::sha256_of(b"other");
    let image = manifest(CONFIG, &[CONTENT]);
    let elsewhere = || Release {
        chart: "localhost/gone:1".into(),
        ..release("one", &[])
    };
    let twice = || Release {
        kube_version: Some("1.31.0".into()),
        ..release("one", &[])
    };
    vec![
        (
            "a release of a chart that is not there",
            with_release(elsewhere(), &[]),
            "a chart that is not there",
        ),
        (
            "a release of an image",
            Forge::honest().release(
                Release {
                    chart: "quay.io/a/one:1".into(),
                    ..release("one", &[])
                },
                &[],
            ),
            "a chart that is not there",
        ),
        (
            "two releases with one name",
            with_release(release("one", &[]), &[]).release(twice(), &[]),
            "releases are not in order",
        ),
        (
            "a release less in the lock",
            honest().lock(|lock| lock.releases.truncate(1)),
            "other releases",
        ),
        (
            "a release more in the lock",
            honest().lock(|lock| lock.releases.push(release("three", &[]))),
            "other releases",
        ),
        (
            "a release less in the root",
            honest().root(|root| root.entries.truncate(2)),
            "other releases",
        ),
        (
            "a release twice in the root",
            honest().root(|root| root.entries.push(root.entries[2].clone())),
            "in order",
        ),
        (
            "releases in another order",
            honest().root(|root| root.entries.swap(1, 2)),
            "in order",
        ),
        (
            "a release in front of its chart",
            honest().root(|root| root.entries.rotate_right(1)),
            "in order",
        ),
        (
            "releases in front of files",
            honest().odd_files(&[("a", b"a")], |_| ()).root(|root| {
                let files = root.entries.remove(1);
                root.entries.push(files);
            }),
            "in order",
        ),
        (
            "a release of another artifact type",
            honest().root(|root| {
                root.entries[1].descriptor.artifact_type = Some("text/plain".into());
            }),
            "other releases",
        ),
        (
            "a release without an artifact type",
            honest().root(|root| root.entries[1].descriptor.artifact_type = None),
            "other releases",
        ),
        (
            "releases that are files",
            honest().root(|root| root.entries[1].kind = EntryKind::Files),
            "other files",
        ),
        (
            "another digest of a values file",
            honest().lock(move |lock| lock.releases[0].values[0].digest = other),
            "other releases",
        ),
        (
            "another size of a values file",
            honest().lock(|lock| lock.releases[0].values[0].size += 1),
            "other releases",
        ),
        (
            "another name of a values file",
            honest().lock(|lock| lock.releases[0].values[0].name = "v.yaml".into()),
            "other releases",
        ),
        (
            "a setting that only the lock has",
            honest().lock(|lock| {
                lock.releases[0].relocate.push(Setting {
                    path: "image.registry".into(),
                    value: "evil.example".into(),
                });
            }),
            "other releases",
        ),
        (
            "another way of discovery",
            honest().lock(|lock| lock.releases[0].discover = Discover::None),
            "other releases",
        ),
        (
            "another digest of the chart",
            honest().lock(move |lock| lock.charts[0].digest = other),
            "other charts",
        ),
        (
            "another size of the chart",
            honest().lock(|lock| lock.charts[0].size += 1),
            "other charts",
        ),
        (
            "another media type of the chart",
            honest().lock(|lock| lock.charts[0].media_type = media_type::DOCKER_MANIFEST.into()),
            "other charts",
        ),
        (
            "another reference of the chart",
            honest().lock(|lock| lock.charts[0].reference = "localhost/shop:2".into()),
            "other charts",
        ),
        (
            "more content of the chart",
            honest().lock(|lock| lock.charts[0].content_size += 1),
            "another size of localhost/shop",
        ),
        (
            "less content of the chart",
            honest().lock(|lock| lock.charts[0].content_size = 0),
            "another size of localhost/shop",
        ),
        (
            "the largest content of the chart",
            honest().lock(|lock| lock.charts[0].content_size = (1 << 53) - 1),
            "another size of localhost/shop",
        ),
        (
            "a chart that the root lists as an image",
            honest().root(|root| root.entries[0].kind = EntryKind::Image),
            "other images",
        ),
        (
            "a chart that the root lists as an artifact",
            honest().root(|root| root.entries[0].kind = EntryKind::Artifact),
            "other images",
        ),
        (
            "a chart that root and lock list as an image",
            Forge::default()
                .image(
                    SHOP,
                    media_type::OCI_MANIFEST,
                    &[&chart_manifest(HELM, &[(TGZ, ARCHIVE)])],
                    &[CHART_CONFIG, ARCHIVE],
                )
                .release(release("one", &[]), &[]),
            "a chart that is not there",
        ),
        (
            "an image that root and lock list as a chart",
            Forge::default().chart(SHOP, &image, CONTENT, &[CONFIG, CONTENT]),
            "not a chart with the archive",
        ),
        (
            "a chart without a reference",
            honest().root(|root| root.entries[0].reference = None),
            "without a name",
        ),
        (
            "a release with a reference",
            honest().root(|root| {
                root.entries[1].reference = Some("localhost/release:1".parse().unwrap());
            }),
            "without a name",
        ),
        (
            "a values file that is said to be left out",
            honest().lock(|lock| lock.absent = vec![absent(VALUES)]),
            "there and left out",
        ),
        (
            "a values file that is left out",
            honest()
                .lock(|lock| lock.absent = vec![absent(VALUES)])
                .parts(|parts| parts.retain(|(_, content)| content != VALUES)),
            "there and left out",
        ),
        (
            "an archive that is left out",
            honest()
                .lock(|lock| lock.absent = vec![absent(ARCHIVE)])
                .parts(|parts| parts.retain(|(_, content)| content != ARCHIVE)),
            "there and left out",
        ),
        (
            "a plain file that is left out",
            files(|_| ())
                .lock(|lock| lock.absent = vec![absent(b"bb")])
                .parts(|parts| parts.retain(|(_, content)| content != &b"bb"[..])),
            "there and left out",
        ),
        (
            "a chart that is left out",
            honest().lock(|lock| {
                let chart = &lock.charts[0];
                let left_out = Absent {
                    digest: chart.digest,
                    size: chart.size,
                    ..absent(b"")
                };
                lock.absent = vec![left_out];
            }),
            "",
        ),
        (
            "a values file that is not there",
            honest().parts(|parts| parts.retain(|(_, content)| content != VALUES)),
            "",
        ),
        (
            "a values file with another content",
            honest().parts(|parts| {
                let last = parts.last_mut().unwrap();
                last.1 = Bytes::from(vec![b'x'; last.1.len()]);
            }),
            "the content of",
        ),
    ]
}

/// Artifacts of releases and files that do not follow from the lock, whole and signed.
fn artifacts() -> Vec<(&'static str, Forge, &'static str)> {
    let extra = r#","layers":["#;
    let more = format!(
        r#"{extra}{{"digest":"{}","mediaType":"application/yaml","size":{}}},"#,
        Digest::sha256_of(VALUES),
        VALUES.len()
    );
    let subject = Digest::sha256_of(chart_manifest(HELM, &[(TGZ, ARCHIVE)]).as_bytes());
    let other = Digest::sha256_of(b"other").to_string();
    vec![
        (
            "a release with one more layer",
            odd_release(replace(extra, &more)),
            "other releases",
        ),
        (
            "a release without its values",
            odd_release(|text| {
                let from = text.find(",{\"annotations\"").unwrap();
                let to = text.find("],").unwrap();
                text.replace_range(from..to, "");
            }),
            "other releases",
        ),
        (
            "a release with another name on a layer",
            odd_release(replace("values.yaml", "other.yaml")),
            "other releases",
        ),
        (
            "a release with another annotation on a layer",
            odd_release(replace("image.title", "image.description")),
            "other releases",
        ),
        (
            "a release with annotations of its own",
            odd_release(replace("{", "{\"annotations\":{\"a\":\"b\"},")),
            "other releases",
        ),
        (
            "a release of another type",
            odd_release(replace("release.v1+json", "release.v2+json")),
            "other releases",
        ),
        (
            "a release about something else",
            odd_release(replace(&subject.to_string(), &other)),
            "other releases",
        ),
        (
            "a release about nothing",
            odd_release(|text| {
                let from = text.find(",\"subject\"").unwrap();
                text.replace_range(from.., "}");
            }),
            "other releases",
        ),
        (
            "a release that is not canonical",
            odd_release(|text| text.push('\n')),
            "other releases",
        ),
        (
            "values with another media type",
            odd_release(replace("application/yaml", "text/plain")),
            "other releases",
        ),
        (
            "files that are not canonical",
            files(|text| text.push('\n')),
            "other files",
        ),
        (
            "files in another order",
            files(|text| {
                *text = text.replace("\"a\"", "\"x\"");
                *text = text.replace("\"b\"", "\"a\"").replace("\"x\"", "\"b\"");
            }),
            "other files",
        ),
        (
            "files with annotations of their own",
            files(replace("{", "{\"annotations\":{\"a\":\"b\"},")),
            "other files",
        ),
        (
            "files about something",
            files(replace("}],\"mediaType\"", "},{}],\"mediaType\"")),
            "other files",
        ),
    ]
}

/// The archive of the lock is not the chart's one archive.
fn archives() -> Vec<(&'static str, Forge, &'static str)> {
    let other = Digest::sha256_of(b"other");
    let because = "not a chart with the archive";
    vec![
        (
            "an archive that is nowhere",
            honest().lock(move |lock| lock.charts[0].archive.digest = other),
            because,
        ),
        (
            "an archive that is something else",
            honest().lock(|lock| {
                let archive = &mut lock.charts[0].archive;
                archive.digest = Digest::sha256_of(VALUES);
                archive.size = VALUES.len() as u64;
            }),
            because,
        ),
        (
            "an archive that is the configuration",
            chart(HELM, &[(TGZ, ARCHIVE)], CHART_CONFIG),
            because,
        ),
        (
            "an archive of another size",
            honest().lock(|lock| lock.charts[0].archive.size -= 1),
            because,
        ),
        (
            "an archive that is the provenance",
            chart(HELM, &[(TGZ, ARCHIVE), (PROVENANCE, VALUES)], VALUES),
            because,
        ),
        (
            "two archives",
            chart(HELM, &[(TGZ, ARCHIVE), (TGZ, VALUES)], ARCHIVE),
            because,
        ),
        (
            "an archive twice",
            chart(HELM, &[(TGZ, ARCHIVE), (TGZ, ARCHIVE)], ARCHIVE).lock(|lock| {
                lock.charts[0].content_size -= ARCHIVE.len() as u64;
            }),
            because,
        ),
        (
            "no archive",
            chart(HELM, &[(PROVENANCE, ARCHIVE)], ARCHIVE),
            because,
        ),
        (
            "a layer of an image for an archive",
            chart(
                HELM,
                &[("application/vnd.oci.image.layer.v1.tar+gzip", ARCHIVE)],
                ARCHIVE,
            ),
            because,
        ),
        (
            "the configuration of an image",
            chart(media_type::OCI_CONFIG, &[(TGZ, ARCHIVE)], ARCHIVE),
            because,
        ),
        (
            "two charts with one name",
            honest().chart(
                "quay.io/a/shop:1.0.0",
                &chart_manifest(HELM, &[(TGZ, VALUES)]),
                VALUES,
                &[CHART_CONFIG, VALUES],
            ),
            "charts are not in order",
        ),
        (
            "two charts with one name inside",
            chart(HELM, &[(TGZ, ARCHIVE)], ARCHIVE)
                .chart(
                    "localhost/shop:2_1",
                    &chart_manifest(HELM, &[(TGZ, VALUES)]),
                    VALUES,
                    &[VALUES],
                )
                .lock(|lock| {
                    for (chart, version) in lock.charts.iter_mut().zip(["2+1", "2_1"]) {
                        chart.version = version.into();
                        chart.archive.name = format!("shop-{version}.tgz");
                    }
                }),
            "charts are not in order",
        ),
    ]
}

/// Names that are paths, or none at all.
fn names() -> Vec<Case> {
    let mut cases = Vec::new();
    let long = "a".repeat(64);
    let names = [
        "../x",
        "..",
        ".",
        "",
        "a/b",
        "/a",
        "a..b",
        ".a",
        "-a",
        "a-",
        "A",
        "a_b",
        "a b",
        "a\n",
        "a\u{1b}[2J",
        "\u{e4}",
        "a\\b",
        &long,
    ];
    for name in names {
        let because = "is not the name of a release";
        let named = release(name, &[]);
        let what = format!("a release called {name:?}");
        cases.push((what, with_release(named, &[]), because));
        let mut inside = release("one", &[("values.yaml", VALUES)]);
        inside.namespace = name.to_owned();
        let what = format!("a namespace called {name:?}");
        cases.push((what, with_release(inside, &[VALUES]), because));
    }
    let long = "a".repeat(129);
    let names = [
        "../x", "..", ".", "", "a/b", "/a", "a\\b", " a", "a ", "a\n", "a\0", "C:a", "a\u{9b}",
        &long,
    ];
    for name in names {
        let because = "is not a name for a file";
        let named = release("one", &[(name, VALUES)]);
        let what = format!("values called {name:?}");
        cases.push((what, with_release(named, &[VALUES]), because));
        let what = format!("a file called {name:?}");
        let forge = Forge::honest().odd_files(&[(name, b"a")], |_| ());
        cases.push((what, forge, because));
        let what = format!("an archive called {name:?}");
        let renamed = name.to_owned();
        let forge = honest().lock(move |lock| lock.charts[0].archive.name = renamed);
        cases.push((what, forge, "does not have its name and version"));
    }
    for name in ["../shop", "a/b", &long] {
        let renamed = name.to_owned();
        let forge = honest().lock(move |lock| {
            let chart = &mut lock.charts[0];
            chart.archive.name = format!("{renamed}-{}.tgz", chart.version);
            chart.name = renamed;
        });
        let what = format!("a chart called {name:?}");
        cases.push((what, forge, "is not a name for a file"));
    }
    let twice = release("one", &[("a.yaml", VALUES), ("a.yaml", CONTENT)]);
    cases.push((
        "two values files with one name".to_owned(),
        with_release(twice, &[VALUES, CONTENT]),
        "values files of a release are not in order",
    ));
    let setting = |path: &str| Setting {
        path: path.to_owned(),
        value: "{registry}".to_owned(),
    };
    for paths in [["b", "a"], ["a", "a"]] {
        let odd = Release {
            relocate: paths.map(setting).to_vec(),
            ..release("one", &[])
        };
        cases.push((
            format!("settings {paths:?}"),
            with_release(odd, &[]),
            "settings of a release are not in order",
        ));
    }
    cases
}

/// The lock's text is not the one of what it says.
fn texts() -> Vec<(&'static str, Forge, &'static str)> {
    let edit = |from: &str, to: &str| honest().lock_text(replace(from, to));
    let discover = r#""discover":"render","#;
    vec![
        (
            "no version instead of none",
            edit(discover, r#""discover":"render","kubeVersion":null,"#),
            "",
        ),
        (
            "an empty list of API versions",
            edit("{\"chart\"", "{\"apiVersions\":[],\"chart\""),
            "",
        ),
        (
            "an empty list of settings",
            edit(
                "\"namespace\":\"market\"",
                "\"namespace\":\"market\",\"relocate\":[]",
            ),
            "",
        ),
        (
            "an unknown way of discovery",
            edit(discover, r#""discover":"guess","#),
            "",
        ),
        ("no way of discovery", edit(discover, ""), ""),
        (
            "an unknown member of a release",
            edit(discover, r#""discover":"render","hooks":[],"#),
            "",
        ),
        (
            "an unknown member of a chart",
            edit("{\"archive\"", "{\"a\":1,\"archive\""),
            "",
        ),
        (
            "a member twice",
            edit(discover, r#""discover":"none","discover":"render","#),
            "",
        ),
        (
            "a number for a name",
            edit("\"name\":\"one\"", "\"name\":1"),
            "",
        ),
        (
            "nobody asked for the chart",
            edit(r#"[{"kind":"argument"}]"#, "[]"),
            "who asked for",
        ),
        (
            "asked for by somebody unknown",
            edit(r#"{"kind":"argument"}"#, r#"{"kind":"oracle"}"#),
            "",
        ),
        (
            "asked for by a template without a name",
            edit(
                r#"{"kind":"argument"}"#,
                r#"{"kind":"rendered","object":"a","path":"b","release":"c"}"#,
            ),
            "",
        ),
        (
            "a digest of the source that nobody said",
            edit(
                "\"source\":\"./shop\"",
                "\"source\":\"./shop\",\"sourceDigest\":{\"kind\":\"mismatch\"}",
            ),
            "",
        ),
        (
            "a digest of the source that says too much",
            edit(
                "\"source\":\"./shop\"",
                "\"source\":\"./shop\",\"sourceDigest\":{\"kind\":\"match\",\"said\":\"x\"}",
            ),
            "",
        ),
        (
            "an entry of a kind that is not known",
            honest().root_text(replace("kind\":\"chart\"", "kind\":\"module\"")),
            "kind",
        ),
    ]
}

/// The names of everything in a directory.
fn listing(directory: &Path) -> BTreeSet<String> {
    let entries = std::fs::read_dir(directory).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name());
    names
        .map(|name| name.to_string_lossy().into_owned())
        .collect()
}

/// Asserts that no command takes this, and that none writes or sends anything.
#[track_caller]
fn refused(bench: &Bench, what: &str, forge: Forge, because: &str) {
    let bundle = forge.signed_by(bench.key("cosign")).build();
    bench.refuses(what, bundle.clone(), 3, because);
    let file = bench.file(&bundle);
    let name = file.to_str().unwrap();
    let host = bench.recording.host();
    let before = listing(bench.home.path());
    let extract: &[&str] = &["extract", name, "--output", "out"];
    let load: &[&str] = &["load", name, "--to", &host, "--handoff", "handed"];
    for arguments in [extract, load] {
        assert_refused(what, &bench.run(arguments, Vec::new()), 3);
        assert_eq!(listing(bench.home.path()), before, "{what}: {arguments:?}");
    }
    bench.recording.assert_untouched();
    std::fs::remove_file(&file).unwrap();
}

#[test]
fn charts_and_releases_that_are_right_are_accepted() {
    let bench = Bench::new();
    let sign = |forge: Forge| forge.signed_by(bench.key("cosign")).build();
    bench.accepts("a chart and two releases", sign(honest()));
    bench.accepts("two files", sign(files(|_| ())));
    let legacy = chart(HELM, &[("application/tar+gzip", ARCHIVE)], ARCHIVE);
    bench.accepts("an archive of the old type", sign(legacy));
    let provenance = chart(HELM, &[(PROVENANCE, VALUES), (TGZ, ARCHIVE)], ARCHIVE);
    bench.accepts("provenance", sign(provenance));
    let mixed = honest().odd_files(&[("values.yaml", VALUES)], |_| ());
    bench.accepts("a values file that is a plain file too", sign(mixed));
    // In its place the bundle is right; which of the two a command reads is another matter.
    let archive = with_release(release("one", &[("x.tgz", ARCHIVE)]), &[ARCHIVE]);
    bench.accepts("a values file that is an archive", sign(archive));
}

#[test]
fn charts_and_releases_that_are_not_right_are_refused_and_nothing_is_written() {
    let bench = Bench::new();
    for (what, forge, because) in cases() {
        refused(&bench, &what, forge, because);
    }
}

/// As many as fit into a lock of 8 MiB.
#[test]
fn great_numbers_of_releases_and_files_take_little_memory() {
    let bench = Bench::new();
    let many = |count: u32| move |n: u32| (n < count).then(|| format!("r{n}"));
    let named_files = |count: u32| {
        let names = (0..count).map(move |n| format!("{n:07}"));
        let files = names.map(|name| LockedFile {
            digest: Digest::sha256_of(b"a"),
            name,
            size: 1,
        });
        files.collect::<Vec<_>>()
    };
    let only_in_the_lock = honest().lock(move |lock| {
        let names = (0..).map_while(many(85_000));
        lock.releases = names.map(|name| release(&name, &[])).collect();
    });
    let values = honest().lock(move |lock| lock.releases[0].values = named_files(60_000));
    let files = honest().lock(move |lock| lock.files = named_files(60_000));
    let settings = honest().lock(|lock| {
        let settings = (0..200_000).map(|n| Setting {
            path: format!("{n:07}"),
            value: String::new(),
        });
        lock.releases[0].relocate = settings.collect();
    });
    let versions = honest().lock(|lock| {
        lock.releases[0].api_versions = vec!["v1".to_owned(); 1_000_000];
    });
    let charts = honest().lock(|lock| {
        let chart = lock.charts[0].clone();
        let charts = (0..14_000).map(|n| {
            let mut chart = chart.clone();
            chart.version = format!("1.0.{n:06}");
            chart.reference = format!("localhost/shop:{}", chart.version);
            chart.archive.name = format!("shop-{}.tgz", chart.version);
            chart
        });
        lock.charts = charts.collect();
    });
    let mut all_there = chart(HELM, &[(TGZ, ARCHIVE)], ARCHIVE);
    for name in (0..).map_while(many(20_000)) {
        all_there = all_there.release(release(&name, &[]), &[]);
    }
    let none_there = all_there.parts(|parts| parts.truncate(8));
    for (what, forge, because) in [
        (
            "releases in the lock",
            only_in_the_lock,
            "more than 1000 releases",
        ),
        ("values of a release", values, "more files than"),
        ("files", files, "more files than"),
        ("settings", settings, "other releases"),
        ("API versions", versions, "other releases"),
        ("charts", charts, "other charts"),
        ("releases that are not there", none_there, ""),
    ] {
        refused(&bench, what, forge, because);
    }
}
