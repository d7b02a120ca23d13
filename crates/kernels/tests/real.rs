//! A real kernel of the machine's own Debian suite. Needs BTFPIPE_REAL=1, apt and a network.
//!
//! Everything happens in a folder of its own: apt's state on the machine is not touched.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The newest cloud kernel, which is the smallest that Debian has.
const META_PACKAGE: &str = "linux-image-cloud-amd64";

#[test]
fn real_debian_kernel() {
    if std::env::var_os("BTFPIPE_REAL").is_none() {
        println!("skipped: set BTFPIPE_REAL=1 to fetch a kernel with apt");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let apt = Apt::new(folder.path());
    apt.run("apt-get", &["-qq", "update"]);
    let depends = apt.run("apt-cache", &["depends", META_PACKAGE]);
    let package = depends.lines().find_map(|line| line.trim().strip_prefix("Depends: linux-image-")).unwrap();
    let name = format!("linux-image-{package}");
    let deb = apt.download(&name);

    let found = kernels::extract::from_packages(std::slice::from_ref(&deb), package).unwrap();

    let listed = run(Command::new("dpkg-deb").arg("-c").arg(&deb));
    let listed = listed.lines().filter(|line| kernels::modules::find_name(line).is_some()).count();
    assert_eq!(found.modules.len() + found.modules_without_btf, listed, "modules that dpkg-deb lists");
    assert!(found.bad_modules.is_empty(), "{:?}", found.bad_modules);
    assert!(found.btf.len() > 1_000_000);
    assert_eq!(found.build_id.map(|id| id.len()), Some(40));
    let config = String::from_utf8(found.config.unwrap()).unwrap();
    assert!(config.lines().any(|line| line == "CONFIG_DEBUG_INFO_BTF=y"));
}

/// apt with its state in a folder.
struct Apt {
    folder: PathBuf,
}

impl Apt {
    fn new(folder: &Path) -> Apt {
        for name in ["lists/partial", "cache/archives/partial"] {
            std::fs::create_dir_all(folder.join(name)).unwrap();
        }
        Apt { folder: folder.to_owned() }
    }

    fn run(&self, program: &str, arguments: &[&str]) -> String {
        let mut command = Command::new(program);
        command.current_dir(&self.folder).args(arguments).args(["-o", "Dir::State::status=/dev/null"]);
        for (option, name) in [("Dir::State::Lists", "lists"), ("Dir::Cache", "cache")] {
            command.arg("-o").arg(format!("{option}={}", self.folder.join(name).display()));
        }
        // The user that apt changes to can't write here.
        run(command.args(["-o", "APT::Sandbox::User="]))
    }

    fn download(&self, package: &str) -> PathBuf {
        self.run("apt-get", &["-qq", "download", package]);
        let files = std::fs::read_dir(&self.folder).unwrap().map(|entry| entry.unwrap().path());
        files.into_iter().find(|path| path.extension().is_some_and(|ext| ext == "deb")).unwrap()
    }
}

fn run(command: &mut Command) -> String {
    let output = command.stderr(Stdio::inherit()).output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", output.status);
    String::from_utf8(output.stdout).unwrap()
}
