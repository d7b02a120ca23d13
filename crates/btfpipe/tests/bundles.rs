//! The commands on bundles, on a release made of Debian's opensnoop and this machine's kernel, signed by Debian's minisign.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use bundle::attestation::{self, Build};
use bundle::{
    Arch, BundleBuilder, BundleMeta, Checksums, Digest, KernelEntry, Layout, LayoutEntry, Manifest, Package,
    PackageEntry, ProgramEntry,
};
use serde_json::Value;

const OPENSNOOP: &str = "/usr/sbin/opensnoop";
const KERNEL: &str = "/sys/kernel/btf/vmlinux";
const BUNDLE: &str = "dist/test-x86_64.tar.zst";

/// A folder with a release in `dist`.
struct World(tempfile::TempDir);

impl World {
    /// None, aloud, where something is missing.
    fn new() -> Option<World> {
        let missing = [OPENSNOOP, KERNEL].into_iter().find(|path| !Path::new(path).exists());
        if let Some(missing) = missing {
            assert!(std::env::var_os("BTFPIPE_NO_SKIPS").is_none(), "{missing} is missing");
            eprintln!("skipped: {missing} is missing");
            return None;
        }
        let world = World(tempfile::tempdir().unwrap());
        std::fs::create_dir(world.path("dist")).unwrap();
        world.put("vmlinux.btf", &std::fs::read(KERNEL).unwrap());
        world.check(&format!("min-core-btf vmlinux.btf min.btf {OPENSNOOP}"), 0);
        let records = world.check(&format!("record --btf vmlinux.btf --format jsonl {OPENSNOOP}"), 0);
        world.put("records.jsonl", records.as_bytes());
        world.release(&records);
        Some(world)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn put(&self, name: &str, bytes: &[u8]) {
        std::fs::write(self.path(name), bytes).unwrap();
    }

    fn read(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.path(name)).unwrap()
    }

    /// Two kernels with this machine's BTF under names of others, and the first of them with these records.
    fn package(&self, engine: &str, records: &str, kernels: &[&str]) -> Package {
        let (name, arch) = ("test".into(), Arch::X86_64);
        let meta = BundleMeta { name, arch, engine: engine.into(), source_date_epoch: 0 };
        let mut builder = BundleBuilder::new(meta).unwrap();
        for release in kernels {
            let entry = KernelEntry {
                distro: "rhel".into(),
                version: "8".into(),
                version_aliases: vec!["8.1".into()],
                arch,
                release: (*release).into(),
                build_id: Some("00ff".into()),
            };
            builder.add_kernel(entry, self.read("min.btf"), records.as_bytes().to_vec()).unwrap();
        }
        let executable = std::fs::read(OPENSNOOP).unwrap();
        let sha256 = Digest::of(relo_core::embedded_objects(&executable)[0].bytes);
        builder.add_program(ProgramEntry { name: "opensnoop.bpf.o".into(), sha256 }).unwrap();
        builder.finish(3).unwrap()
    }

    /// As the package step writes it.
    fn release(&self, records: &str) {
        let package = self.package("btfpipe 0.1.0", records, &["4.18.0-80.el8", "4.18.0-81.el8"]);
        self.put(BUNDLE, &package.tar_zst);
        let bundle = bundle::Bundle::open(&package.tar_zst).unwrap();
        let mut sums = Checksums::new();
        sums.add(package.file.clone(), package.zst_sha256).unwrap();
        let layouts = [Layout::Pack, Layout::Bcc].map(|layout| {
            let delivered = layout.deliver(&bundle, 3, 1).unwrap();
            self.put(&format!("dist/{}", delivered.file), &delivered.bytes);
            let entry = LayoutEntry::of(&delivered, Arch::X86_64);
            sums.add(entry.file.clone(), entry.content.sha256).unwrap();
            entry
        });
        let manifest = Manifest::new([PackageEntry::of(&package)]).with_layouts(layouts);
        let (pipeline, engine) = ("test".into(), "btfpipe 0.1.0".into());
        let build = Build {
            pipeline,
            engine,
            layouts: vec![],
            given: vec![],
            environment: vec![],
            materials: vec![],
        };
        for (name, text) in [
            ("manifest.json", manifest.to_json()),
            (attestation::SBOM, attestation::sbom(&manifest, &build)),
            (attestation::PROVENANCE, attestation::provenance(&manifest, &build)),
        ] {
            sums.add(name, Digest::of(text.as_bytes())).unwrap();
            self.put(&format!("dist/{name}"), text.as_bytes());
        }
        self.put("dist/SHA256SUMS", sums.to_string().as_bytes());
    }

