use std::{fs, io::Read as _, os::unix::fs::symlink, os::unix::net::UnixListener};

use flate2::read::GzDecoder;
use tempfile::TempDir;

use super::*;
use crate::helm::chart::testing;

const CHART: &str = "apiVersion: v2\nname: demo\nversion: 1.2.3\n";

fn directory(files: &[(&str, &str)]) -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = directory.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    directory
}

fn chart_directory(more: &[(&str, &str)]) -> TempDir {
    directory(&[&[("Chart.yaml", CHART)], more].concat())
}

fn pack(directory: &TempDir) -> Result<Package, PackageError> {
    package_directory(directory.path(), None, &[])
}

fn refused(directory: &TempDir) -> String {
    pack(directory).unwrap_err().to_string()
}

fn members(archive: &[u8]) -> Vec<String> {
    let mut tar = tar::Archive::new(GzDecoder::new(archive));
    let entries = tar.entries().unwrap();
    entries
        .map(|e| e.unwrap().path().unwrap().to_str().unwrap().to_owned())
        .collect()
}

#[test]
fn a_directory_becomes_the_archive_that_helm_makes() {
    let files = [
        (".helmignore", "*.bak\n/notes/\n"),
        ("README.md", "# demo"),
        ("charts/_x/y", "passed over by Helm"),
        ("charts/sub/Chart.yaml", "name: sub\nversion: 1.0.0\n"),
        ("crds/a.yaml", "x"),
        ("notes/secret", "x"),
        ("templates/.swp", "x"),
        ("templates/NOTES.txt", "x"),
        ("templates/a.yaml", "a"),
        ("templates/a.yaml.bak", "a"),
        ("values.schema.json", "{}"),
        ("values.yaml", "a: 1\n"),
        ("Chart.lock", "digest: x\ndependencies: []\n"),
        (".env", "TOKEN=x"),
        (".git/config", "x"),
        (".git/HEAD", "x"),
    ];
    let package = pack(&chart_directory(&files)).unwrap();
    assert_eq!(package.file_name, "demo-1.2.3.tgz");
    assert_eq!(
        members(&package.archive),
        [
            "demo/Chart.yaml",
            "demo/Chart.lock",
            "demo/values.yaml",
            "demo/values.schema.json",
            "demo/templates/NOTES.txt",
            "demo/templates/a.yaml",
            "demo/.env",
            "demo/.git/HEAD",
            "demo/.git/config",
            "demo/.helmignore",
            "demo/README.md",
            "demo/crds/a.yaml",
            "demo/charts/sub/Chart.yaml",
        ]
    );
    assert_eq!(
        package.excluded,
        [
            "charts/_x/y",
            "notes/",
            "templates/.swp",
            "templates/a.yaml.bak"
        ]
    );
    assert_eq!(package.private, [".env", ".git/"]);
    assert_eq!(package.chart.dependencies[0].metadata.name, "sub");
    let mut reversed = files;
    reversed.reverse();
    let again = pack(&chart_directory(&reversed)).unwrap();
    assert_eq!(
        package.archive, again.archive,
        "the same bytes, in whatever order they were made"
    );
    let mut first = Vec::new();
    let mut tar = tar::Archive::new(GzDecoder::new(package.archive.as_slice()));
    let mut entry = tar.entries().unwrap().next().unwrap().unwrap();
    entry.read_to_end(&mut first).unwrap();
    assert_eq!(first, CHART.as_bytes());
    assert_eq!(
        (
            entry.header().mtime().unwrap(),
            entry.header().mode().unwrap()
        ),
        (0, 0o644)
    );
}

#[test]
fn long_names_survive() {
    let name = format!("files/{}/{}", "d".repeat(120), "f".repeat(150));
    let package = pack(&chart_directory(&[(&name, "x")])).unwrap();
    assert_eq!(members(&package.archive)[1], format!("demo/{name}"));
}

