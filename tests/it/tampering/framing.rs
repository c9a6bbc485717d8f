//! The tar stream and the zstd frames around it: whoever has not the key can still write the file
//! anew with the signed documents in it. Every such file but the canonical one is refused with exit
//! code 3, and nobody is asked anything.

use sneakernet::bundle::{Compressor, FRAME_CONTENT, SeekTable, tar};

use crate::support::{
    attempt::Bench,
    forge::{Forge, fix_checksum, framed, joined, stream_of},
};

const WHOLE: usize = FRAME_CONTENT as usize;

/// An edit of the tar stream.
type Edit = fn(&mut Vec<u8>);

/// The offset of the header of the member that follows `members` others.
fn header_at(stream: &[u8], members: usize) -> usize {
    let mut at = 0;
    for _ in 0..members {
        let size = std::str::from_utf8(&stream[at + 124..at + 135]).unwrap();
        let size = u64::from_str_radix(size, 8).unwrap();
        at += 512 + (size + tar::padding(size)) as usize;
    }
    at
}

/// Changes the header of the first blob after `index.json`, and its checksum.
fn header(stream: &mut [u8], edit: impl FnOnce(&mut [u8])) {
    let at = header_at(stream, 2);
    edit(&mut stream[at..at + 512]);
    fix_checksum(&mut stream[at..at + 512]);
}

/// Puts blocks in front of the root.
fn insert(stream: &mut Vec<u8>, blocks: Vec<u8>) {
    let at = header_at(stream, 2);
    stream.splice(at..at, blocks);
}

/// A member with this name and content, of a kind that no bundle has.
fn member(name: &[u8], kind: u8, content: &[u8]) -> Vec<u8> {
    let mut block = tar::header("x", content.len() as u64);
    block[..100].fill(0);
    block[..name.len()].copy_from_slice(name);
    block[156] = kind;
    fix_checksum(&mut block);
    block.extend_from_slice(content);
    block.resize(block.len().next_multiple_of(512), 0);
    block
}

