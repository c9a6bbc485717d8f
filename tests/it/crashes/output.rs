//! Outputs that exist, that are no files, that two runs write at a time, and sources that change.

use std::{
    fs,
    os::unix::fs::{FileTypeExt as _, symlink},
    process::Command,
    time::Duration,
};

use rustix::fs::{CWD, FileType, Mode, mknodat};

use super::world::{World, assert_no_bundle, beside, digest_of, images, listed, start_until};
use crate::support::tools::{PATIENCE, Running, require, run, wait_until};

#[test]
fn what_exists_is_replaced_only_on_demand_and_only_by_a_whole_bundle() {
    let mut world = World::new(images(), "");
    let (path, whole) = world.made("a.bundle.tar.zst");
    let old = world.path("b.bundle.tar.zst");
    fs::write(&old, "an older bundle").unwrap();
    let forced = |world: &World| {
        let mut command = world.create(&old);
        command.arg("--force");
        command
    };
    for existing in [&path, &old] {
        let refused = run(world.create(existing)).exits(2);
        assert!(refused.stderr.contains("exists") && refused.stderr.contains("--force"));
    }
    assert_eq!(world.source.log.mutating(), []);
    assert_eq!(digest_of(&path), whole);

    // Killed, and failed.
    let blob = images()[1].1.blobs[2].digest;
    world
        .source
        .restart(&format!("GET:{blob}:stall=5m:at=1000000"));
    let source = &world.source;
    let stalls = || source.sent_of(&blob) >= 1_000_000;
    drop(start_until(forced(&world), "the transfer stalls", stalls));
    assert_eq!(fs::read_to_string(&old).unwrap(), "an older bundle");
    world.source.restart(&format!("GET:{blob}:status=404"));
    run(forced(&world)).exits(5);
    assert_eq!(fs::read_to_string(&old).unwrap(), "an older bundle");

    world.source.restart("");
    run(forced(&world)).success();
    assert_eq!(digest_of(&old), whole);
    assert_eq!(
        listed(world.dir.path()),
        ["a.bundle.tar.zst", "b.bundle.tar.zst"]
    );
}

