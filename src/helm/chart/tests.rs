use proptest::prelude::*;
use serde_json::json;
use tar::EntryType;

use super::{
    testing::{chart, chart_yaml, gzip, header, tar, tgz},
    *,
};

const REGULAR: EntryType = EntryType::Regular;

fn refused(archive: &[u8]) -> String {
    Chart::read(archive).unwrap_err().to_string()
}

fn with_member(kind: EntryType, name: &str, data: &[u8]) -> Vec<u8> {
    let chart_yaml = chart_yaml("demo", "");
    gzip(&tar(&[
        (REGULAR, "demo/Chart.yaml", &chart_yaml),
        (kind, name, data),
    ]))
}

fn full() -> Vec<u8> {
    let more = "dependencies:\n- {name: one, version: 1.x, repository: 'https://charts.example'}\n\
                - {name: two, version: '2', repository: 'oci://charts.example'}\n\
                - {name: gone, version: '3', repository: 'https://charts.example', alias: other}\n";
    tgz(&[
        ("demo/Chart.yaml", &chart_yaml("demo", more)),
        (
            "demo/values.yaml",
            b"\xef\xbb\xbfimage: {tag: 1.2, debug: yes}\n---\nimage: {tag: x}\n",
        ),
        ("demo/values.schema.json", b"{}"),
        ("demo/Images.lock", b"images: []\n"),
        ("demo/templates/x.yaml", b"{{ not yaml"),
        ("demo/charts/one/Chart.yaml", &chart_yaml("one", "")),
        ("demo/charts/one/values.yaml", b"a: 1\n"),
        ("demo/charts/one/charts/deep-1.2.3.tgz", &chart("deep", "")),
        ("demo/charts/two-1.2.3.tgz", &chart("two", "")),
        ("demo/charts/two-1.2.3.tgz.prov", b"-----BEGIN"),
        ("demo/charts/_hidden/anything", b""),
        ("demo/charts/.hidden", b""),
    ])
}

#[test]
fn reads_a_chart_with_directories_and_archives_of_sub_charts() {
    let chart = Chart::read(&full()).unwrap();
    assert_eq!(chart.metadata.name, "demo");
    assert_eq!(chart.values, json!({"image": {"tag": "x", "debug": true}}));
    assert!(chart.has_schema);
    assert_eq!(chart.images_lock.as_deref(), Some("images: []\n"));
    let names: Vec<_> = chart
        .dependencies
        .iter()
        .map(|c| c.metadata.name.as_str())
        .collect();
    assert_eq!(names, ["one", "two"]);
    assert_eq!(chart.dependencies[0].values, json!({"a": 1}));
    assert_eq!(chart.dependencies[0].dependencies[0].metadata.name, "deep");
    let missing: Vec<_> = chart.missing().iter().map(|d| d.used_as()).collect();
    assert_eq!(missing, ["other"]);
}

#[test]
fn says_whether_it_is_the_chart_that_was_asked_for() {
    let archive = tgz(&[("demo/Chart.yaml", b"name: demo\nversion: 1.2.3+4\n")]);
    let chart = Chart::read(&archive).unwrap();
    chart.check_identity("demo", None).unwrap();
    chart.check_identity("demo", Some("1.2.3+4")).unwrap();
    chart.check_identity("demo", Some("1.2.3_4")).unwrap();
    assert_eq!(
        chart
            .check_identity("demo", Some("1.2.4"))
            .unwrap_err()
            .to_string(),
        "asked for the chart demo 1.2.4, but this is demo 1.2.3+4"
    );
    assert!(chart.check_identity("other", None).is_err());
}

#[test]
fn several_gzip_members_are_one_archive() {
    let tar = tar(&[(REGULAR, "demo/Chart.yaml", &chart_yaml("demo", ""))]);
    let (first, second) = tar.split_at(700);
    let archive = [gzip(first), gzip(second)].concat();
    assert_eq!(Chart::read(&archive).unwrap().metadata.version, "1.2.3");
}

#[test]
fn global_headers_directories_and_long_names_are_nothing_bad() {
    let chart_yaml = chart_yaml("demo", "");
    let tar = tar(&[
        (
            EntryType::XGlobalHeader,
            "pax_global_header",
            b"13 comment=x\n",
        ),
        (EntryType::Directory, "demo/", b""),
        (REGULAR, "demo/Chart.yaml", &chart_yaml),
        (EntryType::Directory, "demo/templates/", b""),
    ]);
    Chart::read(&gzip(&tar)).unwrap();
    let long = format!("demo/templates/{}.yaml", "x".repeat(200));
    let mut builder = tar::Builder::new(Vec::new());
    for (name, data) in [("demo/Chart.yaml", &chart_yaml[..]), (&long, b"")] {
        builder
            .append_data(&mut header(REGULAR, data.len()), name, data)
            .unwrap();
    }
    Chart::read(&gzip(&builder.into_inner().unwrap())).unwrap();
}