#[test]
fn only_the_canonical_tar_stream_is_accepted() {
    let bench = Bench::new();
    let bundle = Forge::honest().signed_by(bench.key("cosign")).build();
    let stream = stream_of(&bundle);
    bench.accepts("the stream as it was", framed(&stream, WHOLE));
    let edits: [(&str, Edit); 41] = [
        ("../evil", |s| insert(s, member(b"../evil", b'0', b"x"))),
        ("/etc/cron.d/x", |s| {
            insert(s, member(b"/etc/cron.d/x", b'0', b"x"))
        }),
        ("./index.json", |s| {
            insert(s, member(b"./index.json", b'0', b"{}"))
        }),
        ("Index.json", |s| {
            insert(s, member(b"Index.json", b'0', b"{}"))
        }),
        ("README", |s| insert(s, member(b"README", b'0', b"hello"))),
        ("an empty name", |s| insert(s, member(b"", b'0', b""))),
        ("a name that acts", |s| {
            insert(s, member(b"\x1b[2J", b'0', b"x"))
        }),
        ("a name that is no text", |s| {
            insert(s, member(b"\xff\xfe", b'0', b"x"))
        }),
        ("a symbolic link", |s| insert(s, member(b"link", b'2', b""))),
        ("a hard link", |s| insert(s, member(b"link", b'1', b""))),
        ("a device", |s| insert(s, member(b"null", b'3', b""))),
        ("a named pipe", |s| insert(s, member(b"pipe", b'6', b""))),
        ("a directory", |s| insert(s, member(b"blobs/", b'5', b""))),
        ("a contiguous file", |s| insert(s, member(b"x", b'7', b"x"))),
        ("a GNU long name", |s| {
            insert(s, member(b"././@LongLink", b'L', b"../evil\0"))
        }),
        ("a GNU long link", |s| {
            insert(s, member(b"././@LongLink", b'K', b"../evil\0"))
        }),
        ("a GNU sparse file", |s| insert(s, member(b"x", b'S', b""))),
        ("a GNU volume header", |s| {
            insert(s, member(b"x", b'V', b""))
        }),
        ("a pax record with a path", |s| {
            insert(s, member(b"pax", b'x', b"16 path=../evil\n"))
        }),
        ("a pax record with a size", |s| {
            insert(s, member(b"pax", b'x', b"11 size=99\n"))
        }),
        ("a global pax record", |s| {
            insert(s, member(b"pax", b'g', b"15 path=/etc/x\n"))
        }),
        ("a Solaris record", |s| {
            insert(s, member(b"pax", b'X', b"15 path=/etc/x\n"))
        }),
        ("a tar archive within the size 0", |s| {
            let mut pax = member(b"pax", b'x', b"13 size=1024\n");
            pax.extend_from_slice(&member(b"blobs/x", b'0', b""));
            pax.extend_from_slice(&member(b"smuggled.txt", b'0', b"smuggled"));
            insert(s, pax);
        }),
        ("a member twice", |s| {
            let (from, to) = (header_at(s, 2), header_at(s, 3));
            let again = s[from..to].to_vec();
            insert(s, again);
        }),
        ("index.json twice", |s| {
            let (from, to) = (header_at(s, 1), header_at(s, 2));
            let again = s[from..to].to_vec();
            insert(s, again);
        }),
        ("the last member removed", |s| {
            let end = s.len() - 1024;
            let count = (0..).take_while(|n| header_at(s, *n) < end).count();
            let from = header_at(s, count - 1);
            s.drain(from..end);
        }),
        ("the first member removed", |s| drop(s.drain(..1024))),
        ("the root behind the lock", |s| {
            let (from, to, end) = (header_at(s, 2), header_at(s, 3), header_at(s, 4));
            s[from..end].rotate_left(to - from);
        }),
        ("another mode", |s| {
            header(s, |h| h[100..107].copy_from_slice(b"0004755"))
        }),
        ("an owner", |s| {
            header(s, |h| h[108..115].copy_from_slice(b"0001750"))
        }),
        ("a time", |s| header(s, |h| h[146] = b'1')),
        ("a user name", |s| {
            header(s, |h| h[265..269].copy_from_slice(b"root"))
        }),
        ("a prefix", |s| {
            header(s, |h| h[345..347].copy_from_slice(b".."))
        }),
        ("the old kind of a file", |s| header(s, |h| h[156] = 0)),
        ("GNU's magic", |s| {
            header(s, |h| h[257..265].copy_from_slice(b"ustar  \0"))
        }),
        ("a size in base 256", |s| {
            header(s, |h| {
                let digits = std::str::from_utf8(&h[124..135]).unwrap();
                let size = u64::from_str_radix(digits, 8).unwrap();
                h[124..136].fill(0);
                h[124] = 0x80;
                h[128..136].copy_from_slice(&size.to_be_bytes());
            });
        }),
        ("a huge size", |s| header(s, |h| h[124..135].fill(b'7'))),
        ("a checksum of another form", |s| {
            let at = header_at(s, 2);
            s[at + 154..at + 156].copy_from_slice(b" \0");
        }),
        ("text in the padding", |s| s[1000] = b'x'),
        ("one zero block at the end", |s| s.truncate(s.len() - 512)),
        ("a member behind the end", |s| {
            s.extend(member(b"evil", b'0', b"evil"))
        }),
    ];
    for (what, edit) in edits {
        let mut changed = stream.clone();
        edit(&mut changed);
        assert_ne!(changed, stream, "{what}");
        bench.refuses(what, framed(&changed, WHOLE), 3, "");
    }
    let mut bomb = stream.clone();
    bomb.resize(bomb.len() + (256 << 20), 0);
    bench.refuses(
        "256 MiB of zeros behind the end",
        framed(&bomb, WHOLE),
        3,
        "",
    );
}

fn compressed(content: &[u8]) -> Vec<u8> {
    Compressor::new().unwrap().encode(content).unwrap()
}

