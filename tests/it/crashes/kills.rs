//! SIGKILL at fifty random moments of `create` and of `load`, and the same command again.

use std::{
    collections::BTreeSet,
    fs,
    time::{Duration, Instant},
};

use sneakernet::serve::LoggedRequest;

use super::world::{
    FRAME, Images, Source, World, beside, digest_of, images, large_images, start_until,
};
use crate::support::{
    images::{Family, sample},
    random::Random,
    tools::{PATIENCE, Running, run},
};

const KILLS: u32 = 50;
/// What the registry had handed out and the program had not yet written: up to 2 MiB in the program,
/// and what the buffers of a connection hold.
const ON_THE_WAY: u64 = 6 << 20;

/// How long a command takes from its first request on.
fn time_of(mut running: Running) -> Duration {
    let start = Instant::now();
    while running.is_running() {
        std::thread::sleep(Duration::from_millis(2));
    }
    running.finish(PATIENCE).success();
    start.elapsed()
}

fn some_time_within(time: Duration, random: &mut Random) -> Duration {
    time.mul_f64(random.below(10_000) as f64 / 10_000.0)
}

#[test]
fn create_killed_at_any_moment_goes_on_and_makes_the_same_bundle() {
    let images = large_images();
    let world = World::new(images, "GET:/blobs/:slow=80000000");
    let source = &world.source;
    let requested = || !source.log.entries().is_empty();

    let path = world.path("whole.bundle.tar.zst");
    let time = time_of(start_until(world.create(&path), "a request", requested));
    let whole = digest_of(&path);
    // The same at another time is another bundle: so what is the same has kept its time.
    let later = world.path("later.bundle.tar.zst");
    let mut command = world.create(&later);
    run_in_time(command.env("SOURCE_DATE_EPOCH", "1800000000"));
    let other = digest_of(&later);
    assert_ne!(whole, other);

    let (mut killed_with_state, mut finished_before) = (0, 0);
    let mut random = Random(1);
    for round in 0..KILLS {
        let path = world.path(&format!("{round}.bundle.tar.zst"));
        source.log.clear();
        let mut first = start_until(world.create(&path), "a request", requested);
        std::thread::sleep(some_time_within(time, &mut random));
        first.kill();
        drop(first);
        let before = source.log.entries();
        if path.exists() {
            // It was faster than the kill. Then it is all there.
            finished_before += 1;
            assert_eq!(digest_of(&path), whole, "round {round}");
            fs::remove_file(&path).unwrap();
            let _ = fs::remove_file(beside(&path, ".resume"));
            continue;
        }
        let kept = fs::metadata(beside(&path, ".partial")).is_ok_and(|file| file.len() > 0)
            && beside(&path, ".resume").exists();
        source.log.clear();
        run_in_time(world.create(&path).env("SOURCE_DATE_EPOCH", "1800000000"));
        let again = source.log.entries();
        let expected = if kept { whole } else { other };
        assert_eq!(digest_of(&path), expected, "round {round}");
        if kept {
            killed_with_state += 1;
            assert_little_was_fetched_twice(images, &before, &again, round);
        }
        let mut left = super::world::listed(world.dir.path());
        left.retain(|name| name.starts_with(&format!("{round}.")));
        assert_eq!(left, [format!("{round}.bundle.tar.zst")], "round {round}");
        fs::remove_file(&path).unwrap();
    }
    // If nearly no kill met a transfer, this has shown nothing.
    assert!(
        killed_with_state >= KILLS / 4,
        "{killed_with_state} of {KILLS} met a transfer, {finished_before} came too late"
    );
}

fn run_in_time(command: &mut std::process::Command) {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{output:?}");
}

/// At most a frame for every transfer that was under way: one for each stored blob, one for the
/// packed part, and three for compressed blobs.
fn assert_little_was_fetched_twice(
    images: &Images,
    before: &[LoggedRequest],
    again: &[LoggedRequest],
    round: u32,
) {
    let fetched = |log: &[LoggedRequest], end: &str| -> u64 {
        let of = log.iter().filter(|entry| entry.path.ends_with(end));
        of.map(|entry| entry.bytes_out).sum()
    };
    let mut small = 0;
    for (name, image) in images {
        for blob in image.all_blobs() {
            let size = blob.bytes.len() as u64;
            let end = blob.digest.to_string();
            let twice = (fetched(before, &end) + fetched(again, &end)).saturating_sub(size);
            let allowed = match size {
                0..=0x10_0000 => {
                    small += twice;
                    continue;
                }
                _ if *name == "team/text" => 3 * FRAME + ON_THE_WAY,
                _ => FRAME + ON_THE_WAY,
            };
            assert!(twice <= allowed, "round {round}: {name}: {twice} twice");
        }
    }
    let allowed = FRAME + ON_THE_WAY;
    assert!(small <= allowed, "round {round}: {small} of small blobs");
}