#[test]
fn endless_names_are_refused() {
    let mut builder = tar::Builder::new(Vec::new());
    let name = format!("demo/{}y", "x/".repeat(600));
    builder
        .append_data(&mut header(REGULAR, 0), name, &b""[..])
        .unwrap();
    let message = refused(&gzip(&builder.into_inner().unwrap()));
    assert!(
        message.ends_with("has a name that is longer than 1024 bytes"),
        "{message}"
    );
    assert!(message.len() < 200, "{message}");
}

#[test]
fn members_that_no_honest_packager_writes_are_refused() {
    let link = EntryType::Symlink;
    for (kind, name, message) in [
        (link, "demo/x", "`demo/x` is a symbolic link"),
        (EntryType::Link, "demo/x", "`demo/x` is a hard link"),
        (EntryType::Char, "demo/x", "`demo/x` is a device"),
        (EntryType::Block, "demo/x", "`demo/x` is a device"),
        (EntryType::Fifo, "demo/x", "`demo/x` is a FIFO"),
        (
            EntryType::Continuous,
            "demo/x",
            "`demo/x` is neither a file nor a directory",
        ),
        (REGULAR, "/demo/x", "`/demo/x` is an absolute path"),
        (
            REGULAR,
            "demo/../x",
            "`demo/../x` leads out of the chart with `..`",
        ),
        (
            REGULAR,
            "../demo",
            "`../demo` leads out of the chart with `..`",
        ),
        (REGULAR, "./demo/x", "`./demo/x` has `.` in its path"),
        (
            REGULAR,
            "demo//x",
            "`demo//x` has an empty part in its path",
        ),
        (REGULAR, "demo\\x", "`demo\\x` has a backslash in its name"),
        (
            REGULAR,
            "demo/C:/x",
            "`demo/C:/x` has a drive letter in its path",
        ),
        (REGULAR, "c:x", "`c:x` has a drive letter in its path"),
        (
            REGULAR,
            "demo/x\u{1b}[2J",
            "`demo/x\u{fffd}[2J` has a control character in its name",
        ),
        (
            REGULAR,
            "Chart.yaml",
            "`Chart.yaml` lies beside the chart's directory, not in it",
        ),
        (
            REGULAR,
            "other/x",
            "`other/x` lies in a second top directory",
        ),
        (
            EntryType::Directory,
            "other/",
            "`other` lies in a second top directory",
        ),
        (
            REGULAR,
            "demo/Chart.yaml",
            "`Chart.yaml` is in the archive twice",
        ),
        (
            REGULAR,
            "demo/CHART.yaml",
            "`CHART.yaml` is a second Chart.yaml, told apart by case alone",
        ),
        (
            REGULAR,
            "demo/Chart.yaml/x",
            "`Chart.yaml/x` lies below a file",
        ),
        (
            REGULAR,
            "demo/x/",
            "`demo/x/` is a file with the name of a directory",
        ),
    ] {
        assert_eq!(refused(&with_member(kind, name, b"")), message);
    }
    assert_eq!(
        refused(&with_member(EntryType::Directory, "demo/x/", b"data")),
        "`demo/x/` is a directory with content"
    );
}

#[test]
fn headers_that_readers_understand_differently_are_refused() {
    let pax = |record: &str| {
        let record = format!("{} {record}\n", record.len() + 4);
        let tar = tar(&[
            (REGULAR, "demo/Chart.yaml", &chart_yaml("demo", "")),
            (EntryType::XHeader, "x", record.as_bytes()),
            (REGULAR, "demo/readme", b"data"),
        ]);
        Chart::read(&gzip(&tar))
    };
    pax("comment=x").unwrap();
    pax("path=demo/ok").unwrap();
    for record in ["size=000001", "GNU.sparse.major=1", "linkpath=/etc/x"] {
        let refusal = pax(record).unwrap_err();
        assert!(
            refusal.to_string().contains("understand differently"),
            "{record}: {refusal}"
        );
    }
    assert!(
        pax("path=../../x")
            .unwrap_err()
            .to_string()
            .contains("leads out")
    );
    assert!(
        pax("path=demo/x\0y")
            .unwrap_err()
            .to_string()
            .contains("NUL")
    );

    let mut header = header(REGULAR, 0);
    header.set_path("demo/x").unwrap();
    header.set_mode(0o040_755);
    header.set_cksum();
    let mut tar = tar(&[(REGULAR, "demo/Chart.yaml", &chart_yaml("demo", ""))]);
    tar.truncate(tar.len() - 1024);
    tar.extend_from_slice(header.as_bytes());
    assert_eq!(
        refused(&gzip(&tar)),
        "`demo/x` is a file with the mode of something else"
    );
}