/// A frame header: content size in eight bytes, checksum, this window descriptor.
fn frame_with_window(window: u8, claims: u64, blocks: &[u8]) -> Vec<u8> {
    let mut frame = vec![0x28, 0xb5, 0x2f, 0xfd, 0b1100_0100, window];
    frame.extend_from_slice(&claims.to_le_bytes());
    frame.extend_from_slice(blocks);
    frame.extend_from_slice(&[0; 4]);
    frame
}

#[test]
fn only_the_canonical_frames_are_accepted() {
    let bench = Bench::new();
    let bundle = Forge::honest().signed_by(bench.key("cosign")).build();
    let stream = stream_of(&bundle);
    let len = stream.len();
    let good = compressed(&stream);
    bench.accepts("one frame", joined(&[(good.clone(), len)]));

    for cut in [512, 1024, 4096] {
        let frames = framed(&stream, cut);
        bench.refuses("frames cut elsewhere", frames, 3, "not cut where");
    }
    for nibble in 0..16_u8 {
        let mut skippable = vec![0x50 | nibble, 0x2a, 0x4d, 0x18, 4, 0, 0, 0];
        skippable.extend_from_slice(b"evil");
        for (what, frames) in [
            (
                "a skippable frame in front",
                vec![(skippable.clone(), 0), (good.clone(), len)],
            ),
            (
                "a skippable frame behind",
                vec![(good.clone(), len), (skippable.clone(), 0)],
            ),
        ] {
            bench.refuses(what, joined(&frames), 3, "");
        }
        if nibble == 0 {
            let glued = [skippable.clone(), good.clone()].concat();
            bench.refuses("one in the first frame", joined(&[(glued, len)]), 3, "");
            let glued = [good.clone(), skippable].concat();
            bench.refuses("one in the last frame", joined(&[(glued, len)]), 3, "");
        }
    }
    let skip_4_gib = b"\x50\x2a\x4d\x18\xff\xff\xff\xff".to_vec();
    let frames = joined(&[(good.clone(), len), (skip_4_gib, 0)]);
    bench.refuses("a skippable frame of 4 GiB", frames, 3, "");
    let empty = compressed(b"");
    let mut frames = vec![(empty.clone(), 0); 100_000];
    frames.push((good.clone(), len));
    bench.refuses("a hundred thousand empty frames", joined(&frames), 3, "");
    frames = vec![(good.clone(), len)];
    frames.extend(vec![(empty, 0); 1000]);
    bench.refuses("empty frames behind", joined(&frames), 3, "");
    let crumbs: Vec<_> = stream.chunks(1).map(|c| (compressed(c), 1)).collect();
    bench.refuses("a frame for each byte", joined(&crumbs), 3, "");

    // A block of one repeated byte: 17 bytes in all, and a window of 2^41 bytes.
    let block = [0b011, 0, 0, 0x41];
    for exponent in [12, 18, 20, 21, 31] {
        let frame = frame_with_window(exponent << 3, len as u64, &block);
        let what = format!("a window of 2^{} bytes", exponent + 10);
        bench.refuses(&what, joined(&[(frame, len)]), 3, "the window is larger");
    }
    for claims in [
        0,
        1,
        len as u64 - 1,
        len as u64 + 1,
        1 << 31,
        1 << 50,
        u64::MAX,
    ] {
        let mut frame = frame_with_window(11 << 3, claims, &[]);
        frame.truncate(14);
        // The same blocks behind another content size.
        frame.extend_from_slice(&good[header_len(&good)..]);
        let what = format!("a frame that claims {claims} bytes");
        bench.refuses(&what, joined(&[(frame.clone(), len)]), 3, "");
        bench.refuses(&what, joined(&[(frame, claims as usize)]), 3, "");
    }
    let mut small_table = SeekTable(vec![(good.len() as u32, len as u32)]).encode();
    small_table[12] ^= 1;
    let other_size = [good.clone(), small_table].concat();
    bench.refuses("a seek table with another size", other_size, 3, "");

    let plain = zstd_with(&stream, |c| drop(c.include_checksum(false)));
    bench.refuses("no checksum", joined(&[(plain, len)]), 3, "no checksum");
    let sizeless = zstd_with(&stream, |c| {
        c.include_checksum(true).unwrap();
        c.include_contentsize(false).unwrap();
    });
    bench.refuses(
        "no content size",
        joined(&[(sizeless, len)]),
        3,
        "no content size",
    );
    let mut wrong = good.clone();
    *wrong.last_mut().unwrap() ^= 1;
    bench.refuses("a wrong checksum", joined(&[(wrong, len)]), 3, "");
    let mut reserved = good.clone();
    reserved[4] |= 8;
    bench.refuses(
        "a reserved bit",
        joined(&[(reserved, len)]),
        3,
        "reserved bit",
    );
    let mut dictionary = good.clone();
    dictionary[4] |= 1;
    dictionary.insert(header_len(&good) - content_size_len(&good), 1);
    bench.refuses(
        "a dictionary",
        joined(&[(dictionary, len)]),
        3,
        "dictionary",
    );
    let old = [b"\x27\xb5\x2f\xfd".as_slice(), &good[4..]].concat();
    bench.refuses(
        "an old format of zstd",
        joined(&[(old, len)]),
        3,
        "not start with a zstd",
    );
}

