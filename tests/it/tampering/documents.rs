//! Behind a valid signature: what an insider or a program with a fault could sign. Root, lock,
//! `index.json`, manifests and blobs that do not belong together, or that two readers understand
//! differently, are refused with exit code 3 before anybody is asked anything.

use bytes::Bytes;
use sneakernet::{
    bundle::{Absent, AbsentReason, EntryKind, LockedFile},
    oci::{Digest, media_type},
};

use crate::support::{
    attempt::Bench,
    forge::{self, CONFIG, CONTENT, Forge, LAYER, descriptor, index, index_of, manifest},
};

const OCI: &str = media_type::OCI_MANIFEST;
const INDEX: &str = media_type::OCI_INDEX;

/// A bundle of one image with this document, over the config and the layer that [`manifest`] names.
fn with(document: &str) -> Forge {
    Forge::default().image("quay.io/a/one:1", OCI, &[document], &[CONFIG, CONTENT])
}

/// Cases of a name, a forge, and what the program says.
fn all_refused(cases: Vec<(&str, Forge, &str)>) {
    let bench = Bench::new();
    for (what, forge, because) in cases {
        let bundle = forge.signed_by(bench.key("cosign")).build();
        bench.refuses(what, bundle, 3, because);
    }
}

/// The same where all that is wrong stands before the blobs.
fn all_refused_by_the_head(cases: Vec<(&str, Forge, &str)>) {
    let bench = Bench::new();
    for (what, forge, because) in cases {
        let bundle = forge.signed_by(bench.key("cosign")).build();
        bench.refuses_head(what, bundle, 3, because);
    }
}

/// Replaces the first occurrence, which must be there.
pub(super) fn replace(from: &str, to: &str) -> impl FnOnce(&mut String) + 'static {
    let (from, to) = (from.to_owned(), to.to_owned());
    move |text| {
        assert!(text.contains(&from), "{from} is not in {text}");
        *text = text.replacen(&from, &to, 1);
    }
}