#[test]
fn what_is_no_archive_is_called_that() {
    for (content, message) in [
        (&b""[..], "not a chart archive: it is empty"),
        (b"apiVersion: v2\n", "not a chart archive: it is not gzip"),
        (b"PK\x03\x04", "not a chart archive: it is a zip file"),
        (b"<html>", "not a chart archive: it is an HTML page"),
    ] {
        assert_eq!(refused(content), message);
    }
    let tar = tar(&[(REGULAR, "demo/Chart.yaml", b"")]);
    assert_eq!(
        refused(&tar),
        "not a chart archive: it is a tar without gzip"
    );
    assert_eq!(refused(&gzip(b"")), "`Chart.yaml` is missing");
    assert!(refused(&gzip(b"text")).starts_with("the archive is damaged: "));
    let trailing = [tar.clone(), b"x".repeat(512)].concat();
    assert_eq!(
        refused(&gzip(&trailing)),
        "the archive is damaged: something follows the end of the tar"
    );
    let trailing = [gzip(&tar), b"junk".to_vec()].concat();
    assert!(refused(&trailing).starts_with("the archive is damaged: "));
}

#[test]
fn a_chart_yaml_in_other_case_is_named() {
    let archive = tgz(&[("demo/chart.yml", b"")]);
    let error = Chart::read(&archive).unwrap_err();
    assert_eq!(
        error.to_string(),
        "`Chart.yaml` is missing (there is `chart.yml`)"
    );
    assert!(error.hint().unwrap().contains("case-sensitive"));
}

#[test]
fn directory_and_name_agree() {
    let archive = tgz(&[("other/Chart.yaml", &chart_yaml("demo", ""))]);
    assert_eq!(
        refused(&archive),
        "the archive holds the directory `other`, but its Chart.yaml says `demo`"
    );
}

#[test]
fn bombs_are_stopped() {
    let zeros = vec![0; MAX_FILE_BYTES as usize];
    let over = vec![0; MAX_FILE_BYTES as usize + 1];
    assert!(refused(&with_member(REGULAR, "demo/x", &over)).contains("5242881 bytes"));
    let names: Vec<String> = (0..21).map(|i| format!("demo/{i}")).collect();
    let mut files = vec![("demo/Chart.yaml", &zeros[..0])];
    files.extend(names.iter().map(|name| (name.as_str(), &zeros[..])));
    let large = "decompressed, the chart is larger than 104857600 bytes";
    assert_eq!(refused(&tgz(&files)), large);

    // Nothing but padding, and headers without end.
    let endless = gzip(&vec![0; 160 << 20]);
    assert_eq!(refused(&endless), large);

    // Archives in archives share what the chart may have.
    let chart_yaml = chart_yaml("sub", "");
    let mut files = vec![("sub/Chart.yaml", &chart_yaml[..])];
    files.extend(names[..6].iter().map(|name| (name.as_str(), &zeros[..])));
    let renamed: Vec<String> = files
        .iter()
        .map(|(n, _)| n.replace("demo/", "sub/"))
        .collect();
    let files: Vec<_> = renamed
        .iter()
        .map(String::as_str)
        .zip(files.iter().map(|f| f.1))
        .collect();
    let sub = tgz(&files);
    let demo = self::chart_yaml("demo", "");
    let names: Vec<String> = (0..4).map(|i| format!("demo/charts/{i}.tgz")).collect();
    let mut files = vec![("demo/Chart.yaml", &demo[..])];
    files.extend(names.iter().map(|name| (name.as_str(), &sub[..])));
    assert_eq!(
        refused(&tgz(&files)),
        format!("sub-chart `charts/3.tgz`: {large}")
    );
}

#[test]
fn crowds_and_depths_are_stopped() {
    let names: Vec<String> = (0..MAX_MEMBERS).map(|i| format!("demo/{i}")).collect();
    let demo = chart_yaml("demo", "");
    let mut files = vec![("demo/Chart.yaml", &demo[..])];
    files.extend(names.iter().map(|name| (name.as_str(), &b""[..])));
    assert_eq!(refused(&tgz(&files)), "the chart has more than 20000 files");

    let nest = |depth: usize| {
        (0..depth).fold(chart("demo", ""), |inner, _| {
            tgz(&[
                ("demo/Chart.yaml", &chart_yaml("demo", "")),
                ("demo/charts/demo-1.2.3.tgz", &inner),
            ])
        })
    };
    Chart::read(&nest(MAX_DEPTH)).unwrap();
    let refusal = refused(&nest(MAX_DEPTH + 1));
    assert!(
        refusal.ends_with("sub-charts are nested deeper than 16 levels"),
        "{refusal}"
    );
}

