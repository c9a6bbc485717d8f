//! The same inputs make the same file, whoever makes it, where, when and how fast: every byte of it
//! is a function of what was asked for, of `SOURCE_DATE_EPOCH` and of the keys.

use std::{path::Path, process::Command};

use crate::support::{
    embedded::Embedded,
    samples::{self, EPOCH, Sample},
    tools::{Home, PATIENCE, bundle_path, run, run_with},
};

/// A registry with the samples, and somebody with keys and a file, who makes bundles of them.
struct Maker {
    upstream: Embedded,
    samples: Vec<Sample>,
    home: Home,
}

impl Maker {
    fn new() -> Self {
        let upstream = Embedded::start();
        let samples = samples::samples();
        samples::push(&upstream.client(), &samples);
        let home = Home::new();
        for name in ["one", "two"] {
            let keygen = ["keygen", "--no-password", "--output-key-prefix", name];
            home.run_bundle(keygen).success();
        }
        for name in ["a.txt", "b.txt"] {
            std::fs::write(home.path().join(name), name.repeat(1000)).unwrap();
        }
        Self {
            upstream,
            samples,
            home,
        }
    }

    /// The plainest way to make the bundle: everything in order, at once.
    fn create(&self, output: &str) -> Command {
        let mut create = self.home.bundle();
        create.args(["create", "-o", output]);
        self.inputs(&mut create, self.home.path());
        create
    }

    fn inputs(&self, create: &mut Command, dir: &Path) {
        create.env("SOURCE_DATE_EPOCH", EPOCH);
        create.args(samples::mirrors(self.upstream.host()));
        for sample in &self.samples {
            create.args(["--image", &sample.written]);
        }
        for (option, name) in [
            ("--add-file", "a.txt"),
            ("--add-file", "b.txt"),
            ("--key", "one.key"),
            ("--key", "two.key"),
        ] {
            create.arg(option).arg(dir.join(name));
        }
    }

    #[track_caller]
    fn made(&self, create: Command, output: &str) -> Vec<u8> {
        run(create).success();
        std::fs::read(self.home.path().join(output)).unwrap()
    }
}

#[track_caller]
fn assert_same(found: &[u8], expected: &[u8], what: &str) {
    let first = found.iter().zip(expected).position(|(a, b)| a != b);
    assert!(
        found == expected,
        "{what}: {} and {} bytes, the first difference at {first:?}",
        found.len(),
        expected.len()
    );
}

#[test]
fn the_surroundings_do_not_matter() {
    let maker = Maker::new();
    let expected = maker.made(maker.create("expected"), "expected");

    let again = maker.made(maker.create("again"), "again");
    assert_same(&again, &expected, "again");

    for concurrency in ["1", "32"] {
        let mut create = maker.create(concurrency);
        create.args(["--concurrency", concurrency]);
        assert_same(&maker.made(create, concurrency), &expected, concurrency);
    }

    let mut create = maker.create("tz");
    create
        .env("TZ", "Pacific/Chatham")
        .env("LC_ALL", "tr_TR.UTF-8");
    create
        .env("LANG", "de_DE")
        .env("NO_COLOR", "1")
        .arg("--verbose");
    assert_same(
        &maker.made(create, "tz"),
        &expected,
        "time zone and language",
    );

    // Another directory, other permissions, other times of the files, absolute names.
    let elsewhere = Home::new();
    let output = maker.home.path().join("umask");
    let mut plain = maker.home.bundle();
    plain.args(["create", "-o"]).arg(&output);
    maker.inputs(&mut plain, maker.home.path());
    let mut create = maker.home.tool("sh");
    create.args(["-c", "umask 077; exec \"$0\" \"$@\"", bundle_path()]);
    create.args(plain.get_args()).current_dir(elsewhere.path());
    create.env("SOURCE_DATE_EPOCH", EPOCH);
    let carried = maker.home.path().join("a.txt");
    let file = std::fs::File::options().append(true).open(carried).unwrap();
    let day_one = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(86400);
    file.set_modified(day_one).unwrap();
    assert_same(
        &maker.made(create, "umask"),
        &expected,
        "umask and directory",
    );

    // The time is a part of it.
    let mut create = maker.create("later");
    create.env("SOURCE_DATE_EPOCH", "1700000001");
    assert!(maker.made(create, "later") != expected);
}

#[test]
fn the_order_of_arguments_does_not_matter() {
    let maker = Maker::new();
    let expected = maker.made(maker.create("expected"), "expected");
    let mut create = maker.home.bundle();
    create.env("SOURCE_DATE_EPOCH", EPOCH).arg("create");
    for name in ["two.key", "one.key", "two.key"] {
        create.arg("--key").arg(name);
    }
    create.args(["--add-file", "b.txt", "--add-file", "a.txt"]);
    for sample in maker.samples.iter().rev() {
        create.args(["--image", &sample.written]);
    }
    let twice = &maker.samples[0].written;
    create.args(["--image", twice, "-o", "reversed"]);
    create.args(samples::mirrors(maker.upstream.host()));
    assert_same(&maker.made(create, "reversed"), &expected, "reversed");
}

#[test]
fn a_pipe_gets_the_bytes_of_the_file() {
    let maker = Maker::new();
    let expected = maker.made(maker.create("expected"), "expected");
    let piped = run(maker.create("-")).success();
    assert_same(&piped.stdout, &expected, "standard output");
    assert!(!piped.stderr.is_empty(), "messages go elsewhere");
    let mut quiet = maker.create("-");
    quiet.arg("--quiet");
    assert_same(&run(quiet).success().stdout, &expected, "quietly");

    // And what came through a pipe is verified in one.
    let mut verify = maker.home.bundle();
    verify.args(["verify", "-", "--key", "one.pub", "--key", "two.pub"]);
    verify.args(["--threshold", "2"]);
    run_with(verify, piped.stdout, PATIENCE).success();
}

#[test]
fn a_lock_makes_the_same_bundle_later() {
    let maker = Maker::new();
    let expected = maker.made(maker.create("expected"), "expected");
    let lock = maker
        .home
        .run_bundle(["inspect", "expected", "--raw", "lock"]);
    std::fs::write(maker.home.path().join("lock"), lock.success().stdout).unwrap();
    // Tags move on, and the clock, too.
    let client = maker.upstream.client();
    let moved = samples::samples().remove(1);
    client.push("apps/attested", "1", &moved.image);
    let mut create = maker.create("later");
    create
        .env_remove("SOURCE_DATE_EPOCH")
        .args(["--lock", "lock"]);
    assert_same(&maker.made(create, "later"), &expected, "from the lock");
}