#[test]
fn load_killed_at_any_moment_has_changed_no_tag_too_early_and_goes_on() {
    let world = World::new(images(), "");
    let (bundle, _) = world.made("load.bundle.tar.zst");
    let target = Source::new("PUT:/blobs/uploads/:slow=40000000");
    let client = target.client();
    let old = sample(9, Family::Oci, "linux/amd64");
    let load = |prefix: &str| {
        let to = format!("{}/{prefix}", target.host());
        let mut command = world.load(&bundle, &to);
        command.args(["--on-conflict", "replace"]);
        command
    };
    let requested = || !target.log.entries().is_empty();
    let time = time_of(start_until(load("whole"), "a request", requested));

    let (mut killed, mut tags_seen) = (0, BTreeSet::new());
    let mut random = Random(2);
    for round in 0..KILLS {
        let prefix = format!("round{round}");
        for (name, _) in images() {
            client.push(&format!("{prefix}/{name}"), "1", &old);
        }
        target.log.clear();
        let mut first = start_until(load(&prefix), "a request", requested);
        std::thread::sleep(some_time_within(time, &mut random));
        killed += u32::from(first.is_running());
        first.kill();
        drop(first);
        let before = target.log.entries();
        let mut new = 0;
        for (name, image) in images() {
            let name = format!("{prefix}/{name}");
            let tagged = client.manifest(&name, "1").expect("a tag").bytes;
            assert!(tagged == old.bytes || tagged == image.bytes, "{name}");
            new += usize::from(tagged == image.bytes);
        }
        tags_seen.insert(new);
        assert_tags_come_last(&before, new, &prefix);
        if new > 0 {
            assert_complete_by_digest(&target, &prefix);
        }
        target.log.clear();
        run(load(&prefix)).success();
        for (name, image) in images() {
            client.assert_holds(&format!("{prefix}/{name}"), "1", image);
        }
        assert_nothing_complete_was_sent_again(&before, &target.log.entries(), &prefix);
    }
    assert!(killed >= KILLS / 4, "{killed} of {KILLS} met a load");
    assert!(tags_seen.contains(&0), "{tags_seen:?}");
}

/// When a tag is written, every blob and manifest was written before.
fn assert_tags_come_last(log: &[LoggedRequest], new: usize, prefix: &str) {
    let is_tag = |entry: &LoggedRequest| entry.path.ends_with("/manifests/1");
    let writes = |entry: &&LoggedRequest| entry.method == "PUT";
    let writing: Vec<_> = log.iter().filter(writes).collect();
    let first = writing.iter().position(|entry| is_tag(entry));
    let Some(first) = first else {
        assert_eq!(new, 0, "{prefix}: a tag without a request for it");
        return;
    };
    assert!(
        writing[first..].iter().all(|entry| is_tag(entry)),
        "{prefix}"
    );
    let manifests = writing[..first]
        .iter()
        .filter(|e| e.path.contains("/manifests/sha256:"));
    assert_eq!(manifests.count(), images().len(), "{prefix}");
}

fn assert_complete_by_digest(target: &Source, prefix: &str) {
    for (name, image) in images() {
        let digest = image.digest.to_string();
        let repository = format!("{prefix}/{name}");
        target.client().assert_holds(&repository, &digest, image);
    }
}

/// What the registry had taken whole is not sent again.
fn assert_nothing_complete_was_sent_again(
    before: &[LoggedRequest],
    again: &[LoggedRequest],
    prefix: &str,
) {
    let completed = |log: &[LoggedRequest]| -> BTreeSet<(String, String)> {
        let taken = log.iter().filter(|entry| {
            entry.method == "PUT" && entry.status == 201 && entry.path.contains("/blobs/uploads/")
        });
        let repository = |path: &str| path.split("/blobs/").next().unwrap().to_owned();
        let digest = |query: &str| query.rsplit("digest=").next().unwrap().to_owned();
        taken
            .map(|entry| (repository(&entry.path), digest(&entry.query)))
            .collect()
    };
    let (before, again) = (completed(before), completed(again));
    let twice: Vec<_> = before.intersection(&again).collect();
    assert!(twice.is_empty(), "{prefix}: {twice:?}");
}
