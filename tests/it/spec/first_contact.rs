//! The commands of `first-contact.md`, run as they are written: they accept a good bundle and stop at a bad one.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use super::spec_file;
use crate::support::{
    distribution::{Options, Registry},
    images::{Family, sample_index},
    tools::{Finished, Home, bundle_path, find, require, run},
};

/// The commands that are to be typed inside the gap, with those of the named kinds.
fn commands(kinds: &[&str]) -> String {
    let text = fs::read_to_string(spec_file("first-contact.md")).unwrap();
    let (_, inside) = text.split_once("## Inside").unwrap();
    let mut script = "set -eu\n".to_owned();
    let mut taking = false;
    for line in inside.lines().map(str::trim_start_matches_indent) {
        match line.strip_prefix("```sh") {
            Some(kind) if !taking => taking = kind.is_empty() || kinds.contains(&kind.trim()),
            _ if line == "```" => taking = false,
            _ if taking => script.extend([line, "\n"]),
            _ => {}
        }
    }
    script
}

/// Code in a list is indented by three spaces.
trait Indented {
    fn trim_start_matches_indent(&self) -> &str;
}

impl Indented for str {
    fn trim_start_matches_indent(&self) -> &str {
        self.strip_prefix("   ").unwrap_or(self)
    }
}

/// A directory inside the gap: the file, the key, and nothing else.
fn inside(from: &Home, name: &str) -> (Home, PathBuf) {
    let home = Home::new();
    let directory = home.path().join("inside");
    fs::create_dir(&directory).unwrap();
    fs::copy(from.path().join(name), directory.join("FILE")).unwrap();
    fs::copy(from.path().join("cosign.pub"), directory.join("cosign.pub")).unwrap();
    (home, directory)
}

fn shell(home: &Home, directory: &Path, script: &str) -> Finished {
    let mut shell = home.tool("sh");
    if let Some(cosign) = find("cosign") {
        let path = std::env::var("PATH").unwrap();
        shell.env(
            "PATH",
            format!("{}:{path}", cosign.parent().unwrap().display()),
        );
    }
    shell.current_dir(directory).args(["-c", script]);
    run(shell)
}

#[test]
fn a_bundle_is_checked_and_the_program_taken_out_of_it_without_the_program() {
    require!("zstd", "jq", "openssl", "docker-registry");
    let registry = Registry::start(Options::default());
    registry
        .client()
        .push("team/app", "1", &sample_index(3, Family::Oci));
    let image = format!("{}/team/app:1", registry.host());
    let connected = Home::new();
    // Stands for the program, small enough to be carried about in a test.
    let program = format!("#!/bin/sh\nexec {} \"$@\"\n", bundle_path());
    fs::write(connected.path().join("bundle"), program).unwrap();
    connected.run_bundle(["keygen", "--no-password"]).success();
    connected
        .run_bundle([
            "create",
            "--image",
            &image,
            "--platform",
            "linux/amd64",
            "--add-file",
            "bundle",
            "--key",
            "cosign.key",
            "-o",
            "good.zst",
        ])
        .success();
    // The same again by somebody else.
    connected
        .run_bundle(["keygen", "--no-password", "--output-key-prefix", "other"])
        .success();
    connected
        .run_bundle([
            "create",
            "--image",
            &image,
            "--platform",
            "linux/amd64",
            "--add-file",
            "bundle",
            "--key",
            "other.key",
            "-o",
            "forged.zst",
        ])
        .success();

    let kinds: &[&str] = match find("cosign") {
        Some(_) => &["cosign", "program"],
        None => &["program"],
    };
    let (home, directory) = inside(&connected, "good.zst");
    let good = shell(&home, &directory, &commands(kinds)).success();
    let said = good.text();
    let wanted = [
        "Verified OK",
        "left out: sha256:",
        "everything that is signed is there",
        "verified",
    ];
    for wanted in wanted {
        assert!(said.contains(wanted), "{wanted}: {good:?}");
    }
    let mode = fs::metadata(directory.join("bundle"))
        .unwrap()
        .permissions();
    assert_eq!(mode.mode() & 0o111, 0o111);
    // The fingerprint is the one that the program shows.
    let shown = connected.run_bundle(["verify", "good.zst", "--key", "cosign.pub"]);
    let fingerprint = said.split_whitespace().next().unwrap();
    assert!(
        shown
            .success()
            .text()
            .contains(&format!("SHA256:{fingerprint}"))
    );

    let (home, directory) = inside(&connected, "forged.zst");
    let forged = shell(&home, &directory, &commands(&[])).failure();
    assert!(!forged.text().contains("Verified OK"), "{forged:?}");

    // A blob that is not what it was, or is not there any more.
    for damage in ["echo x >>", "rm"] {
        let (home, directory) = inside(&connected, "good.zst");
        let spoil = format!(
            "mkdir unpacked\nzstd -dc FILE | tar -x --no-same-owner -C unpacked\n{damage} \
             \"$(ls -S unpacked/blobs/sha256/* | head -n 1)\"\n"
        );
        let mut script = commands(&[]);
        let unpack = "mkdir unpacked\nzstd -dc FILE | tar -x --no-same-owner -C unpacked\n";
        assert!(script.contains(unpack));
        script = script.replace(unpack, &spoil);
        let stopped = shell(&home, &directory, &script).failure();
        let said = stopped.text();
        assert!(
            said.contains("Verified OK") && !said.contains("is there"),
            "{stopped:?}"
        );
    }
}
