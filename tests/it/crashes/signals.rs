//! Ctrl-C and its like: the program ends at once with 130, and what it did is not lost.

use std::{
    io::Write as _,
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};

use super::world::{Source, World, digest_of, images, start_until};
use crate::support::tools::{Finished, Running, run, wait_until};

/// So soon the program has ended.
const AT_ONCE: Duration = Duration::from_secs(2);

fn send(running: &Running, signal: Signal) {
    let id = Pid::from_raw(running.id() as i32).unwrap();
    // It may have ended by itself meanwhile.
    let _ = kill_process(id, signal);
}

/// Starts a command that will hang, signals it and returns how it ended.
fn interrupted(command: Command, hangs: impl Fn() -> bool, signals: &[Signal]) -> Finished {
    let running = start_until(command, "the transfer hangs", hangs);
    let start = Instant::now();
    for signal in signals {
        send(&running, *signal);
    }
    let finished = running.finish(Duration::from_secs(20));
    assert!(start.elapsed() < AT_ONCE, "{:?}", start.elapsed());
    finished.exits(130)
}

#[test]
fn create_ends_at_once_and_goes_on_later() {
    let mut world = World::signing(images(), "");
    let (_, whole) = world.made("whole.bundle.tar.zst");
    let blob = &images()[1].1.blobs[2];
    let stall = format!("GET:{}:stall=5m:at=1000000", blob.digest);
    for signals in [
        &[Signal::INT][..],
        &[Signal::TERM],
        &[Signal::INT, Signal::INT],
        &[Signal::INT, Signal::TERM, Signal::INT],
    ] {
        world.source.restart(&stall);
        let path = world.path("interrupted.bundle.tar.zst");
        let source = &world.source;
        let hangs = || source.sent_of(&blob.digest) >= 1_000_000;
        let finished = interrupted(world.create(&path), hangs, signals);
        if signals.len() == 1 {
            assert_eq!(finished.stderr, "error: interrupted\n");
        }
        assert!(!path.exists());

        world.source.restart("");
        run(world.create(&path)).success();
        assert_eq!(digest_of(&path), whole);
        std::fs::remove_file(&path).unwrap();
    }
}

#[test]
fn load_ends_at_once_and_goes_on_later() {
    let world = World::new(images(), "");
    let (bundle, _) = world.made("load.bundle.tar.zst");
    let mut target = Source::new("PUT:/blobs/uploads/:slow=200000");
    let under_way = |target: &Source| {
        let log = target.log.entries();
        log.iter().any(|entry| entry.bytes_in >= 100_000)
    };
    let finished = interrupted(
        world.load(&bundle, &target.host()),
        || under_way(&target),
        &[Signal::INT],
    );
    assert_eq!(finished.stderr, "error: interrupted\n");
    let manifests = |e: &sneakernet::serve::LoggedRequest| e.path.contains("/manifests/");
    assert!(!target.log.mutating().iter().any(manifests));

    target.restart("");
    run(world.load(&bundle, &target.host())).success();
    for (name, image) in images() {
        target.client().assert_holds(name, "1", image);
    }
}

#[test]
fn a_load_that_waits_for_a_pipe_ends_at_once() {
    let world = World::new(images(), "");
    let (bundle, _) = world.made("pipe.bundle.tar.zst");
    let target = Source::new("");
    // Half of the bundle, and then nothing more, but no end either.
    let all = std::fs::read(&bundle).unwrap();
    let mut load = world.load(Path::new("-"), &target.host());
    let (reader, mut writer) = std::io::pipe().unwrap();
    load.stdin(reader)
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let mut child = load.spawn().unwrap();
    writer.write_all(&all[..all.len() / 2]).unwrap();
    wait_until("a request", Duration::from_secs(20), || {
        !target.log.entries().is_empty()
    });
    let start = Instant::now();
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    let status = child.wait().unwrap();
    assert_eq!(status.code(), Some(130));
    assert!(start.elapsed() < AT_ONCE);
    drop(writer);
}
