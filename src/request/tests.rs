//! `bundle.yaml` and the builder, from the outside.

use std::{fs, path::Path};

use proptest::prelude::*;

use super::*;

const HEAD: &str =
    "apiVersion: sneakernet/v1\nkind: Bundle\nmetadata: {name: demo, version: 3.10}\n";

fn spec(rest: &str) -> Spec {
    parse_spec(&format!("{HEAD}{rest}"), "bundle.yaml").unwrap()
}

fn problems_of(text: &str) -> Vec<String> {
    match parse_spec(text, "bundle.yaml").unwrap_err() {
        RequestError::Invalid { problems } => problems.iter().map(ToString::to_string).collect(),
        other => panic!("{other}"),
    }
}

#[test]
fn a_whole_bundle_yaml_is_read() {
    let spec = spec(
        "platforms: [linux/amd64, linux/arm/v7]\n\
         images:\n\
         - {from: images.txt}\n\
         - alpine:3.12.1\n\
         - image: quay.io/a/b:1\n  platforms: [linux/arm64]\n\
         files:\n\
         - docs/install.md\n\
         - {path: values.yaml, name: my-values.yaml}\n",
    );
    assert_eq!(spec.name, "demo");
    // A number in YAML, but a version is text: 3.10 is not 3.1.
    assert_eq!(spec.version.as_deref(), Some("3.10"));
    assert_eq!(spec.platforms.unwrap(), ["linux/amd64", "linux/arm/v7"]);
    let lines: Vec<u64> = spec.images.iter().map(|image| image.line).collect();
    assert_eq!(lines, [6, 7, 8]);
    assert_eq!(
        spec.images[0].source,
        SpecImageSource::List("images.txt".to_owned())
    );
    assert_eq!(
        spec.images[2].source,
        SpecImageSource::Image {
            reference: "quay.io/a/b:1".parse().unwrap(),
            platforms: Some(vec!["linux/arm64".to_owned()]),
        }
    );
    let names: Vec<&str> = spec.files.iter().map(|file| file.name.as_str()).collect();
    assert_eq!(names, ["install.md", "my-values.yaml"]);
}

#[test]
fn mistakes_are_named_with_their_place() {
    let whole = |rest: &str| format!("{HEAD}{rest}");
    for (text, expected) in [
        (
            whole("imagse: []\n"),
            "bundle.yaml:4:1: unknown key `imagse`: did you mean `images`?",
        ),
        (
            whole("images:\n- {form: x}\n"),
            "bundle.yaml:5:4: unknown key `form`: did you mean `from`?",
        ),
        (
            whole("files:\n- path: a\n  nmae: b\n"),
            "bundle.yaml:6:3: unknown key `nmae`: did you mean `name`?",
        ),
        (
            whole("sepc: 1\n"),
            "bundle.yaml:4:1: unknown key `sepc`: known here are `apiVersion`, `kind`, \
             `metadata`, `platforms`, `kubeVersion`, `charts`, `images`, `files`, `operators`, \
             `referrers`, `referrerTypes`",
        ),
        (
            whole("referrerTypes: [.sig, sig]\n"),
            "bundle.yaml:4:23: `sig` is no type of referrers: an artifact type such as \
             application/vnd.example.sbom, or one of .sig, .att, .sbom for cosign's tags",
        ),
        (
            whole("referrerTypes: []\n"),
            "bundle.yaml: `referrerTypes` is empty: leave it out for all, or say `referrers: false`",
        ),
        (
            whole("referrers: false\nreferrerTypes: [.sig]\n"),
            "bundle.yaml: `referrers: false` and `referrerTypes` exclude each other",
        ),
        (
            whole("charts:\n- name: x\n"),
            "bundle.yaml:5:3: a chart needs `name: NAME` with `repo: URL`, \
             or `chart: PATH` or `chart: oci://…`",
        ),
        (
            whole("images:\n- ''\n"),
            "bundle.yaml:5:3: the image reference is empty",
        ),
        (
            whole("images:\n- {from: ../x}\n"),
            "bundle.yaml:5:3: the path must not leave the directory of the file that names it",
        ),
        (
            whole("files: [/etc/shadow]\n"),
            "bundle.yaml:4:9: the path must be relative to the file that names it",
        ),
        (
            whole("images: [{from: a, image: b}]\n"),
            "bundle.yaml:4:10: `from` and `image` exclude each other: make two entries of it",
        ),
        (
            whole("images: [{}]\n"),
            "bundle.yaml:4:10: an image needs `image: REFERENCE` or `from: LIST`",
        ),
        (
            whole("images: [{from: a, platforms: [linux/amd64]}]\n"),
            "bundle.yaml:4:10: `platforms` goes with `image`, not with `from`",
        ),
        (
            "apiVersion: sneakernet/v2\nkind: Bundle\nfuture: 1\n".to_owned(),
            "bundle.yaml:1:13: `apiVersion` is `sneakernet/v2`: \
             this version reads `apiVersion: sneakernet/v1`",
        ),
        (
            "apiVersion: v1\nkind: Deployment\nspec: {}\n".to_owned(),
            "bundle.yaml:2:7: `kind` is `Deployment`: this version reads `kind: Bundle`",
        ),
        (
            "a: 1\n".to_owned(),
            "bundle.yaml: not a bundle.yaml: `kind: Bundle` is missing",
        ),
        (
            "apiVersion: sneakernet/v1\nkind: Bundle\nmetadata: {version: '1'}\n".to_owned(),
            "bundle.yaml:3:12: the key `name` is missing",
        ),
    ] {
        assert_eq!(problems_of(&text), [expected], "{text}");
    }
}

