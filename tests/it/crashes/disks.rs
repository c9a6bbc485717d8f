//! File systems that are full, read-only or limited, media that cannot be read, and system calls
//! that fail (`strace -e inject`).

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use rustix::mount::{MountFlags, UnmountFlags, mount, mount_remount, unmount};
use tempfile::TempDir;

use super::world::{
    Source, World, assert_no_bundle, beside, digest_of, images, listed, start_until,
};
use crate::support::tools::{Finished, PATIENCE, require, run, temp_dir, tool};

/// A file system in memory, unmounted when dropped.
struct Tmpfs(TempDir);

impl Tmpfs {
    fn new(size: &str) -> Self {
        let dir = temp_dir("tmpfs");
        let options = std::ffi::CString::new(format!("size={size}")).unwrap();
        let flags = MountFlags::empty();
        mount(
            "tmpfs",
            dir.path(),
            "tmpfs",
            flags,
            Some(options.as_c_str()),
        )
        .unwrap();
        Self(dir)
    }

    fn remount(&self, flags: MountFlags, options: &str) {
        mount_remount(self.0.path(), flags, options).unwrap();
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        let _ = unmount(self.0.path(), UnmountFlags::DETACH);
    }
}

#[test]
fn a_disk_that_is_full_from_the_start_is_not_begun_with() {
    require!("root");
    let world = World::new(images(), "");
    let disk = Tmpfs::new("2m");
    let path = disk.path("a.bundle.tar.zst");
    world.source.log.clear();
    let failed = run(world.create(&path)).exits(7);
    assert!(failed.stderr.contains("the bundle needs"), "{failed:?}");
    assert!(failed.stderr.contains("hint: make room"), "{failed:?}");
    assert_eq!(listed(disk.0.path()), Vec::<String>::new());
    let layers = images()
        .iter()
        .flat_map(|(_, image)| image.blobs[1..].iter());
    for layer in layers {
        assert_eq!(world.source.requests_of(&layer.digest), []);
    }
}

#[test]
fn a_disk_that_fills_up_loses_nothing() {
    require!("root");
    let world = World::new(images(), "");
    let (_, whole) = world.made("whole.bundle.tar.zst");
    // Enough for what is known to be needed, not for what is compressed and does not shrink.
    let disk = Tmpfs::new("9m");
    let path = disk.path("a.bundle.tar.zst");
    let failed = run(world.create(&path)).exits(7);
    assert!(
        failed.stderr.contains("No space left on device"),
        "{failed:?}"
    );
    assert!(failed.stderr.contains("hint: make room"), "{failed:?}");
    assert_no_bundle(&path, &failed);
    // Still full: the same again.
    assert_no_bundle(&path, &run(world.create(&path)).exits(7));

    disk.remount(MountFlags::empty(), "size=64m");
    world.source.log.clear();
    run(world.create(&path)).success();
    assert_eq!(digest_of(&path), whole);
    assert_eq!(listed(disk.0.path()), ["a.bundle.tar.zst"]);
    for blob in [&images()[0].1.blobs[1], &images()[1].1.blobs[2]] {
        assert_eq!(world.source.requests_of(&blob.digest), [], "it was there");
    }
}

#[test]
fn a_read_only_medium_takes_nothing_and_gives_everything() {
    require!("root");
    let world = World::new(images(), "");
    let (whole, _) = world.made("whole.bundle.tar.zst");
    let disk = Tmpfs::new("64m");
    let bundle = disk.path("a.bundle.tar.zst");
    fs::copy(&whole, &bundle).unwrap();
    disk.remount(MountFlags::RDONLY, "");
    let path = disk.path("b.bundle.tar.zst");
    let failed = run(world.create(&path)).exits(7);
    assert!(
        failed.stderr.contains("Read-only file system"),
        "{failed:?}"
    );
    assert_no_bundle(&path, &failed);

    let target = Source::new("");
    run(world.load(&bundle, &target.host())).success();
    for (name, image) in images() {
        target.client().assert_holds(name, "1", image);
    }
}

#[test]
fn a_file_that_may_not_grow_is_like_a_full_disk() {
    let world = World::new(images(), "");
    let (_, whole) = world.made("whole.bundle.tar.zst");
    let path = world.path("a.bundle.tar.zst");
    // In units of 512 bytes: 4 MiB.
    let script = ["-c", "ulimit -f 8192; exec \"$0\" \"$@\""];
    let failed = run(world.create_under("sh", &script, &path)).exits(7);
    assert!(failed.stderr.contains("File too large"), "{failed:?}");
    assert_no_bundle(&path, &failed);
    run(world.create(&path)).success();
    assert_eq!(digest_of(&path), whole);
}

/// The command under `strace`, which lets its system calls fail; where a file is named, only those
/// on it.
fn under_strace(inject: &str, only: Option<&Path>, command: &Command) -> Command {
    let calls = inject.split(':').next().unwrap();
    let mut strace = tool("strace");
    strace.args(["-f", "-qq", "-o", "/dev/null"]);
    strace.args(["-e", &format!("trace={calls}")]);
    strace.args(["-e", &format!("inject={inject}")]);
    if let Some(only) = only {
        strace.arg("-P").arg(only);
    }
    strace.arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        strace.env(name, value.unwrap_or_default());
    }
    strace.current_dir(command.get_current_dir().unwrap());
    strace
}