#[test]
fn what_is_signed_and_right_is_accepted() {
    let bench = Bench::new();
    let sign = |forge: Forge| forge.signed_by(bench.key("cosign")).build();
    bench.accepts("one image", sign(Forge::honest()));
    let plain = manifest(CONFIG, &[CONTENT]);
    let top = index(&[&plain]);
    let nested = index_of(&[
        descriptor(INDEX, top.as_bytes()),
        descriptor(OCI, plain.as_bytes()),
    ]);
    let forge = Forge::default().image(
        "quay.io/a/nested:1",
        INDEX,
        &[&nested, &top, &plain],
        &[CONFIG, CONTENT],
    );
    bench.accepts("an index in an index, and a child of both", sign(forge));
    let unknown = plain.replacen('{', r#"{"x":{"Layers2":[1.5]},"#, 1);
    bench.accepts("unknown fields", sign(with(&unknown)));
    let repeated = manifest(CONFIG, &[CONTENT, CONTENT, CONTENT]);
    bench.accepts("a layer three times", sign(with(&repeated)));
}

#[test]
fn what_is_missing_and_what_is_too_much_is_refused() {
    let gone = |n: usize| {
        move |parts: &mut Vec<forge::Part>| {
            let at = parts.len() - 1 - n;
            parts.remove(at);
        }
    };
    let extra = Bytes::from_static(b"nobody asked for this");
    let added = |at_end: bool| {
        let part = (Digest::sha256_of(&extra), extra.clone());
        move |parts: &mut Vec<forge::Part>| {
            let at = if at_end { parts.len() } else { parts.len() - 2 };
            parts.insert(at, part);
        }
    };
    all_refused(vec![
        ("a missing layer", Forge::honest().parts(gone(0)), ""),
        ("a missing config", Forge::honest().parts(gone(1)), ""),
        (
            "a missing manifest",
            Forge::honest().parts(gone(2)),
            "expected the header",
        ),
        (
            "a blob too much at the end",
            Forge::honest().parts(added(true)),
            "",
        ),
        (
            "a blob too much among the others",
            Forge::honest().parts(added(false)),
            "",
        ),
        (
            "a blob with another content",
            Forge::honest().parts(|parts| {
                let last = parts.len() - 1;
                parts[last].1 = Bytes::from(vec![b'x'; CONTENT.len()]);
            }),
            "the content of",
        ),
        (
            "two blobs in each other's place",
            Forge::honest().parts(|parts| {
                let last = parts.len() - 1;
                parts.swap(last, last - 1);
            }),
            "",
        ),
        (
            "the lock's content replaced",
            Forge::honest().parts(|parts| {
                let at = parts
                    .iter()
                    .position(|(_, c)| c.starts_with(b"{\"apiVersion"))
                    .unwrap();
                let text = String::from_utf8(parts[at].1.to_vec()).unwrap();
                parts[at].1 = Bytes::from(text.replace("argument", "argumenT"));
            }),
            "the content of",
        ),
    ]);
}

#[test]
fn index_json_root_and_lock_say_the_same_or_are_refused() {
    let other = Digest::sha256_of(b"other");
    let absent = |digest| Absent {
        digest,
        size: 26,
        media_type: LAYER.into(),
        reason: AbsentReason::Foreign,
        platform: None,
        urls: vec![],
    };
    let layer = Digest::sha256_of(CONTENT);
    let honest = Forge::honest;
    all_refused_by_the_head(vec![
        // index.json
        (
            "another name",
            honest().index_json(replace("one:1", "two:1")),
            "index.json does not",
        ),
        (
            "index.json without the image",
            honest().index_json(|text| {
                let at = text.rfind(",{").unwrap();
                let end = text.rfind("],").unwrap();
                text.replace_range(at..end, "");
            }),
            "index.json does not",
        ),
        (
            "index.json with one image more",
            honest().index_json(|text| {
                let at = text.rfind(",{").unwrap();
                let end = text.rfind("],").unwrap();
                let entry = text[at..end].replace("one:1", "two:1");
                text.insert_str(end, &entry);
            }),
            "index.json does not",
        ),
        (
            "a space in index.json",
            honest().index_json(replace(":", ": ")),
            "canonical",
        ),
        (
            "a line behind index.json",
            honest().index_json(|t| t.push('\n')),
            "canonical",
        ),
        (
            "two documents",
            honest().index_json(|t| t.push_str("{}")),
            "",
        ),
        (
            "a key twice",
            honest().index_json(replace("{", "{\"manifests\":[],")),
            "",
        ),
        (
            "an unknown key",
            honest().index_json(replace("{", "{\"a\":1,")),
            "",
        ),
        (
            "another case",
            honest().index_json(replace("\"manifests\"", "\"Manifests\"")),
            "",
        ),
        ("no list", honest().index_json(|t| *t = "null".into()), ""),
        ("an array", honest().index_json(|t| *t = "[]".into()), ""),
        ("nothing", honest().index_json(|t| t.clear()), ""),
        (
            "a mark in front",
            honest().index_json(|t| t.insert(0, '\u{feff}')),
            "",
        ),
        ("zeros behind", honest().index_json(|t| t.push('\0')), ""),
        (
            "deep brackets",
            honest().index_json(|t| *t = "[".repeat(1 << 20)),
            "recursion limit",
        ),
        (
            "a root by a short digest",
            honest().index_json(|t| {
                let at = t.find("sha256:").unwrap();
                t.replace_range(at + 7..at + 8, "");
            }),
            "",
        ),
        (
            "a path in place of a digest",
            honest().index_json(|t| {
                let at = t.find("sha256:").unwrap();
                t.replace_range(at + 7..at + 71, &"../".repeat(22)[..64]);
            }),
            "",
        ),
        // Root
        (
            "a later format",
            honest().root_text(replace("bundle.v1", "bundle.v2")),
            "format",
        ),
        (
            "a space in the root",
            honest().root_text(replace(":", ": ")),
            "canonical",
        ),
        (
            "an unknown key in the root",
            honest().root_text(replace("{", "{\"a\":1,")),
            "",
        ),
        (
            "an annotation that is not known",
            honest().root_text(replace("{\"vnd", "{\"a\":\"1\",\"vnd")),
            "",
        ),
        (
            "an annotation that acts on a terminal",
            honest().root_text(replace("{\"vnd", "{\"\u{1b}[2J\u{9b}31m\":\"1\",\"vnd")),
            "",
        ),
        (
            "a reserved annotation",
            honest().root_text(replace(
                "\"vnd.sneakernet.tool\"",
                "\"vnd.sneakernet.serial\":\"1\",\"vnd.sneakernet.tool\"",
            )),
            "does not know",
        ),
        (
            "unsigned: maybe",
            honest().root_text(replace(
                "\"vnd.sneakernet.version\"",
                "\"vnd.sneakernet.unsigned\":\"maybe\",\"vnd.sneakernet.version\"",
            )),
            "unsigned",
        ),
        (
            "a name with a path",
            honest().root_text(replace("\"sample\"", "\"../a\"")),
            "name",
        ),
        (
            "a time with an offset",
            honest().root_text(replace("10:00Z", "10:00+01:00")),
            "time",
        ),
        (
            "the same image twice",
            honest().root(|root| root.entries.push(root.entries[0].clone())),
            "in order",
        ),
        (
            "no image",
            honest().root(|root| root.entries.clear()),
            "contradict",
        ),
        (
            "files that are none",
            honest().root(|root| root.entries[0].kind = EntryKind::Files),
            "",
        ),
        (
            "a pinned image with another digest",
            honest().root(move |root| {
                let name = format!("quay.io/a/one:1@{other}");
                root.entries[0].reference = Some(name.parse().unwrap());
            }),
            "pins",
        ),
        // Lock
        (
            "another name in the lock",
            honest().lock(|l| l.metadata.name = "b".into()),
            "name",
        ),
        (
            "another time in the lock",
            honest().lock(|_| ()).root(later),
            "time",
        ),
        (
            "an image less in the lock",
            honest().lock(|lock| lock.images.clear()),
            "other images",
        ),
        (
            "an image more in the lock",
            honest().lock(|lock| {
                let mut more = lock.images[0].clone();
                more.reference = "quay.io/a/two:1".into();
                lock.images.push(more);
            }),
            "other images",
        ),
        (
            "another digest in the lock",
            honest().lock(move |lock| lock.images[0].digest = other),
            "other images",
        ),
        (
            "another size in the lock",
            honest().lock(|l| l.images[0].size += 1),
            "other images",
        ),
        (
            "another media type in the lock",
            honest().lock(|l| l.images[0].media_type = INDEX.into()),
            "other images",
        ),
        (
            "more content in the lock",
            honest().lock(|l| l.images[0].content_size += 1),
            "another size",
        ),
        (
            "less content in the lock",
            honest().lock(|l| l.images[0].content_size -= 1),
            "another size",
        ),
        (
            "a file that is not there",
            honest().lock(move |lock| {
                let name = "x".into();
                lock.files.push(LockedFile {
                    name,
                    digest: other,
                    size: 1,
                });
            }),
            "other files",
        ),
        (
            "left out, and there",
            honest().lock(move |lock| lock.absent.push(absent(layer))),
            "",
        ),
        (
            "left out, but nobody misses it",
            honest().lock(move |lock| lock.absent.push(absent(other))),
            "nothing refers to it",
        ),
        (
            "a space in the lock",
            honest().lock_text(replace(":", ": ")),
            "canonical",
        ),
        (
            "an unknown key in the lock",
            honest().lock_text(replace("{", "{\"a\":1,")),
            "",
        ),
        (
            "a lock of a later version",
            honest().lock_text(replace("kernet/v1", "kernet/v2")),
            "",
        ),
        (
            "no lock",
            honest().lock_text(|text| *text = "{}".into()),
            "",
        ),
    ]);
}

fn later(root: &mut sneakernet::bundle::Root) {
    root.info.created = "2026-11-24T04:10:00Z".into();
}

#[test]
fn documents_with_two_meanings_are_refused() {
    let plain = manifest(CONFIG, &[CONTENT]);
    let edit = |from: &str, to: &str| {
        assert!(plain.contains(from), "{from}");
        with(&plain.replacen(from, to, 1))
    };
    let size = format!("\"size\":{}", CONTENT.len());
    let size_is = |text: &str| edit(&size, &format!("\"size\":{text}"));
    let digest = Digest::sha256_of(CONTENT).to_string();
    let digest_is = |text: &str| edit(&digest, text);
    let both = format!(r#"{{"manifests":[],{}"#, &plain[1..]);
    let both_in_index = index(&[&plain]).replacen('{', r#"{"layers":[],"#, 1);
    let typed = |came: &str, document: &str| {
        Forge::default().image("quay.io/a/one:1", came, &[document], &[CONFIG, CONTENT])
    };
    let twice = index_of(&[
        descriptor(OCI, plain.as_bytes()),
        descriptor(media_type::DOCKER_MANIFEST, plain.as_bytes()),
    ]);
    let with_data = |data: &str| edit(&size, &format!("{size},\"data\":\"{data}\""));
    let empty_config = edit("\"config\":", "\"config2\":");
    all_refused_by_the_head(vec![
        (
            "layers and manifests (CVE-2021-41190)",
            with(&both),
            "at once",
        ),
        (
            "an index with layers",
            typed(INDEX, &both_in_index),
            "at once",
        ),
        (
            "a manifest that is said to be an index",
            typed(INDEX, &plain),
            "came as",
        ),
        (
            "an index that is said to be a manifest",
            with(&index(&[&plain])),
            "came as",
        ),
        (
            "Docker's type from outside",
            typed(media_type::DOCKER_MANIFEST, &plain),
            "came as",
        ),
        ("a type that is none", typed("text/html", &plain), "came as"),
        ("a long type", typed(&"x".repeat(10_000), &plain), ""),
        (
            "layers twice",
            edit("\"layers\":", "\"layers\":[],\"layers\":"),
            "",
        ),
        (
            "Layers too",
            edit("\"layers\":", "\"Layers\":[],\"layers\":"),
            "differs from a field",
        ),
        (
            "only Layers",
            edit("\"layers\":", "\"Layers\":"),
            "differs from a field",
        ),
        (
            "layerſ",
            edit("\"layers\":", "\"layer\u{17f}\":"),
            "differs from a field",
        ),
        (
            "Digest in a descriptor",
            edit("\"digest\":", "\"Digest\":\"x\",\"digest\":"),
            "",
        ),
        (
            "MEDIATYPE too",
            edit("\"mediaType\":", "\"MEDIATYPE\":\"x\",\"mediaType\":"),
            "",
        ),
        (
            "annotations twice the same",
            edit(
                "\"layers\":",
                "\"annotations\":{\"a\":\"1\",\"a\":\"2\"},\"layers\":",
            ),
            "twice",
        ),
        (
            "a second document behind",
            with(&format!("{plain}{{}}")),
            "trailing",
        ),
        ("a zero byte behind", with(&format!("{plain}\0")), ""),
        ("a mark in front", with(&format!("\u{feff}{plain}")), ""),
        (
            "a lone surrogate",
            edit("\"schemaVersion\"", "\"x\":\"\\ud800\",\"schemaVersion\""),
            "",
        ),
        (
            "schema 1",
            edit("\"schemaVersion\":2", "\"schemaVersion\":1"),
            "schema 1",
        ),
        (
            "schema 3",
            edit("\"schemaVersion\":2", "\"schemaVersion\":3"),
            "schemaVersion 3",
        ),
        (
            "schema as text",
            edit("\"schemaVersion\":2", "\"schemaVersion\":\"2\""),
            "",
        ),
        (
            "schema 2.0",
            edit("\"schemaVersion\":2", "\"schemaVersion\":2.0"),
            "",
        ),
        ("no config", empty_config, ""),
        ("size + 1", size_is(&(CONTENT.len() + 1).to_string()), ""),
        ("size - 1", size_is(&(CONTENT.len() - 1).to_string()), ""),
        ("size -1", size_is("-1"), ""),
        ("size 1e3", size_is("1e3"), ""),
        ("size 2^53", size_is("9007199254740992"), ""),
        ("size 2^63 - 1", size_is("9223372036854775807"), ""),
        ("size 2^64", size_is("18446744073709551616"), ""),
        ("size as text", size_is("\"26\""), ""),
        ("digest in capitals", digest_is(&digest.to_uppercase()), ""),
        ("digest cut", digest_is(&digest[..70]), ""),
        (
            "digest with a path",
            digest_is(&format!("sha256:{}", "../".repeat(21))),
            "",
        ),
        (
            "digest by md5",
            digest_is("md5:d41d8cd98f00b204e9800998ecf8427e"),
            "",
        ),
        (
            "digest with a line end",
            digest_is(&format!("{digest}\\n")),
            "",
        ),
        ("other data", with_data("AAAA"), "data"),
        (
            "one digest with two sizes",
            with(&plain.replacen(
                "\"layers\":[",
                &format!(
                    "\"layers\":[{},",
                    descriptor(LAYER, CONTENT).replacen(&size, "\"size\":27", 1)
                ),
                1,
            )),
            "contradict",
        ),
        (
            "one document with two types",
            Forge::default().image(
                "quay.io/a/one:1",
                INDEX,
                &[&twice, &plain],
                &[CONFIG, CONTENT],
            ),
            "contradict",
        ),
    ]);
}

#[test]
fn names_that_are_no_names_are_refused_and_those_that_clash_too() {
    let name = "\"org.opencontainers.image.ref.name\":\"quay.io/a/one:1\"";
    let named = |text: &str| {
        let to = format!("\"org.opencontainers.image.ref.name\":\"{text}\"");
        Forge::honest().root_text(replace(name, &to))
    };
    all_refused_by_the_head(vec![
        ("a path upwards", named("quay.io/../../etc:1"), ""),
        ("no host", named("one:1"), ""),
        ("capitals", named("quay.io/A/one:1"), ""),
        ("a space", named("quay.io/a one:1"), ""),
        ("a URL", named("https://quay.io/a/one:1"), ""),
        ("escape sequences", named("quay.io/\\u001b[2J\\u202e:1"), ""),
        (
            "a very long name",
            named(&format!("quay.io/{}:1", "a/".repeat(1 << 16))),
            "",
        ),
    ]);
}
