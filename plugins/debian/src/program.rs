//! Programs of apt: started, heard, waited for.

use std::io::{self, BufRead, BufReader, Read};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::thread::{self, JoinHandle};

use plugin::{Failure, die_with_parent};

/// How a program of apt ended.
pub struct Ended {
    /// Exit code 0.
    pub success: bool,
    /// All that it wrote there.
    pub stderr: String,
}

/// A program of apt, speaking English, without a terminal, and not outliving us.
pub fn command(program: impl AsRef<std::ffi::OsStr>) -> Command {
    let mut command = Command::new(program);
    die_with_parent(command.env("LC_ALL", "C").stdin(Stdio::null()));
    command
}

/// Why a program didn't start.
pub fn not_started(program: &str, error: &io::Error) -> Failure {
    if error.kind() == io::ErrorKind::NotFound {
        return Failure::user(format!("{program} is not installed"))
            .help("the source debian needs apt and dpkg: run it on Debian or a derivative");
    }
    Failure::tool(format!("{program}: {error}"))
}

/// What reads a program's stderr.
pub type Collector = JoinHandle<String>;

/// Starts a program, and collects its stderr on the side.
pub fn spawn(command: &mut Command) -> Result<(Child, Collector), Failure> {
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

/// Waits for the end.
pub fn finish(mut child: Child, collector: Collector) -> Result<Ended, Failure> {
    let status = child.wait().map_err(|error| Failure::tool(format!("apt: {error}")))?;
    Ok(Ended { success: status.success(), stderr: collector.join().unwrap_or_default() })
}

/// The lines of a program's stdout.
pub fn lines(stdout: Option<ChildStdout>) -> impl Iterator<Item = String> {
    stdout.into_iter().flat_map(|stdout| BufReader::new(stdout).lines().map_while(Result::ok))
}
