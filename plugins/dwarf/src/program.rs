//! Programs that are run.

use std::process::{Command, ExitStatus, Stdio};

use plugin::{Failure, die_with_parent};

/// A program that says nothing on its own, in a language that we read.
pub fn command(name: &str) -> Command {
    let mut command = Command::new(name);
    command.env("LC_ALL", "C").stdin(Stdio::null());
    die_with_parent(&mut command);
    command
}

/// Its output, as text.
pub fn read(command: &mut Command) -> Result<String, Failure> {
    let output = command.output().map_err(|error| not_started(command, &error))?;
    match output.status.success() {
        true => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
        false => Err(failed(command, output.status, &output.stderr)),
    }
}

pub fn not_started(command: &Command, error: &std::io::Error) -> Failure {
    let name = command.get_program().to_string_lossy();
    let failure = Failure::user(format!("{name} can't be run: {error}"));
    match error.kind() {
        std::io::ErrorKind::NotFound => failure.help(format!("install {}", package_of(&name))),
        _ => failure,
    }
}

pub fn failed(command: &Command, status: ExitStatus, stderr: &[u8]) -> Failure {
    let name = command.get_program().to_string_lossy();
    let said = String::from_utf8_lossy(stderr);
    // The last lines say most.
    let lines: Vec<&str> = said.lines().filter(|line| !line.trim().is_empty()).collect();
    let said = lines[lines.len().saturating_sub(3)..].join("; ");
    Failure::tool(format!("{name}: {status}: {said}"))
}

fn package_of(program: &str) -> &str {
    match program {
        "pahole" => "the package pahole (dwarves)",
        "dpkg-deb" => "dpkg",
        "apt-get" => "apt",
        "rpm2cpio" => "the package rpm2cpio",
        other => other,
    }
}
