//! apt with a folder of its own for one suite and architecture: the machine's settings, none of the machine's state.

use std::fs::{self, File, TryLockError};
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::thread::{self, JoinHandle};

use plugin::{Failure, Job, Level, SourcePackage};

use crate::config::Arch;
use crate::index::Index;
use crate::machine::{Machine, command, not_started};
use crate::sources::Entry;
use crate::suite::Suite;
use crate::trouble::{self, Trouble};

/// apt's private folder.
pub struct State<'a> {
    machine: &'a Machine,
    suite: &'static Suite,
    arch: Arch,
    folder: PathBuf,
}

/// Who may use the folder while the guard lives.
pub struct Guard(#[expect(dead_code, reason = "holds the lock until it is dropped")] File);

/// How a program of apt ended.
struct Ended {
    success: bool,
    stderr: String,
}

impl<'a> State<'a> {
    /// Makes the folder, or takes up what an earlier process left in it.
    pub fn open(
        cache: &Path,
        machine: &'a Machine,
        suite: &'static Suite,
        arch: Arch,
    ) -> Result<State<'a>, Failure> {
        let folder = std::path::absolute(cache)
            .map_err(|error| Failure::tool(format!("{}: {error}", cache.display())))?
            .join("debian")
            .join(format!("{}-{}", suite.name, arch.debian()));
        let state = State {
            machine,
            suite,
            arch,
            folder,
        };
        state
            .write()
            .map_err(|error| Failure::tool(format!("{}: {error}", state.folder.display())))?;
        Ok(state)
    }

    fn write(&self) -> io::Result<()> {
        for folder in ["lists/partial", "cache/archives/partial"] {
            fs::create_dir_all(self.folder.join(folder))?;
        }
        let folder = self
            .folder
            .to_str()
            .filter(|path| !path.contains(['"', '\n', '\\', '%']))
            .ok_or_else(|| {
                io::Error::new(
                    io::ErrorKind::InvalidInput,
                    "apt can't use a folder of this name; set BTFPIPE_CACHE",
                )
            })?;
        write_whole(&self.folder.join("apt.conf"), &configuration(folder, self.arch))?;
        write_whole(&self.folder.join("debian.sources"), &self.sources())
    }

    /// The suite's pockets on the machine's mirror, in deb822 format.
    fn sources(&self) -> String {
        let mut text = String::new();
        for (pocket, entry) in self.pockets() {
            text += &format!(
                "Types: deb\nURIs: {}\nSuites: {pocket}\nComponents: main\nArchitectures: {}\nTargets: Packages\n\
                 PDiffs: no\n",
                entry.uri,
                self.arch.debian()
            );
            if let Some(keys) = &entry.signed_by {
                text += &format!("Signed-By: {keys}\n");
            }
            text.push('\n');
        }
        text
    }

    fn pockets(&self) -> Vec<(String, &Entry)> {
        let mirror = &self.machine.mirror;
        let pockets = self.suite.pockets().into_iter();
        pockets
            .filter_map(|pocket| {
                let entry = if pocket.security {
                    mirror.security.as_ref()?
                } else {
                    &mirror.archive
                };
                Some((pocket.name, entry))
            })
            .collect()
    }

    /// E.g. `bookworm amd64`.
    pub fn name(&self) -> String {
        format!("{} {}", self.suite.name, self.arch.debian())
    }

    /// Keeps others from changing the lists.
    pub fn share(&self, job: &Job<'_>) -> Result<Guard, Failure> {
        self.lock(job, File::try_lock_shared, File::lock_shared)
    }

    /// Keeps others from using the lists.
    pub fn own(&self, job: &Job<'_>) -> Result<Guard, Failure> {
        self.lock(job, File::try_lock, File::lock)
    }

    fn lock(
        &self,
        job: &Job<'_>,
        attempt: impl Fn(&File) -> Result<(), TryLockError>,
        wait: impl Fn(&File) -> io::Result<()>,
    ) -> Result<Guard, Failure> {
        let path = self.folder.join("lock");
        let failed = |error: io::Error| Failure::tool(format!("{}: {error}", path.display()));
        let file = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
            .map_err(failed)?;
        match attempt(&file) {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let message = format!("waiting for another process that uses {}", self.folder.display());
                job.log(Level::Info, message);
                wait(&file).map_err(failed)?;
            }
            Err(TryLockError::Error(error)) => return Err(failed(error)),
        }
        Ok(Guard(file))
    }

    /// Gets the suite's lists, which apt checks against the signed Release files. Needs [`State::own`].
    ///
    /// A pocket that the mirror doesn't have is reported and does without; the others must answer, or an older
    /// kernel would pass for the newest.
    pub fn update(&self, job: &Job<'_>) -> Result<Vec<String>, Failure> {
        let mut apt = self.apt_get(&["update"]);
        let (mut child, collector) = spawn(&mut apt)?;
        drop(
            child
                .stdout
                .take()
                .map(|mut stdout| io::copy(&mut stdout, &mut io::sink())),
        );
        let ended = finish(child, collector)?;
        self.answered(job, ended.success, &trouble::messages(&ended.stderr))
    }

    /// The pockets that no message is about.
    fn answered(&self, job: &Job<'_>, success: bool, said: &[&str]) -> Result<Vec<String>, Failure> {
        let (mut answered, mut missing) = (Vec::new(), Vec::new());
        let mut rest = said.to_vec();
        for (pocket, _) in self.pockets() {
            let about = about_pocket(said, &pocket);
            rest.retain(|message| !about.contains(message));
            match trouble::worst(&about) {
                _ if about.is_empty() => answered.push(pocket),
                Trouble::NotFound => missing.push(pocket),
                trouble => return Err(trouble.failure(&format!("suite {pocket} does not answer"), &about)),
            }
        }
        let suite = self.suite.name;
        if answered.is_empty() {
            let mirror = &self.machine.mirror.archive.uri;
            return Err(
                Trouble::NotFound.failure(&format!("suite {suite} is not on the mirror {mirror}"), said)
            );
        }
        if !success && (missing.is_empty() || !rest.is_empty()) {
            return Err(trouble::worst(&rest).failure(&format!("suite {suite} can't be read"), &rest));
        }
        for pocket in missing {
            job.log(
                Level::Warn,
                format!("{}: the mirror has no {pocket}; doing without", self.name()),
            );
        }
        Ok(answered)
    }

    /// The kernel packages of the lists that are there, of `pockets` only (all if empty).
    pub fn index(&self, pockets: &[String]) -> Result<Index, Failure> {
        let targets = self
            .apt_get(&[
                "indextargets",
                "--format",
                "$(RELEASE) $(FILENAME)",
                "Created-By: Packages",
            ])
            .output()
            .map_err(|error| not_started("apt-get", &error))?;
        let mut index = Index::default();
        for line in String::from_utf8_lossy(&targets.stdout).lines() {
            let Some((pocket, file)) = line.split_once(' ') else {
                continue;
            };
            if pockets.is_empty() || pockets.iter().any(|name| name == pocket) {
                self.read_list(pocket, file, &mut index)?;
            }
        }
        Ok(index)
    }

    fn read_list(&self, pocket: &str, file: &str, index: &mut Index) -> Result<(), Failure> {
        let helper = &self.machine.helper;
        let mut cat = command(helper);
        cat.arg("-c")
            .arg(self.folder.join("apt.conf"))
            .args(["cat-file", file]);
        let (mut child, collector) = spawn(&mut cat)?;
        let read = child
            .stdout
            .take()
            .map_or(Ok(()), |stdout| index.add(pocket, BufReader::new(stdout)));
        let ended = finish(child, collector)?;
        match read {
            Ok(()) if ended.success => Ok(()),
            Ok(()) => Err(Failure::tool(format!(
                "{file} can't be read: {}",
                ended.stderr.trim()
            ))),
            Err(error) => Err(Failure::tool(format!("{file} can't be read: {error}"))),
        }
    }

    /// Whether the mirror really has what it lists: starts the download, and stops it when it gets going.
    pub fn is_served(&self, package: &SourcePackage, tmpdir: &Path) -> Result<bool, Failure> {
        let folder = tempfile::tempdir_in(tmpdir)
            .map_err(|error| Failure::tool(format!("{}: {error}", tmpdir.display())))?;
        let mut apt = self.apt_get(&["download", &argument(package)]);
        let (mut child, collector) = spawn(apt.current_dir(&folder))?;
        let started = lines(child.stdout.take()).any(|line| line.starts_with("Get:"));
        if started {
            let _ = child.kill();
        }
        let ended = finish(child, collector)?;
        if started || ended.success {
            return Ok(true);
        }
        let said = trouble::messages(&ended.stderr);
        match trouble::worst(&said) {
            Trouble::NotFound => Ok(false),
            trouble => Err(trouble.failure(&format!("{} can't be downloaded", argument(package)), &said)),
        }
    }

    /// Downloads what is not in `folder` yet, checked by apt, named as the packages say. What the mirror doesn't
    /// have comes back, and doesn't keep the others from arriving. `progress` hears percents.
    pub fn download<'p>(
        &self,
        packages: &'p [SourcePackage],
        folder: &Path,
        mut progress: impl FnMut(f64),
    ) -> Result<Vec<&'p SourcePackage>, Failure> {
        let todo: Vec<_> = packages
            .iter()
            .filter(|package| !folder.join(&package.file).exists())
            .collect();
        if todo.is_empty() {
            return Ok(todo);
        }
        let staging = tempfile::tempdir_in(folder)
            .map_err(|error| Failure::tool(format!("{}: {error}", folder.display())))?;
        let mut apt = self.apt_get(&["-o", "APT::Status-Fd=1", "download"]);
        apt.args(todo.iter().map(|package| argument(package)));
        let (mut child, collector) = spawn(apt.current_dir(&staging))?;
        lines(child.stdout.take())
            .filter_map(|line| parse_percent(&line))
            .for_each(&mut progress);
        let ended = finish(child, collector)?;
        let mut missing = Vec::new();
        for package in todo {
            let arrived = staging.path().join(apt_file_name(package));
            if arrived.exists() {
                fs::rename(&arrived, folder.join(&package.file))
                    .map_err(|error| Failure::tool(format!("{}: {error}", arrived.display())))?;
                continue;
            }
            let said = trouble::messages(&ended.stderr);
            let about: Vec<&str> = said
                .iter()
                .copied()
                .filter(|line| line.contains(&package.name))
                .collect();
            let about = if about.is_empty() { said } else { about };
            match trouble::worst(&about) {
                Trouble::NotFound => missing.push(package),
                trouble => {
                    return Err(
                        trouble.failure(&format!("{} can't be downloaded", argument(package)), &about)
                    );
                }
            }
        }
        Ok(missing)
    }

    fn apt_get(&self, arguments: &[&str]) -> Command {
        let mut command = command("apt-get");
        command
            .arg("-q")
            .arg("-c")
            .arg(self.folder.join("apt.conf"))
            .args(arguments);
        command
    }
}

