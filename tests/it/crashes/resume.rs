//! What `create` keeps of an interrupted run, to the byte, and that it believes nothing that is
//! left over and is not what it wrote.

use std::{
    fs,
    ops::Range,
    path::{Path, PathBuf},
};

use rustix::fs::{CWD, FileType, Mode, mknodat};
use sneakernet::{
    bundle::{Compressor, SeekTable},
    oci::Digest,
};
use xxhash_rust::xxh64::xxh64;

use super::world::{
    FRAME, World, assert_no_bundle, beside, digest_of, images, large_images, start_until,
};
use crate::support::{
    images::{Family, sample},
    tools::{PATIENCE, Running, run},
};

/// Content that the first frame of a large blob has less, because of the tar header.
const HEADER: u64 = 512;
/// Of a frame of a stored blob, in bytes.
const FRAME_HEADER: usize = 10;
/// Of a raw block of such a frame, in bytes.
const BLOCK_HEADER: usize = 3;
/// Then the order of requests is known.
const ONE_AT_A_TIME: [&str; 2] = ["--concurrency", "1"];

#[test]
fn whole_frames_are_kept_and_nothing_else_is_fetched_again() {
    let images = large_images();
    let mut world = World::signing(images, "");
    let (whole_path, whole) = world.made("whole.bundle.tar.zst");
    let path = world.path("again.bundle.tar.zst");
    let partial = beside(&path, ".partial");
    let stored = [&images[0].1.blobs[1], &images[0].1.blobs[2]].map(|blob| blob.digest);
    let text = images[1].1.blobs[1].digest;

    // In the middle of the third frame of both stored blobs.
    let stall = |digest: &Digest| format!("GET:{digest}:stall=5m:at=19000000");
    let faults = stored.each_ref().map(stall).join(";");
    world.source.restart(&faults);
    let source = &world.source;
    // What was sent may still be on its way: what counts is that it is on the disk.
    let expected = fs::read(&whole_path).unwrap();
    let kept = kept_parts(&expected, &stored);
    let met = || {
        let found = fs::read(&partial).unwrap_or_default();
        let mut parts = kept.iter();
        parts.all(|part| found.get(part.clone()) == Some(&expected[part.clone()]))
            && stored
                .iter()
                .all(|digest| source.sent_of(digest) >= 19_000_000)
    };
    drop(start_until(
        world.create(&path),
        "both transfers stall",
        met,
    ));

    // What the tag says meanwhile is of no interest: it was resolved.
    let moved = sample(1, Family::Oci, "linux/amd64");
    world.source.client().push("team/small", "1", &moved);

    // In the middle of the compressed blob: the fourth piece is asked for when three are written.
    world.source.restart(&format!("GET:{text}:stall=5m:nth=4"));
    let source = &world.source;
    let met = || source.requests_of(&text).len() == 4;
    let mut command = world.create(&path);
    command.args(ONE_AT_A_TIME);
    drop(start_until(command, "the fourth piece stalls", met));
    let ranges = |digest: &Digest| -> Vec<Option<String>> {
        let requests = world.source.requests_of(digest).into_iter();
        requests.map(|entry| entry.range).collect()
    };
    let size = |digest: &Digest| {
        let blobs = images.iter().flat_map(|(_, image)| &image.blobs);
        let mut blobs = blobs.filter(|blob| blob.digest == *digest);
        blobs.next().unwrap().bytes.len() as u64
    };
    let from = |frame: u64, digest: &Digest| {
        let end = size(digest) - 1;
        Some(format!("bytes={}-{end}", frame * FRAME - HEADER))
    };
    for digest in &stored {
        assert_eq!(ranges(digest), [from(2, digest)]);
    }
    assert_nothing_small_was_fetched(&world);

    world.source.restart("");
    let mut command = world.create(&path);
    run({
        command.env("SOURCE_DATE_EPOCH", "1800000000");
        command
    })
    .success();
    assert_eq!(digest_of(&path), whole);
    for digest in &stored {
        let requests = world.source.requests_of(digest);
        assert_eq!(requests, [], "it was there whole");
    }
    assert_nothing_small_was_fetched(&world);
    let requests = world.source.requests_of(&text);
    let mut starts: Vec<u64> = requests
        .iter()
        .map(|entry| start_of(&entry.range))
        .collect();
    starts.sort_unstable();
    let expected: Vec<u64> = (3..=5).map(|frame| frame * FRAME - HEADER).collect();
    assert_eq!(starts, expected);
}

