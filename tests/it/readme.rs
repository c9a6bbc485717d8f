//! The README's first command works as it is written there, and what the README shows of its output
//! is what it prints.

use std::{
    io::Read as _,
    path::Path,
    process::{Command, Stdio},
};

use crate::support::shown::{Step, lasting, steps};

/// A line without numbers: ports, sizes and offsets differ from run to run.
fn without_numbers(line: &str) -> String {
    let mut kept = String::new();
    for c in lasting(line).chars() {
        match c.is_ascii_digit() {
            true if kept.ends_with('0') => {}
            true => kept.push('0'),
            false => kept.push(c),
        }
    }
    kept
}

/// Runs the quickstart with both its streams in one, as a terminal shows them.
fn quickstart() -> String {
    let (mut reader, writer) = std::io::pipe().unwrap();
    let mut command = Command::new(env!("CARGO"));
    command.args(["run", "--quiet", "--locked", "--example", "quickstart"]);
    // As this test was built, so that nothing is built twice.
    if !cfg!(debug_assertions) {
        command.arg("--release");
    }
    command
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .stdin(Stdio::null())
        .stdout(writer.try_clone().unwrap())
        .stderr(writer);
    let mut running = command.spawn().unwrap();
    // The command holds the pipe's other end open as well.
    drop(command);
    let mut printed = String::new();
    reader.read_to_string(&mut printed).unwrap();
    let ended = running.wait().unwrap();
    assert!(ended.success(), "{ended}\n{printed}");
    printed
}

#[test]
fn the_quickstart_prints_what_the_readme_shows() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md");
    let readme = std::fs::read_to_string(path).unwrap();
    assert!(readme.contains("\ncargo run --release --example quickstart\n"));

    let printed = quickstart();
    let lines: Vec<String> = printed.lines().map(without_numbers).collect();
    let shown = steps(&readme)
        .into_iter()
        .filter(|step| !step.shown.is_empty());
    let mut compared = 0;
    for Step { command, shown } in shown {
        let prompt = without_numbers(&format!("$ {command}"));
        let at = lines.iter().position(|line| *line == prompt);
        let at = at.unwrap_or_else(|| panic!("`{command}` is not run in\n{printed}"));
        let wanted: Vec<String> = shown.iter().map(|line| without_numbers(line)).collect();
        let found = lines[at + 1..].iter().take(wanted.len());
        assert!(found.eq(&wanted), "{command}: {wanted:#?}\n{printed}");
        compared += 1;
    }
    assert_eq!(compared, 5);
    assert!(printed.contains("the registry has no manifest and no tag"));
    assert!(printed.contains("the registry has seen no request"));
    assert_eq!(printed.matches(": equal\n").count(), 3);
}
