//! Wrong input: a clear message, an exit code, and nothing written.

use crate::support::{
    helm::{ChartFiles, HELMS},
    shop::{HOST, Shop, chart, chart_with},
    tools::require,
};

#[test]
fn a_chart_that_does_not_render_speaks_in_helms_own_words() {
    require!("helm3", "helm4");
    let broken = |name: &str, template: &str| {
        ChartFiles::new(name, "1.0.0").file("templates/a.yaml", template)
    };
    for helm in HELMS {
        let shop = Shop::rendering_with(helm);
        for (chart, because) in [
            (
                broken("function", "a: {{ nosuchfunction 1 }}\n"),
                "function \"nosuchfunction\" not defined",
            ),
            (
                broken(
                    "required",
                    "a: {{ required \"host is required\" .Values.host }}\n",
                ),
                "host is required",
            ),
            (broken("nil", "a: {{ .Values.a.b.c }}\n"), "nil pointer"),
            (
                broken("fail", "{{ fail \"not on a Tuesday\" }}\n"),
                "not on a Tuesday",
            ),
            (
                broken("bad", "kind: Pod\nmetadata: {name: [\n"),
                "YAML parse error on bad/templates/a.yaml",
            ),
            (
                broken("library", "a: 1\n").metadata("type: library\n"),
                "discover: none",
            ),
            (
                broken("include", "{{ include \"nothing.at.all\" . }}\n"),
                "nothing.at.all",
            ),
            (
                broken("modern", "a: 1\n").metadata("kubeVersion: \">=1.999.0\"\n"),
                "--kube-version",
            ),
        ] {
            let archive = shop.archive(&chart);
            shop.refuses(&["--chart", &archive], 2, &["release ", because]);
        }
    }
}

#[test]
fn values_that_do_not_fit_are_refused() {
    require!("helm3", "helm4");
    for helm in HELMS {
        let shop = Shop::rendering_with(helm);
        let schema = r#"{"type": "object", "properties": {"sidecar": {"type": "string"}}}"#;
        let archive = shop.archive(&chart().file("values.schema.json", schema));
        let arguments = ["--chart", &archive, "--values", "values.yaml"];
        for (values, because) in [
            ("sidecar: 5\n", "schema"),
            ("image: [1, 2]\n", "image"),
            ("image: {tag: [\n", "values.yaml"),
            ("- a\n- b\n", "values.yaml"),
            ("\u{0}", "values.yaml"),
            ("a: &a [x]\nb: *c\n", "values.yaml"),
        ] {
            shop.write("values.yaml", values);
            shop.refuses(&arguments, 2, &[because]);
        }
        shop.write("values.yaml", b"image: \xff\xfe\n");
        shop.refuses(&arguments, 2, &["values.yaml"]);
        shop.write("values.yaml", vec![b'#'; (4 << 20) + 1]);
        shop.refuses(&arguments, 2, &["values.yaml", "larger than"]);
        std::fs::remove_file(shop.dir().join("values.yaml")).unwrap();
        shop.refuses(&arguments, 2, &["values.yaml"]);
        std::fs::create_dir(shop.dir().join("values.yaml")).unwrap();
        shop.refuses(&arguments, 2, &["values.yaml"]);
    }
}

#[test]
fn images_that_are_missing_upstream_are_named_all_at_once() {
    require!("helm3");
    let shop = Shop::new();
    let stall = shop.archive(&chart_with(
        "stall",
        "1.0.0",
        &format!("{HOST}/gone/stall:1"),
    ));
    let archive = shop.archive(&chart());
    shop.write(
        "values.yaml",
        format!("sidecar: {HOST}/gone/proxy:2\nmigrate: {HOST}/shop/migrate:7\n"),
    );
    shop.spec(&format!(
        "charts:\n  - {{chart: {archive}, values: [values.yaml]}}\n  - {{chart: {stall}}}\n\
         images: [{HOST}/shop/web:1.00]\n"
    ));
    let because = [
        "4 of 6 images could not be resolved",
        "gone/stall:1",
        "gone/proxy:2",
        "shop/migrate:7",
        "shop/web:1.00",
        "tags near it: 1.0",
        "no bundle was written",
    ];
    shop.refuses(&[], 5, &because);
}