/// Read after the machine's own configuration, so that its proxies stay and its hooks go: those of `apt-get update`
/// would touch the machine's caches.
fn configuration(folder: &str, arch: Arch) -> String {
    let arch = arch.debian();
    format!(
        r##"#clear APT::Architectures;
#clear APT::Default-Release;
#clear APT::Snapshot;
#clear APT::Update::Pre-Invoke;
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
#clear DPkg::Pre-Invoke;
#clear DPkg::Post-Invoke;
#clear DPkg::Pre-Install-Pkgs;
APT::Architecture "{arch}";
APT::Architectures {{ "{arch}"; }};
APT::Update::Error-Mode "any";
Acquire::Languages "none";
Acquire::AllowInsecureRepositories "false";
Acquire::AllowDowngradeToInsecureRepositories "false";
APT::Get::AllowUnauthenticated "false";
Dir::Etc::sourcelist "{folder}/debian.sources";
Dir::Etc::sourceparts "/dev/null";
Dir::Etc::preferences "/dev/null";
Dir::Etc::preferencesparts "/dev/null";
Dir::State "{folder}";
Dir::State::lists "{folder}/lists";
Dir::State::status "/dev/null";
Dir::State::extended_states "{folder}/extended_states";
Dir::Cache "{folder}/cache";
Dir::Cache::archives "{folder}/cache/archives";
Dir::Cache::pkgcache "{folder}/cache/pkgcache.bin";
Dir::Cache::srcpkgcache "";
Dir::Log "{folder}/log";
"##
    )
}

