//! Tasks about where kernels come from, too long for every test run.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use xshell::{Shell, cmd};

use crate::packages::{self, RUN, TEST};
use crate::{Error, Outcome, run};

/// `kills [N]`: kills downloads and store writes N times at random points; the store must verify clean each time.
pub fn kills(shell: &Shell, arguments: &[String]) -> Outcome {
    let count = match arguments {
        [] => "200",
        [count] => count,
        other => return Err(format!("kills takes a number, not {other:?}").into()),
    };
    cmd!(shell, "cargo test --locked --package kernels --test download -- --nocapture killed_at_any_point")
        .env("BTFPIPE_KILLS", count)
        .run()?;
    Ok(ExitCode::SUCCESS)
}

/// `archive COUNT [REAL.btf.tar.xz…]`: a BTFHub-shaped archive is made, served by nginx on loopback, listed, locked and
/// fetched; prints how long that took.
pub fn archive(shell: &Shell, arguments: &[String]) -> Outcome {
    let [count, real @ ..] = arguments else {
        return Err("how many kernels? e.g. cargo xtask archive 4000".into());
    };
    packages::install(shell, &[RUN, TEST])?;
    let program = run::build(shell)?;
    let work = shell.create_temp_dir()?;
    let (files, store) = (work.path().join("archive"), work.path().join("store"));
    cmd!(shell, "cargo run --quiet --release --locked --package kernels --example archive -- {files} {count} {real...}")
        .run()?;
    let server = Nginx::start(work.path(), &files)?;
    let pipeline = work.path().join("archive.yaml");
    let port = server.port;
    fs::write(&pipeline, pipeline_text(port))?;
    fs::write(work.path().join("pid.bpf.c"), PROGRAM)?;
    let timed = |what: &str, arguments: &[&str]| -> Result<(), Error> {
        let start = Instant::now();
        cmd!(shell, "{program} {arguments...} {pipeline} --store {store}").quiet().ignore_stdout().run()?;
        println!("{what:<44} {:>8.1} s", start.elapsed().as_secs_f64());
        Ok(())
    };
    timed("list, fetch, extract and lock", &["lock"])?;
    let lock = fs::metadata(work.path().join("kernels.lock"))?.len();
    println!("{:<44} {lock:>8} bytes", "kernels.lock");
    timed("lock again, everything in the store", &["lock"])?;
    timed("lock --check", &["lock", "--check"])?;
    let start = Instant::now();
    cmd!(shell, "{program} check {pipeline}").quiet().ignore_stdout().run()?;
    println!("{:<44} {:>8.1} s", "check: the lock is read", start.elapsed().as_secs_f64());
    cmd!(shell, "{program} store stats --store {store}").quiet().run()?;
    let start = Instant::now();
    cmd!(shell, "{program} store verify --store {store}").quiet().run()?;
    println!("{:<44} {:>8.1} s", "store verify", start.elapsed().as_secs_f64());
    Ok(ExitCode::SUCCESS)
}

fn pipeline_text(port: u16) -> String {
    format!(
        "version: 1\nname: archive\nkernels:\n  - uses: btfhub\n    with: {{ url: 'http://127.0.0.1:{port}', index: tree.json }}\n\
         programs:\n  - pid.bpf.c\nsteps:\n  - uses: record\n"
    )
}

const PROGRAM: &str = "int unused;\n";

/// nginx on a port of its own, serving a folder; it ends when it is dropped.
struct Nginx {
    process: Child,
    port: u16,
}

