//! What people see: on terminals wide and narrow, with keys pressed, and on pipes and disks that end.

mod tmux;
#[path = "../world/mod.rs"]
mod world;

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use tmux::Terminal;
use world::{World, kernel};

/// Of these the world has an archive.
const KERNELS: usize = 4;
/// What is added to a kernel so that fetching it can be watched.
const BYTES: usize = 200 << 10;

/// A world with a lock whose kernels a slow server has.
fn slow_world() -> World {
    let world = World::new();
    for number in 0..KERNELS {
        world.put(&format!("archive/ubuntu/20.04/x86_64/5.4.0-{number}-generic.btf"), &long_kernel(number));
    }
    world.put(
        "p.yaml",
        b"version: 1\nname: small\nkernels:\n  - uses: btfhub\n    with: { url: archive }\nprograms:\n  - pid.bpf.o\n\
          steps:\n  - uses: record\n  - uses: minimize\n  - uses: package\n    with: { layouts: [bundle], level: 3 }\n",
    );
    world.check("lock p.yaml --store store", 0, "");
    std::fs::remove_dir_all(world.path("store")).unwrap();
    let url = serve_slowly(&world);
    let lock = std::fs::read_to_string(world.path("kernels.lock")).unwrap();
    world.put("kernels.lock", lock.replace("folder: archive", &format!("url: {url}")).as_bytes());
    world
}

/// With names that nothing refers to behind the others.
fn long_kernel(number: usize) -> Vec<u8> {
    let mut bytes = kernel(8 + 4 * u32::try_from(number).unwrap());
    let word = |at: usize, bytes: &[u8]| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
    let more = u32::try_from(BYTES).unwrap();
    let strings = word(20, &bytes) + more;
    bytes[20..24].copy_from_slice(&strings.to_le_bytes());
    bytes.extend((0..more).map(|at| if at % 8 == 7 { 0 } else { b'a' + (at % 23) as u8 }));
    bytes
}

/// Serves the archive on a port of its own, a little at a time.
fn serve_slowly(world: &World) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let root = Arc::new(world.path("archive"));
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let root = Arc::clone(&root);
            // Whoever asked may be gone before the end.
            std::thread::spawn(move || answer(stream, &root).unwrap_or_default());
        }
    });
    url
}

fn answer(mut stream: TcpStream, root: &std::path::Path) -> std::io::Result<()> {
    let mut request = Vec::new();
    let mut byte = [0];
    while !request.ends_with(b"\r\n\r\n") && stream.read(&mut byte)? == 1 {
        request.push(byte[0]);
    }
    let request = String::from_utf8_lossy(&request).into_owned();
    let path = request.split(' ').nth(1).unwrap_or_default().trim_start_matches('/');
    let content = std::fs::read(root.join(path))?;
    write!(stream, "HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", content.len())?;
    for chunk in content.chunks(content.len() / 40 + 1) {
        stream.write_all(chunk)?;
        std::thread::sleep(Duration::from_millis(100));
    }
    Ok(())
}

const RUN: &str = "run p.yaml --locked --store store --jobs 2";

/// A run that can be watched; None where there is no terminal to be had.
fn start(size: (u16, u16), before: &str) -> Option<(World, Terminal)> {
    Terminal::is_possible().then(|| {
        let world = slow_world();
        let terminal = Terminal::run(&world.path(""), size, before, RUN);
        (world, terminal)
    })
}

/// Presses Ctrl-C while something is fetched, and waits for the answer.
fn stop(terminal: &Terminal) {
    terminal.wait("fetching", |screen| screen.contains("fetch    ubuntu"));
    terminal.press("C-c");
    terminal.wait("answer to Ctrl-C", |screen| screen.contains("stopping when what is under way ends"));
}

/// Bars while it runs, and nothing of them afterwards.
#[test]
fn a_run_is_seen() {
    let Some((_world, terminal)) = start((100, 30), "") else { return };
    let seen = terminal.wait("moving bars", |screen| screen.matches("fetch    ubuntu/20.04").count() == 2);
    assert!(seen.lines().any(|line| line.starts_with("[00:00:0") && line.contains("actions")), "{seen}");
    let seen = terminal.wait("rate and share", |screen| screen.contains(" MB/s") && screen.contains('%'));
    let (screen, code) = terminal.end();
    println!("while it runs:\n{seen}\nat the end:\n{screen}");
    assert_eq!(code, 0, "{screen}");
    assert!(screen.contains("small: 1 objects, 1 programs × 4 kernels"), "{screen}");
    assert!(screen.contains("all is well"), "{screen}");
    assert!(!screen.contains("[00:0") && !screen.contains("fetch"), "a bar is left:\n{screen}");
    assert!(terminal.painted().contains("\x1b[36mhost"), "{}", terminal.painted());
}

