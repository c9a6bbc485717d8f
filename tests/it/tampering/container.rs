//! The outermost file is something else, cut, longer, or has a name that acts on a terminal: it is
//! refused at once with exit code 3 (or 2, where the name is wrong), and nobody is asked anything.

use std::{fs::File, io::Write, os::unix::ffi::OsStrExt, os::unix::fs::FileExt};

use sneakernet::bundle::SeekTable;

use crate::support::{
    attempt::{Bench, QUICK, assert_proper, assert_refused, watch},
    forge::{Forge, stream_of},
    random::Random,
};

fn bench_and_bundle() -> (Bench, Vec<u8>) {
    let bench = Bench::new();
    let bundle = Forge::honest().signed_by(bench.key("cosign")).build();
    bench.accepts("what all this is made of", bundle.clone());
    (bench, bundle)
}

#[test]
fn other_kinds_of_files_are_no_bundles() {
    let (bench, bundle) = bench_and_bundle();
    let stream = stream_of(&bundle);
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(&stream).unwrap();
    let program = std::fs::read("/proc/self/exe").unwrap();
    let not = "this is not a bundle: ";
    let cases: [(&str, Vec<u8>, &str); 10] = [
        ("an empty file", vec![], "it is empty"),
        ("one byte", vec![0x28], not),
        ("511 bytes", Random(1).bytes(511), not),
        ("random bytes", Random(2).bytes(1 << 20), not),
        ("text", b"hello\n".repeat(1000), not),
        ("gzip", gzip.finish().unwrap(), "compressed with gzip"),
        ("xz", b"\xfd7zXZ\0\0\x04".repeat(99), "compressed with xz"),
        ("a zip file", b"PK\x03\x04".repeat(99), "a zip file"),
        ("a program", program[..1 << 20].to_vec(), "a program"),
        ("a plain tar file", stream.clone(), "not compressed"),
    ];
    for (what, bytes, because) in cases {
        bench.refuses(what, bytes, 3, because);
    }
    // One zstd frame without a seek table is what `tar --zstd` writes.
    let ordinary = zstd::encode_all(stream.as_slice(), 3).unwrap();
    bench.refuses("an ordinary .tar.zst", ordinary, 3, "seek table");
}

#[test]
fn what_is_no_regular_file_is_refused_and_never_waited_for() {
    let (bench, bundle) = bench_and_bundle();
    let home = bench.home.path();
    let fifo = home.join("fifo");
    let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
    rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, mode, 0).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(home.join("socket")).unwrap();
    std::os::unix::fs::symlink("nowhere", home.join("dangling")).unwrap();
    std::fs::write(home.join("good"), &bundle).unwrap();
    std::os::unix::fs::symlink("good", home.join("link")).unwrap();
    for (name, code) in [
        (".", 2),
        ("fifo", 2),
        ("/dev/zero", 2),
        ("/dev/full", 2),
        ("/dev/null", 2),
        ("missing", 2),
        ("dangling", 2),
        // A socket cannot be opened at all.
        ("socket", 7),
    ] {
        for command in ["load", "verify", "inspect"] {
            let host = bench.recording.host();
            let to: &[&str] = if command == "load" {
                &["--to", &host]
            } else {
                &[]
            };
            let watched = bench.run(&[&[command, name], to].concat(), Vec::new());
            assert_refused(&format!("{command} {name}"), &watched, code);
        }
    }
    bench.recording.assert_untouched();
    // The argument itself may be a link: it is the user's own.
    let linked = bench.run(&["verify", "link"], Vec::new());
    assert_eq!(linked.finished.code(), Some(0), "{:?}", linked.finished);
}

#[test]
fn a_file_that_is_shorter_or_longer_than_it_was_is_refused() {
    let (bench, bundle) = bench_and_bundle();
    let mut random = Random(0x7a3b);
    // Every length of such a bundle is covered by the unit tests of the format.
    let lengths = (0..12).map(|_| random.below(bundle.len() as u64) as usize);
    for length in lengths.chain([bundle.len() - 1]) {
        let what = format!("the first {length} bytes");
        bench.refuses(&what, bundle[..length].to_vec(), 3, "");
    }
    let tails: [(&str, &[u8]); 5] = [
        ("one byte more", b"\0"),
        ("512 zero bytes more", &[0; 512]),
        ("a second copy", &bundle),
        (
            "the end of a zip file",
            b"PK\x05\x06\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0",
        ),
        ("a skippable frame more", b"\x50\x2a\x4d\x18\x04\0\0\0evil"),
    ];
    for (what, tail) in tails {
        bench.refuses(what, [&bundle, tail].concat(), 3, "seek table");
    }
    let stub = b"#!/bin/sh\nexit 0\n";
    bench.refuses(
        "a stub in front",
        [stub, &*bundle].concat(),
        3,
        "not a bundle",
    );
}

