//! apt with a folder of its own for one suite and architecture: the machine's settings, none of the machine's state.

use std::fs::{self, File, TryLockError};
use std::io::{self, BufReader};
use std::path::{Path, PathBuf};
use std::process::Command;

use plugin::{Failure, Job, Level};

use crate::archive::Archive;
use crate::config::Arch;
use crate::index::Index;
use crate::machine::Machine;
use crate::program::{command, finish, not_started, spawn};
use crate::settings::{configuration, write_whole};
use crate::sources::Entry;
use crate::suite::Suite;
use crate::trouble::{self, Trouble};

/// apt's private folder.
pub struct State<'a> {
    machine: &'a Machine,
    suite: &'a Suite,
    arch: Arch,
    folder: PathBuf,
}

/// Holds the folder until it is dropped, and until the programs that it was given to have ended.
pub struct Guard(File);

impl Guard {
    /// The program holds the folder too, in place of a stdin: should we be killed, it may go on for a while, since
    /// apt-get changes its user at times and thereby forgets to die with us.
    pub fn give_to(&self, command: &mut Command) {
        if let Ok(file) = self.0.try_clone() {
            command.stdin(file);
        }
    }
}

impl<'a> State<'a> {
    /// Makes the folder, or takes up what an earlier process left in it.
    pub fn open(
        cache: &Path,
        machine: &'a Machine,
        archive: Option<&Archive>,
        suite: &'a Suite,
        arch: Arch,
    ) -> Result<State<'a>, Failure> {
        let place = archive.map(|archive| format!("{}-", archive.folder())).unwrap_or_default();
        let folder = std::path::absolute(cache)
            .map_err(|error| Failure::tool(format!("{}: {error}", cache.display())))?
            .join(format!("{place}{}-{}", suite.name, arch.debian()));
        let state = State { machine, suite, arch, folder };
        state.write().map_err(|error| Failure::tool(format!("{}: {error}", state.folder.display())))?;
        Ok(state)
    }

    fn write(&self) -> io::Result<()> {
        for folder in ["lists/partial", "cache/archives/partial"] {
            fs::create_dir_all(self.folder.join(folder))?;
        }
        let folder =
            self.folder.to_str().filter(|path| !path.contains(['"', '\n', '\\', '%'])).ok_or_else(|| {
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
                "Types: deb\nURIs: {}\nSuites: {pocket}\nComponents: {}\nArchitectures: {}\nTargets: Packages\n\
                 PDiffs: no\n",
                entry.uri,
                self.components(entry),
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
        let pockets = self.suite.pockets.iter();
        pockets
            .filter_map(|pocket| {
                let entry = if pocket.security { mirror.security.as_ref()? } else { &mirror.archive };
                Some((pocket.name.clone(), entry))
            })
            .collect()
    }

    /// Of Debian only `main`, whatever else the machine takes: kernels are there.
    fn components(&self, entry: &Entry) -> String {
        if self.suite.own_series { "main".to_owned() } else { entry.components.join(" ") }
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
            .read(true)
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

    /// Gets the suite's lists, which apt checks against the signed Release files. `guard` is of [`State::own`].
    ///
    /// A pocket that the mirror doesn't have is reported and does without; the others must answer, or an older
    /// kernel would pass for the newest.
    pub fn update(&self, job: &Job<'_>, guard: &Guard) -> Result<Vec<String>, Failure> {
        if self.machine.mirror.security.is_none() && self.suite.pockets.iter().any(|pocket| pocket.security) {
            let message = "this machine's apt has no security archive of Debian; kernels of it are not seen";
            job.log(Level::Warn, format!("{}: {message}", self.name()));
        }
        let mut apt = self.apt_get(&["update"]);
        guard.give_to(&mut apt);
        let (mut child, collector) = spawn(&mut apt)?;
        drop(child.stdout.take().map(|mut stdout| io::copy(&mut stdout, &mut io::sink())));
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
        let suite = &self.suite.name;
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
            job.log(Level::Warn, format!("{}: the mirror has no {pocket}; doing without", self.name()));
        }
        Ok(answered)
    }

    /// The kernel packages of the lists that are there, of `pockets` only (all if empty).
    pub fn index(&self, pockets: &[String]) -> Result<Index, Failure> {
        let targets = self
            .apt_get(&["indextargets", "--format", "$(RELEASE) $(FILENAME)", "Created-By: Packages"])
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
        cat.arg("-c").arg(self.folder.join("apt.conf")).args(["cat-file", file]);
        let (mut child, collector) = spawn(&mut cat)?;
        let read = child.stdout.take().map_or(Ok(()), |stdout| index.add(pocket, BufReader::new(stdout)));
        let ended = finish(child, collector)?;
        match read {
            Ok(()) if ended.success => Ok(()),
            Ok(()) => Err(Failure::tool(format!("{file} can't be read: {}", ended.stderr.trim()))),
            Err(error) => Err(Failure::tool(format!("{file} can't be read: {error}"))),
        }
    }

    /// `apt-get` with the private folder.
    pub fn apt_get(&self, arguments: &[&str]) -> Command {
        let mut command = command("apt-get");
        command.arg("-q").arg("-c").arg(self.folder.join("apt.conf")).args(arguments);
        command
    }
}

/// The messages that name the pocket, as `URI POCKET Release` or as `…/dists/POCKET/…`.
fn about_pocket<'m>(messages: &[&'m str], pocket: &str) -> Vec<&'m str> {
    let names = [format!(" {pocket} "), format!("/dists/{pocket}/")];
    messages.iter().copied().filter(|message| names.iter().any(|name| message.contains(name))).collect()
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
}
