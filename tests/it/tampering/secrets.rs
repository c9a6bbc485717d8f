//! Passwords stay where they belong: unique words as the password of a registry, of a token service
//! and of a key never turn up in what the program prints, in the files that it writes, in the
//! bundle, in what other hosts are told, or in the arguments of a process.

use std::{path::Path, time::Duration};

use crate::support::{
    attempt::{Bench, QUICK, Watched, watch},
    embedded::Embedded,
    forge::stream_of,
    images::{Family, sample},
    scripted::{Answer, Scripted},
    tools::{Running, wait_until},
};

const REGISTRY: &str = "canary-7Qd1-registry";
const KEY: &str = "canary-9Zx3-key";
const USER: &str = "canary-user";

/// The forms in which a word could be told.
fn forms(word: &str) -> Vec<String> {
    use base64::{Engine, engine::general_purpose::STANDARD};
    let basic = STANDARD.encode(format!("{USER}:{word}"));
    vec![word.to_owned(), STANDARD.encode(word), basic]
}

#[track_caller]
fn assert_absent(what: &str, bytes: &[u8]) {
    for word in [REGISTRY, KEY] {
        for form in forms(word) {
            let found = bytes
                .windows(form.len())
                .any(|window| window == form.as_bytes());
            assert!(!found, "{what} holds {word}");
        }
    }
}

#[track_caller]
fn assert_silent(what: &str, watched: &Watched) {
    assert_absent(what, &watched.finished.stdout);
    assert_absent(what, watched.finished.stderr.as_bytes());
}

/// All files below a directory but those that are meant to hold the words.
fn files_below(dir: &Path) -> Vec<std::path::PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(dir).into_iter().flatten() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(files_below(&path));
        } else if path.file_name().is_none_or(|name| name != "config.json") {
            files.push(path);
        }
    }
    files
}

#[test]
fn passwords_turn_up_nowhere() {
    let bench = Bench::new();
    let home = bench.home.path();
    let guarded =
        || Embedded::with(|options| options.basic_auth = Some((USER.into(), REGISTRY.into())));
    let (source, destination) = (guarded(), guarded());
    let image = sample(1, Family::Oci, "linux/amd64");
    let login = |embedded: &Embedded| {
        let access = crate::support::pusher::Access {
            url: format!("http://{}", embedded.host()),
            ca_pem: None,
            authorization: Some(crate::support::pusher::Authorization::Basic(
                USER.into(),
                REGISTRY.into(),
            )),
        };
        access.client()
    };
    login(&source).push("team/app", "1", &image);
    let mut runs = Vec::new();
    let mut run = |what: &str, arguments: &[&str], input: &str, password: &str| {
        let mut command = bench.home.bundle();
        command.args(arguments).arg("--verbose");
        command.env("COSIGN_PASSWORD", password);
        let watched = watch(command, input.as_bytes().to_vec(), QUICK);
        assert_silent(what, &watched);
        runs.push(format!("{what}: {:?}", watched.finished.code()));
        watched.finished.code()
    };
    let (from, to) = (source.host(), destination.host());
    let app = format!("{from}/team/app:1");
    let secret = format!("{REGISTRY}\n");
    assert_eq!(
        run(
            "keygen",
            &["keygen", "--output-key-prefix", "mine"],
            "",
            KEY
        ),
        Some(0)
    );
    let create = ["create", "--image", &app, "--key", "mine.key", "-o", "b"];
    assert_eq!(run("not logged in", &create, "", KEY), Some(5));
    let login = ["login", &from, "-u", USER, "--password-stdin"];
    assert_eq!(
        run("login, wrong", &login, &format!("{KEY}\n"), KEY),
        Some(6)
    );
    assert_eq!(run("login", &login, &secret, KEY), Some(0));
    assert_eq!(run("wrong key password", &create, "", REGISTRY), Some(2));
    assert_eq!(run("create", &create, "", KEY), Some(0));
    assert_eq!(
        run("sign", &["sign", "b", "--key", "mine.key"], "", KEY),
        Some(0)
    );
    assert_eq!(
        run("inspect", &["inspect", "b", "--format", "json"], "", ""),
        Some(0)
    );
    let load = [
        "load",
        "b",
        "--to",
        &to,
        "--key",
        "mine.pub",
        "--username",
        USER,
        "--password-stdin",
        "--receipt",
        "receipt.json",
        "--format",
        "json",
    ];
    assert_eq!(run("load, wrong", &load, "canary-wrong\n", ""), Some(6));
    assert_eq!(run("load", &load, &secret, ""), Some(0));
    let login = [
        "login",
        &to,
        "-u",
        USER,
        "--password-stdin",
        "--authfile",
        "auth/config.json",
    ];
    std::fs::create_dir(home.join("auth")).unwrap();
    assert_eq!(run("login with a file", &login, &secret, ""), Some(0));
    assert_eq!(run("plan", &["plan", "--image", &app], "", ""), Some(0));

    let files = files_below(home);
    assert!(
        files.iter().any(|f| f.ends_with("receipt.json")),
        "{files:?}"
    );
    for file in files {
        let bytes = std::fs::read(&file).unwrap();
        assert_absent(&file.display().to_string(), &bytes);
    }
    assert_absent(
        "the tar stream",
        &stream_of(&std::fs::read(home.join("b")).unwrap()),
    );
    for registry in [&source, &destination] {
        for request in registry.log.entries() {
            assert_absent("a request line", format!("{request:?}").as_bytes());
        }
    }
    // The file that holds a password is nobody else's to read.
    use std::os::unix::fs::PermissionsExt;
    for file in ["auth/config.json", "mine.key"] {
        let mode = std::fs::metadata(home.join(file))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o077, 0, "{file}: {mode:o}");
    }
}

