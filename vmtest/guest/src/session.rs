//! A command for a person: its standard streams are the results' serial port.

use std::fs::{self, File};
use std::io;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::Command;

use rustix::process::{ioctl_tiocsctty, setsid};
use rustix::stdio::stdin;
use rustix::termios::{
    ControlModes, InputModes, LocalModes, OptionalActions, OutputModes, tcgetattr, tcsetattr,
};

use crate::wire::{SESSION, Session};

/// The command that the host wants, if it does.
pub fn find() -> io::Result<Option<Session>> {
    match fs::read(SESSION) {
        Ok(json) => Ok(Some(serde_json::from_slice(&json)?)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Runs it to its end; gives its exit code, or 128 and its signal.
#[allow(unsafe_code)]
pub fn run(session: &Session, tty: &File) -> io::Result<i32> {
    let (program, arguments) =
        session.command.split_first().ok_or_else(|| io::Error::other("an empty command"))?;
    if session.terminal {
        behave_as_terminal(tty)?;
    }
    let mut command = Command::new(program);
    command.args(arguments).current_dir("/").env("PATH", "/bin:/sbin:/usr/bin:/usr/sbin:/").env("HOME", "/");
    command.stdin(tty.try_clone()?).stdout(tty.try_clone()?).stderr(tty.try_clone()?);
    if session.terminal {
        // SAFETY: between fork and exec only two system calls are made: nothing allocates or locks.
        unsafe {
            command.pre_exec(|| {
                setsid()?;
                ioctl_tiocsctty(stdin())?;
                Ok(())
            });
        }
    }
    let status = command
        .spawn()
        .and_then(|mut child| child.wait())
        .map_err(|error| io::Error::other(format!("{program}: {error}")))?;
    Ok(status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0)))
}

/// Lines, echo, Ctrl-C: it was raw for the results.
fn behave_as_terminal(tty: &File) -> io::Result<()> {
    let mut mode = tcgetattr(tty)?;
    mode.input_modes |= InputModes::ICRNL | InputModes::BRKINT;
    mode.output_modes |= OutputModes::OPOST | OutputModes::ONLCR;
    mode.control_modes |= ControlModes::CREAD;
    mode.local_modes |= LocalModes::ICANON
        | LocalModes::ECHO
        | LocalModes::ECHOE
        | LocalModes::ECHOK
        | LocalModes::ISIG
        | LocalModes::IEXTEN;
    Ok(tcsetattr(tty, OptionalActions::Now, &mode)?)
}