impl Nginx {
    fn start(work: &Path, root: &Path) -> Result<Nginx, Error> {
        let program = ["/usr/sbin/nginx"].map(PathBuf::from).into_iter().find(|path| path.is_file());
        let program = program.ok_or("nginx is not installed")?;
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let (work, root) = (work.display(), root.display());
        let config = format!("{work}/nginx.conf");
        let text = format!(
            "daemon off; master_process off; pid {work}/pid; error_log {work}/error.log;
            events {{ worker_connections 64; }}
            http {{
                access_log off; sendfile on;
                client_body_temp_path {work}/1; proxy_temp_path {work}/2; fastcgi_temp_path {work}/3;
                uwsgi_temp_path {work}/4; scgi_temp_path {work}/5;
                server {{ listen 127.0.0.1:{port}; root {root}; }}
            }}"
        );
        fs::write(&config, text)?;
        let log = format!("{work}/error.log");
        let process = Command::new(program).args(["-c", &config, "-e", &log]).stdin(Stdio::null()).spawn()?;
        let server = Nginx { process, port };
        for _ in 0..500 {
            if TcpStream::connect(("127.0.0.1", port)).is_ok() {
                return Ok(server);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Err("nginx does not answer".into())
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// `dwarf [RELEASE]`: BTF of a Debian kernel's debug package (280 MB) beside the kernel's own: every decision of our programs
/// and of libbpf-tools must be equal.
pub fn dwarf(shell: &Shell, arguments: &[String]) -> Outcome {
    packages::install(shell, &[RUN, TEST])?;
    let program = run::build(shell)?;
    let work = shell.create_temp_dir()?;
    let release = match arguments {
        [] => newest_cloud_kernel(shell)?,
        [release] => release.clone(),
        other => return Err(format!("dwarf takes a release, not {other:?}").into()),
    };
    let version = debian_version(shell)?;
    let id = format!("debian/{version}/x86_64/{release}");
    let package = format!("apt:linux-image-{release}");
    let [objects, kernels] = ["objects", "kernels"].map(|name| work.path().join(name));
    fs::write(
        work.path().join("dwarf.yaml"),
        format!(
            "version: 1\nname: dwarf\nkernels:\n  - uses: dwarf\n    with:\n      kernels:\n        \
             - {{ id: '{id}', debug: '{package}-dbg', boot: '{package}' }}\nprograms:\n  - '*.bpf.o'\nsteps:\n  - uses: record\n"
        ),
    )?;
    let programs = compile(shell, work.path())?;
    std::os::unix::fs::symlink(shell.current_dir().join("plugins"), work.path().join("plugins"))?;
    let (pipeline, store) = (work.path().join("dwarf.yaml"), work.path().join("store"));
    let start = Instant::now();
    cmd!(shell, "{program} extract {pipeline} {kernels} --store {store}").run()?;
    println!("fetched, unpacked and made in {} s", start.elapsed().as_secs());
    print!("{}", fs::read_to_string(work.path().join("kernels.lock"))?);
    let made = only_file(&kernels.join("btf"))?;
    let image = only_file(&kernels.join("kernels"))?;
    let tools = crate::bench::embedded(shell, &objects)?;
    for (what, objects) in [("our programs", &programs), ("libbpf-tools", &tools)] {
        let records =
            cmd!(shell, "{program} record --btf {made} --format jsonl {objects...}").quiet().read()?;
        cmd!(shell, "{program} diff {made} {image} --programs {objects...}").run()?;
        println!("{what}: {} objects, {} decisions, all equal", objects.len(), records.lines().count());
    }
    Ok(ExitCode::SUCCESS)
}

/// The objects of our programs, as a run compiles them.
pub fn compile(shell: &Shell, work: &Path) -> Result<Vec<PathBuf>, Error> {
    compile_for(shell, "x86", work)
}

/// The same for an architecture, by the name that libbpf's headers have for it.
pub fn compile_for(shell: &Shell, arch: &str, work: &Path) -> Result<Vec<PathBuf>, Error> {
    let define = format!("-D__TARGET_ARCH_{arch}");
    let mut objects = Vec::new();
    for source in shell.read_dir("pipelines/programs")? {
        let name = source.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let Some(stem) = name.strip_suffix(".bpf.c") else { continue };
        let object = work.join(format!("{stem}.bpf.o"));
        let arguments = [define.as_str(), "-I", "pipelines/programs", "-I", "/usr/include/x86_64-linux-gnu"];
        cmd!(shell, "clang-19 -g -O2 --target=bpf {arguments...} -c {source} -o {object}").quiet().run()?;
        objects.push(object);
    }
    objects.sort();
    Ok(objects)
}

fn newest_cloud_kernel(shell: &Shell) -> Result<String, Error> {
    let depends = cmd!(shell, "apt-cache show --no-all-versions linux-image-cloud-amd64").quiet().read()?;
    let line = depends.lines().find_map(|line| line.strip_prefix("Depends: linux-image-"));
    let release = line.and_then(|rest| rest.split([' ', ',']).next());
    Ok(release.ok_or("apt knows no linux-image-cloud-amd64; run apt-get update")?.to_owned())
}

fn debian_version(shell: &Shell) -> Result<String, Error> {
    let text = shell.read_file("/etc/os-release")?;
    let version = text.lines().find_map(|line| line.strip_prefix("VERSION_ID="));
    Ok(version.ok_or("no VERSION_ID in /etc/os-release")?.trim_matches('"').to_owned())
}

pub fn only_file(folder: &Path) -> Result<PathBuf, Error> {
    let mut files = fs::read_dir(folder)?;
    match (files.next(), files.next()) {
        (Some(file), None) => Ok(file?.path()),
        _ => Err(format!("{}: one file was expected", folder.display()).into()),
    }
}
