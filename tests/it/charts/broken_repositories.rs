//! Classic repositories that are none, or that are out to do harm: each ends the run with a message,
//! in bounded time and memory, and nothing is written.

use std::{
    io::{Read as _, Write as _},
    net::TcpListener,
    time::{Duration, Instant},
};

use reqwest::Url;
use sneakernet::{
    helm::repository::{FetchOptions, MAX_INDEX_BYTES, fetch},
    registry::{Client, ClientConfig},
};

use crate::support::{
    attempt::watch,
    background::block_on,
    chart_repository::{ChartRepository, Entry},
    shop::{Shop, chart},
};

#[test]
fn an_index_that_is_none_is_named_as_what_it_is() {
    let shop = Shop::new();
    let repository = ChartRepository::start();
    let url = repository.url();
    let arguments = ["--chart", "shop", "--repo", &url];
    for (index, because) in [
        (
            "<!DOCTYPE html>\n<html><body>log in</body></html>",
            "is not the index",
        ),
        ("", "is not the index"),
        ("apiVersion: v1\nentries: [1, 2]\n", "is not the index"),
        (
            "apiVersion: v1\nentries:\n  shop:\n   - version: [\n",
            "line ",
        ),
        ("\u{0}\u{1}\u{2}", "is not the index"),
        (
            "a: &a [1]\nb: &b [*a, *a]\nentries: {shop: *b}\n",
            "is not the index",
        ),
    ] {
        repository.put("/charts/index.yaml", index);
        let refused = shop.refuses(&arguments, 5, &[because, &url]);
        assert!(!refused.stderr.contains('\u{1}'), "{refused:?}");
    }
}

#[test]
fn an_index_is_read_up_to_64_mib_and_not_a_byte_more() {
    let shop = Shop::new();
    let repository = ChartRepository::start();
    repository.publish(&chart());
    let url = repository.url();
    let arguments = ["--chart", "shop", "--repo", &url, "--discover", "none"];
    let entry =
        "apiVersion: v1\nentries:\n  shop:\n  - {version: 1.2.3+0, urls: [\"shop-1.2.3+0.tgz\"]}\n";
    let index = |size: usize| {
        let mut index = String::with_capacity(size);
        index.push_str(entry);
        let line =
            "# what nobody needs to know, many times over, in a file that has grown and grown\n";
        while index.len() + line.len() <= size {
            index.push_str(line);
        }
        let rest = size - index.len();
        index.push_str(&"#".repeat(rest));
        index
    };
    repository.put("/charts/index.yaml", index(MAX_INDEX_BYTES));
    let plan = [&["plan"], &arguments[..]].concat();
    let watched = watch(shop.making(&plan), Vec::new(), Duration::from_secs(60));
    let said = &watched.finished;
    assert_eq!(said.code(), Some(0), "{said:?}");
    // The index itself, and not a tree of it.
    assert!(watched.peak < 200 << 20, "{} MiB", watched.peak >> 20);
    repository.put("/charts/index.yaml", index(MAX_INDEX_BYTES + 1));
    shop.refuses(&arguments, 5, &["67108864"]);
}

#[test]
fn addresses_in_an_index_lead_nowhere_else() {
    let shop = Shop::new();
    let repository = ChartRepository::start();
    let url = repository.url();
    let arguments = ["--chart", "shop", "--repo", &url];
    for (address, because) in [
        ("file:///etc/passwd", "file"),
        ("ftp://127.0.0.1/shop.tgz", "ftp"),
        ("http://[::1", "is not an address"),
        (
            "https://user:canary-in-url@127.0.0.1:1/shop.tgz",
            "127.0.0.1:1",
        ),
    ] {
        repository.enter(Entry {
            name: "shop".to_owned(),
            version: "1.2.3+0".to_owned(),
            url: address.to_owned(),
            digest: None,
        });
        let refused = shop.refuses(&arguments, 5, &[because]);
        assert!(!refused.stderr.contains("canary-in-url"), "{refused:?}");
    }
}

#[test]
fn what_is_no_archive_is_named_as_what_it_is() {
    let shop = Shop::new();
    let repository = ChartRepository::start();
    let url = repository.url();
    let arguments = ["--chart", "shop", "--repo", &url];
    for (content, because) in [
        ("", "not a chart archive"),
        ("<html>moved</html>", "a web page"),
        ("version https://git-lfs.github.com/spec/v1\n", "Git LFS"),
        ("PK\u{3}\u{4}", "no gzip file"),
    ] {
        repository.publish_archive(&chart(), content.into(), None);
        shop.refuses(&arguments, 5, &[because]);
    }
    // As on this machine, but it is the source that is at fault.
    let truncated = &chart().archive()[..500];
    repository.publish_archive(&chart(), truncated.to_vec(), None);
    shop.refuses(&arguments, 5, &["damaged"]);
    // Another chart under the name, or another version of it.
    let other = crate::support::shop::chart_with("stall", "1.2.3+0", "a");
    repository.publish_archive(&chart(), other.archive(), None);
    shop.refuses(&arguments, 5, &["asked for the chart shop", "stall"]);
    let other = crate::support::shop::chart_of("1.2.4");
    repository.publish_archive(&chart(), other.archive(), None);
    shop.refuses(&arguments, 5, &["asked for the chart shop", "1.2.4"]);
}

/// A server that answers a request with the beginning of an answer and then nothing, for ever.
fn hanging(beginning: &'static [u8]) -> std::net::SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        let mut held = Vec::new();
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut request = [0; 1024];
            let _ = stream.read(&mut request);
            let _ = stream.write_all(beginning);
            held.push(stream);
        }
    });
    address
}

#[test]
fn a_repository_that_stops_answering_is_given_up() {
    const STALL: Duration = Duration::from_secs(1);
    for beginning in [
        &b""[..],
        b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\napiVersion: v1\nentries:\n",
    ] {
        let address = hanging(beginning);
        let config = ClientConfig {
            stall_timeout: STALL,
            retries: 2,
            ..ClientConfig::default()
        };
        let client = Client::new(config).unwrap();
        let url: Url = format!("http://{address}/charts").parse().unwrap();
        let started = Instant::now();
        let fetched = block_on(fetch(&client, &url, "shop", None, FetchOptions::default()));
        fetched.unwrap_err();
        assert!(started.elapsed() >= STALL);
        assert!(started.elapsed() < STALL * 15, "{:?}", started.elapsed());
    }
}
