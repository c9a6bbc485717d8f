//! `plan` pins what every reference stands for; `create` keeps to that, or says what moved.

use super::{BUNDLE, Project};
use crate::support::{
    calico_cloud::INSTALLER,
    distribution::{Options, Registry},
    images::{Family, sample, sample_index},
    seed::SeedWorld,
    tools::{require, run},
};

#[test]
fn a_plan_is_the_bundle_before_it_is_made() {
    require!("docker-registry", "helm3");
    let world = SeedWorld::on_loopback();
    let project = Project::new();
    world.log_in(&project.home);
    let command = |arguments: &[&str]| {
        let mut command = project.bundle(arguments);
        command.args(world.mirrors());
        command
    };
    let mut plan = command(&["plan"]);
    plan.env("SOURCE_DATE_EPOCH", "1700000000");
    let plan = run(plan).success();
    let shown = plan.text();
    for seed in &world.content.images {
        let name = format!("{}/{}:{}", seed.host, seed.repository, seed.tag);
        let line = shown.lines().find(|line| line.starts_with(&name));
        let line = line.unwrap_or_else(|| panic!("{name}: {plan:?}"));
        let asked = match seed.written.as_str() {
            INSTALLER => "bundle.yaml:15 · release calico-cloud Deployment/",
            _ => "images.txt:",
        };
        assert!(line.contains(asked), "who asked for it: {line}");
    }
    let windows = shown.lines().find(|line| line.starts_with("absent"));
    assert!(windows.is_some_and(|line| line.contains("https://mcr.microsoft.com/")));
    let lock = std::fs::read(project.path("bundle.lock")).unwrap();
    run(command(&["plan", "--check"])).success();
    assert_eq!(std::fs::read(project.path("bundle.lock")).unwrap(), lock);

    // The lock has the time, too, so the day on which a bundle is made makes no difference.
    let signed = ["create", "--key", "cosign.key"];
    run(command(&signed)).success();
    let from_lock = std::fs::read(project.path(BUNDLE)).unwrap();
    let mut anew = command(&signed);
    anew.args(["--no-lock", "-o", "anew.bundle.tar.zst"]);
    anew.env("SOURCE_DATE_EPOCH", "1700000000");
    run(anew).success();
    let anew = std::fs::read(project.path("anew.bundle.tar.zst")).unwrap();
    assert!(anew == from_lock, "the same bytes");
}

#[test]
fn a_tag_that_moves_is_told_and_the_lock_holds() {
    require!("docker-registry");
    let registry = Registry::start(Options {
        delete: true,
        ..Options::default()
    });
    let client = registry.client();
    let (first, second) = (
        sample_index(1, Family::Oci),
        sample(2, Family::Docker, "linux/amd64"),
    );
    client.push("team/app", "1", &first);
    client.push("team/other", "1", &second);
    let project = Project::new();
    let name = format!("{}/team/app:1", registry.host());
    let other = format!("{}/team/other:1", registry.host());
    let spec = format!(
        "apiVersion: sneakernet/v1\nkind: Bundle\nmetadata: {{name: app, version: \"1\"}}\n\
         images: ['{name}', '{other}']\n"
    );
    std::fs::write(project.path("bundle.yaml"), spec).unwrap();
    project.run(["plan"]).success();
    project.run(["plan", "--check"]).success();
    project.run(["create", "--key", "cosign.key"]).success();
    let made = std::fs::read(project.path("app-1.bundle.tar.zst")).unwrap();

    client.push("team/app", "1", &second);
    let moved = project.run(["plan", "--check"]).exits(5);
    let line = moved.stderr.lines().find(|line| line.contains(&name));
    let line = line.unwrap_or_else(|| panic!("{moved:?}"));
    for digest in [first.digest.short(), second.digest.short()] {
        assert!(line.contains(&digest), "{digest}: {line}");
    }
    assert!(!moved.stderr.contains(&other), "{moved:?}");

    // As long as the registry still has it, the lock is kept to.
    let again = ["create", "--key", "cosign.key", "--force"];
    project.run(again).success();
    let again_made = std::fs::read(project.path("app-1.bundle.tar.zst")).unwrap();
    assert!(made == again_made, "the same bytes");

    client.delete_manifest("team/app", first.digest);
    let before = project.files();
    let gone = project.run(again).exits(5);
    for part in [
        name.clone(),
        first.digest.to_string(),
        second.digest.to_string(),
        "bundle plan".to_owned(),
    ] {
        assert!(gone.stderr.contains(&part), "{part}: {gone:?}");
    }
    assert_eq!(project.files(), before);
    let kept = std::fs::read(project.path("app-1.bundle.tar.zst")).unwrap();
    assert!(kept == made, "the bundle that was there stays");

    // A bundle.yaml that no longer fits its lock is told as well.
    project
        .run([
            "create",
            "--key",
            "cosign.key",
            "--force",
            "--platform",
            "linux/amd64",
        ])
        .exits(2);
    project.run(["plan"]).success();
    project.run(again).success();
}
