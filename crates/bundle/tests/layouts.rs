//! Layouts: the exact paths of each consumer, what is refused, and the tools that people have.

mod fixture;

use std::path::Path;
use std::process::Command;

use bundle::{Arch, Bundle, BundleBuilder, BundleMeta, Digest, Error, KernelEntry, Layout};
use fixture::{LEVEL, btf, entry};

fn bundle_of(arch: Arch, kernels: &[(KernelEntry, Vec<u8>)]) -> Bundle {
    let meta = BundleMeta { arch, ..fixture::meta(1_700_000_000) };
    let mut builder = BundleBuilder::new(meta).unwrap();
    for (entry, btf) in kernels {
        builder.add_kernel(KernelEntry { arch, ..entry.clone() }, btf.clone(), vec![]).unwrap();
    }
    Bundle::open(&builder.finish(LEVEL).unwrap().tar_zst).unwrap()
}

/// RHEL with an alias and a build-id, and two Ubuntus with a kernel of one name and different BTFs.
fn three(arch: Arch) -> Bundle {
    let rhel = KernelEntry {
        version_aliases: vec!["8.1".into()],
        build_id: Some("00ff10".into()),
        ..entry("rhel/8/x86_64/4.18.0-80.el8")
    };
    bundle_of(
        arch,
        &[
            (rhel, btf(1)),
            (entry("ubuntu/18.04/x86_64/5.4.0-42-generic"), btf(2)),
            (entry("ubuntu/20.04/x86_64/5.4.0-42-generic"), btf(3)),
        ],
    )
}

#[track_caller]
fn paths(layout: Layout, arch: Arch) -> Vec<String> {
    layout.members(&three(arch)).unwrap().into_iter().map(|member| member.path).collect()
}

#[test]
fn the_paths_of_each_consumer() {
    let check = |layout: Layout, arch, want: [&str; 4]| assert_eq!(paths(layout, arch), want, "{layout}");
    check(
        Layout::BtfhubCustomArchive,
        Arch::Arm64,
        [
            "custom-archive/rhel/8.1/arm64/4.18.0-80.el8.btf",
            "custom-archive/rhel/8/arm64/4.18.0-80.el8.btf",
            "custom-archive/ubuntu/18.04/arm64/5.4.0-42-generic.btf",
            "custom-archive/ubuntu/20.04/arm64/5.4.0-42-generic.btf",
        ],
    );
    check(
        Layout::BtfhubArchive,
        Arch::Arm64,
        [
            "rhel/8.1/arm64/4.18.0-80.el8.btf.tar.xz",
            "rhel/8/arm64/4.18.0-80.el8.btf.tar.xz",
            "ubuntu/18.04/arm64/5.4.0-42-generic.btf.tar.xz",
            "ubuntu/20.04/arm64/5.4.0-42-generic.btf.tar.xz",
        ],
    );
    check(
        Layout::Tracee,
        Arch::X86_64,
        [
            "dist/btfhub/rhel/8.1/x86_64/4.18.0-80.el8.btf",
            "dist/btfhub/rhel/8/x86_64/4.18.0-80.el8.btf",
            "dist/btfhub/ubuntu/18.04/x86_64/5.4.0-42-generic.btf",
            "dist/btfhub/ubuntu/20.04/x86_64/5.4.0-42-generic.btf",
        ],
    );
    check(
        Layout::IgEmbed,
        Arch::X86_64,
        [
            "pkg/btfgen/btfs/x86/rhel/8.1/x86_64/4.18.0-80.el8.btf",
            "pkg/btfgen/btfs/x86/rhel/8/x86_64/4.18.0-80.el8.btf",
            "pkg/btfgen/btfs/x86/ubuntu/18.04/x86_64/5.4.0-42-generic.btf",
            "pkg/btfgen/btfs/x86/ubuntu/20.04/x86_64/5.4.0-42-generic.btf",
        ],
    );
    assert_eq!(
        paths(Layout::IgEmbed, Arch::Arm64)[0],
        "pkg/btfgen/btfs/arm64/rhel/8.1/aarch64/4.18.0-80.el8.btf"
    );
    check(
        Layout::IgLayer,
        Arch::Arm64,
        [
            "rhel/8.1/aarch64/4.18.0-80.el8.btf",
            "rhel/8/aarch64/4.18.0-80.el8.btf",
            "ubuntu/18.04/aarch64/5.4.0-42-generic.btf",
            "ubuntu/20.04/aarch64/5.4.0-42-generic.btf",
        ],
    );
    check(
        Layout::Bcc,
        Arch::Arm64,
        [
            "./rhel/8.1/aarch64/4.18.0-80.el8.btf",
            "./rhel/8/aarch64/4.18.0-80.el8.btf",
            "./ubuntu/18.04/aarch64/5.4.0-42-generic.btf",
            "./ubuntu/20.04/aarch64/5.4.0-42-generic.btf",
        ],
    );
    check(
        Layout::Eunomia,
        Arch::X86_64,
        [
            "./btfhub-archive/rhel/8.1/x86_64/4.18.0-80.el8.btf",
            "./btfhub-archive/rhel/8/x86_64/4.18.0-80.el8.btf",
            "./btfhub-archive/ubuntu/18.04/x86_64/5.4.0-42-generic.btf",
            "./btfhub-archive/ubuntu/20.04/x86_64/5.4.0-42-generic.btf",
        ],
    );
    assert_eq!(
        paths(Layout::Datadog, Arch::X86_64),
        [
            "rhel/4.18.0-80.el8.btf.tar.xz",
            "ubuntu/18.04/5.4.0-42-generic.btf.tar.xz",
            "ubuntu/20.04/5.4.0-42-generic.btf.tar.xz",
        ]
    );
    assert_eq!(paths(Layout::Pack, Arch::X86_64), [""; 0]);
}

