//! Killed at any point, the store is whole, and the next process goes on.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use kernels::download::{Downloader, Pin, Unwatched, Wanted};
use kernels::{Digest, Store};

use crate::server::{Reply, Server};
use crate::settings;

/// How often, unless `BTFPIPE_KILLS` says so; `cargo xtask kills` does it 200 times.
const KILLS: u32 = 20;
/// What each child fetches.
pub const FILES: u64 = 40;

fn content() -> Vec<u8> {
    (0..200_000u32).flat_map(|i| i.wrapping_mul(2_654_435_761).to_le_bytes()).collect()
}

/// What the child does: fetches, and writes blobs and values of its own.
fn work(store: &Path, url: &str) {
    let store = Store::open(store).unwrap();
    let downloader = Downloader::new(&store, settings());
    let wanted: Vec<Wanted> = (0..FILES)
        .map(|index| Wanted {
            urls: vec![format!("{url}/{index}")],
            pin: Pin::Name(format!("file {index}")),
            limit: 1 << 20,
        })
        .collect();
    downloader.fetch_all(&wanted, 4, &Unwatched, &|index, fetched| {
        let fetched = fetched.unwrap();
        let digest = store.put(format!("derived of {index}").repeat(10_000).as_bytes()).unwrap();
        store.set_link(&format!("made {index}"), serde_json::json!([fetched.sha256, digest])).unwrap();
        store.put_file(&fetched.path).unwrap();
    });
}

/// Runs in a process of its own, and only there.
#[test]
fn child() {
    if let (Some(store), Ok(url)) =
        (std::env::var_os("BTFPIPE_TEST_STORE"), std::env::var("BTFPIPE_TEST_URL"))
    {
        work(Path::new(&store), &url);
    }
}

/// The child.
pub fn command(store: &Path, url: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "killed::child", "--quiet"]).stdout(Stdio::null());
    command.env("BTFPIPE_TEST_STORE", store).env("BTFPIPE_TEST_URL", url);
    command
}

#[test]
fn killed_at_any_point() {
    let kills = std::env::var("BTFPIPE_KILLS").ok().map_or(KILLS, |kills| kills.parse().unwrap());
    let content = content();
    let server = Server::start(&content, &[Reply::GoodUntil(500_000), Reply::Good]);
    let folder = tempfile::tempdir().unwrap();
    let (path, url) = (folder.path().join("store"), server.url("/f"));
    let start = || command(&path, &url).spawn().unwrap();
    // How long the whole takes says where the random points are.
    let began = Instant::now();
    assert!(start().wait().unwrap().success());
    let whole = began.elapsed();
    let mut random = 1u64;
    let (mut early, mut parts, mut round) = (0, 0, 0);
    // Some end before their moment, and count for nothing.
    while early < kills && round < 4 * kills {
        // From nothing every few rounds, from what the last one left otherwise.
        if round % 4 == 0 {
            std::fs::remove_dir_all(&path).unwrap();
        }
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let mut child = start();
        std::thread::sleep(Duration::from_nanos((random >> 33) % whole.as_nanos() as u64));
        child.kill().unwrap();
        early += u32::from(!child.wait().unwrap().success());
        let store = Store::open(&path).unwrap();
        assert_eq!(store.verify().unwrap(), [], "after kill {round}");
        assert_eq!(std::fs::read_dir(path.join("tmp")).unwrap().count(), 0, "after kill {round}");
        parts += store.stats().unwrap().parts;
        round += 1;
    }
    eprintln!("{early} of {round} were killed at work, {parts} files were there in part");
    assert!(early == kills, "most of them ended before they were killed: this shows little");
    assert!(start().wait().unwrap().success());
    let store = Store::open(&path).unwrap();
    assert_eq!(store.verify().unwrap(), []);
    assert!(store.contains(&Digest::of(&content)));
    let made = (0..FILES).filter(|index| store.link(&format!("made {index}")).is_some()).count();
    assert_eq!((made as u64, store.stats().unwrap().parts), (FILES, 0));
}