    fn run(&self, arguments: &str) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_btfpipe"));
        command.current_dir(self.0.path()).args(arguments.split(' ')).output().unwrap()
    }

    #[track_caller]
    fn check(&self, arguments: &str, code: i32) -> String {
        let output = self.run(arguments);
        let (said, notes) =
            (String::from_utf8(output.stdout).unwrap(), String::from_utf8_lossy(&output.stderr));
        assert_eq!(output.status.code(), Some(code), "{arguments}: {said}{notes}");
        said + if code == 2 { &notes } else { "" }
    }

    #[track_caller]
    fn json(&self, arguments: &str, code: i32) -> Value {
        serde_json::from_str(&self.check(&format!("{arguments} --json"), code)).unwrap()
    }
}

#[test]
fn ls_and_show() {
    let Some(world) = World::new() else { return };
    let text = world.check(&format!("bundle ls {BUNDLE}"), 0);
    assert!(text.contains("2 kernels, 1 distinct BTFs"), "{text}");
    let json = world.json(&format!("bundle ls {BUNDLE}"), 0);
    assert_eq!(json["kernels"][1]["kernel"], "rhel/8/x86_64/4.18.0-81.el8");
    assert_eq!(json["kernels"][1]["shared_by"], 2);
    let relocations = world.read("records.jsonl").iter().filter(|&&byte| byte == b'\n').count();
    assert_eq!(json["programs"][0]["relocations"], relocations);
    let json = world.json(&format!("bundle show {BUNDLE} rhel/8/x86_64/4.18.0-80.el8"), 0);
    assert_eq!(json["same_btf"][0], "rhel/8/x86_64/4.18.0-81.el8");
    assert_eq!(json["record_count"], relocations);
    assert_eq!(json["outcomes"]["opensnoop.bpf.o"]["poisoned"], 0);
    let text = world.check(&format!("bundle show {BUNDLE} rhel/8/x86_64/4.18.0-80.el8"), 0);
    assert!(text.contains("opensnoop.bpf.o"), "{text}");
    world.check(&format!("bundle show {BUNDLE} rhel/9/x86_64/none"), 1);
    world.check(&format!("bundle show {BUNDLE} rhel"), 2);
    world.check("bundle ls nothing.tar.zst", 1);
}

#[test]
fn lookup() {
    let Some(world) = World::new() else { return };
    let asked =
        "--release 4.18.0-80.el8 --distro redhat --version-id 8.1 --arch amd64 --build-id 00ff -o found.btf";
    for file in [BUNDLE, "dist/test-x86_64.btfpack"] {
        let json = world.json(&format!("bundle lookup {file} {asked}"), 0);
        assert_eq!(json["found"]["rule"], "version-alias");
        assert_eq!(json["found"]["build_id_verified"], true);
        assert!(world.read("found.btf") == world.read("min.btf"));
        let text = world.check(&format!("bundle lookup {file} {asked}"), 0);
        assert!(text.contains("by rule version-alias, build-id verified"), "{text}");
        let json = world.json(&format!("bundle lookup {file} --release 4.18.0-80.el --arch x86_64"), 1);
        assert!(json["miss"].as_str().unwrap().contains("no kernel 4.18.0-80.el in the bundle"), "{json}");
    }
    // A machine in a folder: a container with the host's os-release mounted.
    let machine = world.path("machine");
    for (path, text) in [
        ("proc/sys/kernel/osrelease", "4.18.0-81.el8\n"),
        ("etc/os-release", "ID=alpine\nVERSION_ID=3.20\n"),
        ("host/etc/os-release", "ID=\"rhel\"\nVERSION_ID=\"8.7\"\n"),
    ] {
        std::fs::create_dir_all(machine.join(path).parent().unwrap()).unwrap();
        std::fs::write(machine.join(path), text).unwrap();
    }
    let json = world.json(&format!("bundle lookup {BUNDLE} --root machine --arch x86_64"), 0);
    assert_eq!(json["found"]["rule"], "major-version");
    assert_eq!(json["found"]["build_id_verified"], false);
    world.check(&format!("bundle lookup {BUNDLE}"), 1);
}