#[test]
fn all_wrong_values_are_reported_at_once() {
    let text = "apiVersion: sneakernet/v1\nkind: Bundle\nmetadata: {name: A, version: '../1'}\n\
                platforms: [linux]\nimages: [Alpine, 'a b', alpine]\nfiles: [{path: a, name: b/c}]\n";
    let places: Vec<String> = problems_of(text)
        .iter()
        .map(|p| p.split(": ").next().unwrap().to_owned())
        .collect();
    let expected = ["3:18", "3:30", "4:13", "5:10", "5:18", "6:9"];
    assert_eq!(places, expected.map(|at| format!("bundle.yaml:{at}")));
}

#[test]
fn yaml_that_is_hostile_or_ambiguous_is_refused() {
    let bomb = "metadata: {name: a}\nx0: &x0 [a,a,a,a,a,a,a,a,a,a]\n".to_owned()
        + &(1..12)
            .map(|i| {
                let previous = format!("*x{}", i - 1);
                format!("x{i}: &x{i} [{}]\n", [previous.as_str(); 10].join(","))
            })
            .collect::<String>();
    for text in [
        format!("{HEAD}kind: Bundle\n"),
        format!("{HEAD}---\n{HEAD}"),
        format!("{HEAD}images: !!python/object []\n"),
        format!("{HEAD}images: {}", "[".repeat(20_000)),
        format!("{HEAD}<<: {{images: []}}\n"),
        format!("apiVersion: sneakernet/v1\nkind: Bundle\n{bomb}"),
        format!("{HEAD}images:\n\t- alpine\n"),
        format!("{HEAD}images: [1]\n"),
        format!("{HEAD}images: {{a: b}}\n"),
        format!("{HEAD}platforms: []\n"),
        String::new(),
        "[]".to_owned(),
    ] {
        let problems = problems_of(&text);
        assert!(
            !problems.is_empty() && problems[0].len() < 400,
            "{problems:?}"
        );
    }
}

fn write(directory: &Path, name: &str, text: &str) {
    fs::write(directory.join(name), text).unwrap();
}

