//! The plugin under the conformance kit.

use std::fs;
use std::os::unix::fs::symlink;

use pipeline::host::kit;

#[test]
fn the_kit() {
    let folder = tempfile::tempdir().unwrap();
    let plugin = folder.path().join("debian");
    fs::create_dir(&plugin).unwrap();
    fs::write(plugin.join("plugin.yaml"), include_str!("../plugin.yaml")).unwrap();
    fs::write(plugin.join("schema.json"), include_str!("../schema.json")).unwrap();
    symlink(env!("CARGO_BIN_EXE_btfpipe-plugin-debian"), plugin.join("btfpipe-plugin-debian")).unwrap();
    let report = kit::examine(&plugin);
    assert!(report.is_good(), "{report}");
}