/// Never half written: others may read it at this moment.
fn write_whole(path: &Path, text: &str) -> io::Result<()> {
    if fs::read(path).is_ok_and(|there| there == text.as_bytes()) {
        return Ok(());
    }
    let folder = path.parent().unwrap_or(Path::new("."));
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    io::Write::write_all(&mut file, text.as_bytes())?;
    file.persist(path)?;
    Ok(())
}

/// The messages that name the pocket, as `URI POCKET Release` or as `…/dists/POCKET/…`.
fn about_pocket<'m>(messages: &[&'m str], pocket: &str) -> Vec<&'m str> {
    let names = [format!(" {pocket} "), format!("/dists/{pocket}/")];
    messages
        .iter()
        .copied()
        .filter(|message| names.iter().any(|name| message.contains(name)))
        .collect()
}

/// `NAME:ARCH=VERSION`
fn argument(package: &SourcePackage) -> String {
    format!("{}:{}={}", package.name, package.arch, package.version)
}

/// The name that `apt-get download` gives a file.
fn apt_file_name(package: &SourcePackage) -> String {
    format!(
        "{}_{}_{}.deb",
        package.name,
        package.version.replace(':', "%3a"),
        package.arch
    )
}

/// `dlstatus:1:12.34:Retrieving file 1 of 2`
fn parse_percent(line: &str) -> Option<f64> {
    let mut fields = line.strip_prefix("dlstatus:")?.split(':');
    fields
        .nth(1)?
        .parse()
        .ok()
        .filter(|percent| (0.0..=100.0).contains(percent))
}