#[test]
fn what_is_no_regular_file_is_left_alone() {
    let world = World::new(images(), "");
    let victim = world.path("victim");
    fs::write(&victim, "precious").unwrap();
    let at = |name: &str| world.path(name);
    fs::create_dir(at("directory")).unwrap();
    symlink(&victim, at("link")).unwrap();
    symlink(at("nowhere"), at("dangling")).unwrap();
    mknodat(CWD, at("pipe"), FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    let before = listed(world.dir.path());
    for name in ["directory", "link", "dangling", "pipe"] {
        for force in [&[][..], &["--force"]] {
            let mut command = world.create(&at(name));
            command.args(force);
            let refused = run(command).exits(2);
            let expected = format!("{name} is not a regular file");
            assert!(refused.stderr.contains(&expected), "{refused:?}");
        }
    }
    let mut command = world.create(std::path::Path::new("/dev/full"));
    command.arg("--force");
    run(command).exits(2);
    let device = fs::metadata("/dev/full").unwrap();
    assert!(device.file_type().is_char_device());

    let refused = run(world.create(&at("missing/a.bundle.tar.zst"))).failure();
    assert!(matches!(refused.code(), Some(2 | 7)), "{refused:?}");
    assert!(refused.stderr.contains("missing"), "{refused:?}");
    let refused = run(world.create(&victim.join("a.bundle.tar.zst"))).failure();
    assert!(matches!(refused.code(), Some(2 | 7)), "{refused:?}");
    assert_eq!(listed(world.dir.path()), before);
    assert_eq!(fs::read_to_string(victim).unwrap(), "precious");
}

#[test]
fn of_two_runs_for_one_output_one_wins() {
    let mut world = World::new(images(), "");
    let (_, whole) = world.made("whole.bundle.tar.zst");
    let blob = images()[1].1.blobs[2].digest;
    world
        .source
        .restart(&format!("GET:{blob}:stall=2s:at=1000000"));
    let path = world.path("b.bundle.tar.zst");
    let source = &world.source;
    let stalls = || source.sent_of(&blob) >= 1_000_000;
    let first = start_until(world.create(&path), "the transfer stalls", stalls);
    for force in [&[][..], &["--force"], &["--no-resume"]] {
        let mut second = world.create(&path);
        second.args(force);
        let refused = run(second).exits(2);
        assert!(
            refused.stderr.contains("another run is writing"),
            "{refused:?}"
        );
    }
    first.finish(PATIENCE).success();
    assert_eq!(digest_of(&path), whole);

    world.source.restart("");
    for round in 0..8 {
        fs::remove_file(&path).unwrap();
        let both = [0, 1].map(|_| Running::start(world.create(&path), Vec::new()));
        let codes = both.map(|running| running.finish(PATIENCE).code().unwrap());
        let mut sorted = codes;
        sorted.sort_unstable();
        assert_eq!(sorted, [0, 2], "round {round}");
        assert_eq!(digest_of(&path), whole, "round {round}");
        let left = listed(world.dir.path());
        assert_eq!(left, ["b.bundle.tar.zst", "whole.bundle.tar.zst"]);
    }
}

#[test]
fn a_run_that_gets_the_lock_too_late_does_not_touch_the_finished_bundle() {
    require!("strace");
    let mut world = World::new(images(), "");
    let (_, whole) = world.made("whole.bundle.tar.zst");
    let blob = images()[1].1.blobs[2].digest;
    world
        .source
        .restart(&format!("GET:{blob}:stall=1s:at=1000000"));
    let path = world.path("b.bundle.tar.zst");
    let source = &world.source;
    let stalls = || source.sent_of(&blob) >= 1_000_000;
    let first = start_until(world.create(&path), "the transfer stalls", stalls);
    // It has the partial file open, and asks for the lock when that has become the bundle.
    let late = [
        "-f",
        "-qq",
        "-o",
        "/dev/null",
        "-e",
        "trace=flock",
        "-e",
        "inject=flock:delay_enter=4000000",
    ];
    let second = Running::start(world.create_under("strace", &late, &path), Vec::new());
    first.finish(PATIENCE).success();
    assert_eq!(digest_of(&path), whole);
    let refused = second.finish(PATIENCE).exits(2);
    assert!(refused.stderr.contains("exists"), "{refused:?}");
    assert_eq!(digest_of(&path), whole);
}

#[test]
fn a_file_that_changes_while_it_is_packed_stops_the_run() {
    let changes: [(&str, fn(&std::path::Path)); 4] = [
        ("another content", |file| {
            let content = vec![8; fs::metadata(file).unwrap().len() as usize];
            fs::write(file, content).unwrap();
        }),
        ("shorter", |file| fs::write(file, "short").unwrap()),
        ("gone", |file| fs::remove_file(file).unwrap()),
        ("a directory", |file| {
            fs::remove_file(file).unwrap();
            fs::create_dir(file).unwrap();
        }),
    ];
    let mut world = World::new(&images()[..1].to_vec(), "");
    for size in [1000, 9 << 20] {
        for (what, change) in changes {
            world.source.restart("GET:/manifests/:delay=300ms:times=1");
            let file = world.path("install.md");
            fs::write(&file, vec![7; size]).unwrap();
            let path = world.path("files.bundle.tar.zst");
            let mut command = world.create(&path);
            command.arg("--add-file").arg(&file);
            let source = &world.source;
            // It was hashed before the first request; the answer to that takes its time.
            let asked = || {
                source
                    .log
                    .entries()
                    .iter()
                    .any(|e| e.path.contains("/manifests/"))
            };
            let running = start_until(command, "the first manifest", asked);
            change(&file);
            let failed = running.finish(PATIENCE).exits(7);
            assert!(failed.stderr.contains("install.md"), "{what}: {failed:?}");
            assert_no_bundle(&path, &failed);
            let _ = fs::remove_dir(&file);
            for left in [".partial", ".resume"] {
                let _ = fs::remove_file(beside(&path, left));
            }
        }
    }
}

#[test]
fn a_bundle_on_a_pipe_ends_where_the_reader_goes_away() {
    let world = World::new(images(), "");
    let (path, _) = world.made("whole.bundle.tar.zst");
    let output = std::path::Path::new("-");
    let whole = run(world.create(output)).success();
    assert_eq!(whole.stdout, fs::read(path).unwrap());

    let full = fs::File::options().write(true).open("/dev/full").unwrap();
    let mut command: Command = world.create(output);
    command.stdout(full);
    let output_of = command.output().unwrap();
    assert_eq!(output_of.status.code(), Some(7), "{output_of:?}");
    let message = String::from_utf8(output_of.stderr).unwrap();
    assert!(message.contains("No space left on device"), "{message}");

    let (reader, writer) = std::io::pipe().unwrap();
    let mut command = world.create(output);
    command.stdout(writer).stderr(std::process::Stdio::null());
    let mut child = command.spawn().unwrap();
    drop(command);
    drop(reader);
    let mut status = None;
    wait_until("it ends", Duration::from_secs(20), || {
        status = child.try_wait().unwrap();
        status.is_some()
    });
    assert_eq!(status.unwrap().code(), Some(7));
}
