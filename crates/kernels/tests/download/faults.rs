//! The table: what a server does, and what becomes of it.

use std::time::Duration;

use kernels::Digest;
use kernels::download::{Downloader, Pin, Settings, Wanted};

use crate::server::{Reply, Server, answer};
use crate::{Heard, Place, of, settings};

/// How a case ends.
enum End {
    /// The file is in the store, after so many requests.
    Fetched(usize),
    /// An error that says this, after so many requests.
    Failed(&'static str, usize),
}
use End::{Failed, Fetched};

fn content() -> Vec<u8> {
    (0..50_000u32).flat_map(u32::to_le_bytes).collect()
}

/// A 200 with these headers beside the length.
fn ok(headers: &[(&str, &str)], body: &[u8]) -> Reply {
    Reply::Raw(answer("200 ok", headers, body))
}

fn status(line: &str, headers: &[(&str, &str)]) -> Reply {
    Reply::Raw(answer(line, headers, b"an error page"))
}

fn run(name: &str, script: Vec<Reply>, end: &End, settings: Settings) {
    let content = content();
    let place = Place::new();
    let server = Server::start(&content, &script);
    let found = place.fetch(settings, &of(&content, vec![server.url("/a/b.deb")]));
    let asked = server.asked().len();
    match (end, found) {
        (Fetched(requests), Ok(fetched)) => {
            assert_eq!(
                (fetched.sha256, fetched.size),
                (Digest::of(&content), content.len() as u64),
                "{name}"
            );
            assert_eq!(asked, *requests, "{name}: requests");
            place.is_clean(&[&content]);
        }
        (Failed(wanted, requests), Err(error)) => {
            let error = error.to_string();
            assert!(error.contains(wanted), "{name}: {error:?}, not {wanted:?}");
            assert_eq!(asked, *requests, "{name}: requests");
            place.is_clean(&[]);
        }
        (Fetched(_), Err(error)) => panic!("{name}: {error}"),
        (Failed(wanted, _), Ok(_)) => panic!("{name}: fetched, where {wanted:?} was to be said"),
    }
}

fn check(name: &str, script: Vec<Reply>, end: End) {
    run(name, script, &end, settings());
}

#[test]
fn streams_that_break() {
    let all = content();
    let half = all.len() / 2;
    let length = all.len().to_string();
    let head = answer("200 ok", &[("Content-Length", &length), ("ETag", "\"one\"")], b"");
    let with = |bytes: &[u8]| [&head, bytes].concat();
    check("a good server", vec![Reply::Good], Fetched(1));
    check("cut in the middle, continued", vec![Reply::GoodUntil(half), Reply::Good], Fetched(2));
    check("cut in the middle without an ETag, anew", vec![Reply::PlainUntil(half), Reply::Good], Fetched(2));
    check(
        "cut again and again, each time with more",
        vec![
            Reply::GoodUntil(40_000),
            Reply::GoodUntil(40_000),
            Reply::GoodUntil(40_000),
            Reply::GoodUntil(40_000),
            Reply::Good,
        ],
        Fetched(5),
    );
    check(
        "cut again and again at the same place",
        vec![Reply::PlainUntil(half)],
        Failed("the connection broke after 100000 bytes", 4),
    );
    check("cut after the headers", vec![Reply::GoodUntil(0), Reply::Good], Fetched(2));
    check(
        "cut in the headers",
        vec![Reply::Raw(b"HTTP/1.1 200 ok\r\nContent-Le".to_vec()), Reply::Good],
        Fetched(2),
    );
    check("closed without an answer", vec![Reply::Raw(Vec::new()), Reply::Good], Fetched(2));
    check("closed without an answer, always", vec![Reply::Raw(Vec::new())], Failed("no answer", 3));
    check("reset before the answer", vec![Reply::Reset, Reply::Good], Fetched(2));
    check("stalls before the answer", vec![Reply::ThenNothing(Vec::new()), Reply::Good], Fetched(2));
    check(
        "stalls in the headers",
        vec![Reply::ThenNothing(b"HTTP/1.1 200 ok\r\n".to_vec()), Reply::Good],
        Fetched(2),
    );
    check(
        "stalls in the body, continued",
        vec![Reply::ThenNothing(with(&all[..half])), Reply::Good],
        Fetched(2),
    );
    check(
        "stalls always",
        vec![Reply::ThenNothing(head.clone())],
        Failed("no byte for 0.7 s, after 0 bytes", 3),
    );
    check("no HTTP at all", vec![Reply::Raw(b"SSH-2.0-x\r\n\r\n".to_vec()), Reply::Good], Fetched(2));
    check(
        "a chunk without end",
        vec![
            Reply::Raw(answer("200 ok", &[("Transfer-Encoding", "chunked")], b"5\r\nabcde\r\n")),
            Reply::Good,
        ],
        Fetched(2),
    );
    check(
        "a chunk of nonsense",
        vec![
            Reply::Raw(answer("200 ok", &[("Transfer-Encoding", "chunked")], b"zz\r\nabcde\r\n")),
            Reply::Good,
        ],
        Fetched(2),
    );
    check(
        "headers without end",
        vec![Reply::ThenFlood(b"HTTP/1.1 200 ok\r\nX: ".to_vec())],
        Failed("no answer", 3),
    );
}

#[test]
fn a_server_that_is_too_slow() {
    let slow = Settings { slow: 1 << 20, slow_over: Duration::from_millis(100), ..settings() };
    let all = content();
    let length = all.len().to_string();
    let head = answer("200 ok", &[("Content-Length", &length)], &all[..10]);
    run("slow, then good", vec![Reply::ThenTrickle(head.clone()), Reply::Good], &Fetched(2), slow.clone());
    // Each request brings a byte more than the one before, at best.
    let few = Settings { attempts: 3, ..slow };
    run("always slow", vec![Reply::ThenTrickle(head)], &Failed("less than 1048576 bytes a second", 3), few);
}

#[test]
fn statuses() {
    check("404", vec![status("404 no", &[])], Failed("404: it is not there", 1));
    check("410", vec![status("410 no", &[])], Failed("410: it is not there", 1));
    check("403", vec![status("403 no", &[])], Failed("the server answers 403", 1));
    check("401", vec![status("401 no", &[])], Failed("the server answers 401", 1));
    check("204", vec![status("204 nothing", &[])], Failed("the server answers 204", 1));
    check("304", vec![status("304 same", &[])], Failed("the server answers 304", 1));
    check("429, then good", vec![status("429 wait", &[("Retry-After", "2")]), Reply::Good], Fetched(2));
    check("503, then good", vec![status("503 wait", &[("Retry-After", "0")]), Reply::Good], Fetched(2));
    check(
        "503 until a date",
        vec![status("503 x", &[("Retry-After", "Sun, 06 Nov 1994 08:49:37 GMT")]), Reply::Good],
        Fetched(2),
    );
    check(
        "503 with an odd wait",
        vec![status("503 wait", &[("Retry-After", "soon")]), Reply::Good],
        Fetched(2),
    );
    check(
        "429 for an hour",
        vec![status("429 wait", &[("Retry-After", "3600")])],
        Failed("429 and asks to come back in 3600 s", 1),
    );
    check("500 always", vec![status("500 broken", &[])], Failed("the server answers 500", 3));
    check("502, 504, then good", vec![status("502 x", &[]), status("504 x", &[]), Reply::Good], Fetched(3));
}

#[test]
fn redirects() {
    let to = |place: &str| status("302 there", &[("Location", place)]);
    check("one", vec![to("/other"), Reply::Good], Fetched(2));
    check("a loop", vec![to("/a/b.deb")], Failed("redirected more than 3 times", 4));
    check(
        "to a file",
        vec![to("file:///etc/passwd")],
        // Where no client would go is not followed at all.
        Failed("the server answers 302", 1),
    );
    check("to nowhere", vec![to("http://127.0.0.1:1/x")], Failed("no answer", 3));
    check("without a place", vec![status("302 there", &[])], Failed("the server answers 302", 1));
}

#[test]
fn wrong_sizes_and_bytes() {
    let all = content();
    let length = all.len().to_string();
    let shorter = (all.len() - 1).to_string();
    let mut other = all.clone();
    other[77] ^= 1;
    check(
        "other bytes",
        vec![ok(&[("Content-Length", &length)], &other)],
        Failed("was promised; nothing was read", 1),
    );
    check(
        "fewer bytes",
        vec![ok(&[("Content-Length", &shorter)], &all[1..])],
        Failed("199999 bytes, where 200000", 1),
    );
    check("no byte", vec![ok(&[("Content-Length", "0")], b"")], Failed("0 bytes, where 200000", 1));
    check("fewer bytes, no length", vec![ok(&[], &all[1..]), Reply::Good], Fetched(2));
    check(
        "more bytes, no length",
        vec![Reply::ThenFlood(answer("200 ok", &[], &all))],
        Failed("200001 bytes, where 200000", 1),
    );
    check("no length, good", vec![ok(&[], &all)], Fetched(1));
    check("a length of nonsense", vec![ok(&[("Content-Length", "many")], &all), Reply::Good], Fetched(2));
    check(
        "compressed, though not asked for",
        vec![ok(&[("Content-Encoding", "gzip"), ("Content-Length", &length)], &all), Reply::Good],
        Fetched(2),
    );
    check(
        "an error page with 200",
        vec![ok(&[("Content-Length", "5")], b"sorry")],
        Failed("5 bytes, where 200000", 1),
    );
}

#[test]
fn parts_that_do_not_fit() {
    let all = content();
    let half = all.len() / 2;
    let cut = Reply::GoodUntil(half);
    let part = |range: &str, body: &[u8]| {
        let length = body.len().to_string();
        Reply::Raw(answer("206 part", &[("Content-Range", range), ("Content-Length", &length)], body))
    };
    check(
        "a part without a request for one",
        vec![part("bytes 0-9/10", &all[..10]), Reply::Good],
        Fetched(2),
    );
    check(
        "another part",
        vec![cut.clone(), part("bytes 7-199999/200000", &all[7..]), Reply::Good],
        Fetched(3),
    );
    check("a part of nonsense", vec![cut.clone(), part("bytes x", &all[7..]), Reply::Good], Fetched(3));
    check(
        "a part of another size",
        vec![cut.clone(), part("bytes 100000-200000/200001", &all[half..])],
        Failed("200001 bytes, where 200000", 2),
    );
    check("416, then the whole", vec![cut.clone(), status("416 no", &[]), Reply::Good], Fetched(3));
    let length = all.len().to_string();
    check(
        "the whole in place of the rest",
        vec![cut.clone(), ok(&[("Content-Length", &length)], &all)],
        Fetched(2),
    );
    let mut wrong = all[half..].to_vec();
    wrong[3] ^= 1;
    check(
        "a part with other bytes",
        vec![cut, part("bytes 100000-199999/200000", &wrong)],
        Failed("was promised", 2),
    );
}

/// The file changed between two requests: the strong ETag shows it, and the whole is fetched anew.
#[test]
fn a_changed_file_is_fetched_anew() {
    let all = content();
    let place = Place::new();
    let mut old = all.clone();
    old[0] ^= 1;
    let first = Server::with_etag(&old, "\"old\"", &[Reply::GoodUntil(1000), Reply::Raw(Vec::new())]);
    let wanted = |server: &Server| of(&all, vec![server.url("/x")]);
    place.fetch(settings(), &wanted(&first)).unwrap_err();
    assert_eq!(first.asked()[1].header("range"), Some("bytes=1000-"));
    assert_eq!(first.asked()[1].header("if-range"), Some("\"old\""));
    drop(first);
    // Another server, hence another URL: what is there of the first one's file does not count.
    let second = Server::with_etag(&all, "\"new\"", &[Reply::Good]);
    place.fetch(settings(), &wanted(&second)).unwrap();
    assert_eq!(second.asked()[0].header("range"), None);
    place.is_clean(&[&all]);
}

#[test]
fn a_later_process_goes_on() {
    let all = content();
    let place = Place::new();
    let script = [
        Reply::GoodUntil(60_000),
        Reply::Raw(Vec::new()),
        Reply::Raw(Vec::new()),
        Reply::Raw(Vec::new()),
        Reply::Good,
    ];
    let server = Server::start(&all, &script);
    let wanted = of(&all, vec![server.url("/x")]);
    place.fetch(settings(), &wanted).unwrap_err();
    assert_eq!(place.store.stats().unwrap().part_bytes, 60_000 + note_size(&place));
    place.fetch(settings(), &wanted).unwrap();
    assert_eq!(server.asked()[4].header("range"), Some("bytes=60000-"));
    assert_eq!(place.store.stats().unwrap().parts, 0);
    place.is_clean(&[&all]);
}

fn note_size(place: &Place) -> u64 {
    let notes = std::fs::read_dir(place.store.root().join("parts")).unwrap().map(|entry| entry.unwrap());
    notes
        .filter(|entry| entry.path().extension().is_some())
        .map(|entry| entry.metadata().unwrap().len())
        .sum()
}

#[test]
fn mirrors() {
    let all = content();
    let gone = || Server::start(&all, &[status("404 no", &[])]);
    let wrong = Server::start(b"other", &[ok(&[], b"other bytes of no use")]);
    let good = Server::start(&all, &[Reply::Good]);
    let broken = Server::start(&all, &[Reply::PlainUntil(5)]);
    let check = |servers: &[&Server], wanted: Result<(), &str>| {
        let place = Place::new();
        let urls = servers.iter().map(|server| server.url("/f")).collect();
        match (place.fetch(settings(), &of(&all, urls)), wanted) {
            (Ok(_), Ok(())) => place.is_clean(&[&all]),
            (Err(error), Err(wanted)) => {
                assert!(error.to_string().contains(wanted), "{error}");
                assert_eq!(error.is_gone(), wanted.contains("404"));
                place.is_clean(&[]);
            }
            (found, wanted) => panic!("{found:?}, not {wanted:?}"),
        }
    };
    let (one, two) = (gone(), gone());
    check(&[&one, &wrong, &broken, &good], Ok(()));
    check(&[&one, &two], Err("404"));
    check(&[&one, &broken], Err("the connection broke after 5 bytes"));
    check(&[], Err("no URL is known"));
}

#[test]
fn limits_without_a_known_size() {
    let all = content();
    let check = |reply: Reply, limit: u64, wanted: Result<u64, &str>| {
        let place = Place::new();
        let server = Server::start(&all, &[reply]);
        let one = Wanted { urls: vec![server.url("/list")], pin: Pin::Nothing, limit };
        match (place.fetch(settings(), &one), wanted) {
            (Ok(found), Ok(size)) => assert_eq!(found.size, size),
            (Err(error), Err(wanted)) => assert!(error.to_string().contains(wanted), "{error}"),
            (found, wanted) => panic!("{found:?}, not {wanted:?}"),
        }
    };
    check(Reply::Good, 200_000, Ok(200_000));
    check(Reply::Good, 199_999, Err("more than 199999 bytes, the limit"));
    check(Reply::ThenFlood(answer("200 ok", &[], b"")), 100_000, Err("more than 100000 bytes, the limit"));
    check(ok(&[], b"short"), 100_000, Ok(5));
}

#[test]
fn urls_that_are_none() {
    let place = Place::new();
    for url in ["ftp://127.0.0.1/x", "file:///etc/passwd", "x", "http://", ""] {
        let error = place.fetch(settings(), &of(b"x", vec![url.to_owned()])).unwrap_err().to_string();
        assert!(error.contains("not a URL to fetch from"), "{url}: {error}");
    }
    let secret = place.fetch(settings(), &of(b"x", vec!["http://me:word@127.0.0.1:1/x?key=word".to_owned()]));
    assert!(!secret.unwrap_err().to_string().contains("word"));
    place.is_clean(&[]);
}

#[test]
fn what_is_told_meanwhile() {
    let all = content();
    let place = Place::new();
    let server = Server::start(&all, &[Reply::GoodUntil(70_000), Reply::Good]);
    let heard = Heard::default();
    let wanted = of(&all, vec![server.url("/x")]);
    Downloader::new(&place.store, settings()).fetch(&wanted, &heard).unwrap();
    let moved = heard.moved.lock().unwrap();
    assert!(moved.is_sorted_by_key(|progress| progress.done), "{moved:?}");
    assert!(moved.last().is_some_and(|last| last.done == 200_000 && last.total == Some(200_000)));
    let retried = heard.retried.lock().unwrap();
    assert!(retried.len() == 1 && retried[0].contains("broke after 70000 bytes"), "{retried:?}");
}
