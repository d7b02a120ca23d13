//! The reader in Go, and the paths that the consumers in Go ask for; Go's standard library is all there is.

mod fixture;

use std::path::Path;
use std::process::Command;

use bundle::pack::{Method, PackOptions, write_pack};
use bundle::{Arch, Bundle, BundleBuilder, Delta, KernelEntry, Layout};
use fixture::{cases, entry};

fn has_go() -> bool {
    let found = Command::new("go").arg("version").output().is_ok_and(|output| output.status.success());
    assert!(found || std::env::var_os("BTFPIPE_NO_SKIPS").is_none(), "go is not installed");
    if !found {
        eprintln!("skipped: go is not installed");
    }
    found
}

/// Go in a copy of the module, where files may be added; it fetches nothing.
fn go(module: &Path, home: &Path, arguments: &[&str]) -> String {
    let output = Command::new("go")
        .args(arguments)
        .current_dir(module)
        .envs([("GOPROXY", "off"), ("GOFLAGS", "-mod=mod"), ("GOTOOLCHAIN", "local"), ("CGO_ENABLED", "0")])
        .env("GOCACHE", home.join("cache"))
        .env("GOPATH", home.join("path"))
        .env("BTFPACK_TESTS", home.join("tests"))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    said
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        match entry.file_type().unwrap().is_dir() {
            true => copy(&entry.path(), &to.join(entry.file_name())),
            false => drop(std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap()),
        }
    }
}

fn deflated(bundle: &Bundle) -> Vec<u8> {
    write_pack(bundle, PackOptions { method: Method::Deflate, ..PackOptions::default() }).unwrap()
}

/// The machines of `consumers_test.go`.
fn machines() -> Bundle {
    let btf =
        |name: &str| [b"\x9f\xeb\x01\0", "task_struct ".repeat(99).as_bytes(), name.as_bytes()].concat();
    let mut builder = BundleBuilder::new(fixture::meta(0)).unwrap();
    let rhel = KernelEntry { version_aliases: vec!["8.1".into()], ..entry("rhel/8/x86_64/4.18.0-80.el8") };
    builder.add_kernel(rhel, btf("rhel"), vec![]).unwrap();
    builder.add_kernel(entry("ubuntu/18.04/x86_64/5.4.0-42-generic"), btf("bionic"), vec![]).unwrap();
    builder.add_kernel(entry("ubuntu/20.04/x86_64/5.4.0-42-generic"), btf("focal"), vec![]).unwrap();
    Bundle::open(&builder.finish(3).unwrap().tar_zst).unwrap()
}

fn put(path: &Path, bytes: &[u8]) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, bytes).unwrap();
}

#[test]
fn go_reads_it() {
    if !has_go() {
        return;
    }
    let home = tempfile::tempdir().unwrap();
    let module = home.path().join("module");
    copy(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../../readers/go"), &module);
    let tests = home.path().join("tests");
    for (number, case) in cases::all().iter().enumerate() {
        put(&tests.join(format!("cases/{number}.btfpack")), &deflated(&case.bundle));
        let line = |(query, want): &(bundle::Query, String)| {
            let word = |text: &Option<String>| text.clone().unwrap_or("-".into());
            let id = query.build_id.as_ref().map(|id| format!(" #{id}")).unwrap_or_default();
            format!("{} {} {}{id} -> {want}\n", word(&query.distro), word(&query.version), query.release)
        };
        let queries: String = case.queries.iter().map(line).collect();
        put(&tests.join(format!("cases/{number}.queries")), queries.as_bytes());
    }
    let bundle = machines();
    assert_eq!(bundle.index().arch, Arch::X86_64);
    let layouts = tests.join("layouts");
    for layout in [Layout::Tracee, Layout::BtfhubCustomArchive, Layout::IgEmbed] {
        for member in layout.members(&bundle).unwrap() {
            put(&layouts.join(layout.name()).join(member.path), &member.content);
        }
    }
    for (layout, end) in [
        (Layout::IgLayer, "tar.gz"),
        (Layout::Datadog, "tar.xz"),
        (Layout::Bcc, "tar.gz"),
        (Layout::Eunomia, "tar.gz"),
    ] {
        let delivered = layout.deliver(&bundle, 3, 1).unwrap();
        put(&layouts.join(format!("{layout}.{end}")), &delivered.bytes);
    }
    put(&layouts.join("kernels.btfpack"), &deflated(&bundle));
    let shipped = fixture::tiny().finish(3).unwrap().tar_zst;
    let delta = Delta::between(&bundle, &shipped).unwrap();
    put(&layouts.join("next.btfdelta"), &delta.to_bytes());
    let told = go(&module, home.path(), &["test", "-count=1", "-v", "."]);
    for test in ["Cases", "Broken", "Delta", "Folders", "InspektorGadgetLayer", "Datadog", "RawHeaders"] {
        assert!(told.contains(&format!("--- PASS: Test{test} ")), "{told}");
    }

    // go:embed takes what it should: a pack, and a tree as Tracee embeds it.
    put(&module.join("example/kernels.btfpack"), &deflated(&bundle));
    let machine = home.path().join("machine");
    put(&machine.join("proc/sys/kernel/osrelease"), b"4.18.0-80.el8\n");
    put(&machine.join("etc/os-release"), b"ID=\"rhel\"\nVERSION_ID=\"8.7\"\n");
    let told = go(&module, home.path(), &["run", "./example", machine.to_str().unwrap()]);
    let expected = if cfg!(target_arch = "x86_64") {
        "major-version rhel/8/x86_64/4.18.0-80.el8 1196 bytes\n"
    } else {
        ""
    };
    assert_eq!(told, expected);

    copy(&layouts.join("tracee"), &module.join("tracee"));
    put(&module.join("tracee/main.go"), TRACEE.as_bytes());
    let told = go(&module, home.path(), &["run", "./tracee"]);
    let mut embedded: Vec<&str> = told.lines().collect();
    embedded.sort();
    let members = Layout::Tracee.members(&bundle).unwrap();
    assert_eq!(embedded, members.iter().map(|member| member.path.as_str()).collect::<Vec<_>>());
}

const TRACEE: &str = r#"
package main

import (
	"embed"
	"fmt"
	"io/fs"
)

//go:embed "dist/btfhub/*"
var tree embed.FS

func main() {
	fs.WalkDir(tree, ".", func(path string, entry fs.DirEntry, err error) error {
		if !entry.IsDir() {
			fmt.Println(path)
		}
		return err
	})
}
"#;