#[test]
fn what_a_consumer_could_not_tell_apart() {
    let refused = |kernels: &[(KernelEntry, Vec<u8>)], layout: Layout, want: &str| {
        let error = layout.deliver(&bundle_of(Arch::X86_64, kernels), 1, 1).unwrap_err().to_string();
        assert!(error.contains(want), "{layout}: {error}");
    };
    let check_good = |kernels: &[(KernelEntry, Vec<u8>)], layout: Layout| {
        layout.deliver(&bundle_of(Arch::X86_64, kernels), 1, 1).unwrap();
    };
    let pair = |a: &str, b: &str| [(entry(a), btf(1)), (entry(b), btf(2))];
    // libbpf knows only the release, Datadog's paths only the distribution.
    let debian = pair("debian/11/x86_64/6.1.0-1", "debian/12/x86_64/6.1.0-1");
    refused(&debian, Layout::LibbpfPath, "can't tell them apart");
    refused(&debian, Layout::Datadog, "debian/11/x86_64/6.1.0-1 and debian/12/x86_64/6.1.0-1");
    check_good(&debian, Layout::Tracee);
    let same = [(debian[0].0.clone(), btf(1)), (debian[1].0.clone(), btf(1))];
    check_good(&same, Layout::LibbpfPath);
    check_good(&same, Layout::Datadog);
    // Only the build-id tells these apart, and no consumer asks for one.
    let twins =
        ["aa", "bb"].map(|id| KernelEntry { build_id: Some(id.into()), ..entry("debian/12/x86_64/r") });
    let [a, b] = twins;
    refused(&[(a, btf(1)), (b, btf(2))], Layout::Bcc, "can't tell them apart");
    refused(&[(entry("arch/x/x86_64/r"), btf(1))], Layout::Datadog, "doesn't know the distribution");
    refused(&[(entry("a/_/x86_64/r"), btf(1))], Layout::Tracee, "go:embed");
    refused(&[(entry("a/\"8\"/x86_64/r"), btf(1))], Layout::IgEmbed, "go:embed");
    check_good(&[(entry("a/\"8\"/x86_64/r"), btf(1))], Layout::IgLayer);
}

#[test]
fn an_alias_gives_way_to_the_version_itself() {
    let alias = KernelEntry { version_aliases: vec!["8.1".into()], ..entry("rhel/8/x86_64/r") };
    let bundle = bundle_of(Arch::X86_64, &[(alias, btf(1)), (entry("rhel/8.1/x86_64/r"), btf(2))]);
    let members = Layout::Bcc.members(&bundle).unwrap();
    let content = |path| members.iter().find(|member| member.path == path).map(|member| &member.content);
    assert_eq!(content("./rhel/8/x86_64/r.btf"), Some(&btf(1)));
    assert_eq!(content("./rhel/8.1/x86_64/r.btf"), Some(&btf(2)));
}