#[test]
fn extract() {
    let Some(world) = World::new() else { return };
    world.check(&format!("bundle extract {BUNDLE} all"), 0);
    assert!(world.read("all/rhel/8/x86_64/4.18.0-81.el8.btf") == world.read("min.btf"));
    assert!(world.read("all/rhel/8/x86_64/4.18.0-81.el8.jsonl") == world.read("records.jsonl"));
    world.check(&format!("bundle extract {BUNDLE} one rhel/8/x86_64/4.18.0-80.el8"), 0);
    assert!(!world.path("one/rhel/8/x86_64/4.18.0-81.el8.btf").exists());
    world.check(&format!("bundle extract {BUNDLE} tracee --layout tracee"), 0);
    assert!(world.read("tracee/dist/btfhub/rhel/8.1/x86_64/4.18.0-81.el8.btf") == world.read("min.btf"));
    world.check(&format!("bundle extract {BUNDLE} bcc --layout bcc"), 0);
    assert!(world.path("bcc/test-x86_64-bcc.tar.gz").exists());
    let text = world.check(&format!("bundle extract {BUNDLE} x --layout btfhub"), 2);
    assert!(text.contains("unknown layout"), "{text}");
}

#[test]
fn diff() {
    let Some(world) = World::new() else { return };
    let records = String::from_utf8(world.read("records.jsonl")).unwrap();
    let newer = world.package("btfpipe 0.2.0", &records, &["4.18.0-81.el8", "4.18.0-90.el8"]);
    world.put("new.tar.zst", &newer.tar_zst);
    assert_eq!(world.json(&format!("bundle diff {BUNDLE} {BUNDLE}"), 0)["same"], true);
    let json = world.json(&format!("bundle diff {BUNDLE} new.tar.zst --deltas"), 1);
    assert_eq!(json["about"][0], "engine: btfpipe 0.1.0 -> btfpipe 0.2.0");
    assert_eq!(json["kernels"][0], "- rhel/8/x86_64/4.18.0-80.el8");
    assert_eq!(json["kernels"][1], "+ rhel/8/x86_64/4.18.0-90.el8");
    let (whole, delta) = (json["delta"]["whole"].as_u64().unwrap(), json["delta"]["delta"].as_u64().unwrap());
    assert!(delta < whole / 2, "{json}");
    let text = world.check(&format!("bundle diff {BUNDLE} new.tar.zst --deltas"), 1);
    assert!(text.contains("as a delta pack"), "{text}");
}

