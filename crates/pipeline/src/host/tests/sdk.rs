//! The SDK for Rust, by its example.

use super::*;

/// A layout with the SDK of Rust: what it makes is read by cpio itself.
#[test]
fn the_sdk_for_rust_does_steps() {
    let built = std::env::current_exe().unwrap();
    let built =
        built.ancestors().find_map(|folder| Some(folder.join("examples/cpio")).filter(|path| path.is_file()));
    let built = built.unwrap_or_else(|| panic!("cargo build -p plugin --example cpio"));
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("cpio");
    fs::create_dir_all(path.join("tests")).unwrap();
    fs::copy(&built, path.join("cpio")).unwrap();
    let manifest =
        "api: 1\nname: cpio\nversion: 0.1.0\nrun: [cpio]\nprovides: [package]\ncache: { pure: true }\n";
    fs::write(path.join("plugin.yaml"), manifest).unwrap();
    let meta = bundle::BundleMeta {
        name: "n".into(),
        arch: bundle::Arch::X86_64,
        engine: "test".into(),
        source_date_epoch: 5,
    };
    let package = bundle::BundleBuilder::new(meta).unwrap().finish(1).unwrap();
    let bundle = bundle::Bundle::open(&package.tar_zst).unwrap();
    fs::write(path.join("tests/n.tar"), bundle.tar()).unwrap();
    let input = r#"{"name": "tar", "path": "${plugin}/tests/n.tar"}"#;
    let case = |config: &str, status: &str| {
        format!(r#"{{"step": "package", "config": {config}, "inputs": [{input}], "status": "{status}"}}"#)
    };
    fs::write(path.join("tests/package.json"), case(r#"{"folder": "usr/lib/btf"}"#, "ok")).unwrap();
    fs::write(path.join("tests/wrong.json"), case(r#"{"folder": "../x"}"#, "user")).unwrap();
    let report = kit::examine(&path);
    assert!(report.is_good() && report.to_string().contains("ok, 1 output"), "{report}");

    let plugin = Host::open(&path).unwrap();
    let dirs = Dirs::below(&folder.path().join("work"), None);
    let config = json!({ "folder": "usr/lib/btf" });
    let inputs = vec![crate::host::input("tar", &path.join("tests/n.tar")).unwrap()];
    let request = Request { inputs, ..Request::new("package", &config, &dirs) };
    let result = plugin.run_request(&request, &mut |_| {}).unwrap();
    assert!(result.busy().is_some());
    let cpio = result.outputs[0].read().unwrap();
    assert!(cpio.starts_with(b"070701") && cpio.len().is_multiple_of(4));
    let listed = std::process::Command::new("cpio")
        .args(["-t", "--quiet"])
        .stdin(fs::File::open(&result.outputs[0].path).unwrap())
        .output();
    let Ok(listed) = listed else {
        assert!(std::env::var_os("BTFPIPE_NO_SKIPS").is_none(), "cpio is not installed");
        return eprintln!("skipped in part: cpio is not installed");
    };
    let text = String::from_utf8(listed.stdout).unwrap();
    assert_eq!(text, "usr\nusr/lib\nusr/lib/btf\nusr/lib/btf/index.json\n");
}