fn content_size_len(frame: &[u8]) -> usize {
    [1, 2, 4, 8][usize::from(frame[4] >> 6)]
}

fn header_len(frame: &[u8]) -> usize {
    let single = frame[4] & 0x20 != 0;
    5 + usize::from(!single) + content_size_len(frame)
}

fn zstd_with(content: &[u8], set: impl FnOnce(&mut zstd::stream::Encoder<'_, Vec<u8>>)) -> Vec<u8> {
    use std::io::Write;
    let mut encoder = zstd::stream::Encoder::new(Vec::new(), 3).unwrap();
    encoder
        .set_pledged_src_size(Some(content.len() as u64))
        .unwrap();
    set(&mut encoder);
    encoder.write_all(content).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn a_small_file_does_not_become_a_large_one() {
    let bench = Bench::new();
    let bundle = Forge::honest().signed_by(bench.key("cosign")).build();
    let stream = stream_of(&bundle);
    // 3 GiB of zeros in a frame of some hundred bytes, and the same as many honest-looking frames.
    const BLOCKS: u32 = 3 << (30 - 17);
    let block = |last: u32| ((128_u32 << 10) << 3 | 0b010 | last).to_le_bytes()[..3].to_vec();
    let mut blocks = Vec::new();
    for n in 1..=BLOCKS {
        blocks.extend_from_slice(&block(u32::from(n == BLOCKS)));
        blocks.push(0);
    }
    for claims in [3 << 30, stream.len() as u64, FRAME_CONTENT] {
        let frame = frame_with_window(11 << 3, claims, &blocks);
        let what = format!("3 GiB that claim to be {claims} bytes");
        bench.refuses(&what, joined(&[(frame.clone(), claims as usize)]), 3, "");
        let behind = [
            (compressed(&stream), stream.len()),
            (frame, claims as usize),
        ];
        bench.refuses(&what, joined(&behind), 3, "");
    }
    let zeros = compressed(&vec![0; WHOLE]);
    let frames = vec![(zeros.clone(), WHOLE); 384];
    bench.refuses("384 frames of 8 MiB of zeros", joined(&frames), 3, "");
    // The same behind the part that is signed.
    let mut frames = vec![(compressed(&stream), stream.len())];
    frames.extend(vec![(zeros, WHOLE); 384]);
    bench.refuses("frames of zeros behind the end", joined(&frames), 3, "");
    // Blocks that hold one byte each take their time, but not for ever.
    let mut crumbs = Vec::new();
    for byte in stream.iter().chain(std::iter::repeat_n(&0, 4 << 20)) {
        crumbs.extend_from_slice(&[8, 0, 0, *byte]);
    }
    let frame = frame_with_window(11 << 3, stream.len() as u64, &crumbs);
    bench.refuses(
        "blocks of one byte",
        joined(&[(frame, stream.len())]),
        3,
        "",
    );
}
