//! The commands in the example's README work as they are written there, and answer as it shows.
//!
//! A terminal is there for the passwords. What stands for the machine's own certificates and for
//! the password of the key comes from variables; nothing is added to the commands.

use std::path::{Path, PathBuf};

use super::Private;
use crate::support::{
    distribution::{Options, Registry},
    helm::{HELMS, helm_path},
    netns::NetNs,
    pki::TestCa,
    seed::{self, SeedWorld, WINDOWS_URLS},
    shown::{assert_shows, steps},
    tools::{Home, PATIENCE, bundle_path, require, run_with},
};

#[test]
fn the_commands_of_the_readme_work_as_they_are_written() {
    require!("docker-registry", "htpasswd", "script", "root", "helm3");
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
    let helm_dir = home.path().join("bin");
    std::fs::create_dir(&helm_dir).unwrap();
    std::os::unix::fs::symlink(helm_path(HELMS[0]), helm_dir.join("helm")).unwrap();
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
            .env(
                "PATH",
                format!("{}:{}:{path}", programs.display(), helm_dir.display()),
            )
            .env("BUNDLE_CA_FILE", &ca_file)
            // The same for helm.
            .env("SSL_CERT_FILE", &ca_file)
            .env("BUNDLE_KEY_PASSWORD", "of the key")
            .env("SOURCE_DATE_EPOCH", "1680674828");
        let typed = typed_for(&step.command).into_bytes();
        let finished = run_with(netns.wrap(&shell), typed, PATIENCE);
        let printed = std::fs::read_to_string(&output).unwrap();
        assert!(finished.status.success(), "{}\n{printed}", step.command);
        assert_shows(step, &printed);
    }
    assert_eq!(steps.len(), 13);
    assert!(dir.join("receipt.json").exists());
}
