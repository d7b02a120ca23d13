//! The sources that need no plugin, the lock and the store, as people use them.

mod world;

use std::io::{Read, Write};
use std::process::Command;

use world::{World, kernel, kernel_again};

const UBUNTU: &str = "ubuntu/20.04/x86_64/5.4.0-91-generic";
const RHEL: &str = "rhel/8/x86_64/4.18.0-80.el8.x86_64";

/// A world with an archive of two kernels, programs, and a pipeline with these kernel sources.
fn world(sources: &str) -> World {
    let world = World::new();
    for (path, offset) in [(UBUNTU, 8), (RHEL, 16)] {
        world.put(&format!("archive/{path}.btf"), &kernel(offset));
    }
    world.put("archive/ubuntu/20.04/x86_64/5.4.0-92-generic.btf.tar.xz", b"");
    world.put("archive/ubuntu/20.04/x86_64/5.4.0-93-generic.hasbtf", b"");
    write_pipeline(&world, sources);
    world
}

fn write_pipeline(world: &World, sources: &str) {
    let text = format!(
        "version: 1\nname: small\nkernels:\n{sources}programs:\n  - pid.bpf.o\nsteps:\n  - uses: record\n  - uses: minimize\n  \
         - uses: package\n    with: {{ layouts: [bundle], level: 3 }}\n"
    );
    world.put("p.yaml", text.as_bytes());
}

const ARCHIVE: &str = "  - uses: btfhub\n    with: { url: archive }\n";

fn lock(world: &World) -> String {
    std::fs::read_to_string(world.path("kernels.lock")).unwrap()
}

#[test]
fn an_archive_is_locked_and_run() {
    let world = world(ARCHIVE);
    world.check("lock p.yaml --check --store store", 3, "");
    let said =
        world.check("lock p.yaml --store store", 0, "5.4.0-92-generic.btf.tar.xz is empty and left out");
    assert!(said.contains(&format!("added {UBUNTU}\n")) && said.contains("2 kernels"), "{said}");
    let text = lock(&world);
    assert!(text.contains("own-btf: false") && !text.contains("boot:"), "{text}");
    assert!(world.check("lock p.yaml --check --store store", 0, "").contains("up to date"));
    world.check("run p.yaml --locked --offline --store store", 0, "");
    assert_eq!(lock(&world), text);
    assert!(world.path("dist/small-x86_64.tar.zst").is_file());
    assert!(world.check("check p.yaml", 0, "").contains("2 kernels locked"));
}

#[test]
fn what_changed_is_told() {
    let world = world(ARCHIVE);
    world.check("lock p.yaml --store store", 0, "");
    let path = format!("archive/{UBUNTU}.btf");
    world.put(&path, &kernel(24));
    let said = world.check("lock p.yaml --check --store store", 3, "");
    assert!(said.contains(&format!("CHANGED {UBUNTU}: the same name, other files")), "{said}");
    // Other bytes under the name are refused, not taken.
    std::fs::remove_dir_all(world.path("store")).unwrap();
    world.check("run p.yaml --locked --store store", 3, "nothing was read");
    // A pattern that leaves it out leaves it alone.
    let before = lock(&world);
    assert!(world.check("update p.yaml rhel/** --store store", 3, "").contains("FAILED"));
    assert_eq!(lock(&world), before);
    world.check("update p.yaml debian/** --store store", 2, "no kernel of the pipeline");
    let said = world.check("update p.yaml ubuntu/** --store store", 0, "the same name, other bytes");
    assert!(
        said.contains(&format!("CHANGED {UBUNTU}: the same name, other bytes: 5.4.0-91-generic.btf was")),
        "{said}"
    );
    std::fs::remove_file(world.path(&path)).unwrap();
    let said = world.check("update p.yaml --store store", 0, "LOST");
    assert!(said.contains(&format!("LOST {UBUNTU}: its source no longer has it")), "{said}");
    world.check("lock p.yaml --check --store store", 0, "");
}

