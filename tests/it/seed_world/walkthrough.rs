//! The commands in the example's README work as they are written there, and answer as it shows.
//!
//! A terminal is there for the passwords. What stands for the machine's own certificates and for
//! the password of the key comes from variables; nothing is added to the commands.

use std::path::{Path, PathBuf};

use super::Private;
use crate::support::{
    distribution::{Options, Registry},
    netns::NetNs,
    pki::TestCa,
    seed::{self, SeedWorld, WINDOWS_URLS},
    tools::{Home, PATIENCE, bundle_path, require, run_with},
};

/// A command of the README, and the lines that it shows of what the command prints.
struct Step {
    command: String,
    shown: Vec<String>,
}

/// What follows `$ ` in the blocks for the console, each with the block of text behind it.
fn steps(readme: &str) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    let mut block = None;
    for line in readme.lines() {
        match (block, line.strip_prefix("```")) {
            (None, Some(language)) => block = Some(language),
            (Some(_), Some(_)) => block = None,
            (Some("console"), None) => match line.strip_prefix("$ ") {
                Some(command) => steps.push(Step {
                    command: command.to_owned(),
                    shown: Vec::new(),
                }),
                None => panic!("neither command nor comment: {line}"),
            },
            (Some("text"), None) => {
                let step = steps.last_mut().expect("output follows a command");
                step.shown.push(line.to_owned());
            }
            _ => {}
        }
    }
    steps
}

/// A line without what differs from run to run: digests, times taken, sizes of compressed text.
fn lasting(line: &str) -> String {
    let words: Vec<&str> = line.split_whitespace().collect();
    let mut kept: Vec<&str> = Vec::new();
    for (at, word) in words.iter().enumerate() {
        let is_number = |word: &str| word.parse::<f64>().is_ok();
        let next = words.get(at + 1).copied().unwrap_or_default();
        let unit = next.trim_end_matches([')', ',']);
        let unit_follows = ["s", "min", "B", "KiB", "MiB", "GiB"].contains(&unit);
        if is_number(word.trim_start_matches('(')) && unit_follows {
            kept.push("N");
        } else if word.to_lowercase().starts_with("sha256:") || word.starts_with("(SHA256:") {
            kept.push("DIGEST");
        } else {
            kept.push(word);
        }
    }
    // A step that takes no time worth mentioning does not mention it.
    if kept.ends_with(&["N", "s"]) {
        kept.truncate(kept.len() - 2);
    }
    kept.join(" ")
}

/// The lines of `shown` are in `printed`, in this order, with nothing between them but where the
/// README says so with `…`.
fn assert_shows(step: &Step, printed: &str) {
    let mut rest = printed.lines().map(lasting);
    let mut gap = false;
    for line in &step.shown {
        if line.trim() == "…" {
            gap = true;
            continue;
        }
        let line = lasting(line);
        let found = match gap {
            true => rest.any(|printed| printed == line),
            false => rest.next().is_some_and(|printed| printed == line),
        };
        assert!(
            found,
            "{}: {line:?} is not next in:\n{printed}",
            step.command
        );
        gap = false;
    }
    let more = rest.next();
    let complete = step.shown.is_empty() || gap || more.is_none();
    assert!(complete, "{}: {more:?} is not shown", step.command);
}

#[test]
fn the_commands_of_the_readme_work_as_they_are_written() {
    require!("docker-registry", "htpasswd", "script", "root");
    let netns = NetNs::new();
    let ca = TestCa::new();
    let _world = SeedWorld::inside(&netns, &ca);
    let mut names = SeedWorld::NAMES.to_vec();
    names.push(("127.0.1.9", "registry.local"));
    netns.hosts(&names);
    let options = Options {
        allow_urls: vec![WINDOWS_URLS.to_owned()],
        ..Options::default()
    };
    let _private = Registry::start(
        options
            .with_tls(&ca, &["registry.local"])
            .with_user(Private::USER, Private::PASSWORD)
            .inside(&netns, "127.0.1.9:5000"),
    );

    let home = Home::new();
    let ca_file = ca.write_to(home.path());
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/calico-cloud");
    let copy = home.path().join("examples/calico-cloud");
    std::fs::create_dir_all(&copy).unwrap();
    for entry in std::fs::read_dir(&example).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), copy.join(entry.file_name())).unwrap();
    }
    let typed_for = |command: &str| {
        if command.starts_with("bundle login quay.io ") {
            format!("{}\n", seed::PASSWORD)
        } else if command.starts_with("bundle login registry.local:5000") {
            format!("{}\n{}\n", Private::USER, Private::PASSWORD)
        } else {
            String::new()
        }
    };

    let readme = std::fs::read_to_string(example.join("README.md")).unwrap();
    let steps = steps(&readme);
    let programs = Path::new(bundle_path()).parent().unwrap();
    let mut dir: PathBuf = home.path().to_owned();
    for step in &steps {
        if let Some(to) = step.command.strip_prefix("cd ") {
            dir = dir.join(to);
            continue;
        }
        let output = home.path().join("output");
        let mut shell = home.tool("script");
        shell.args(["--quiet", "--return", "--command"]);
        shell.arg(format!(
            "{{ {}\n}} >{} 2>&1",
            step.command,
            output.display()
        ));
        shell.arg("/dev/null");
        let path = std::env::var("PATH").unwrap_or_default();
        shell
            .current_dir(&dir)
            .env("PATH", format!("{}:{path}", programs.display()))
            .env("BUNDLE_CA_FILE", &ca_file)
            .env("BUNDLE_KEY_PASSWORD", "of the key")
            .env("SOURCE_DATE_EPOCH", "1680674828");
        let typed = typed_for(&step.command).into_bytes();
        let finished = run_with(netns.wrap(&shell), typed, PATIENCE);
        let printed = std::fs::read_to_string(&output).unwrap();
        assert!(finished.status.success(), "{}\n{printed}", step.command);
        assert_shows(step, &printed);
        println!("$ {}\n{printed}", step.command);
    }
    assert_eq!(steps.len(), 9);
    assert!(dir.join("receipt.json").exists());
}
