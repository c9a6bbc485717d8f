//! The program as a process: variables, streams, exit codes, signals.

use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    path::Path,
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};

/// `bundle` with these arguments in this directory, without any variable of the caller that it
/// would obey.
fn bundle(directory: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bundle"));
    let own = std::env::vars_os()
        .map(|(name, _)| name)
        .filter(|name| name.to_string_lossy().starts_with("BUNDLE_"));
    for name in own.chain(["COSIGN_PASSWORD".into()]) {
        command.env_remove(name);
    }
    command.current_dir(directory).args(arguments);
    command.stdin(Stdio::null());
    command
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// `(exit code, standard error)` of a run.
fn ended(output: &Output) -> (i32, String) {
    (output.status.code().unwrap(), text(&output.stderr))
}

fn signal(child: &Child, signal: Signal) {
    kill_process(Pid::from_child(child), signal).unwrap();
}

/// The exit code, or a failure of the test when the process does not end.
fn exit_code_in_time(child: &mut Child) -> i32 {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status.code().unwrap();
        }
        if Instant::now() > deadline {
            child.kill().unwrap();
            panic!("the process does not end");
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn variables_are_as_good_as_options_and_options_go_before_them() {
    let directory = tempfile::tempdir().unwrap();
    let mut keygen = bundle(directory.path(), &["keygen"]);
    keygen.env("BUNDLE_OUTPUT_KEY_PREFIX", "from-env");
    keygen.env("BUNDLE_NO_PASSWORD", "1");
    keygen.env("BUNDLE_FORMAT", "json");
    let output = keygen.output().unwrap();
    assert_eq!(ended(&output), (0, String::new()));
    let written: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(written["public_key"], "from-env.pub");

    let mut keygen = bundle(
        directory.path(),
        &["keygen", "--output-key-prefix", "argument"],
    );
    keygen.env("BUNDLE_OUTPUT_KEY_PREFIX", "from-env");
    keygen.env("BUNDLE_NO_PASSWORD", "");
    keygen.env("COSIGN_PASSWORD", "secret");
    keygen.env("BUNDLE_QUIET", "yes");
    assert_eq!(ended(&keygen.output().unwrap()), (0, String::new()));
    assert!(directory.path().join("argument.key").exists());
}

#[test]
fn variables_are_lists_and_are_checked_like_options() {
    let directory = tempfile::tempdir().unwrap();
    let run = |name: &str, value: &str| {
        let mut plan = bundle(directory.path(), &["plan"]);
        ended(&plan.env(name, value).output().unwrap())
    };
    let (code, message) = run("BUNDLE_IMAGE", "Alpine,quay.io/B");
    assert_eq!(code, 2);
    assert!(
        message.contains("`Alpine`") && message.contains("`quay.io/B`"),
        "{message}"
    );
    for (name, value) in [
        ("BUNDLE_PLATFORM", "linux/amd64,linux"),
        ("BUNDLE_CONCURRENCY", "0"),
        ("BUNDLE_QUIET", "perhaps"),
        ("BUNDLE_FILE", "absent.yaml"),
    ] {
        let (code, message) = run(name, value);
        assert!(
            code == 2 && message.starts_with("error: "),
            "{name}: {code} {message}"
        );
    }
}

#[test]
fn no_variable_weakens_trust() {
    let directory = tempfile::tempdir().unwrap();
    let mut create = bundle(
        directory.path(),
        &["create", "--image", "alpine", "-o", "x"],
    );
    create.env("BUNDLE_UNSIGNED", "1");
    let (code, message) = ended(&create.output().unwrap());
    assert_eq!(code, 2);
    assert!(
        message.starts_with("error: no key to sign the bundle with\nhint: "),
        "{message}"
    );
    assert!(!directory.path().join("x").exists());

    let mut verify = bundle(directory.path(), &["verify", "x"]);
    verify.env("BUNDLE_ALLOW_UNSIGNED", "1");
    let (code, message) = ended(&verify.output().unwrap());
    assert_eq!(code, 2);
    assert!(
        message.starts_with("error: no key: cannot tell"),
        "{message}"
    );
}

#[test]
fn a_bundle_yaml_that_is_wrong_is_shown_with_the_place() {
    let directory = tempfile::tempdir().unwrap();
    let spec = "apiVersion: sneakernet/v1\nkind: Bundle\nmetadata: {name: a}\nimagse: []\n";
    fs::write(directory.path().join("bundle.yaml"), spec).unwrap();
    let output = bundle(directory.path(), &["plan"]).output().unwrap();
    let expected = "error: bundle.yaml:4:1: unknown key `imagse`: did you mean `images`?\n";
    assert_eq!(ended(&output), (2, expected.to_owned()));
    assert!(output.stdout.is_empty());
}

#[test]
fn foreign_text_does_not_reach_the_terminal_as_it_is() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("list"), "a\x1b[31m\u{202e}\x07\n").unwrap();
    for arguments in [
        &["plan", "--images-from", "list"][..],
        &["plan", "--image", "\x1b]0;title\x07"],
        &["plan", "\x1b[2J"],
        &["verify", "--key", "\x1b[2J.pub", "x"],
    ] {
        // Even with colours, all escape sequences are the program's own.
        let mut command = bundle(directory.path(), arguments);
        let (_, coloured) = ended(&command.env("CLICOLOR_FORCE", "1").output().unwrap());
        assert!(
            !coloured.contains("\x1b[2J") && !coloured.contains("\x1b]"),
            "{coloured:?}"
        );
        let mut command = bundle(directory.path(), arguments);
        let (_, plain) = ended(&command.env("NO_COLOR", "1").output().unwrap());
        let unsafe_char = |c: char| c != '\n' && (c.is_control() || c == '\u{202e}');
        assert!(!plain.contains(unsafe_char), "{plain:?}");
        // The parser of the arguments leaves such sequences out by itself.
        let left_out = arguments.len() == 2;
        assert!(plain.contains("\\x1b") || left_out, "{plain:?}");
    }
}