#[test]
fn selected_and_excluded() {
    let world = world(
        "  - uses: btfhub\n    with:\n      url: archive\n      versions: '>=4, <6'\n      newest: 1\n      exclude:\n        \
         - { kernels: 'rhel/**', reason: broken, until: 2020-01-01 }\n        - { kernels: 'ubuntu/**', reason: later }\n",
    );
    let said =
        world.check("lock p.yaml --store store", 0, "ended on 2020-01-01 (broken): its kernels count again");
    assert!(said.contains(&format!("added {RHEL}\n")) && !said.contains(UBUNTU), "{said}");
    write_pipeline(&world, "  - uses: btfhub\n    with: { url: archive, versions: '5.4' }\n");
    world.check("check p.yaml", 2, "no range of versions");
    write_pipeline(&world, "  - uses: btfhub\n    with: { url: archive, selct: x }\n");
    world.check("check p.yaml", 2, "`selct`");
    write_pipeline(&world, "  - uses: btfhub\n    with: { url: archive, select: 'suse/**' }\n");
    world.check("lock p.yaml --store store", 2, "none of its");
}

#[test]
fn files_tell_their_kernels() {
    let world = world(
        "  - uses: files\n    with: { paths: 'my/{distro}-{version}-{arch}/{release}.btf' }\n  - uses: files\n    with:\n      \
         { paths: lone.btf, distro: amzn, version: '2018.03', arch: arm64, release: '4.14.1' }\n",
    );
    world.put("my/debian-bookworm-amd64/6.1.0-50-amd64.btf", &kernel(8));
    world.put("lone.btf", &kernel(16));
    let said = world.check("lock p.yaml --store store", 0, "");
    assert!(said.contains("added amzn/1/arm64/4.14.1\nadded debian/12/x86_64/6.1.0-50-amd64\n"), "{said}");
    world.check("run p.yaml --locked --store store", 0, "");
    write_pipeline(&world, "  - uses: files\n    with: { paths: '*.btf', distro: x }\n");
    world.check("check p.yaml", 2, "nothing tells version, arch, release");
    write_pipeline(
        &world,
        "  - uses: files\n    with: { paths: 'none-{release}', distro: x, version: y, arch: arm64 }\n",
    );
    world.check("lock p.yaml --store store", 2, "no file matches none-{release}");
}

#[test]
fn a_release_is_built_twice() {
    let world = world(ARCHIVE);
    let reproduce = |wanted: i32| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_btfpipe"));
        command.args(["bundle", "verify", "--reproduce", "p.yaml"]).current_dir(world.path(""));
        let output = command.env("BTFPIPE_STORE", "store").output().unwrap();
        let noted = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(wanted), "{noted}");
        (String::from_utf8(output.stdout).unwrap(), noted)
    };
    // Without a lock the two might be of different kernels.
    assert!(reproduce(1).1.contains("kernels.lock doesn't have the kernels"));
    world.check("lock p.yaml --store store", 0, "");
    let (said, noted) = reproduce(0);
    assert!(said.ends_with(" files, built twice: the same bytes\n"), "{said}");
    assert!(noted.contains("umask 022, TZ=UTC") && noted.contains("umask 077, TZ=Pacific"), "{noted}");
    assert!(!world.path("dist").exists(), "the release itself is left alone");
}

/// Signed by the plugin minisign, checked by btfpipe itself.
#[test]
fn a_release_is_signed() {
    let missing =
        ["minisign", "python3"].into_iter().find(|tool| Command::new(tool).arg("-v").output().is_err());
    if let Some(missing) = missing {
        assert!(std::env::var_os("BTFPIPE_NO_SKIPS").is_none(), "{missing} is not installed");
        return eprintln!("skipped: {missing} is not installed");
    }
    let plugins = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../plugins");
    let world = world(ARCHIVE);
    let mut made = Command::new("minisign");
    made.args(["-G", "-W", "-p", "release.pub", "-s", "release.key"]).current_dir(world.path(""));
    assert!(made.output().unwrap().status.success());
    let mut text = std::fs::read_to_string(world.path("p.yaml")).unwrap();
    text.push_str(&format!(
        "  - uses: minisign\n    with: {{ secret_key: '{}' }}\n",
        world.path("release.key").display()
    ));
    world.put("p.yaml", text.as_bytes());
    let mut run = Command::new(env!("CARGO_BIN_EXE_btfpipe"));
    run.args(["run", "p.yaml", "--store", "store"]).env("BTFPIPE_PLUGIN_PATH", plugins);
    let run = run.current_dir(world.path("")).output().unwrap();
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    let told = world.check("bundle verify dist --key release.pub --program pid.bpf.o", 0, "");
    assert!(told.contains("good       SHA256SUMS.minisig: signed by the key"), "{told}");
    // What is signed is the release: with another byte in it nothing is good any more.
    let mut sums = std::fs::read(world.path("dist/SHA256SUMS")).unwrap();
    sums.push(b'\n');
    world.put("dist/SHA256SUMS", &sums);
    assert!(world.check("bundle verify dist --key release.pub", 3, "").contains("not by this key"));
}

