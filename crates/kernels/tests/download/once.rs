//! Once for all: across threads, processes and limits; and never when offline.

use std::collections::BTreeSet;
use std::sync::Mutex;

use kernels::download::{Downloader, Pin, Settings, Unwatched, Wanted};
use kernels::{Digest, Store};

use crate::killed;
use crate::server::{Reply, Server, answer};
use crate::{Place, of, settings};

#[test]
fn one_request_for_many_who_want_it() {
    let content = vec![7; 300_000];
    let place = Place::new();
    let server = Server::start(&content, &[Reply::Good]);
    let wanted = of(&content, vec![server.url("/x")]);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            // A store and a downloader of its own, as another process has.
            scope.spawn(|| {
                let store = Store::open(place.store.root()).unwrap();
                Downloader::new(&store, settings()).fetch(&wanted, &Unwatched).unwrap();
            });
        }
    });
    assert_eq!(server.asked().len(), 1);
    place.is_clean(&[&content]);
}

/// The same for processes, of which each wants all files.
#[test]
fn one_request_for_many_processes() {
    let server = Server::start(b"content", &[Reply::Good]);
    let folder = tempfile::tempdir().unwrap();
    let start = || killed::command(&folder.path().join("store"), &server.url("/f")).spawn().unwrap();
    for mut process in [start(), start(), start()] {
        assert!(process.wait().unwrap().success());
    }
    let asked = server.asked();
    let files: BTreeSet<&str> = asked.iter().map(|asked| asked.path.as_str()).collect();
    assert_eq!((asked.len() as u64, files.len() as u64), (killed::FILES, killed::FILES));
}

#[test]
fn a_host_gets_only_so_many_at_once() {
    let place = Place::new();
    let server = Server::start(b"content", &[Reply::Good]);
    let wanted: Vec<Wanted> = (0..24)
        .map(|index| Wanted {
            urls: vec![server.url(&format!("/{index}"))],
            pin: Pin::Name(format!("file {index}")),
            limit: 100,
        })
        .collect();
    let downloader = Downloader::new(&place.store, Settings { per_host: 2, ..settings() });
    let done = Mutex::new(Vec::new());
    downloader.fetch_all(&wanted, 8, &Unwatched, &|index, found| {
        assert_eq!(found.unwrap().sha256, Digest::of(b"content"));
        done.lock().unwrap().push(index);
    });
    let mut done = done.into_inner().unwrap();
    done.sort_unstable();
    assert_eq!(done, (0..24).collect::<Vec<_>>());
    // A connection that is closed may still be counted when the next one comes.
    assert!(server.most_at_once() <= 4, "{} at once", server.most_at_once());
    // What was fetched for a name is not asked for again.
    downloader.fetch_all(&wanted, 8, &Unwatched, &|_, found| assert!(!found.unwrap().fetched));
    assert_eq!(server.asked().len(), 24);
}

#[test]
fn offline_asks_nobody() {
    let place = Place::new();
    let server = Server::start(b"content", &[Reply::Good]);
    let wanted = of(b"content", vec![server.url("/x")]);
    let offline = Settings { offline: true, ..settings() };
    let error = place.fetch(offline.clone(), &wanted).unwrap_err().to_string();
    assert!(error.contains("--offline forbids"), "{error}");
    place.fetch(settings(), &wanted).unwrap();
    assert!(!place.fetch(offline, &wanted).unwrap().fetched);
    assert_eq!(server.asked().len(), 1);
}

#[test]
fn a_corrupt_blob_is_fetched_again() {
    let content = vec![7; 1000];
    let place = Place::new();
    let server = Server::start(&content, &[Reply::Good]);
    let wanted = of(&content, vec![server.url("/x")]);
    let path = place.fetch(settings(), &wanted).unwrap().path;
    std::fs::write(&path, [8; 1000]).unwrap();
    assert!(place.fetch(settings(), &wanted).unwrap().fetched);
    assert_eq!(server.asked().len(), 2);
    place.is_clean(&[&content]);
}

#[test]
fn lists_are_asked_for_every_time() {
    let place = Place::new();
    let page = |text: &[u8]| Reply::Raw(answer("200 ok", &[], text));
    let server = Server::start(b"", &[page(b"one"), page(b"two")]);
    let wanted = Wanted { urls: vec![server.url("/list")], pin: Pin::Nothing, limit: 100 };
    let fetch = || place.fetch(settings(), &wanted).unwrap().sha256;
    assert_eq!((fetch(), fetch()), (Digest::of(b"one"), Digest::of(b"two")));
}

/// In a process of its own, since the environment is everybody's.
#[test]
fn proxies_come_from_the_environment() {
    let folder = tempfile::tempdir().unwrap();
    let proxy = Server::start(b"content", &[Reply::Good]);
    let run = |url: &str, no_proxy: &str| {
        let store = folder.path().join(no_proxy);
        let mut command = killed::command(&store, url);
        command.env("http_proxy", proxy.url("")).env("no_proxy", no_proxy).env_remove("HTTP_PROXY");
        command.env_remove("NO_PROXY").stderr(std::process::Stdio::null()).status().unwrap().success()
    };
    assert!(run("http://nowhere.invalid/f", "other.invalid"));
    assert!(proxy.asked().iter().any(|asked| asked.path == "http://nowhere.invalid/f/7"));
    let asked = proxy.asked().len();
    assert!(!run("http://127.0.0.1:1/f", "127.0.0.1"), "nobody is there");
    assert_eq!(proxy.asked().len(), asked);
}