#[test]
fn login_reads_the_password_from_stdin_and_keeps_it_where_it_is_told() {
    let directory = tempfile::tempdir().unwrap();
    let store = directory.path().join("store");
    let (mut registry, address) = serving(directory.path(), &store);
    let login = |password: &str| {
        let mut login = bundle(directory.path(), &["login", &address, "-u", "me"]);
        login.args(["--password-stdin", "--authfile", "auth.json"]);
        login.stdin(Stdio::piped()).stderr(Stdio::piped());
        let mut child = login.spawn().unwrap();
        child
            .stdin
            .take()
            .unwrap()
            .write_all(password.as_bytes())
            .unwrap();
        ended(&child.wait_with_output().unwrap())
    };
    let (code, message) = login("\n");
    assert_eq!(code, 2, "{message}");
    assert!(!directory.path().join("auth.json").exists());

    let (code, message) = login("canary-password\n");
    assert_eq!(code, 0, "{message}");
    assert!(!message.contains("canary"), "{message}");
    let kept = fs::read_to_string(directory.path().join("auth.json")).unwrap();
    assert!(kept.contains(&address), "{kept}");

    let logout = ["logout", &address, "--authfile", "auth.json"];
    let (code, message) = ended(&bundle(directory.path(), &logout).output().unwrap());
    assert!(code == 0 && message.contains("removed from"), "{message}");
    let kept = fs::read_to_string(directory.path().join("auth.json")).unwrap();
    assert!(!kept.contains(&address), "{kept}");
    let (code, message) = ended(&bundle(directory.path(), &logout).output().unwrap());
    assert!(code == 0 && message.contains("no credentials"), "{message}");
    signal(&registry, Signal::INT);
    assert_eq!(exit_code_in_time(&mut registry), 0);
}