#[test]
fn create_with_system_calls_that_fail_leaves_no_bundle_and_goes_on() {
    require!("strace");
    let world = World::new(images(), "");
    let (_, whole) = world.made("whole.bundle.tar.zst");
    let existing = world.path("existing.bundle.tar.zst");
    for (inject, message) in [
        ("pwrite64:error=EIO:when=2+", "Input/output error"),
        ("pwrite64:error=ENOSPC:when=3+", "No space left on device"),
        ("pwrite64:error=EDQUOT", "quota exceeded"),
        ("ftruncate:error=EIO", "Input/output error"),
        ("fsync:error=EIO", "Input/output error"),
        ("fsync,fdatasync:error=EIO:when=2+", "Input/output error"),
        ("renameat2,rename,renameat:error=EIO", "Input/output error"),
        ("flock:error=EIO", "Input/output error"),
        ("fstatfs:error=EIO", "Input/output error"),
    ] {
        let path = world.path("a.bundle.tar.zst");
        let failed = run(under_strace(inject, None, &world.create(&path))).exits(7);
        assert!(failed.stderr.contains(message), "{inject}: {failed:?}");
        assert!(
            failed.stderr.contains("a.bundle.tar.zst"),
            "{inject}: {failed:?}"
        );
        assert_no_bundle(&path, &failed);
        run(world.create(&path)).success();
        assert_eq!(digest_of(&path), whole, "{inject}");
        fs::remove_file(&path).unwrap();
        assert!(!beside(&path, ".resume").exists(), "{inject}");

        fs::write(&existing, "an older bundle").unwrap();
        let mut forced = world.create(&existing);
        forced.arg("--force");
        run(under_strace(inject, None, &forced)).exits(7);
        let kept = fs::read(&existing).unwrap();
        // The last sync comes after the name has changed; then the new one is there, and whole.
        let new = inject.contains("when=2+") && inject.starts_with("fsync");
        let is_old = kept == b"an older bundle";
        assert!(is_old || new && digest_of(&existing) == whole, "{inject}");
        for left in ["", ".partial", ".resume"] {
            let _ = fs::remove_file(beside(&existing, left));
        }
    }
}

#[test]
fn calls_that_are_interrupted_are_made_again() {
    require!("strace");
    let world = World::new(images(), "");
    let (whole_path, whole) = world.made("whole.bundle.tar.zst");
    for inject in [
        "pwrite64:error=EINTR:when=1+2",
        "pread64:error=EINTR:when=1+2",
        "fsync:error=EINTR:when=1+2",
        "flock:error=EINTR:when=1+2",
        "ftruncate:error=EINTR:when=1+2",
    ] {
        let path = world.path("a.bundle.tar.zst");
        let partial = beside(&path, ".partial");
        run(under_strace(inject, Some(&partial), &world.create(&path))).success();
        assert_eq!(digest_of(&path), whole, "{inject}");
        fs::remove_file(&path).unwrap();
    }
    let target = Source::new("");
    let load = world.load(&whole_path, &target.host());
    let inject = "pread64:error=EINTR:when=1+2";
    run(under_strace(inject, Some(&whole_path), &load)).success();
    for (name, image) in images() {
        target.client().assert_holds(name, "1", image);
    }
}

fn verify(world: &World, bundle: &Path) -> Command {
    let mut command = world.home.bundle();
    command.arg("verify").arg(bundle);
    command.args(world.trust_arguments()).arg("--quiet");
    command
}

#[track_caller]
fn assert_unreadable(finished: Finished) {
    let finished = finished.exits(7);
    assert!(
        finished.stderr.contains("Input/output error"),
        "{finished:?}"
    );
}

#[test]
fn a_medium_that_cannot_be_read_is_not_a_damaged_bundle() {
    require!("strace");
    let world = World::new(images(), "");
    let (bundle, _) = world.made("a.bundle.tar.zst");
    let target = Source::new("");
    // At once, and somewhere inside a layer (calls are counted for each thread).
    for inject in ["pread64:error=EIO", "pread64:error=EIO:when=3+"] {
        let verify = verify(&world, &bundle);
        assert_unreadable(run(under_strace(inject, Some(&bundle), &verify)));
        let load = world.load(&bundle, &target.host());
        assert_unreadable(run(under_strace(inject, Some(&bundle), &load)));
        for (name, _) in images() {
            assert_eq!(target.client().tags(name), Vec::<String>::new());
        }
    }
    run(verify(&world, &bundle)).success();
    run(world.load(&bundle, &target.host())).success();
    for (name, image) in images() {
        target.client().assert_holds(name, "1", image);
    }
}

#[test]
fn a_file_that_is_cut_while_it_is_loaded_is_damaged() {
    let world = World::new(images(), "");
    let (bundle, _) = world.made("a.bundle.tar.zst");
    let target = Source::new("PUT:/blobs/uploads/:slow=3000000");
    let under_way = || target.log.entries().iter().any(|e| e.bytes_in > 500_000);
    let load = world.load(&bundle, &target.host());
    let running = start_until(load, "an upload", under_way);
    let file = fs::File::options().write(true).open(&bundle).unwrap();
    file.set_len(300_000).unwrap();
    let failed = running.finish(PATIENCE).exits(3);
    assert!(failed.stderr.contains("nothing was tagged"), "{failed:?}");
    let manifests = |entry: &sneakernet::serve::LoggedRequest| entry.path.contains("/manifests/");
    assert!(!target.log.mutating().iter().any(manifests));
}