/// Where in a bundle the packed frames are, and the first two of each of these stored blobs.
fn kept_parts(bundle: &[u8], stored: &[Digest]) -> Vec<Range<usize>> {
    let frames = frame_starts(bundle);
    let first_of = |digest: &Digest| {
        let member = format!("blobs/sha256/{}", digest.hex());
        let mut starts = frames.iter();
        let found = starts.position(|start| {
            bundle[start + FRAME_HEADER + BLOCK_HEADER..].starts_with(member.as_bytes())
        });
        found.unwrap_or_else(|| panic!("no frame starts with {member}"))
    };
    let firsts: Vec<usize> = stored.iter().map(first_of).collect();
    let packed = *firsts.iter().min().unwrap();
    let mut parts = Vec::new();
    parts.push(0..frames[packed]);
    parts.extend(firsts.iter().map(|first| frames[*first]..frames[first + 2]));
    parts
}

fn start_of(range: &Option<String>) -> u64 {
    let range = range.as_deref().unwrap_or("bytes=0-");
    let (start, _) = range["bytes=".len()..].split_once('-').unwrap();
    start.parse().unwrap()
}

#[track_caller]
fn assert_nothing_small_was_fetched(world: &World) {
    for blob in large_images()[2].1.all_blobs() {
        assert_eq!(world.source.requests_of(&blob.digest), [], "it was there");
    }
}

/// An interrupted run, to be tampered with as often as one likes.
struct Interrupted {
    world: World,
    path: PathBuf,
    partial: Vec<u8>,
    state: Vec<u8>,
    /// Where the frames of the whole bundle start.
    frames: Vec<usize>,
    whole: Digest,
    /// The bundle of a run that has not gone on, but started over at another time.
    anew: Digest,
}

impl Interrupted {
    fn new() -> Self {
        let mut world = World::new(images(), "");
        let (whole_path, whole) = world.made("whole.bundle.tar.zst");
        let frames = frame_starts(&fs::read(whole_path).unwrap());
        let path = world.path("again.bundle.tar.zst");
        let mut command = world.create(&path);
        run({
            command.env("SOURCE_DATE_EPOCH", "1800000000");
            command
        })
        .success();
        let anew = digest_of(&path);
        fs::remove_file(&path).unwrap();

        let text = images()[2].1.blobs[2].digest;
        world.source.restart(&format!("GET:{text}:stall=5m:nth=2"));
        let partial = beside(&path, ".partial");
        let last = frames[frames.len() - 1] as u64;
        let met = || fs::metadata(&partial).is_ok_and(|file| file.len() >= last);
        let mut command = world.create(&path);
        command.args(ONE_AT_A_TIME);
        drop(start_until(command, "the last piece stalls", met));
        world.source.restart("");
        Self {
            partial: fs::read(&partial).unwrap(),
            state: fs::read(beside(&path, ".resume")).unwrap(),
            world,
            path,
            frames,
            whole,
            anew,
        }
    }

    /// Puts everything back, lets it be tampered with, and runs again at another time.
    fn again(&self, tamper: impl FnOnce(&Path, &Path)) -> crate::support::tools::Finished {
        let (partial, state) = (
            beside(&self.path, ".partial"),
            beside(&self.path, ".resume"),
        );
        for old in [&self.path, &partial, &state] {
            let _ = fs::remove_dir(old);
            let _ = fs::remove_file(old);
        }
        fs::write(&partial, &self.partial).unwrap();
        fs::write(&state, &self.state).unwrap();
        tamper(&partial, &state);
        let mut command = self.world.create(&self.path);
        command.env("SOURCE_DATE_EPOCH", "1800000000");
        Running::start(command, Vec::new()).finish(PATIENCE)
    }