/// A host whose kernel is the archive's, and one that only has its name.
#[test]
fn the_host_is_compared_with_the_archive() {
    for (offset, code) in [(8, 0), (24, 3)] {
        let world = world(
            "  - uses: btfhub\n    with: { url: archive }\n  - uses: host\n    with: { root: host, arch: x86_64 }\n",
        );
        world.put("host/etc/os-release", b"ID=ubuntu\nVERSION_ID=\"20.04\"\n");
        world.put("host/proc/sys/kernel/osrelease", b"5.4.0-91-generic\n");
        // Other bytes, and the same layouts when the kernel is the same.
        world.put("host/sys/kernel/btf/vmlinux", &kernel_again(offset));
        let noted = if code == 0 { "btfhub and host have BTF of the same kernel" } else { "" };
        let said = world.check("lock p.yaml --store store", code, noted);
        if code != 0 {
            assert!(
                said.contains("made from another kernel than its name says: struct task: size"),
                "{said}"
            );
        }
    }
}

#[test]
fn the_store_is_looked_after() {
    let world = world(ARCHIVE);
    world.check("store stats --store store", 2, "there is no store");
    world.check("run p.yaml --store store", 0, "");
    assert!(world.check("store stats --store store", 0, "").contains("blobs"));
    assert!(world.check("store verify --store store", 0, "").contains("0 files were broken"));
    let why = world.check(&format!("store why {UBUNTU} --store store"), 0, "");
    assert!(why.contains("package 5.4.0-91-generic.btf of ubuntu/20.04"), "{why}");
    let digest = &why[..64];
    assert!(world.check(&format!("store why {digest} --store store"), 0, "").contains("bytes"));
    let blob = world.path("store/blobs").join(&digest[..2]).join(digest);
    std::fs::write(&blob, b"other").unwrap();
    assert!(world.check("store verify --store store", 1, "").contains("BROKEN"));
    world.check(&format!("store why {digest} --store store"), 1, "");
    // What was thrown away is fetched again.
    world.check("run p.yaml --locked --store store", 0, "");
    assert!(world.check("store verify --store store", 0, "").contains("0 files were broken"));
    assert!(world.check("store gc --max-size 0 --store store", 0, "").contains("0.0 MB are left"));
    world.check("run p.yaml --locked --store store", 0, "");
    world.check("store gc --max-size lots --store store", 2, "no size");
}

/// A store that can't be written is read, and what is missing there is fetched beside it.
#[test]
fn a_store_that_is_read_only() {
    let world = world(ARCHIVE);
    world.check("run p.yaml --store store", 0, "");
    let script = "mount --bind store store && mount -o remount,ro,bind store && ! touch store/x 2>/dev/null && \
                  exec \"$0\" \"$@\"";
    let run = |arguments: &str| {
        let mut command = Command::new("unshare");
        command.args(["--mount", "sh", "-c", script, env!("CARGO_BIN_EXE_btfpipe")]);
        command.args(arguments.split(' ')).current_dir(world.path("")).output().unwrap()
    };
    let probe = Command::new("unshare").args(["--mount", "true"]).output();
    if !probe.is_ok_and(|probe| probe.status.success()) {
        assert!(std::env::var_os("BTFPIPE_NO_SKIPS").is_none(), "mount namespaces are not allowed here");
        return eprintln!("skipped: mount namespaces are not allowed here");
    }
    for arguments in ["run p.yaml --locked --offline --store store", "store verify --store store"] {
        let output = run(arguments);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(0), "{arguments}: {said}");
    }
    assert_eq!(run("store gc --max-size 0 --store store").status.code(), Some(1));
    // One of its blobs is broken: it counts as absent, and comes from the archive again.
    let why = world.check(&format!("store why {UBUNTU} --store store"), 0, "");
    let blob = world.path("store/blobs").join(&why[..2]).join(&why[..64]);
    std::fs::write(blob, b"other").unwrap();
    assert_eq!(run("run p.yaml --locked --store store").status.code(), Some(0));
    assert_eq!(run("store verify --store store").status.code(), Some(1));
}

