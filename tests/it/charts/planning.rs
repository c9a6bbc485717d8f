//! What `plan` finds in charts, with every place, and what changes it.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::support::{
    helm::HELMS,
    shop::{HOST, RENDERED, Shop, chart, chart_with, images_of},
    tools::{require, run},
};

/// Who asked for an image.
fn origins<'v>(plan: &'v Value, name: &str) -> &'v Vec<Value> {
    let reference = format!("{HOST}/{name}");
    let mut images = plan["images"].as_array().unwrap().iter();
    let image = images.find(|image| image["reference"] == reference);
    let image = image.unwrap_or_else(|| panic!("{name} in {plan}"));
    image["requestedBy"].as_array().unwrap()
}

/// The rendered images and these.
fn rendered_and(more: &[&'static str]) -> Vec<&'static str> {
    let all: BTreeSet<_> = RENDERED.iter().chain(more).copied().collect();
    all.into_iter().collect()
}

#[test]
fn lists_and_charts_come_together_with_everybody_who_asked() {
    require!("helm3", "helm4");
    for helm in HELMS {
        let shop = Shop::rendering_with(helm);
        shop.archive(&chart());
        shop.write("images.txt", format!("# by hand\n{HOST}/shop/web:1.0\n"));
        shop.spec(&format!(
            "images:\n  - {{from: images.txt}}\n  - {HOST}/shop/web:1.0\n\
             charts:\n  - chart: shop-1.2.3+0.tgz\n    namespace: market\n    images:\n      \
             - \"{HOST}/shop/cc-operator:{{chart.version|replace:+:-g}}\"\n"
        ));
        let plan = shop.plan(&[]);
        let expected = rendered_and(&["shop/cc-operator:1.2.3-g0"]);
        assert_eq!(images_of(&plan), expected, "{helm}");
        let template = "shop/templates/web.yaml";
        assert_eq!(
            json!(origins(&plan, "shop/web:1.0")),
            json!([
                {"kind": "file", "line": 6, "path": "bundle.yaml"},
                {"kind": "file", "line": 2, "path": "images.txt"},
                {
                    "kind": "rendered", "object": "Deployment/shop-web", "release": "shop",
                    "path": "spec.template.spec.containers[0].image", "template": template,
                },
            ]),
            "{helm}"
        );
        let by_argument = &origins(&plan, "shop/proxy:3")[0];
        let path = "spec.template.spec.containers[0].args[0]";
        assert_eq!(by_argument["path"], path, "{helm}");
        let in_sub_chart = &origins(&plan, "shop/db:2.1")[0];
        assert_eq!(in_sub_chart["template"], "shop/charts/db/templates/db.yaml");
        let of_hook = &origins(&plan, "shop/migrate:1")[0];
        assert_eq!(of_hook["object"], "Job/migrate");
        let with_gap = &origins(&plan, "shop/cc-operator:1.2.3-g0")[0];
        assert_eq!(
            with_gap,
            &json!({"kind": "file", "line": 11, "path": "bundle.yaml"})
        );
        assert_eq!(plan["releases"][0]["namespace"], "market");
        assert_eq!(plan["charts"][0]["requestedBy"][0]["line"], 8);
    }
}

#[test]
fn the_table_shows_images_charts_and_what_is_not_certain() {
    require!("helm3");
    let shop = Shop::new();
    let archive = shop.archive(&chart());
    let planned = run(shop.making(&["plan", "--chart", &archive])).success();
    let table = planned.text();
    for (line, cells) in [
        (
            "registry.example.com/shop/web:1.0",
            &[
                "amd64",
                "release shop Deployment/shop-web spec.template.spec.containers[0].image",
            ][..],
        ),
        ("shop 1.2.3+0 (chart)", &["argument"]),
        (
            "suggested  registry.example.com/shop/metrics:0.9",
            &[
                "values.yaml metrics.image of release shop",
                "--include-suggested",
            ],
        ),
    ] {
        let found = table.lines().find(|found| found.starts_with(line));
        let found = found.unwrap_or_else(|| panic!("{line} in\n{table}"));
        for cell in cells {
            assert!(found.contains(cell), "{cell} in {found}");
        }
    }
    assert!(table.contains("4 images · 1 chart"), "{table}");
}

#[test]
fn the_last_values_win_and_arguments_do_what_the_file_does() {
    require!("helm3");
    let shop = Shop::new();
    let archive = shop.archive(&chart());
    shop.write(
        "base.yaml",
        "image: {tag: \"0.0\"}\nsidecar: registry.example.com/shop/metrics:0.9\n",
    );
    shop.write("top.yaml", "image: {tag: \"2.0\"}\n");
    let arguments = [
        "--chart",
        &archive,
        "--values",
        "base.yaml",
        "--values",
        "top.yaml",
    ];
    let plan = shop.plan(&arguments);
    let expected = [
        "shop/db:2.1",
        "shop/metrics:0.9",
        "shop/migrate:1",
        "shop/web:2.0",
    ];
    assert_eq!(images_of(&plan), expected);
    let values = plan["releases"][0]["values"].as_array().unwrap();
    let names: Vec<_> = values.iter().map(|file| &file["name"]).collect();
    assert_eq!(names, ["base.yaml", "top.yaml"]);
    let gap = format!("{HOST}/shop/cc-operator:{{chart.version|replace:+:-g}}");
    let plan = shop.plan(&[&arguments[..], &["--image", &gap]].concat());
    assert!(images_of(&plan).contains(&"shop/cc-operator:1.2.3-g0".to_owned()));
}

#[test]
fn what_is_only_suggested_is_taken_when_that_is_asked_for() {
    require!("helm3");
    let shop = Shop::new();
    let chart = chart()
        .metadata(
            "annotations:\n  artifacthub.io/images: |\n    - {name: tester, image: registry.example.com/shop/tester:1}\n",
        )
        .file(
            "Images.lock",
            "apiVersion: v0\nkind: ImagesLock\nimages:\n  - {name: m, image: registry.example.com/shop/modern:1}\n",
        );
    let archive = shop.archive(&chart);
    let plan = shop.plan(&["--chart", &archive]);
    assert_eq!(images_of(&plan), RENDERED);
    let suggested: Vec<_> = plan["suggested"].as_array().unwrap().iter().collect();
    let of = |key: &str| -> Vec<&str> {
        let texts = suggested.iter().map(|found| found[key].as_str().unwrap());
        texts.collect()
    };
    let (names, from) = (of("reference"), of("from"));
    let expected = ["shop/metrics:0.9", "shop/modern:1", "shop/tester:1"];
    assert_eq!(names, expected.map(|name| format!("{HOST}/{name}")));
    assert_eq!(
        from,
        [
            "values.yaml metrics.image",
            "Images.lock",
            "Chart.yaml annotation artifacthub.io/images"
        ]
    );
    let plan = shop.plan(&["--chart", &archive, "--include-suggested"]);
    assert_eq!(images_of(&plan), rendered_and(&expected));
    let origin = &origins(&plan, "shop/metrics:0.9")[0];
    assert_eq!(origin["kind"], "suggested");
    assert_eq!(plan.get("suggested"), None);
}

#[test]
fn test_hooks_stay_out_unless_they_are_asked_for() {
    require!("helm3", "helm4");
    for helm in HELMS {
        let shop = Shop::rendering_with(helm);
        let archive = shop.archive(&chart());
        assert_eq!(images_of(&shop.plan(&["--chart", &archive])), RENDERED);
        let plan = shop.plan(&["--chart", &archive, "--tests"]);
        assert_eq!(images_of(&plan), rendered_and(&["shop/tester:1"]), "{helm}");
        shop.spec(&format!(
            "charts:\n  - {{chart: \"{archive}\", tests: true}}\n"
        ));
        let plan = shop.plan(&[]);
        assert_eq!(images_of(&plan), rendered_and(&["shop/tester:1"]), "{helm}");
        assert_eq!(plan["releases"][0]["discover"], "renderWithTests");
    }
}

#[test]
fn the_cluster_decides_what_is_installed() {
    require!("helm3", "helm4");
    for helm in HELMS {
        let shop = Shop::rendering_with(helm);
        let archive = shop.archive(&chart());
        shop.spec(&format!(
            "kubeVersion: \"1.99.1\"\ncharts:\n  - chart: {archive}\n    \
             apiVersions: [monitoring.coreos.com/v1]\n"
        ));
        let plan = shop.plan(&[]);
        let expected = rendered_and(&["shop/modern:1", "shop/monitor:1"]);
        assert_eq!(images_of(&plan), expected, "{helm}");
        assert_eq!(plan["releases"][0]["kubeVersion"], "1.99.1");
        let arguments = [
            "--chart",
            &archive,
            "--kube-version",
            "1.30",
            "--api-versions",
        ];
        let plan = shop.plan(&[&arguments[..], &["monitoring.coreos.com/v1"]].concat());
        assert_eq!(
            images_of(&plan),
            rendered_and(&["shop/monitor:1"]),
            "{helm}"
        );
    }
}

#[test]
fn an_operator_without_a_list_is_warned_of_and_a_catalogue_covers_it() {
    require!("helm3");
    let shop = Shop::new();
    let image = &shop.images["shop/web:1.0"];
    shop.upstream
        .client()
        .push("tigera/operator", "v1.38.6", image);
    let operator = "registry.example.com/tigera/operator";
    let archive = shop.archive(&chart_with(
        "calico",
        "1.0.0",
        &format!("{operator}:v1.38.6"),
    ));
    let planned = run(shop.making(&["plan", "--chart", &archive])).success();
    for text in [
        "Tigera operator",
        "operator --print-images=list",
        "`operators`",
    ] {
        assert!(planned.stderr.contains(text), "{text}: {planned:?}");
    }
    let catalogue = |versions: &str, image: &str| {
        format!(
            "apiVersion: sneakernet/v1\nkind: OperatorCatalogue\noperators:\n  \
             - operator: {operator}\n    versions: \"{versions}\"\n    images: [{image}]\n"
        )
    };
    shop.spec(&format!(
        "charts:\n  - chart: {archive}\noperators: [tigera.yaml]\n"
    ));
    shop.write(
        "tigera.yaml",
        catalogue("v1.38.*", "registry.example.com/shop/db:2.1"),
    );
    let planned = run(shop.making(&["plan", "--format", "json"])).success();
    assert!(!planned.stderr.contains("Tigera operator"), "{planned:?}");
    let plan = planned.json();
    assert_eq!(images_of(&plan), ["shop/db:2.1", "tigera/operator:v1.38.6"]);
    assert_eq!(
        origins(&plan, "shop/db:2.1")[0],
        json!({"kind": "operator", "operator": format!("{operator}:v1.38.6"), "path": "tigera.yaml"})
    );
    // A list for other versions covers nothing.
    shop.write(
        "tigera.yaml",
        catalogue("v1.29.*", "registry.example.com/shop/db:2.1"),
    );
    let planned = run(shop.making(&["plan", "--format", "json"])).success();
    assert!(
        planned.json()["operators"][0]
            .as_str()
            .unwrap()
            .contains("Tigera operator")
    );
    // Listed by hand is covered, too.
    for name in ["node", "typha", "kube-controllers"] {
        shop.upstream
            .client()
            .push(&format!("calico/{name}"), "v3", image);
    }
    let images =
        ["node", "typha", "kube-controllers"].map(|name| format!("{HOST}/calico/{name}:v3"));
    shop.spec(&format!(
        "charts:\n  - chart: {archive}\n    images: [{}]\n",
        images.join(", ")
    ));
    let planned = run(shop.making(&["plan"])).success();
    assert!(!planned.stderr.contains("Tigera operator"), "{planned:?}");
}

#[test]
fn without_helm_a_chart_is_carried_only_with_a_list() {
    let shop = Shop::new();
    let archive = shop.archive(&chart());
    let nowhere = shop.dir().join("empty");
    std::fs::create_dir(&nowhere).unwrap();
    let without = |arguments: &[&str]| {
        let mut command = shop.making(arguments);
        command.env_remove("BUNDLE_HELM").env("PATH", &nowhere);
        run(command)
    };
    let before = shop.listing();
    for command in ["plan", "create"] {
        let mut arguments = vec![command, "--chart", &archive];
        if command == "create" {
            arguments.extend(["--unsigned", "-o", "shop.bundle"]);
        }
        let refused = without(&arguments).exits(2);
        for text in ["helm", "install", "--helm", "discover: none"] {
            assert!(refused.stderr.contains(text), "{text}: {refused:?}");
        }
    }
    assert_eq!(shop.listing().len(), before.len() + 1, "only `tmp` is new");

    let listed = format!("{HOST}/shop/web:1.0");
    let arguments = [
        "--chart",
        &archive,
        "--discover",
        "none",
        "--image",
        &listed,
    ];
    let plan = without(&[&["plan", "--format", "json"], &arguments[..]].concat());
    let plan = plan.success().json();
    assert_eq!(images_of(&plan), ["shop/web:1.0"]);
    assert_eq!(plan["releases"][0]["discover"], "none");
    let create = ["create", "--unsigned", "-o", "shop.bundle"];
    without(&[&create, &arguments[..]].concat()).success();
}

#[test]
fn one_chart_may_be_installed_twice_and_two_charts_of_one_name_may_not() {
    require!("helm3");
    let shop = Shop::new();
    let archive = shop.archive(&chart());
    shop.write("new.yaml", "image: {tag: \"2.0\"}\n");
    let spec = |second: &str| shop.spec(&format!("charts:\n  - chart: {archive}\n  - {second}\n"));
    let expected = rendered_and(&["shop/web:2.0"]);
    for second in [
        format!("{{chart: {archive}, release: other, values: [new.yaml]}}"),
        // The same name in another namespace is another release.
        format!("{{chart: {archive}, namespace: other, values: [new.yaml]}}"),
    ] {
        spec(&second);
        let plan = shop.plan(&[]);
        assert_eq!(images_of(&plan), expected, "{second}");
        assert_eq!(plan["charts"].as_array().unwrap().len(), 1);
        assert_eq!(
            plan["charts"][0]["requestedBy"].as_array().unwrap().len(),
            2
        );
        assert_eq!(plan["releases"].as_array().unwrap().len(), 2);
        // Only what no release installs is a suggestion.
        let suggested = plan["suggested"].as_array().unwrap();
        let of_metrics = |found: &&Value| found["reference"] == format!("{HOST}/shop/metrics:0.9");
        assert!(
            suggested.iter().all(|found| of_metrics(&found)),
            "{suggested:?}"
        );
    }
    std::fs::remove_file(shop.dir().join("bundle.lock")).unwrap();
    spec(&format!("{{chart: {archive}, values: [new.yaml]}}"));
    shop.refuses(
        &[],
        2,
        &[
            "a release `shop` in the namespace `default` already",
            "`release`",
        ],
    );
    let other = chart().file("README.md", "another one of this name\n");
    shop.write("copy/shop.tgz", other.archive());
    spec("{chart: copy/shop.tgz, release: other}");
    shop.refuses(&[], 2, &["shop 1.2.3+0 comes from", "other content"]);
}