    fn frame(&self, number: usize) -> &[u8] {
        &self.partial[self.frames[number]..self.frames[number + 1]]
    }

    /// The partial file with one frame replaced.
    fn with_frame(&self, number: usize, frame: &[u8]) -> Vec<u8> {
        let mut all = self.partial[..self.frames[number]].to_vec();
        all.extend_from_slice(frame);
        all.extend_from_slice(&self.partial[self.frames[number + 1]..]);
        all
    }
}

fn frame_starts(bundle: &[u8]) -> Vec<usize> {
    let footer: [u8; 9] = bundle[bundle.len() - 9..].try_into().unwrap();
    let count = SeekTable::frames_in_footer(&footer).unwrap();
    let table = bundle.len() - SeekTable::encoded_len(count) as usize;
    let table = SeekTable::decode(&bundle[table..]).unwrap();
    let mut at = 0;
    let sizes = table.0.iter();
    sizes
        .map(|(size, _)| {
            at += *size as usize;
            at - *size as usize
        })
        .collect()
}

/// Changes a byte of a stored frame and puts the checksum right.
fn forged_stored_frame(frame: &[u8], at_content: usize) -> Vec<u8> {
    const BLOCK: usize = 128 << 10;
    let mut frame = frame.to_vec();
    frame[FRAME_HEADER + BLOCK_HEADER + at_content] ^= 1;
    let end = frame.len() - 4;
    let mut content = Vec::new();
    for block in frame[FRAME_HEADER..end].chunks(BLOCK_HEADER + BLOCK) {
        content.extend_from_slice(&block[BLOCK_HEADER..]);
    }
    let checksum = xxh64(&content, 0) as u32;
    frame[end..].copy_from_slice(&checksum.to_le_bytes());
    frame
}

#[test]
fn a_partial_file_that_was_tampered_with_makes_no_other_bundle() {
    let run = Interrupted::new();
    let mut forged: Vec<(&str, Vec<u8>)> = vec![
        ("nothing", run.partial.clone()),
        ("garbage", vec![0xa5; run.partial.len()]),
        (
            "its first half",
            run.partial[..run.partial.len() / 2].to_vec(),
        ),
        (
            "more behind it",
            [&run.partial[..], &[7; 5_000_000]].concat(),
        ),
    ];
    // Of the frames, the first is packed, the next two are stored blobs; the last but one holds
    // most of the compressed text.
    let stored = run.frame(1);
    assert_eq!(
        stored[FRAME_HEADER + BLOCK_HEADER..][..6],
        *b"blobs/",
        "a stored frame"
    );
    for (what, at) in [("content", 1000), ("tar header", 136)] {
        let frame = forged_stored_frame(stored, at);
        forged.push((what, run.with_frame(1, &frame)));
    }
    let text = run.frames.len() - 2;
    let mut content = zstd::decode_all(run.frame(text)).unwrap();
    let otherwise = zstd::bulk::compress(&content, 19).unwrap();
    forged.push(("other compression", run.with_frame(text, &otherwise)));
    content[5_000_000] ^= 1;
    let other = Compressor::new().unwrap().encode(&content).unwrap();
    forged.push(("other text", run.with_frame(text, &other)));
    for part in 0..12 {
        let mut flipped = run.partial.clone();
        let at = flipped.len() * part / 12 + 40;
        flipped[at] ^= 0x10;
        forged.push(("one bit", flipped));
    }
    for (what, bytes) in forged {
        let finished = run.again(|partial, _| fs::write(partial, &bytes).unwrap());
        let finished = finished.success();
        assert_eq!(digest_of(&run.path), run.whole, "{what}: {finished:?}");
    }
    let finished = run.again(|partial, _| fs::write(partial, []).unwrap());
    finished.success();
    assert_eq!(
        digest_of(&run.path),
        run.anew,
        "there was nothing to go on with"
    );
}

