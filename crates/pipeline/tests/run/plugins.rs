//! Plugins in Python for the tests of steps, in the world's own folder `plugins`.

use crate::fixture::World;

const HELPER: &str = include_str!("../../../../plugins/sdk/python/btfpipe_plugin.py");

/// Puts a plugin there, with the helper.
pub fn put(world: &World, name: &str, manifest: &str, main: &str) {
    let folder = format!("plugins/{name}");
    std::fs::create_dir_all(world.root.join(&folder)).unwrap();
    world.write(&format!("{folder}/plugin.yaml"), manifest.as_bytes());
    world.write(&format!("{folder}/main.py"), main.as_bytes());
    world.write(&format!("{folder}/btfpipe_plugin.py"), HELPER.as_bytes());
}

/// Says so where it isn't.
pub fn has_python() -> bool {
    let is_there = std::process::Command::new("python3").arg("--version").output().is_ok();
    if !is_there {
        assert!(std::env::var_os("BTFPIPE_NO_SKIPS").is_none(), "python3 is not installed");
        eprintln!("skipped: python3 is not installed");
    }
    is_there
}

/// Says so where one isn't; the cage's folders are those of the system.
pub fn has_programs(names: &[&str]) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let is_there = |name: &&&str| std::env::split_paths(&path).any(|folder| folder.join(name).is_file());
    match names.iter().find(|name| !is_there(name)) {
        None => true,
        Some(name) => {
            assert!(std::env::var_os("BTFPIPE_NO_SKIPS").is_none(), "{name} is not installed");
            eprintln!("skipped: {name} is not installed");
            false
        }
    }
}

/// Copies a plugin that we ship, with what its links lead to.
pub fn ship(world: &World, name: &str) {
    let from = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../plugins").join(name);
    copy(&from, &world.root.join("plugins").join(name));
}

fn copy(from: &std::path::Path, to: &std::path::Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy(&path, &target);
        } else {
            std::fs::copy(&path, &target).unwrap();
        }
    }
}