#[test]
fn flipped_bits_and_moved_bytes_are_refused() {
    let (bench, bundle) = bench_and_bundle();
    let stream = stream_of(&bundle);
    let seek_table = 0x184d_2a5e_u32.to_le_bytes();
    let frames = bundle.windows(4).rposition(|four| four == seek_table);
    let frames = frames.expect("a seek table");
    let mut random = Random(0xb17);
    for _ in 0..24 {
        let bit = random.below(bundle.len() as u64 * 8) as usize;
        let mut changed = bundle.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        // A few bits of a frame mean nothing to a decoder; then the bundle is the very same. The seek
        // table behind the frames means nothing to it at all.
        let mut again = Vec::new();
        let decoded = zstd::stream::copy_decode(changed.as_slice(), &mut again);
        if decoded.is_ok() && again == stream && changed[..4] == bundle[..4] && bit / 8 < frames {
            continue;
        }
        bench.refuses(&format!("bit {bit} flipped"), changed, 3, "");
    }
    for _ in 0..6 {
        let at = random.below(bundle.len() as u64 - 64) as usize;
        let mut changed = bundle.clone();
        changed[at..at + 64].rotate_left(7);
        if changed != bundle {
            bench.refuses(&format!("bytes moved at {at}"), changed, 3, "");
        }
        let mut changed = bundle.clone();
        changed[at..at + 64].fill(0);
        bench.refuses(&format!("a hole at {at}"), changed, 3, "");
    }
}

#[test]
fn a_sparse_file_of_a_tebibyte_is_refused_at_once() {
    let (bench, bundle) = bench_and_bundle();
    let path = bench.file(&bundle);
    let file = File::options().write(true).open(&path).unwrap();
    file.set_len(1 << 40).unwrap();
    let watched = bench.load(&path, &[]);
    assert_refused("zeros up to a tebibyte", &watched, 3);
    // The same with a seek table at its end that accounts for every byte with as many frames as
    // can be: it is not believed either, and takes no memory.
    for (what, count) in [
        ("the most frames", 0x0800_0000_u32),
        ("many frames", 9_000_000),
    ] {
        let table_len = SeekTable::encoded_len(count);
        let size = 1_u64 << 40;
        let mut footer = count.to_le_bytes().to_vec();
        footer.push(0);
        footer.extend_from_slice(&0x8F92_EAB1_u32.to_le_bytes());
        let mut head = 0x184D_2A5E_u32.to_le_bytes().to_vec();
        head.extend_from_slice(&((table_len - 8) as u32).to_le_bytes());
        file.write_all_at(&head, size - table_len).unwrap();
        file.write_all_at(&footer, size - 9).unwrap();
        let watched = bench.load(&path, &[]);
        assert_refused(what, &watched, 3);
        let message = &watched.finished.stderr;
        assert!(message.contains("seek table"), "{message}");
    }
    bench.recording.assert_untouched();
}

#[test]
fn a_stream_that_never_ends_is_refused() {
    let bench = Bench::new();
    let bundle = crate::support::tools::bundle_path();
    let host = bench.recording.host();
    for source in ["/dev/zero", "/dev/urandom", "/dev/full"] {
        // `Running` gives a pipe; a device is opened by the shell.
        let mut shell = std::process::Command::new("/bin/sh");
        bench.home.apply(&mut shell);
        let line = format!("exec {bundle} load - --to {host} --key cosign.pub < {source}");
        shell.args(["-c", &line]);
        let watched = watch(shell, Vec::new(), QUICK);
        assert_refused(source, &watched, 3);
    }
    bench.recording.assert_untouched();
}

#[test]
fn names_of_files_do_not_reach_the_terminal_as_they_are() {
    let (bench, bundle) = bench_and_bundle();
    let mut damaged = bundle.clone();
    damaged[40] ^= 1;
    let names: [&[u8]; 7] = [
        b"a\nerror: b",
        b"\x1b[2J\x1b]0;title\x07",
        b"$(touch evil)`touch evil`",
        "\u{202e}\u{2066}\u{200b}".as_bytes(),
        b"-bundle",
        b"no text \xff\xfe\x9b1m",
        &[b'n'; 255],
    ];
    for name in names {
        let shown = String::from_utf8_lossy(name).into_owned();
        let path = bench.home.path().join(std::ffi::OsStr::from_bytes(name));
        for (content, code) in [(&bundle, 0), (&damaged, 3)] {
            std::fs::write(&path, content).unwrap();
            for command in ["verify", "inspect"] {
                let mut run = bench.home.bundle();
                run.args([command, "--key", "cosign.pub", "--"]);
                run.arg(std::ffi::OsStr::from_bytes(name));
                let watched = watch(run, Vec::new(), QUICK);
                assert_eq!(watched.finished.code(), Some(code), "{command} {shown:?}");
                assert_proper(&shown, &watched);
                let stderr = &watched.finished.stderr;
                let hidden = stderr.contains(['\u{202e}', '\u{2066}', '\u{200b}']);
                assert!(!hidden, "{shown:?}: {stderr:?}");
            }
        }
        std::fs::remove_file(&path).unwrap();
    }
    assert!(!bench.home.path().join("evil").exists());
}
