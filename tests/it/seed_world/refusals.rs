//! What does not resolve is told in full, at once, and leaves no file behind.

use super::Project;
use crate::support::{
    netns::NetNs,
    pki::TestCa,
    seed::{self, SeedWorld},
    tools::{require, run},
};

#[test]
fn without_a_login_all_references_that_want_one_are_listed() {
    require!("docker-registry", "helm3");
    let world = SeedWorld::on_loopback();
    let project = Project::new();
    let before = project.files();
    let mut create = project.bundle(["create", "--key", "cosign.key"]);
    create.args(world.mirrors());
    let refused = run(create).exits(5);
    assert_lists_all_of_quay(&refused.stderr);
    let login = format!("bundle login {}", world.quay.host());
    assert!(refused.stderr.contains(&login), "{refused:?}");
    assert_eq!(project.files(), before, "nothing is left");

    // A wrong password is told as well, and not repeated.
    let login = [(world.quay.host(), seed::USER, "wrong-canary")];
    project.home.log_in(&login);
    let mut create = project.bundle(["create", "--key", "cosign.key"]);
    create.args(world.mirrors());
    let refused = run(create).exits(5);
    assert_lists_all_of_quay(&refused.stderr);
    assert!(!refused.stderr.contains("canary"), "{refused:?}");
    assert_eq!(project.files(), before, "nothing is left");
}

#[test]
fn the_hint_names_the_registry_by_its_real_name() {
    require!("docker-registry", "root", "helm3");
    let netns = NetNs::new();
    let ca = TestCa::new();
    let _world = SeedWorld::inside(&netns, &ca);
    let project = Project::new();
    let ca_file = ca.write_to(project.home.path());
    let before = project.files();
    let mut create = project.bundle(["create", "--key", "cosign.key", "--ca-file"]);
    create.arg(&ca_file);
    let refused = run(netns.wrap(&create)).exits(5);
    assert_lists_all_of_quay(&refused.stderr);
    assert!(
        refused.stderr.contains("bundle login quay.io"),
        "{refused:?}"
    );
    assert_eq!(project.files(), before, "nothing is left");
}

fn assert_lists_all_of_quay(message: &str) {
    let references = seed::references();
    for written in &references {
        let listed = message.contains(written.as_str());
        assert_eq!(
            listed,
            written.starts_with("quay.io/"),
            "{written}: {message}"
        );
    }
    assert!(message.contains("39 of 41 images"), "{message}");
}

#[test]
fn a_misspelled_tag_is_told_with_the_tags_that_are_like_it() {
    require!("docker-registry", "helm3");
    let world = SeedWorld::on_loopback();
    let project = Project::new();
    world.log_in(&project.home);
    let list = std::fs::read_to_string(project.path("images.txt")).unwrap();
    let list = list
        .replace("tigera/cni:v3.16.1", "tigera/cni:v3.61.1")
        .replace("alpine:3.12.1", "alpine:3.12.11")
        .replace("tigera/typha:", "tigera/tyhpa:");
    std::fs::write(project.path("images.txt"), list).unwrap();
    let before = project.files();
    for command in [&["plan"][..], &["create", "--key", "cosign.key"]] {
        let mut command = project.bundle(command);
        command.args(world.mirrors());
        let refused = run(command).exits(5);
        let line = |name: &str| {
            let lines = refused.stderr.lines();
            let mut found = lines.filter(|line| line.contains(name));
            let line = found
                .next()
                .unwrap_or_else(|| panic!("{name}: {refused:?}"));
            assert!(found.next().is_none(), "{name}: {refused:?}");
            line
        };
        assert!(line("tigera/cni:v3.61.1").contains("tags near it: v3.16.1"));
        assert!(line("alpine:3.12.11").contains("tags near it: 3.12.1"));
        line("tigera/tyhpa:v3.16.1");
        assert!(refused.stderr.contains("3 of 41 images"), "{refused:?}");
        assert_eq!(project.files(), before, "nothing is left");
    }
}

#[test]
fn a_key_in_the_values_is_named_and_does_not_travel() {
    require!("docker-registry", "helm3");
    let world = SeedWorld::on_loopback();
    let project = Project::new();
    world.log_in(&project.home);
    let values = std::fs::read_to_string(project.path("values.yaml")).unwrap();
    let values = format!("{values}apiKey: canary8f2b0c71\n");
    std::fs::write(project.path("values.yaml"), &values).unwrap();
    let create = |more: &[&str]| {
        let mut create = project.bundle(["create", "--key", "cosign.key"]);
        create.args(world.mirrors()).args(more);
        run(create)
    };
    let before = project.files();
    let refused = create(&[]).exits(2);
    for part in ["values.yaml", "apiKey", "--allow-secrets"] {
        assert!(refused.stderr.contains(part), "{part}: {refused:?}");
    }
    assert!(!refused.stderr.contains("canary"), "{refused:?}");
    assert_eq!(project.files(), before, "nothing is left");

    // It travels where somebody says so, and is not printed then either.
    let allowed = create(&["--allow-secrets=apiKey"]).success();
    assert!(!format!("{allowed:?}").contains("canary"), "{allowed:?}");
    assert!(project.files().len() > before.len());
}