/// The name field of a header has 100 bytes, and bcc reads no other field.
#[test]
fn names_that_are_too_long() {
    let room = 99 - "./debian/12/x86_64/.btf".len();
    let of_len = |len: usize| {
        bundle_of(Arch::X86_64, &[(entry(&format!("debian/12/x86_64/{}", "r".repeat(len))), btf(1))])
    };
    Layout::Bcc.deliver(&of_len(room), 1, 1).unwrap();
    let long = of_len(room + 1);
    for layout in Layout::ALL {
        let longest = layout.members(&long).unwrap().iter().map(|member| member.path.len()).max();
        let delivered = layout.deliver(&long, 1, 1);
        match longest {
            Some(100..) => assert!(matches!(delivered, Err(Error::Path(_))), "{layout}"),
            _ => drop(delivered.unwrap()),
        }
    }
    assert!(matches!(Layout::Bcc.deliver(&long, 1, 1), Err(Error::Path(_))));
}

#[test]
fn names() {
    for layout in Layout::ALL {
        assert_eq!(layout.name().parse(), Ok(layout));
    }
    assert!("btfhub".parse::<Layout>().is_err());
    let bundle = three(Arch::X86_64);
    let file = |layout: Layout| layout.deliver(&bundle, 1, 1).unwrap().file;
    assert_eq!(file(Layout::Pack), "tiny-x86_64.btfpack");
    assert_eq!(file(Layout::PackDeflate), "tiny-x86_64-pack-deflate.btfpack");
    assert_eq!(file(Layout::Datadog), "tiny-x86_64-datadog.tar.xz");
    assert_eq!(file(Layout::Bcc), "tiny-x86_64-bcc.tar.gz");
}

fn shipped() -> Bundle {
    bundle_of(
        Arch::X86_64,
        &[
            (entry("debian/12/x86_64/6.1.0-1-amd64"), btf(1)),
            (entry("ubuntu/20.04/x86_64/5.4.0-42-generic"), btf(2)),
        ],
    )
}

/// The promise to everyone who pinned a digest; see `round_trip.rs`.
#[test]
fn the_bytes_do_not_drift() {
    let digest = |layout: Layout| {
        let bytes = [1, 2, 3].map(|threads| layout.deliver(&shipped(), LEVEL, threads).unwrap().bytes);
        assert!(bytes[0] == bytes[1] && bytes[1] == bytes[2], "{layout}: the threads make a difference");
        format!("{layout} {}", &Digest::of(&bytes[0]).to_string()[..16])
    };
    let found: Vec<String> = Layout::ALL.into_iter().map(digest).collect();
    assert_eq!(found, DIGESTS);
}

const DIGESTS: [&str; 11] = [
    "pack 0b409911d25f0cd1",
    "pack-deflate 0b409911d25f0cd1",
    "btfhub-custom-archive cc805615b70c5606",
    "btfhub-archive db29ee08848c1cee",
    "tracee 4713d8e0c80c55b0",
    "ig-embed bd44f73ef13c62fc",
    "ig-layer e1cd764e8a3b60a7",
    "datadog 7e3d6b126546d830",
    "bcc 87b2271741b01915",
    "eunomia e85486b02c6906ce",
    "libbpf-path 20d8d1efe3b18c8a",
];

/// Whether `program` runs; says so where it doesn't.
fn installed(program: &str) -> bool {
    let runs = Command::new(program).arg("--version").output().is_ok_and(|output| output.status.success());
    if !runs {
        assert!(std::env::var_os("BTFPIPE_NO_SKIPS").is_none(), "{program} is not installed");
        eprintln!("skipped: {program} is not installed");
    }
    runs
}