#[test]
fn everything_that_is_wrong_with_several_charts_is_said_at_once() {
    require!("helm3");
    let shop = Shop::new();
    let broken = ChartFiles::new("broken", "1.0.0")
        .file("templates/a.yaml", "a: {{ fail \"broken here\" }}\n");
    let other =
        ChartFiles::new("other", "1.0.0").file("templates/a.yaml", "a: {{ fail \"and there\" }}\n");
    let (broken, other, good) = (
        shop.archive(&broken),
        shop.archive(&other),
        shop.archive(&chart()),
    );
    shop.spec(&format!(
        "charts:\n  - {{chart: {broken}}}\n  - {{chart: {good}}}\n  - {{chart: {other}}}\n"
    ));
    shop.refuses(
        &[],
        2,
        &[
            "2 of 3 charts cannot be carried",
            "broken here",
            "and there",
        ],
    );
    shop.write("empty.tgz", "");
    shop.write("html.tgz", "<html>");
    shop.spec("charts:\n  - {chart: empty.tgz}\n  - {chart: html.tgz}\n");
    shop.refuses(
        &[],
        2,
        &["2 of 2 charts cannot be carried", "empty.tgz", "html.tgz"],
    );
}

#[test]
fn secrets_in_values_are_named_and_never_printed() {
    require!("helm3");
    let shop = Shop::new();
    let archive = shop.archive(&chart());
    let canary = "c4n4ry-0f-the-v4lues-9d8f7e6a5b";
    shop.write(
        "values.yaml",
        format!("installer:\n  apiKey: {canary}\nproxy: https://user:{canary}@proxy.local\nimage: {{tag: \"1.0\"}}\n"),
    );
    let arguments = ["--chart", &archive, "--values", "values.yaml"];
    // What Helm overwrites is in the file all the same.
    shop.write("twice.yaml", format!("a: {{apiKey: {canary}}}\na: {{}}\n"));
    let twice = ["--chart", &archive, "--values", "twice.yaml"];
    shop.refuses(&twice, 2, &["twice.yaml  a.apiKey"]);
    let because = [
        "values.yaml  installer.apiKey",
        "values.yaml  proxy",
        "--allow-secrets",
    ];
    let refused = shop.refuses(&arguments, 2, &because);
    assert!(!refused.stderr.contains(canary) && !refused.text().contains(canary));
    let one = [&arguments[..], &["--allow-secrets=installer.apiKey"]].concat();
    let refused = shop.refuses(&one, 2, &["values.yaml  proxy"]);
    assert!(!refused.stderr.contains("installer.apiKey"), "{refused:?}");
    assert!(!refused.stderr.contains(canary));
    let both = [&one[..], &["--allow-secrets=proxy", "--verbose"]].concat();
    let created = shop.create("both.bundle", &both).success();
    assert!(!created.stderr.contains(canary) && !created.text().contains(canary));
    let planned = shop.plan(&[&arguments[..], &["--allow-secrets"]].concat());
    assert!(!planned.to_string().contains(canary));
    // In bundle.yaml it is a matter of one chart.
    shop.spec(&format!(
        "charts:\n  - chart: {archive}\n    values: [values.yaml]\n    discover: none\n    \
         allowSecrets: [installer.apiKey, proxy]\n"
    ));
    shop.create("spec.bundle", &[]).success();
}