#[test]
fn a_closed_pipe_is_no_failure_and_a_full_disk_is() {
    let directory = tempfile::tempdir().unwrap();
    let mut script = bundle(directory.path(), &["completions", "bash"]);
    script.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = script.spawn().unwrap();
    drop(child.stdout.take());
    assert_eq!(exit_code_in_time(&mut child), 0);
    let mut message = String::new();
    child.stderr.unwrap().read_to_string(&mut message).unwrap();
    assert_eq!(message, "");

    let full = fs::File::options().write(true).open("/dev/full").unwrap();
    let mut script = bundle(directory.path(), &["completions", "bash"]);
    let (code, message) = ended(&script.stdout(full).stderr(Stdio::piped()).output().unwrap());
    assert_eq!(code, 7);
    assert!(
        message.starts_with("error: cannot write to standard output"),
        "{message}"
    );
}

#[test]
fn help_and_version_are_results_and_wrong_usage_is_not() {
    let directory = tempfile::tempdir().unwrap();
    for arguments in [
        &["--help"][..],
        &["load", "--help"],
        &["--version"],
        &["help", "create"],
    ] {
        let output = bundle(directory.path(), arguments).output().unwrap();
        assert_eq!(ended(&output), (0, String::new()), "{arguments:?}");
        assert!(!output.stdout.is_empty());
    }
    for arguments in [&[][..], &["unpack"], &["load", "x"], &["keygen", "--frob"]] {
        let output = bundle(directory.path(), arguments).output().unwrap();
        let (code, message) = ended(&output);
        assert!(code == 2 && !message.is_empty(), "{arguments:?}: {code}");
        assert!(output.stdout.is_empty(), "{arguments:?}");
    }
}

#[test]
fn help_does_not_show_what_variables_hold() {
    let directory = tempfile::tempdir().unwrap();
    let mut help = bundle(directory.path(), &["login", "--help"]);
    help.env("BUNDLE_USERNAME", "canary")
        .env("BUNDLE_AUTHFILE", "canary");
    let output = help.output().unwrap();
    assert!(!text(&output.stdout).contains("canary"));
    assert!(text(&output.stdout).contains("BUNDLE_USERNAME"));
}

#[test]
fn a_signal_ends_a_command_that_waits_for_input() {
    for sent in [Signal::INT, Signal::TERM] {
        let directory = tempfile::tempdir().unwrap();
        let mut plan = bundle(
            directory.path(),
            &["plan", "--images-from", "list", "--images-from", "-"],
        );
        // A pipe with a name tells when the program has come as far as reading.
        let list = directory.path().join("list");
        let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
        rustix::fs::mknodat(rustix::fs::CWD, &list, rustix::fs::FileType::Fifo, mode, 0).unwrap();
        plan.stdin(Stdio::piped()).stderr(Stdio::piped());
        let mut child = plan.spawn().unwrap();
        drop(fs::File::options().write(true).open(&list).unwrap());
        signal(&child, sent);
        assert_eq!(exit_code_in_time(&mut child), 130);
        let mut message = String::new();
        child
            .stderr
            .take()
            .unwrap()
            .read_to_string(&mut message)
            .unwrap();
        assert_eq!(message, "error: interrupted\n");
    }
}

#[test]
fn serve_ends_properly_when_it_is_told_to() {
    let directory = tempfile::tempdir().unwrap();
    let (mut child, address) = serving(directory.path(), &directory.path().join("store"));
    let mut connection = std::net::TcpStream::connect(&address).unwrap();
    connection
        .write_all(b"GET /v2/ HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        .unwrap();
    let mut answer = String::new();
    connection.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    signal(&child, Signal::TERM);
    assert_eq!(exit_code_in_time(&mut child), 0);
}

/// `bundle serve` on a free port, and its address.
fn serving(directory: &Path, store: &Path) -> (Child, String) {
    let mut serve = bundle(directory, &["serve", "--listen", "127.0.0.1:0", "--store"]);
    serve.arg(store).args(["--format", "json"]);
    serve.stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = serve.spawn().unwrap();
    let stdout = BufReader::new(child.stdout.take().unwrap());
    let address = stdout
        .lines()
        .map(Result::unwrap)
        .find(|line| line.contains("address"));
    let address = address.unwrap().split('"').nth(3).unwrap().to_owned();
    (child, address)
}