#[test]
fn faults_in_sub_charts_are_told_with_their_path() {
    let archive = tgz(&[
        ("demo/Chart.yaml", &chart_yaml("demo", "")),
        ("demo/charts/sub/values.yaml", b"x: 1\n"),
    ]);
    assert_eq!(
        refused(&archive),
        "sub-chart `charts/sub`: `Chart.yaml` is missing"
    );
    let archive = tgz(&[
        ("demo/Chart.yaml", &chart_yaml("demo", "")),
        ("demo/charts/sub.tgz/Chart.yaml", b""),
    ]);
    assert!(refused(&archive).contains("is a directory with the name of an archive"));
}

#[test]
fn values_that_are_no_values_are_refused_with_their_line() {
    let values = |text: &[u8]| {
        let demo = chart_yaml("demo", "");
        Chart::read(&tgz(&[
            ("demo/Chart.yaml", &demo),
            ("demo/values.yaml", text),
        ]))
    };
    assert_eq!(values(b"").unwrap().values, json!({}));
    assert_eq!(values(b"# nothing\n").unwrap().values, json!({}));
    assert_eq!(values(b"a: 1\na: 2\n").unwrap().values, json!({"a": 2}));
    assert_eq!(
        values(b"a: &x {b: 1}\nc: {<<: *x, d: 2}\n").unwrap().values,
        json!({"a": {"b": 1}, "c": {"b": 1, "d": 2}})
    );
    let commented = format!("a:\n{}  b: 1\n", "  # - x\n".repeat(100_000));
    assert_eq!(
        values(commented.as_bytes()).unwrap().values,
        json!({"a": {"b": 1}})
    );
    let aliases = format!("a: &a x\nb: [{}]\n", "*a, ".repeat(1000));
    assert_eq!(
        values(aliases.as_bytes()).unwrap().values["b"]
            .as_array()
            .unwrap()
            .len(),
        1000
    );
    let message = values(b"a: 1\nb: [\n").unwrap_err().to_string();
    assert!(message.starts_with("values.yaml:"), "{message}");
    assert_eq!(
        values(b"a: 1\nb: \xff\n").unwrap_err().to_string(),
        "values.yaml:2: not UTF-8"
    );
    assert!(
        values(b"- a\n")
            .unwrap_err()
            .to_string()
            .contains("a mapping")
    );
    let mut bomb = "a0: &a0 [x,x,x,x,x,x,x,x,x]\n".to_owned();
    for i in 1..20 {
        let all = vec![format!("*a{}", i - 1); 9].join(",");
        bomb.push_str(&format!("a{i}: &a{i} [{all}]\n"));
    }
    values(bomb.as_bytes()).unwrap_err();
    values("[".repeat(20_000).as_bytes()).unwrap_err();
}

#[test]
fn every_truncation_is_refused_without_a_panic() {
    let archive = full();
    for length in 0..archive.len() {
        assert!(Chart::read(&archive[..length]).is_err(), "{length}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn damage_of_the_compressed_bytes_never_panics(at in 0usize..10_000, bit in 0u8..8) {
        let mut archive = full();
        let length = archive.len();
        archive[at % length] ^= 1 << bit;
        let _ = Chart::read(&archive);
    }

    #[test]
    fn damage_of_the_tar_never_leads_out(
        flips in proptest::collection::vec((0usize..20_000, any::<u8>()), 1..8),
        checksum in any::<bool>(),
    ) {
        let mut members = tar(&[
            (REGULAR, "demo/Chart.yaml", &chart_yaml("demo", "")),
            (REGULAR, "demo/charts/x/Chart.yaml", &chart_yaml("x", "")),
            (EntryType::XHeader, "x", b"14 path=demo/y\n"),
            (REGULAR, "demo/values.yaml", b"a: 1\n"),
        ]);
        let length = members.len();
        for (at, byte) in flips {
            members[at % length] = byte;
        }
        if checksum {
            mend_checksums(&mut members);
        }
        if let Ok(chart) = Chart::read(&gzip(&members)) {
            prop_assert_eq!(chart.metadata.name, "demo");
        }
    }

    #[test]
    fn any_chart_yaml_is_read_or_refused(text in "(name|version|apiVersion|[a-z]{1,4}|[-:{}\\[\\]&*!|>'\" \n]){0,40}") {
        let _ = Chart::read(&tgz(&[("demo/Chart.yaml", text.as_bytes())]));
    }
}

/// Damage that a checksum would give away is not worth much as a test.
fn mend_checksums(tar: &mut [u8]) {
    for block in tar.chunks_exact_mut(512) {
        if &block[257..262] == b"ustar" {
            block[148..156].fill(b' ');
            let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
            block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        }
    }
}