type Collector = JoinHandle<String>;

/// Starts a program, and collects its stderr on the side.
fn spawn(command: &mut Command) -> Result<(Child, Collector), Failure> {
    let program = command.get_program().to_string_lossy().into_owned();
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| not_started(&program, &error))?;
    let stderr = child.stderr.take();
    let collector = thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(mut stderr) = stderr {
            let _ = stderr.read_to_end(&mut bytes);
        }
        String::from_utf8_lossy(&bytes).into_owned()
    });
    Ok((child, collector))
}

fn finish(mut child: Child, collector: Collector) -> Result<Ended, Failure> {
    let status = child
        .wait()
        .map_err(|error| Failure::tool(format!("apt: {error}")))?;
    Ok(Ended {
        success: status.success(),
        stderr: collector.join().unwrap_or_default(),
    })
}

fn lines(stdout: Option<ChildStdout>) -> impl Iterator<Item = String> {
    stdout
        .into_iter()
        .flat_map(|stdout| BufReader::new(stdout).lines().map_while(Result::ok))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_of_a_pocket() {
        let messages = [
            "The repository 'http://h/debian bookworm Release' does not have a Release file.",
            "Failed to fetch http://h/debian/dists/bookworm-updates/InRelease  503  x",
        ];
        assert_eq!(about_pocket(&messages, "bookworm"), [messages[0]]);
        assert_eq!(about_pocket(&messages, "bookworm-updates"), [messages[1]]);
        assert!(about_pocket(&messages, "bookworm-security").is_empty());
    }

    #[test]
    fn percents() {
        assert_eq!(
            parse_percent("dlstatus:1:12.5:Retrieving file 1 of 2"),
            Some(12.5)
        );
        for line in [
            "dlstatus:1",
            "dlstatus:1:x:",
            "pmstatus:1:1:",
            "",
            "dlstatus:1:-1:",
            "dlstatus:1:NaN:",
        ] {
            assert_eq!(parse_percent(line), None, "{line}");
        }
    }

    #[test]
    fn names_for_apt() {
        let package = SourcePackage {
            name: "linux-a".into(),
            version: "1:2-3".into(),
            arch: "arm64".into(),
            file: "linux-a_2-3_arm64.deb".into(),
            sha256: String::new(),
            size: 0,
        };
        assert_eq!(argument(&package), "linux-a:arm64=1:2-3");
        assert_eq!(apt_file_name(&package), "linux-a_1%3a2-3_arm64.deb");
    }
}