/// The first Ctrl-C lets what is under way end, says so, and says what is left.
#[test]
fn stopped_once() {
    let Some((world, terminal)) = start((100, 30), "") else { return };
    stop(&terminal);
    let (screen, code) = terminal.end();
    println!("{screen}");
    assert_eq!(code, 130, "{screen}");
    assert!(screen.contains("interrupted:") && screen.contains("are left; run again"), "{screen}");
    assert!(
        !screen.contains("actions") && !screen.contains("^C"),
        "something of the bars is left:\n{screen}"
    );
    world.check(RUN, 0, "");
    world.check("store verify --store store", 0, "");
}

/// The second ends it at once, and the next run goes on.
#[test]
fn stopped_twice() {
    let Some((world, terminal)) = start((100, 30), "") else { return };
    stop(&terminal);
    terminal.press("C-c");
    let (screen, code) = terminal.end();
    assert_eq!(code, 130, "{screen}");
    assert!(!screen.contains("are left"), "it did not end at once:\n{screen}");
    world.check(RUN, 0, "");
    world.check("store verify --store store", 0, "");
}

/// Bars are cut where the terminal ends, and tables are parted.
#[test]
fn a_narrow_terminal() {
    let Some((_world, terminal)) = start((40, 50), "") else { return };
    let seen = terminal.wait("bars", |screen| screen.matches("fetch    ubuntu").count() == 2);
    println!("{seen}");
    let lines = seen.lines().filter(|line| !line.trim().is_empty()).count();
    assert_eq!(lines, 3, "a bar is wrapped:\n{seen}");
    let (screen, code) = terminal.end();
    println!("{screen}");
    assert_eq!(code, 0, "{screen}");
}

/// Nobody who wants none gets colours or bars.
#[test]
fn no_colours_and_no_bars() {
    let Some((_world, terminal)) = start((100, 40), "NO_COLOR=1 TERM=dumb") else { return };
    let (screen, code) = terminal.end();
    assert_eq!(code, 0, "{screen}");
    let painted = terminal.painted();
    assert!(!painted.contains('\x1b'), "{painted}");
    assert!(painted.contains("fetch    ubuntu/20.04/x86_64/5.4.0-0-generic: "), "{painted}");
}

/// Whoever reads stdout or stderr may have enough early; that changes nothing of the work.
#[test]
fn closed_pipes() {
    let world = slow_world();
    for closed in ["stdout", "stderr"] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_btfpipe"));
        command.args(RUN.split(' ')).arg("--rerun").current_dir(world.path(""));
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut rest = String::new();
        if closed == "stdout" {
            drop(child.stdout.take());
            child.stderr.take().unwrap().read_to_string(&mut rest).unwrap();
        } else {
            drop(child.stderr.take());
            child.stdout.take().unwrap().read_to_string(&mut rest).unwrap();
        }
        let status = child.wait().unwrap();
        assert_eq!(status.code(), Some(0), "without {closed}: {rest}");
        assert!(!rest.contains("panicked"), "{rest}");
        assert!(world.path("dist/small-x86_64.tar.zst").is_file());
    }
}

/// A disk that is full costs the run and nothing else; with room again the next run goes on.
#[test]
fn a_full_disk() {
    let allowed = Command::new("unshare").args(["--mount", "true"]).output();
    if !allowed.is_ok_and(|probe| probe.status.success()) {
        assert!(std::env::var_os("BTFPIPE_NO_SKIPS").is_none(), "mount namespaces are not allowed here");
        return eprintln!("skipped: mount namespaces are not allowed here");
    }
    let world = slow_world();
    std::fs::create_dir(world.path("store")).unwrap();
    let script = "mount -t tmpfs -o size=500k none store && \"$0\" \"$@\"; echo \"first $?\"; \
                  mount -o remount,size=50m store && \"$0\" \"$@\"; echo \"second $?\"; \
                  \"$0\" store verify --store store; echo \"verified $?\"";
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", script, env!("CARGO_BIN_EXE_btfpipe")]);
    let output = command.args(RUN.split(' ')).current_dir(world.path("")).output().unwrap();
    let (said, noted) =
        (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    assert!(noted.contains("No space left on device"), "{said}{noted}");
    assert!(
        said.contains("first 1\n") && said.contains("second 0\n") && said.contains("verified 0\n"),
        "{said}{noted}"
    );
}
