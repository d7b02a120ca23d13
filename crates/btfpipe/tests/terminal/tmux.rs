//! A terminal that is a real one: tmux draws it, presses its keys and says what stands on it.

use std::path::Path;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

/// Longer than anything takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(90);

/// A window of a tmux server of its own, which ends with it.
pub struct Terminal {
    socket: String,
}

impl Terminal {
    /// None where tmux is not installed, aloud; where skipping is a failure, it is one.
    pub fn is_possible() -> bool {
        let possible = Command::new("tmux").arg("-V").output().is_ok();
        if !possible {
            assert!(std::env::var_os("BTFPIPE_NO_SKIPS").is_none(), "tmux is not installed");
            eprintln!("skipped: tmux is not installed (apt-get install tmux)");
        }
        possible
    }

    /// Runs btfpipe in `folder` on a terminal of this size; how it ended stands below what it said.
    pub fn run(folder: &Path, (columns, lines): (u16, u16), before: &str, arguments: &str) -> Terminal {
        let socket = format!("btfpipe-{}-{columns}-{lines}-{:?}", std::process::id(), Instant::now());
        let socket = socket.replace(|c: char| !c.is_ascii_alphanumeric() && c != '-', "");
        let terminal = Terminal { socket };
        let program = env!("CARGO_BIN_EXE_btfpipe");
        // Keys that end the program must not end what says how it ended.
        let script =
            format!("trap : INT; {before} '{program}' {arguments}; echo \"ended with $?\"; exec sleep 600");
        let size = [columns.to_string(), lines.to_string()];
        let started = terminal.tmux(&[
            "-f",
            "/dev/null",
            "new-session",
            "-d",
            "-x",
            &size[0],
            "-y",
            &size[1],
            "-c",
            folder.to_str().unwrap(),
            "sh",
            "-c",
            &script,
        ]);
        assert!(started.status.success(), "{}", String::from_utf8_lossy(&started.stderr));
        terminal
    }

    /// What stands there now.
    pub fn screen(&self) -> String {
        String::from_utf8(self.tmux(&["capture-pane", "-p"]).stdout).unwrap()
    }

    /// The same with the codes of its colours, and with all that has moved out at the top.
    pub fn painted(&self) -> String {
        String::from_utf8(self.tmux(&["capture-pane", "-p", "-e", "-S", "-"]).stdout).unwrap()
    }

    /// Waits until the screen is as wanted, and gives it.
    #[track_caller]
    pub fn wait(&self, what: &str, wanted: impl Fn(&str) -> bool) -> String {
        let start = Instant::now();
        loop {
            let screen = self.screen();
            if wanted(&screen) {
                return screen;
            }
            assert!(start.elapsed() < PATIENCE, "no {what} on the screen:\n{screen}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Waits for the end, and gives the last screen and the exit code.
    #[track_caller]
    pub fn end(&self) -> (String, u8) {
        let screen = self.wait("end", |screen| screen.contains("ended with "));
        let code = screen.rsplit_once("ended with ").unwrap().1;
        let code = code.lines().next().unwrap().trim().parse().unwrap();
        (screen, code)
    }

    pub fn press(&self, key: &str) {
        assert!(self.tmux(&["send-keys", key]).status.success());
    }

    fn tmux(&self, arguments: &[&str]) -> Output {
        let mut tmux = Command::new("tmux");
        tmux.args(["-L", &self.socket]).args(arguments).env("TERM", "xterm").env("LC_ALL", "C.UTF-8");
        tmux.output().unwrap()
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        self.tmux(&["kill-server"]);
    }
}