/// What a new kernel adds to a shipped bundle: written, verified, applied, and the new bundle to the byte.
#[test]
fn delta_and_apply() {
    let Some(world) = World::new() else { return };
    let records = String::from_utf8(world.read("records.jsonl")).unwrap();
    let newer =
        world.package("btfpipe 0.1.0", &records, &["4.18.0-80.el8", "4.18.0-81.el8", "4.18.0-90.el8"]);
    world.put("new.tar.zst", &newer.tar_zst);
    world.check(&format!("bundle delta {BUNDLE} new.tar.zst -o new.btfdelta"), 0);
    let size = world.read("new.btfdelta").len();
    assert!(size < newer.tar_zst.len() / 2, "{size}");
    let json = world.json(&format!("bundle diff {BUNDLE} new.tar.zst --deltas"), 1);
    assert_eq!(json["delta"]["delta"], size);
    world.check(&format!("bundle apply {BUNDLE} new.btfdelta -o again.tar.zst"), 0);
    assert!(world.read("again.tar.zst") == newer.tar_zst);
    world.check(&format!("bundle apply {BUNDLE} new.btfdelta --tar -o again.tar"), 0);
    assert!(world.read("again.tar") == bundle::Bundle::open(&newer.tar_zst).unwrap().tar());

    let text = world.check("bundle verify new.btfdelta", 0);
    assert!(text.contains("has its digest") && text.contains("1 unchecked"), "{text}");
    let verify = format!("bundle verify new.btfdelta --program {OPENSNOOP} --base");
    let text = world.check(&format!("{verify} {BUNDLE}"), 0);
    assert!(text.contains("makes the bundle that it promises"), "{text}");
    assert!(text.contains("4.18.0-90.el8: ") && text.contains("are decided as on the full BTF"), "{text}");
    assert!(world.check(&format!("{verify} new.tar.zst"), 3).contains("is for the bundle whose archive"));
    assert!(world.check("bundle verify dist --base new.tar.zst", 2).contains("--base is for a delta pack"));
    let mut bad = world.read("new.btfdelta");
    let last = bad.len() - 1;
    bad[last] ^= 1;
    world.put("bad.btfdelta", &bad);
    assert!(world.check("bundle verify bad.btfdelta", 3).contains("does not have its own digest"));
    world.check(&format!("bundle apply {BUNDLE} bad.btfdelta -o x"), 1);
    world.check("bundle apply new.tar.zst new.btfdelta -o x", 1);
    assert!(!world.path("x").exists());
    // Whoever takes it for something else is told what it is.
    for command in ["ls", "lookup"] {
        let output = world.run(&format!("bundle {command} new.btfdelta"));
        assert!(String::from_utf8_lossy(&output.stderr).contains("this is a delta pack"), "{output:?}");
    }
}

/// A cost is the difference to the bundle that would be made without it.
#[test]
fn sizes() {
    let Some(world) = World::new() else { return };
    let json = world.json(&format!("bundle sizes {BUNDLE} --level 3 --program {OPENSNOOP}"), 0);
    assert_eq!(json["whole"]["file"], world.read(BUNDLE).len());
    let records = String::from_utf8(world.read("records.jsonl")).unwrap();
    let without = world.package("btfpipe 0.1.0", &records, &["4.18.0-81.el8"]);
    let whole = world.package("btfpipe 0.1.0", &records, &["4.18.0-80.el8", "4.18.0-81.el8"]);
    let kernel = &json["kernels"][0];
    assert_eq!(kernel["what"], "rhel/8/x86_64/4.18.0-80.el8");
    assert_eq!(kernel["archive"], whole.tar_size - without.tar_size);
    assert_eq!(kernel["file"], whole.zst_size as i64 - without.zst_size as i64);
    let one = world.json(&format!("bundle sizes {BUNDLE} rhel/8/x86_64/4.18.0-80.el8 --level 3"), 0);
    let kernels = one["kernels"].as_array().unwrap();
    assert_eq!((kernels.len(), &kernels[0]), (1, kernel));
    world.check(&format!("bundle sizes {BUNDLE} rhel/9/x86_64/none --level 3"), 1);
    // The only program: without it no relocation, and next to no BTF, is left.
    let program = &json["programs"][0];
    assert_eq!(program["what"], "opensnoop.bpf.o");
    let (archive, least) = (program["archive"].as_i64().unwrap(), (records.len() - 512) as i64);
    assert!(archive > least && archive < whole.tar_size as i64, "{json}");
    let text = world.check(&format!("bundle sizes {BUNDLE} --level 3"), 0);
    assert!(text.contains("told with --program"), "{text}");
    let text = world.check(&format!("bundle sizes {BUNDLE} --program /usr/sbin/execsnoop"), 1);
    assert!(text.is_empty(), "{text}");
}

fn minisign(folder: &Path, arguments: &str) -> bool {
    let output = Command::new("minisign").args(arguments.split(' ')).current_dir(folder).output();
    let Ok(output) = output else {
        assert!(std::env::var_os("BTFPIPE_NO_SKIPS").is_none(), "minisign is not installed");
        eprintln!("skipped: minisign is not installed");
        return false;
    };
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    true
}