#[test]
fn a_registry_that_sends_a_password_back_does_not_get_it_printed() {
    let bench = Bench::new();
    let echo = |status: u16| {
        Scripted::start(move |asked| {
            let Some(authorization) = asked.header("authorization") else {
                return Answer::status(401).header("www-authenticate", "Basic realm=\"x\"");
            };
            let location = format!("http://127.0.0.1:1/?token={REGISTRY}&a={authorization}");
            let message = serde_json::json!({"errors": [{"code": "DENIED", "message": "no"}]});
            Answer::status(status)
                .header("location", location)
                .header(
                    "www-authenticate",
                    format!("Basic realm=\"{authorization}\""),
                )
                .header("content-type", "application/json")
                .body(message.to_string())
        })
    };
    for status in [301, 307, 400, 401, 403, 500] {
        let source = echo(status);
        bench.home.log_in(&[(&source.host(), USER, REGISTRY)]);
        let mut command = bench.home.bundle();
        let image = format!("{}/a/b:1", source.host());
        command.args([
            "create",
            "--image",
            &image,
            "--unsigned",
            "-o",
            "x",
            "--verbose",
        ]);
        command.args(["--retries", "2"]);
        let watched = watch(command, vec![], QUICK);
        assert_eq!(watched.finished.code(), Some(5), "{:?}", watched.finished);
        assert_silent(&format!("status {status}"), &watched);
    }
}

#[test]
fn no_password_is_in_the_arguments_of_a_process() {
    let bench = Bench::new();
    let slow = Embedded::failing("GET::delay=2000ms");
    let host = slow.host();
    let mut command = bench.home.bundle();
    command.args(["login", &host, "-u", USER, "--password-stdin"]);
    let running = Running::start(command, format!("{REGISTRY}\n").into_bytes());
    wait_until("a request arrives", Duration::from_secs(20), || {
        !slow.log.entries().is_empty()
    });
    let process = format!("/proc/{}", running.id());
    for file in ["cmdline", "environ"] {
        let bytes = std::fs::read(format!("{process}/{file}")).unwrap();
        assert_absent(file, &bytes);
    }
    // Nor is there an option that would take one.
    let help = bench.home.run_bundle(["login", "--help"]).text();
    assert!(!help.contains("--password "), "{help}");
    drop(running);
}