#[track_caller]
fn run(dir: &Path, program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).current_dir(dir).env("LC_ALL", "C").output().unwrap();
    assert!(output.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Every archive, unpacked by `tool`, has the members that were meant, byte for byte.
fn unpacks(tool: impl Fn(&Path, &str)) {
    for layout in Layout::ALL {
        let members = layout.members(&shipped()).unwrap();
        if members.is_empty() {
            continue;
        }
        let dir = tempfile::tempdir().unwrap();
        let delivered = layout.deliver(&shipped(), LEVEL, 1).unwrap();
        std::fs::write(dir.path().join(&delivered.file), &delivered.bytes).unwrap();
        std::fs::create_dir(dir.path().join("out")).unwrap();
        tool(dir.path(), &delivered.file);
        for member in members {
            let path = dir.path().join("out").join(&member.path);
            assert!(path.symlink_metadata().unwrap().is_file(), "{layout}: {}", member.path);
            assert!(std::fs::read(path).unwrap() == member.content, "{layout}: {}", member.path);
        }
    }
}

#[test]
fn gnu_tar() {
    if installed("tar") && installed("zstd") && installed("xz") {
        unpacks(|dir, file| drop(run(dir, "tar", &["-xf", file, "-C", "out"])));
    }
}

#[test]
fn bsdtar() {
    if installed("bsdtar") {
        unpacks(|dir, file| drop(run(dir, "bsdtar", &["-xf", file, "-C", "out"])));
    }
}

/// Python's tarfile has no zstd before 3.14.
#[test]
fn python() {
    const EXTRACT: &str = "
import subprocess, sys, tarfile
source = sys.argv[1]
if source.endswith('.zst'):
    subprocess.run(['zstd', '-q', '-d', source], check=True)
    source = source[:-4]
with tarfile.open(source) as archive:
    for member in archive:
        assert member.isreg() and member.mode == 0o644 and member.mtime == 1700000000, member.name
        assert (member.uid, member.gid, member.uname, member.gname) == (0, 0, '', ''), member.name
        assert not member.pax_headers, member.name
    archive.extractall('out')
";
    if installed("python3") && installed("zstd") {
        unpacks(|dir, file| drop(run(dir, "python3", &["-W", "ignore", "-c", EXTRACT, file])));
    }
}

/// The archives inside of archives: one member, which nobody may write, as Datadog's check of BTFHub archives wants.
#[test]
fn an_archive_for_each_kernel() {
    if !installed("tar") || !installed("xz") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    for (layout, mode) in
        [(Layout::BtfhubArchive, "-r--r--r-- root/root"), (Layout::Datadog, "-rw-r--r-- 0/0")]
    {
        let member = layout.members(&shipped()).unwrap().swap_remove(0);
        std::fs::write(dir.path().join("inner.tar.xz"), &member.content).unwrap();
        let listed = run(dir.path(), "tar", &["--utc", "--full-time", "-tvf", "inner.tar.xz"]);
        let words: Vec<&str> = listed.split_whitespace().collect();
        assert_eq!(words.len(), 6, "{listed}");
        assert_eq!(format!("{} {}", words[0], words[1]), mode);
        assert_eq!(words[2..], ["5", "2023-11-14", "22:13:20", "6.1.0-1-amd64.btf"]);
        let content = run(dir.path(), "tar", &["-xf", "inner.tar.xz", "--to-command=sha256sum"]);
        assert!(content.contains(&Digest::of(&btf(1)).to_string()), "{content}");
    }
}

/// libbpf, in bpftool, reads the file that stands where it looks for the kernel; readelf finds nothing to complain of.
#[test]
fn libbpf_path() {
    if !installed("bpftool") || !installed("readelf") {
        return;
    }
    let real = std::fs::read("/sys/kernel/btf/vmlinux").unwrap_or_else(|_| MINIMAL.to_vec());
    let kernel = KernelEntry { build_id: Some("00ff10".into()), ..entry("debian/12/x86_64/6.1.0-1-amd64") };
    let bundle = bundle_of(Arch::X86_64, &[(kernel, real.clone())]);
    let member = Layout::LibbpfPath.members(&bundle).unwrap().remove(0);
    assert_eq!(member.path, "boot/vmlinux-6.1.0-1-amd64");
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("vmlinux"), &member.content).unwrap();
    std::fs::write(dir.path().join("raw.btf"), &real).unwrap();
    let dump = |file| run(dir.path(), "bpftool", &["btf", "dump", "file", file]);
    assert!(dump("vmlinux") == dump("raw.btf"));
    let told = run(dir.path(), "readelf", &["--wide", "--headers", "--notes", "vmlinux"]);
    assert!(told.contains("Build ID: 00ff10"), "{told}");
    assert!(told.contains("Advanced Micro Devices X86-64") && !told.contains("Warning"), "{told}");
}

/// A header, no types, one empty string.
const MINIMAL: &[u8] = &[0x9f, 0xeb, 1, 0, 24, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0];