#[test]
fn links_stay_within_the_chart() {
    let outside = directory(&[("secret", "x"), ("more/secret", "x")]);
    let with_link = |target: &Path, name: &str| {
        let chart = chart_directory(&[("templates/a.yaml", "a"), ("docs/b", "b")]);
        symlink(target, chart.path().join(name)).unwrap();
        chart
    };
    for target in [
        outside.path().join("secret"),
        outside.path().to_owned(),
        "/etc/passwd".into(),
    ] {
        let message = refused(&with_link(&target, "docs/link"));
        assert_eq!(
            message,
            "`docs/link` is a symbolic link that leads out of the chart"
        );
    }
    let message = refused(&with_link(&outside.path().join("secret"), ".helmignore"));
    assert_eq!(
        message,
        "`.helmignore` is a symbolic link that leads out of the chart"
    );
    assert!(refused(&with_link(Path::new(".."), "docs/up")).contains("leads in a circle"));
    assert!(refused(&with_link(Path::new("."), "docs/here")).contains("leads in a circle"));
    assert!(refused(&with_link(Path::new("link"), "link")).contains("leads nowhere"));
    assert!(refused(&with_link(Path::new("/nowhere"), "link")).contains("leads nowhere"));
    assert!(refused(&with_link(Path::new("../.."), "docs/up")).contains("leads out of the chart"));

    let chained = with_link(&outside.path().join("secret"), "one");
    symlink("one", chained.path().join("two")).unwrap();
    fs::write(chained.path().join(".helmignore"), "one\n").unwrap();
    assert!(refused(&chained).starts_with("`two` is a symbolic link that leads out"));

    let package = pack(&with_link(Path::new("../templates"), "docs/link")).unwrap();
    assert!(members(&package.archive).contains(&"demo/docs/link/a.yaml".to_owned()));
    assert_eq!(package.links, ["docs/link"]);

    let ignored = with_link(&outside.path().join("secret"), "link");
    fs::write(ignored.path().join(".helmignore"), "link\n").unwrap();
    assert_eq!(pack(&ignored).unwrap().excluded, ["link"]);
}

#[test]
fn what_is_no_file_is_refused_and_never_waited_for() {
    let socket = chart_directory(&[]);
    let _listener = UnixListener::bind(socket.path().join("socket")).unwrap();
    assert_eq!(
        refused(&socket),
        "`socket` is neither a file nor a directory"
    );
    let fifo = chart_directory(&[]);
    let mode = rustix::fs::Mode::from_raw_mode(0o600);
    let kind = rustix::fs::FileType::Fifo;
    rustix::fs::mknodat(rustix::fs::CWD, fifo.path().join("fifo"), kind, mode, 0).unwrap();
    assert_eq!(refused(&fifo), "`fifo` is neither a file nor a directory");
}

#[test]
fn sizes_are_capped() {
    let chart = chart_directory(&[]);
    let large = fs::File::create(chart.path().join("large")).unwrap();
    large.set_len(5 << 30).unwrap();
    let error = pack(&chart).unwrap_err();
    assert_eq!(
        error.to_string(),
        "`large` is larger than the 5242880 bytes that Helm reads of one file"
    );
    assert!(error.hint().unwrap().contains(".helmignore"));
    fs::remove_file(chart.path().join("large")).unwrap();
    for i in 0..21 {
        let file = fs::File::create(chart.path().join(i.to_string())).unwrap();
        file.set_len(5 << 20).unwrap();
    }
    assert!(refused(&chart).contains("makes the chart larger than 104857600 bytes"));
}

#[test]
fn faults_have_their_file_and_line() {
    assert_eq!(refused(&directory(&[("x", "")])), "`Chart.yaml` is missing");
    let ignore = chart_directory(&[(".helmignore", "a\n**/b\n")]);
    assert_eq!(
        refused(&ignore),
        ".helmignore:2: double-star (**) syntax is not supported"
    );
    let schema = chart_directory(&[("values.schema.json", "{")]);
    assert!(refused(&schema).starts_with("`values.schema.json` is not JSON: "));
    let name = chart_directory(&[("a\\b", "")]);
    assert_eq!(refused(&name), "`demo/a\\b` has a backslash in its name");
    let file = chart_directory(&[]);
    let error = inspect_directory(&file.path().join("Chart.yaml"), None).unwrap_err();
    assert!(matches!(error, PackageError::NotADirectory { .. }));
    let error = inspect_directory(&file.path().join("gone"), None).unwrap_err();
    assert!(matches!(error, PackageError::Read { .. }));
}

const DEPENDENCY: &str =
    "dependencies:\n- {name: sub, version: ~1.2, repository: 'https://charts.example'}\n";

#[test]
fn missing_dependencies_are_told_and_then_put_in() {
    let chart = directory(&[("Chart.yaml", &format!("{CHART}{DEPENDENCY}"))]);
    let inspected = inspect_directory(chart.path(), None).unwrap();
    assert_eq!(
        inspected.missing[0].dependency.version.as_deref(),
        Some("~1.2")
    );
    assert_eq!(inspected.missing[0].locked, None);
    let message = refused(&chart);
    assert_eq!(
        message,
        "found in Chart.yaml, but missing in charts/ directory: sub"
    );
    let fetched = |name: &str| {
        let archive = Bytes::from(testing::chart("sub", ""));
        package_directory(chart.path(), None, &[(name.to_owned(), archive)])
    };
    let package = fetched("sub-1.2.3.tgz").unwrap();
    assert!(members(&package.archive).contains(&"demo/charts/sub-1.2.3.tgz".to_owned()));
    assert_eq!(package.chart.dependencies[0].metadata.version, "1.2.3");
    for bad in ["../sub.tgz", "sub", "_sub.tgz"] {
        assert!(
            matches!(fetched(bad), Err(PackageError::File { .. })),
            "{bad}"
        );
    }
}

