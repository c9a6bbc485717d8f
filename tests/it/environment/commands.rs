//! Commands run in a home of their own, and not for ever.

use std::time::Duration;

use crate::support::tools::{Home, bundle_path, run, run_with};

#[test]
fn a_home_hides_the_environment_from_the_program() {
    let home = Home::new();
    let mut command = home.bundle();
    assert_eq!(command.get_program(), bundle_path());
    command.env("ADDED", "1");
    let names: Vec<String> = command
        .get_envs()
        .map(|(name, _)| name.to_string_lossy().into_owned())
        .collect();
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("CARGO")) {
        assert!(!names.contains(&name), "{name} is handed on");
    }
    let mut env = home.tool("env");
    env.env("ADDED", "1");
    let seen = run(env).success().text();
    assert!(seen.contains("ADDED=1"));
    assert!(seen.contains(&format!("HOME={}", home.path().display())));
    assert!(!seen.contains("CARGO"), "{seen}");
}

#[test]
fn a_command_that_takes_too_long_is_ended_and_told() {
    let late = std::panic::catch_unwind(|| {
        let home = Home::new();
        let mut sleep = home.tool("sh");
        sleep.args(["-c", "echo started; exec sleep 100"]);
        run_with(sleep, Vec::new(), Duration::from_millis(300))
    });
    let message = late.unwrap_err();
    let message = message.downcast_ref::<String>().expect("a message");
    assert!(message.contains("not done after"), "{message}");
    assert!(message.contains("started"), "{message}");
}