fn built(builder: RequestBuilder) -> Vec<String> {
    match builder.build() {
        Err(RequestError::Invalid { problems }) => {
            problems.iter().map(ToString::to_string).collect()
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn referrers_come_along_unless_something_says_otherwise() {
    let directory = tempfile::tempdir().unwrap();
    let spec = directory.path().join("bundle.yaml");
    let types = |types: &[&str]| {
        ReferrerChoice::of_types(types.iter().map(|one| (*one).to_owned()).collect())
    };
    for (text, expected) in [
        ("", ReferrerChoice::All),
        ("referrers: true\n", ReferrerChoice::All),
        ("referrers: false\n", ReferrerChoice::None),
        (
            "referrerTypes: [text/spdx, .sig]\n",
            types(&[".sig", "text/spdx"]),
        ),
    ] {
        fs::write(&spec, format!("{HEAD}{text}")).unwrap();
        let mut builder = RequestBuilder::new();
        builder.spec_file(&spec);
        assert_eq!(builder.build().unwrap().referrers, expected, "{text}");
        let mut builder = RequestBuilder::new();
        builder.spec_file(&spec).referrers(types(&[".att"]));
        assert_eq!(
            builder.build().unwrap().referrers,
            types(&[".att"]),
            "{text}"
        );
    }
}

#[test]
fn an_image_asked_for_several_times_is_one_with_several_origins() {
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path();
    write(
        directory,
        "images.txt",
        "alpine:3\nbusybox\ndocker.io/library/alpine:3\n",
    );
    let rest = "images: [{from: images.txt}, {image: alpine:3, platforms: [linux/s390x]}]\nplatforms: [linux/arm64, linux/amd64]\n";
    write(directory, "bundle.yaml", &format!("{HEAD}{rest}"));
    let mut builder = RequestBuilder::new();
    builder
        .spec_file(&directory.join("bundle.yaml"))
        .image("alpine:3")
        .list_stdin(&b"quay.io/a/b\n"[..])
        .version("9");
    let request = builder.build().unwrap();

    assert_eq!(
        request.default_file_name().unwrap(),
        "demo-9.bundle.tar.zst"
    );
    let images: Vec<String> = request
        .images
        .iter()
        .map(|i| i.reference.to_string())
        .collect();
    assert_eq!(
        images,
        [
            "docker.io/library/alpine:3",
            "docker.io/library/busybox:latest",
            "quay.io/a/b:latest"
        ]
    );
    let origins: Vec<String> = request.images[0]
        .origins
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(
        origins,
        ["bundle.yaml:4", "images.txt:1", "images.txt:3", "argument"]
    );
    // One wanted the defaults, another one more.
    assert_eq!(
        request.images[0].platforms.as_deref().unwrap(),
        ["linux/amd64", "linux/arm64", "linux/s390x"]
    );
    assert_eq!(request.images[1].platforms, None);
    assert_eq!(request.images[2].origins[0].to_string(), "stdin:1");
    assert_eq!(request.repeated().count(), 1);
}

#[test]
fn arguments_go_before_the_file_and_order_does_not_matter() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("bundle.yaml");
    fs::write(
        &path,
        format!("{HEAD}platforms: [linux/amd64]\nimages: [b, a]\n"),
    )
    .unwrap();
    let request = |images: [&str; 2]| {
        let mut builder = RequestBuilder::new();
        builder.name("other").platforms(["linux/arm64"]);
        for image in images {
            builder.image(image);
        }
        builder.spec_file(&path);
        builder.build().unwrap()
    };
    assert_eq!(request(["c", "d"]), request(["d", "c"]));
    assert_eq!(request(["c", "d"]).name.as_deref(), Some("other"));
    assert_eq!(request(["c", "d"]).platforms.unwrap(), ["linux/arm64"]);
}

#[test]
fn mistakes_of_all_sources_come_together() {
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path();
    write(
        directory,
        "bundle.yaml",
        &format!("{HEAD}images: [{{from: absent.txt}}]\nfiles: [gone.md]\n"),
    );
    write(directory, "list.txt", "a b\nC\n");
    let mut builder = RequestBuilder::new();
    builder
        .image("Alpine")
        .name("-")
        .platforms(["linux"])
        .spec_file(&directory.join("bundle.yaml"))
        .list_file(&directory.join("list.txt"))
        .list_file(directory)
        .file(&directory.join("nothing"));
    let problems = built(builder);
    let has = |text: &str| problems.iter().any(|p| p.contains(text));
    assert_eq!(problems.len(), 9, "{problems:#?}");
    for text in [
        "`Alpine`",
        "`-`",
        "`linux`",
        "bundle.yaml:4: cannot read absent.txt",
        "bundle.yaml:5: cannot read gone.md",
        "list.txt:1:",
        "list.txt:2:",
        "is a directory",
        "nothing",
    ] {
        assert!(has(text), "{text}: {problems:#?}");
    }
}

#[test]
fn two_files_of_one_name_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    for sub in ["a", "b"] {
        fs::create_dir(directory.path().join(sub)).unwrap();
        write(&directory.path().join(sub), "x.md", "x");
    }
    let mut builder = RequestBuilder::new();
    builder
        .file(&directory.path().join("a/x.md"))
        .file(&directory.path().join("b/x.md"));
    assert!(built(builder)[0].starts_with("two files would be named `x.md`"));
}

proptest! {
    #[test]
    fn no_text_makes_the_parser_panic(rest in "\\PC{0,80}") {
        let _ = parse_spec(&rest, "x");
        let _ = parse_spec(&format!("{HEAD}{rest}"), "x");
        let _ = parse_spec(&format!("{HEAD}images: [{rest}]"), "x");
    }

    #[test]
    fn images_of_a_generated_file_are_read_as_written(names in proptest::collection::vec("[a-z]{2,8}/[a-z]{1,8}:v[0-9]{1,3}", 0..12)) {
        let lines: String = names.iter().map(|name| format!("- {name}\n")).collect();
        let text = if names.is_empty() { HEAD.to_owned() } else { format!("{HEAD}images:\n{lines}") };
        let spec = parse_spec(&text, "x").unwrap();
        prop_assert_eq!(spec.images.len(), names.len());
        for (at, (image, name)) in spec.images.iter().zip(&names).enumerate() {
            prop_assert_eq!(image.line, at as u64 + 5);
            let SpecImageSource::Image { reference, .. } = &image.source else { panic!() };
            prop_assert_eq!(reference.as_written(), name);
        }
    }
}