/// Written by `helm dependency update` of Helm 4.3.1 for the `Chart.yaml` below.
const LOCK: &str = "dependencies:
- name: sub
  repository: http://127.0.0.1:5918
  version: 1.2.7
digest: sha256:177f64ae7690159d7ba2a119806d9462293757899e580c483a66d98af2668b00
generated: \"2026-11-23T09:33:43.67034299Z\"
";

#[test]
fn a_lock_pins_versions_and_must_fit() {
    let chart_yaml = format!(
        "{CHART}dependencies:\n- {{name: sub, version: '>=1.2 <2', repository: 'http://127.0.0.1:5918'}}\n"
    );
    let chart = directory(&[("Chart.yaml", &chart_yaml), ("Chart.lock", LOCK)]);
    let inspected = inspect_directory(chart.path(), None).unwrap();
    assert_eq!(inspected.missing[0].locked.as_deref(), Some("1.2.7"));
    let chart_yaml = chart_yaml.replace("<2", "<3");
    let chart = directory(&[("Chart.yaml", &chart_yaml), ("Chart.lock", LOCK)]);
    let error = inspect_directory(chart.path(), None).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the lock file (Chart.lock) is out of sync with the dependencies file (Chart.yaml)"
    );
    assert!(error.hint().unwrap().contains("helm dependency update"));
}

#[test]
fn repositories_that_cannot_be_fetched_from_are_refused() {
    for (repository, problem) in [
        ("", "is not in charts/ and names no repository"),
        (
            "@stable",
            "names the repository `@stable`, which only the Helm that added it knows",
        ),
        (
            "s3://x",
            "names the repository `s3://x`, which is not https://, oci:// or file://",
        ),
        (
            "file:///etc",
            "names file:///etc, which is not relative to the chart",
        ),
        (
            "file://../gone",
            "names file://../gone, where there is no directory",
        ),
        (
            "file://templates",
            "names file://templates, which is not the directory of a chart",
        ),
        (
            "file://link",
            "names file://link, which leads through a symbolic link",
        ),
    ] {
        let dependency = format!("dependencies: [{{name: sub, repository: '{repository}'}}]\n");
        let chart_yaml = format!("{CHART}{dependency}");
        let files = [
            ("Chart.yaml", chart_yaml.as_str()),
            ("templates/a", ""),
            (".helmignore", "link"),
        ];
        let chart = directory(&files);
        symlink("templates", chart.path().join("link")).unwrap();
        let message = inspect_directory(chart.path(), None)
            .unwrap_err()
            .to_string();
        assert_eq!(message, format!("dependency `sub` {problem}"));
    }
}

#[test]
fn charts_in_directories_nearby_are_packaged_along() {
    let needs = |name: &str, other: &str| {
        format!(
            "apiVersion: v2\nname: {name}\nversion: 1.2.3\ndependencies: [{{name: {other}, version: '1', repository: 'file://../{other}'}}]\n"
        )
    };
    let all = directory(&[
        ("demo/Chart.yaml", &needs("demo", "one")),
        ("one/Chart.yaml", &needs("one", "two")),
        (
            "two/Chart.yaml",
            "apiVersion: v2\nname: two\nversion: 1.2.3\n",
        ),
        ("three/Chart.yaml", &needs("three", "four")),
        ("four/Chart.yaml", &needs("four", "three")),
        ("five/Chart.yaml", &needs("five", "six")),
        ("six/Chart.yaml", "name: other\nversion: 1.0.0\n"),
    ]);
    let inspected = inspect_directory(&all.path().join("demo"), None).unwrap();
    assert_eq!(
        inspected.missing[0].local.as_ref().unwrap().version,
        "1.2.3"
    );
    let package = package_directory(&all.path().join("demo"), None, &[]).unwrap();
    assert_eq!(members(&package.archive)[1], "demo/charts/one-1.2.3.tgz");
    assert_eq!(
        package.chart.dependencies[0].dependencies[0].metadata.name,
        "two"
    );
    // A bundle.yaml of somebody else reaches nothing outside of its directory.
    let within = all.path().join("demo").canonicalize().unwrap();
    let outside = package_directory(&within, Some(&within), &[]).unwrap_err();
    assert!(outside.to_string().contains("leads out of"), "{outside}");
    let within = all.path().canonicalize().unwrap();
    package_directory(&within.join("demo"), Some(&within), &[]).unwrap();
    let circle = package_directory(&all.path().join("three"), None, &[]).unwrap_err();
    assert!(circle.to_string().contains("depends on itself"), "{circle}");
    let other = package_directory(&all.path().join("five"), None, &[]).unwrap_err();
    assert!(
        other.to_string().ends_with("where the chart `other` is"),
        "{other}"
    );
}