#[test]
fn mistakes_in_bundle_yaml_are_shown_with_their_line() {
    let shop = Shop::new();
    let archive = shop.archive(&chart());
    for (lines, because) in [
        (
            "charts:\n  - {chart: ARCHIVE, vaules: [a]}\n",
            &["bundle.yaml:5:", "did you mean `values`?"][..],
        ),
        (
            "charts:\n  - {name: shop}\n",
            &["bundle.yaml:5:", "`name: NAME` with `repo: URL`"],
        ),
        (
            "charts:\n  - {name: shop, chart: ARCHIVE, repo: \"https://a.b\"}\n",
            &["bundle.yaml:5:"],
        ),
        ("charts:\n  - {chart: ../shop.tgz}\n", &["bundle.yaml:5:"]),
        ("charts:\n  - {chart: /etc/shop.tgz}\n", &["bundle.yaml:5:"]),
        (
            "charts:\n  - {chart: gone.tgz}\n",
            &["bundle.yaml:5", "gone.tgz"],
        ),
        (
            "charts:\n  - {name: shop, repo: \"ftp://a.b/\"}\n",
            &["bundle.yaml:5", "ftp://a.b/"],
        ),
        (
            "charts:\n  - chart: ARCHIVE\n    release: No_Name\n",
            &["bundle.yaml:6:", "`No_Name`"],
        ),
        (
            "charts:\n  - chart: ARCHIVE\n    namespace: a.b\n",
            &["bundle.yaml:6:", "`a.b`"],
        ),
        (
            "charts:\n  - chart: ARCHIVE\n    kubeVersion: newest\n",
            &["bundle.yaml:6:", "`newest`"],
        ),
        (
            "charts:\n  - chart: ARCHIVE\n    apiVersions: [\"-f\"]\n",
            &["bundle.yaml:6:", "`-f`"],
        ),
        (
            "charts:\n  - chart: ARCHIVE\n    discover: guess\n",
            &["bundle.yaml:6:", "`guess`", "render or none"],
        ),
        (
            "charts:\n  - chart: ARCHIVE\n    discover: none\n    tests: true\n",
            &["bundle.yaml:6:", "`tests`"],
        ),
        (
            "charts:\n  - chart: ARCHIVE\n    values: [../secret.yaml]\n",
            &["bundle.yaml:6:"],
        ),
        (
            "charts:\n  - chart: ARCHIVE\n    values: [gone.yaml]\n",
            &["bundle.yaml:6", "gone.yaml"],
        ),
        (
            "charts:\n  - chart: ARCHIVE\n    images: [\"a:{version}\"]\n",
            &["bundle.yaml:6:", "{chart.version}"],
        ),
        (
            "charts:\n  - chart: ARCHIVE\n    relocate: {\"a..b\": x}\n",
            &["bundle.yaml:5:", "`a..b`"],
        ),
        ("charts: {chart: ARCHIVE}\n", &["bundle.yaml:4:"]),
        (
            "kubeVersion: \"1\"\ncharts:\n  - {chart: ARCHIVE}\n",
            &["bundle.yaml:4:", "`1`"],
        ),
        (
            "charts:\n  - {chart: oci://registry.example.com}\n",
            &["bundle.yaml:5", "oci://"],
        ),
        (
            "charts:\n  - {chart: \"oci://registry.example.com/a/b:1.0.0\", version: 2.0.0}\n",
            &["bundle.yaml:5", "two versions"],
        ),
    ] {
        shop.spec(&lines.replace("ARCHIVE", &archive));
        let refused = shop.refuses(&[], 2, because);
        assert_eq!(refused.stderr.matches("error: ").count(), 1, "{refused:?}");
    }
    // Several at once.
    shop.spec(&format!(
        "charts:\n  - chart: {archive}\n    release: A\n    namespace: B\n"
    ));
    shop.refuses(&[], 2, &["bundle.yaml:6:", "bundle.yaml:7:"]);
}

#[test]
fn arguments_that_do_not_go_together_are_refused() {
    let shop = Shop::new();
    let archive = shop.archive(&chart());
    let other = shop.archive(&chart_with("stall", "1.0.0", "a"));
    for (arguments, because) in [
        (&["--version", "1.0.0", "--image", "a"][..], "--chart"),
        (
            &["--chart", &archive, "--chart", &other, "--release", "x"],
            "--release is for one --chart",
        ),
        (
            &[
                "--chart",
                "oci://registry.example.com/a:1",
                "--version",
                "2",
            ],
            "two versions",
        ),
        (&["--chart", &archive, "--release", "No"], "`No`"),
        (&["--chart", &archive, "--discover", "guess"], "guess"),
        (
            &["--chart", &archive, "--helm", "/nowhere/helm"],
            "/nowhere/helm",
        ),
        (
            &["--chart", "shop", "--repo", "https://user:c4nary@a.b/"],
            "--repo",
        ),
    ] {
        let refused = shop.refuses(arguments, 2, &[]);
        assert!(
            refused.stderr.contains(because) || because == "--repo",
            "{refused:?}"
        );
        assert!(!refused.stderr.contains("c4nary"), "{refused:?}");
    }
}
