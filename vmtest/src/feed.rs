//! A machine that waits for its checks: its state kept, or taken up again, and the checks given to it.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::mpsc;
use std::thread;

use serde_json::json;

use crate::qemu::DISK_BYTES;
use crate::qmp::{Qmp, QmpError};
use crate::states::{self, Key, StateFolder};
use crate::wire;

/// QEMU's name for the file of the state.
const STATE: &str = "state";
/// Bytes a second: QEMU's default is made for networks.
const BANDWIDTH: u64 = 1 << 36;

/// What a waiting machine gets, and how it comes to wait.
#[derive(Debug, Clone, Copy)]
pub struct Feed<'a> {
    /// The file behind the memory that it shares with the host.
    pub memory: &'a Path,
    /// What is written into it.
    pub work: &'a [u8],
    /// What the guest says before it waits: the number on the kernel's command line.
    pub boot_nonce: &'a str,
    /// The bus that gets a disk when the machine is up: a state with one can't be kept.
    pub disk: Option<&'static str>,
    /// From cold or from a kept state.
    pub start: Start<'a>,
}

/// How a machine comes to wait.
#[derive(Debug, Clone, Copy)]
pub enum Start<'a> {
    /// It boots; then its state is kept.
    Boot {
        /// Where.
        states: &'a StateFolder,
        /// Under which name.
        key: &'a Key,
    },
    /// It is restored.
    Restore {
        /// The state's file.
        state: &'a Path,
    },
}

/// Why a state could not be kept or taken up.
#[derive(Debug, thiserror::Error)]
pub enum FeedError {
    /// QEMU.
    #[error(transparent)]
    Qmp(#[from] QmpError),
    /// The file.
    #[error("the state of the machine: {0}")]
    State(#[from] io::Error),
}

/// A state on its way into memory.
pub type Unpacking = mpsc::Receiver<io::Result<Vec<u8>>>;

/// Begins with it, so that it is done when QEMU is up: unpacked while QEMU reads, each would wait for the other.
pub fn unpack(state: &Path) -> Unpacking {
    let path = state.to_owned();
    in_thread(move || states::unpack(&path))
}

/// Loads the state into a machine that was started for it, and leaves it stopped.
pub fn restore(control: UnixStream, state: Unpacking) -> Result<Qmp, FeedError> {
    let mut qmp = open(control)?;
    let (mut ours, theirs) = UnixStream::pair()?;
    qmp.give(STATE, &theirs)?;
    drop(theirs);
    let sent = in_thread(move || ours.write_all(&ended(&state)?));
    let uri = format!("fd:{STATE}");
    qmp.execute("migrate-incoming", json!({ "uri": uri }))?;
    qmp.wait_for_migration()?;
    ended(&sent)?;
    Ok(qmp)
}

/// Keeps the machine's state; the machine goes on afterwards, whether or not that worked. Gives the file's size.
pub fn keep(qmp: &mut Qmp, states: &StateFolder, key: &Key) -> Result<u64, FeedError> {
    qmp.execute("stop", json!({}))?;
    let kept = keep_stopped(qmp, states, key);
    qmp.execute("cont", json!({}))?;
    kept
}

fn keep_stopped(qmp: &mut Qmp, states: &StateFolder, key: &Key) -> Result<u64, FeedError> {
    qmp.execute("migrate-set-parameters", json!({ "max-bandwidth": BANDWIDTH }))?;
    let (ours, theirs) = UnixStream::pair()?;
    qmp.give(STATE, &theirs)?;
    drop(theirs);
    let (folder, name) = (states.clone(), key.clone());
    let received = in_thread(move || folder.receive(&name, ours));
    let uri = format!("fd:{STATE}");
    qmp.execute("migrate", json!({ "uri": uri }))?;
    qmp.wait_for_migration()?;
    let size = ended(&received)?.keep()?;
    states.make_room()?;
    Ok(size)
}

/// The control socket, with news of migrations.
pub fn open(control: UnixStream) -> Result<Qmp, QmpError> {
    let mut qmp = Qmp::greet(control)?;
    let events = json!({ "capabilities": [{ "capability": "events", "state": true }] });
    qmp.execute("migrate-set-capabilities", events)?;
    Ok(qmp)
}

/// Lets a stopped machine run.
pub fn go_on(qmp: &mut Qmp) -> Result<(), QmpError> {
    qmp.execute("cont", json!({})).map(drop)
}

/// Plugs a disk into the running machine.
pub fn plug_disk(qmp: &mut Qmp, bus: &str) -> Result<(), QmpError> {
    let zeros = json!({ "driver": "null-co", "node-name": "disk", "read-zeroes": true, "size": DISK_BYTES });
    qmp.execute("blockdev-add", zeros)?;
    let disk = json!({ "driver": "nvme", "serial": "btfpipe", "drive": "disk", "bus": bus });
    qmp.execute("device_add", disk).map(drop)
}

/// Puts the checks into the shared memory. A restored machine overwrites it while it is restored: afterwards, then.
pub fn fill(memory: &Path, work: &[u8]) -> io::Result<()> {
    File::options().write(true).open(memory)?.write_all_at(work, 0)
}

/// Tells the guest that its checks are there.
pub fn tell(mut results: &UnixStream) -> io::Result<()> {
    results.write_all(format!("{}\n", wire::GO).as_bytes())
}

/// The work's end comes through the channel; a machine that hangs keeps the thread until it is killed.
fn in_thread<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> mpsc::Receiver<io::Result<T>> {
    let (send, receive) = mpsc::channel();
    thread::spawn(move || send.send(work()));
    receive
}

fn ended<T>(work: &mpsc::Receiver<io::Result<T>>) -> io::Result<T> {
    work.recv().map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))?
}