#[test]
fn a_state_that_is_not_of_this_request_is_not_used() {
    let run = Interrupted::new();
    let good = String::from_utf8(run.state.clone()).unwrap();
    let fingerprint = good.find("sha256:").unwrap();
    let mut other_request = good.clone();
    other_request.replace_range(fingerprint + 7..fingerprint + 11, "0000");
    for (what, state) in [
        ("garbage", vec![0xff; 3000]),
        ("nothing", Vec::new()),
        ("half", run.state[..run.state.len() / 2].to_vec()),
        ("another request", other_request.into_bytes()),
    ] {
        run.again(|_, path| fs::write(path, &state).unwrap())
            .success();
        assert_eq!(digest_of(&run.path), run.anew, "{what}");
    }
    run.again(|_, state| fs::remove_file(state).unwrap())
        .success();
    assert_eq!(digest_of(&run.path), run.anew, "no state");

    let elsewhere = run.world.path("elsewhere");
    run.again(|_, state| {
        fs::rename(state, &elsewhere).unwrap();
        std::os::unix::fs::symlink(&elsewhere, state).unwrap();
    })
    .success();
    assert_eq!(digest_of(&run.path), run.anew, "a link");
    assert_eq!(fs::read(&elsewhere).unwrap(), run.state);

    run.again(|_, state| {
        fs::remove_file(state).unwrap();
        mknodat(CWD, state, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    })
    .success();
    assert_eq!(digest_of(&run.path), run.anew, "a pipe");

    let finished = run.again(|_, state| {
        fs::remove_file(state).unwrap();
        fs::create_dir(state).unwrap();
    });
    assert_no_bundle(&run.path, &finished.exits(7));

    if rustix::process::geteuid().is_root() {
        run.again(|_, state| std::os::unix::fs::chown(state, Some(12345), None).unwrap())
            .success();
        assert_eq!(digest_of(&run.path), run.anew, "somebody else's state");
    }
    run.again(|_, _| ()).success();
    assert_eq!(digest_of(&run.path), run.whole, "as it was, it is used");
}

#[test]
fn a_partial_file_that_is_another_file_is_not_touched() {
    let run = Interrupted::new();
    let victim = run.world.path("victim");
    fs::write(&victim, "precious").unwrap();
    type Tamper = fn(&Path, &Path);
    let tampers: [(&str, Tamper); 4] = [
        ("a link", |partial, victim| {
            std::os::unix::fs::symlink(victim, partial).unwrap();
        }),
        ("a second name", |partial, victim| {
            fs::hard_link(victim, partial).unwrap();
        }),
        ("a directory", |partial, _| fs::create_dir(partial).unwrap()),
        ("a pipe", |partial, _| {
            mknodat(CWD, partial, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        }),
    ];
    for (what, tamper) in tampers {
        let finished = run.again(|partial, _| {
            fs::remove_file(partial).unwrap();
            tamper(partial, &victim);
        });
        let finished = finished.exits(2);
        assert!(
            finished.stderr.contains("is not a regular file"),
            "{what}: {finished:?}"
        );
        assert_no_bundle(&run.path, &finished);
        assert_eq!(fs::read_to_string(&victim).unwrap(), "precious", "{what}");
    }
}

#[test]
fn what_was_resolved_is_forgotten_when_the_bundle_is_done() {
    let Interrupted {
        world, path, state, ..
    } = Interrupted::new();
    run(world.create(&path)).success();
    // As if the program had been killed between giving the bundle its name and tidying up.
    fs::write(beside(&path, ".resume"), state).unwrap();
    let moved = sample(1, Family::Oci, "linux/amd64");
    world.source.client().push("team/one", "1", &moved);
    let mut command = world.create(&path);
    command.arg("--force");
    run(command).success();
    let inspected = {
        let mut command = world.home.bundle();
        command.args(["inspect", "--format", "json"]).arg(&path);
        run(command).success().text()
    };
    assert!(inspected.contains(&moved.digest.to_string()), "{inspected}");
    assert!(!beside(&path, ".resume").exists());
}