/// strace sees every system call of every thread and child.
#[test]
fn offline_opens_no_socket() {
    if Command::new("strace").arg("--version").output().is_err() {
        assert!(std::env::var_os("BTFPIPE_NO_SKIPS").is_none(), "strace is not installed");
        return eprintln!("skipped: strace is not installed (apt-get install strace)");
    }
    let world = world("  - uses: btfhub\n    with: { url: 'http://127.0.0.1:9/archive' }\n");
    let traced = |arguments: &str| {
        let mut command = Command::new("strace");
        command.args([
            "-f",
            "-qq",
            "-e",
            "trace=socket,connect",
            "-o",
            "trace",
            env!("CARGO_BIN_EXE_btfpipe"),
        ]);
        let output = command.args(arguments.split(' ')).current_dir(world.path("")).output().unwrap();
        let trace = std::fs::read_to_string(world.path("trace")).unwrap();
        let sockets =
            trace.lines().filter(|line| line.contains("socket(") || line.contains("connect(")).count();
        (output.status.code(), sockets)
    };
    let (code, sockets) = traced("run p.yaml --offline --store store");
    assert_eq!((code, sockets), (Some(1), 0));
    // A kernel that is locked, and not in the store.
    write_pipeline(&world, ARCHIVE);
    world.check("lock p.yaml --store store", 0, "");
    let text = lock(&world).replace("folder: archive", "url: http://127.0.0.1:9/archive");
    world.put("kernels.lock", text.as_bytes());
    std::fs::remove_dir_all(world.path("store")).unwrap();
    let (code, sockets) = traced("run p.yaml --offline --store store");
    assert_eq!((code, sockets), (Some(1), 0));
    // That the trace can show one: a server that has nothing, which is not asked again.
    let server = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let text = lock(&world).replace("127.0.0.1:9", &server.local_addr().unwrap().to_string());
    world.put("kernels.lock", text.as_bytes());
    std::thread::spawn(move || {
        for mut connection in server.incoming().flatten() {
            let _ = connection.read(&mut [0; 4096]);
            let _ = connection
                .write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
        }
    });
    let (_, sockets) = traced("run p.yaml --store store");
    assert!(sockets > 0, "strace saw no socket where there must be one");
}

/// The kernel under this test, against archives that claim to have it.
#[test]
fn the_real_host() {
    let Ok(btf) = std::fs::read("/sys/kernel/btf/vmlinux") else {
        return eprintln!("skipped: this kernel has no BTF of its own");
    };
    let world = world("  - uses: host\n");
    let said = world.check("lock p.yaml --store store", 0, "");
    let id = said.lines().find_map(|line| line.strip_prefix("added ")).unwrap().to_owned();
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    assert!(id.ends_with(&format!("/{}", release.trim())), "{id}");
    assert!(lock(&world).contains("build-id: "), "{}", lock(&world));
    world.check("run p.yaml --locked --store store", 0, "");
    let both = format!("  - uses: host\n  - uses: btfhub\n    with: {{ url: archive, select: '{id}' }}\n");
    write_pipeline(&world, &both);
    // A byte that no struct's layout has anything to do with: the first type's name.
    let mut same = btf;
    let strings = u32::from_ne_bytes(same[16..20].try_into().unwrap()) as usize;
    let header = u32::from_ne_bytes(same[4..8].try_into().unwrap()) as usize;
    let at = header + strings + 1;
    same[at] = if same[at] == b'x' { b'y' } else { b'x' };
    world.put(&format!("archive/{id}.btf"), &same);
    world.check("lock p.yaml --store store", 0, "host and btfhub have BTF of the same kernel");
    world.put(&format!("archive/{id}.btf"), &kernel(8));
    let said = world.check("lock p.yaml --store store", 3, "");
    assert!(said.contains("have BTF of different kernels"), "{said}");
}
