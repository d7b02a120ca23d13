//! A run that is killed at any moment: nothing half written under a final name, and the next run ends well.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use pipeline::outcome::Code;

use crate::fixture::World;

/// Names the folder in which [`the_run_that_is_killed`] works.
const FOLDER: &str = "BTFPIPE_TEST_KILLED";
/// Kills at moments all over the time that a whole run takes; `cargo xtask endurance` makes more.
fn kills() -> u32 {
    if std::env::var_os("BTFPIPE_ENDURANCE").is_some() { 200 } else { 40 }
}

#[test]
fn a_killed_run_leaves_nothing_half() {
    let whole = World::new();
    whole.run().unwrap();
    let expected = dist(&whole.root);
    assert!(expected.len() > 4, "{:?}", expected.keys());

    let folder = tempfile::tempdir().unwrap();
    let start = Instant::now();
    assert!(start_run(folder.path()).wait().unwrap().success());
    let takes = start.elapsed();
    let (kills, mut killed, mut kill) = (kills(), 0, 0);
    // Moments like by chance, but the same in every test.
    let mut random: u32 = 2026;
    // Some runs end before their moment; on a machine that is now faster than it was, most do.
    while killed < kills && kill < 4 * kills {
        kill += 1;
        random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        // Two of three start with nothing, the others with what the run before left.
        if kill % 3 != 0 {
            std::fs::remove_dir_all(folder.path()).unwrap();
            std::fs::create_dir(folder.path()).unwrap();
        }
        killed += u32::from(run_and_kill(folder.path(), takes * (random >> 22) / 1024));
        for (name, bytes) in dist(folder.path()) {
            assert!(Some(&bytes) == expected.get(&name), "kill {kill}: {name} is not whole");
        }
        let world = World::at(folder.path());
        assert_eq!(world.run().unwrap().code, Code::Ok);
        assert!(
            dist(folder.path()) == expected,
            "after kill {kill}: other bytes than an uninterrupted run's"
        );
    }
    assert!(killed == kills, "only {killed} of {kill} runs were still going");
    eprintln!("{killed} of {kill} runs were killed before their end; each next run made the same bytes");
    let world = World::at(folder.path());
    assert_eq!(world.run().unwrap().code, Code::Ok);
    let mut after = everything(&folder.path().join("dist"), Path::new(""));
    assert!(after.remove(".btfpipe.lock").is_some(), "the lock stays, and holds nobody");
    assert_eq!(after.keys().collect::<Vec<_>>(), expected.keys().collect::<Vec<_>>());
    assert!(after == expected, "other bytes than an uninterrupted run's");
}

/// Not a test of its own: the process that the test above starts and kills.
#[test]
fn the_run_that_is_killed() {
    if let Some(folder) = std::env::var_os(FOLDER) {
        assert_eq!(World::at(Path::new(&folder)).run().unwrap().code, Code::Ok);
    }
}

fn start_run(folder: &Path) -> Child {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "killed::the_run_that_is_killed"]);
    command.env(FOLDER, folder).stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().unwrap()
}

/// Whether there was something to kill.
fn run_and_kill(folder: &Path, after: Duration) -> bool {
    let mut run = start_run(folder);
    std::thread::sleep(after);
    run.kill().unwrap();
    !run.wait().unwrap().success()
}

/// The files of `dist` under their final names; a name that starts with a dot is not final.
fn dist(root: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut files = everything(&root.join("dist"), Path::new(""));
    files.retain(|name, _| !name.split('/').any(|part| part.starts_with('.')));
    files
}

fn everything(folder: &Path, under: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut files = BTreeMap::new();
    for entry in std::fs::read_dir(folder.join(under)).into_iter().flatten() {
        let path = under.join(entry.unwrap().file_name());
        match std::fs::read(folder.join(&path)) {
            Ok(bytes) => drop(files.insert(path.to_str().unwrap().to_owned(), bytes)),
            Err(_) => files.extend(everything(folder, &path)),
        }
    }
    files
}