#[test]
fn verify_a_release() {
    let Some(world) = World::new() else { return };
    let program = format!("--program {OPENSNOOP}");
    let text = world.check(&format!("bundle verify dist {program}"), 0);
    assert!(text.contains("4.18.0-81.el8: ") && text.contains("are decided as on the full BTF"), "{text}");
    assert!(
        text.contains("unchecked  SHA256SUMS.minisig") && text.ends_with("1 unchecked, 0 bad\n"),
        "{text}"
    );
    if !minisign(world.0.path(), "-G -W -p good.pub -s good.key") {
        return;
    }
    minisign(world.0.path(), "-G -W -p other.pub -s other.key");
    assert!(world.check("bundle verify dist --key good.pub", 3).contains("there is none"));
    minisign(world.0.path(), "-S -W -s good.key -m dist/SHA256SUMS -t release-1");
    let text = world.check("bundle verify dist --key good.pub", 0);
    assert!(text.contains("good       SHA256SUMS.minisig: signed by the key: release-1"), "{text}");
    assert!(world.check("bundle verify dist --key other.pub", 3).contains("not by this key"));
    assert!(world.check("bundle verify dist --key nonsense", 2).contains("not a public key"));
    // Signed and true are two things: the second is looked at as well.
    let mut sums = world.read("dist/SHA256SUMS");
    sums.extend(b"\n");
    world.put("dist/SHA256SUMS", &sums);
    assert!(world.check("bundle verify dist --key good.pub", 3).contains("not by this key"));
}

#[test]
fn verify_what_somebody_changed() {
    let Some(world) = World::new() else { return };
    let bad = |name: &str, bytes: &[u8], want: &str| {
        let before = world.path(name).exists().then(|| world.read(name));
        world.put(name, bytes);
        let text = world.check("bundle verify dist", 3);
        assert!(text.lines().any(|line| line.starts_with("BAD") && line.contains(want)), "{want}: {text}");
        match before {
            Some(before) => world.put(name, &before),
            None => std::fs::remove_file(world.path(name)).unwrap(),
        }
        world.check("bundle verify dist", 0);
    };
    let mut broken = world.read(BUNDLE);
    let middle = broken.len() / 2;
    broken[middle] ^= 1;
    bad(BUNDLE, &broken, "another digest");
    bad(BUNDLE, b"", "not a bundle");
    bad("dist/test-x86_64.btfpack", b"BTFPACK1", "not a pack");
    bad("dist/test-x86_64-bcc.tar.gz", b"", "another digest");
    bad("dist/stray-x86_64.tar.zst", b"", "is not in SHA256SUMS");
    bad("dist/manifest.json", b"{}", "manifest.json");
    bad("dist/sbom.cdx.json", b"{}", "does not name the files");
    bad("dist/SHA256SUMS", b"nonsense", "SHA256SUMS line 1");
    let text = String::from_utf8(world.read("dist/manifest.json")).unwrap();
    bad("dist/manifest.json", text.replace("el8\"", "el9\"").as_bytes(), "other kernels or programs");
    // A forger who changes all of it and signs nothing: the records no longer fit the BTF.
    let records = String::from_utf8(world.read("records.jsonl")).unwrap();
    let lie = records
        .lines()
        .map(|line| line.replacen("\"value\":{\"local\":", "\"value\":{\"local\":1", 1) + "\n");
    world.release(&lie.collect::<String>());
    world.check("bundle verify dist", 0);
    let text = world.check(&format!("bundle verify {BUNDLE} --program {OPENSNOOP}"), 3);
    assert!(text.contains("value is") && text.contains("with the full BTF"), "{text}");
}

#[test]
fn verify_one_file() {
    let Some(world) = World::new() else { return };
    world.check(&format!("bundle verify {BUNDLE}"), 0);
    let json = world.json("bundle verify dist/test-x86_64.btfpack", 0);
    assert_eq!(json["checks"][0]["result"], "good");
    world.put("no.tar.zst", b"no");
    world.check("bundle verify no.tar.zst", 3);
    assert!(world.check(&format!("bundle verify {BUNDLE} --key x"), 2).contains("folder of a release"));
    let text = world.check(&format!("bundle verify {BUNDLE} --program /usr/sbin/execsnoop"), 3);
    assert!(text.contains("made for none of the programs at hand"), "{text}");
}
