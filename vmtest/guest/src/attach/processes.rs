//! Processes: started, ended, signalled, refused, waiting.

use std::ffi::{CString, c_char};
use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::ptr;
use std::thread;
use std::time::Duration;

use super::actor::{Actor, Done, Scene, Want, Wants, done, leave, name_space, set_name};

/// Another user, without rights.
const NOBODY: u32 = 1000;
const CAP_NET_RAW: u32 = 13;
const CAP_SYS_ADMIN: i128 = 21;
/// In the second word of the set.
const CAP_PERFMON: u32 = 38;
/// `_LINUX_CAPABILITY_VERSION_3`.
const CAPABILITIES: u32 = 0x2008_0522;
const EXIT_CODE: i32 = 42;
/// `TRACE_SIGNAL_IGNORED`.
const IGNORED: i128 = 1;

/// A child sends this process a signal.
#[allow(unsafe_code)]
pub fn send_signal(scene: &Scene<'_>) -> Vec<Done> {
    let parent = scene.parent as libc::pid_t;
    let wants = || -> Wants {
        // SAFETY: no handler is set, and kill reads two numbers.
        let actor = unsafe {
            libc::signal(libc::SIGUSR1, libc::SIG_IGN);
            scene.act(|_| done(libc::kill(parent, libc::SIGUSR1).into()).map(drop))?
        };
        let mut wants = scene.head(&actor);
        wants.extend([
            ("head.uid", Want::Number(0)),
            ("signal", Want::Number(libc::SIGUSR1.into())),
            ("code", Want::Number(0)),
            ("target", Want::Number(scene.parent)),
            ("to_group", Want::Number(1)),
            ("result", Want::Number(IGNORED)),
            ("target_comm", Want::Text(scene.comm.clone())),
        ]);
        Ok(wants)
    };
    vec![Done { what: "a process sent a signal", hooks: &[], wants: wants() }]
}

/// A process of another user starts a set-user-id program.
pub fn start_program(scene: &Scene<'_>) -> Vec<Done> {
    vec![Done { what: "another user started a set-user-id program", hooks: &[], wants: run_program(scene) }]
}

#[allow(unsafe_code)]
fn run_program(scene: &Scene<'_>) -> Wants {
    let path = format!("/tmp/{}", scene.comm);
    let arguments = [path.as_str(), "one", "two"];
    // This very program, which does nothing when it isn't PID 1.
    let made =
        fs::copy("/init", &path).and_then(|_| fs::set_permissions(&path, Permissions::from_mode(0o4755)));
    made.map_err(|error| format!("{path}: {error}"))?;
    let strings: Vec<CString> = arguments
        .iter()
        .map(|text| CString::new(*text))
        .collect::<Result<_, _>>()
        .map_err(|e| e.to_string())?;
    let mut pointers: Vec<*const c_char> = strings.iter().map(|text| text.as_ptr()).collect();
    pointers.push(ptr::null());
    let actor = scene.act(|_| {
        // SAFETY: numbers, and strings that end with NUL in an array that ends with null.
        unsafe {
            done(libc::setresuid(NOBODY, NOBODY, NOBODY).into())?;
            done(libc::execve(pointers[0], pointers.as_ptr(), [ptr::null()].as_ptr()).into())?;
        }
        Ok(())
    })?;
    fs::remove_file(&path).map_err(|error| error.to_string())?;
    let words: Vec<u8> = arguments.iter().flat_map(|word| word.bytes().chain([0])).collect();
    let mut wants = scene.head(&actor);
    wants.extend([
        ("head.uid", Want::Number(NOBODY.into())),
        ("inner_pid", Want::Number(actor.pid)),
        ("mount_ns", name_space("mnt")),
        ("secure", Want::Number(1)),
        ("argc", Want::Number(arguments.len() as i128)),
        ("args_len", Want::Number(words.len() as i128)),
        ("path", Want::Text(path.clone())),
        ("interpreter", Want::Text(path)),
        ("args", Want::Bytes(words)),
    ]);
    Ok(wants)
}

/// One process ends by itself, one is killed.
#[allow(unsafe_code)]
pub fn end(scene: &Scene<'_>) -> Vec<Done> {
    let exited = scene.act(|_| leave(EXIT_CODE)).map(|actor| end_of(scene, &actor, EXIT_CODE, 0));
    let killed = scene.act(|_| {
        // SAFETY: it ends this process.
        unsafe { libc::raise(libc::SIGKILL) };
        Ok(())
    });
    let killed = killed.map(|actor| end_of(scene, &actor, 0, libc::SIGKILL));
    vec![
        Done { what: "a process ended", hooks: &[], wants: exited },
        Done { what: "a process was killed", hooks: &[], wants: killed },
    ]
}

fn end_of(scene: &Scene<'_>, actor: &Actor, code: i32, signal: i32) -> Vec<(&'static str, Want)> {
    let mut wants = scene.head(actor);
    wants.extend([
        ("lived_ns", Want::Between(1, actor.nanos)),
        // Kernels count the peak before or after the event.
        ("peak_pages", Want::Between(0, i128::from(actor.usage.ru_maxrss) / 4)),
        ("minor_faults", Want::Between(1, actor.usage.ru_minflt.into())),
        ("major_faults", Want::Number(actor.usage.ru_majflt.into())),
        ("exit_code", Want::Number(code.into())),
        ("signal", Want::Number(signal.into())),
        ("dumped_core", Want::Number(0)),
    ]);
    wants
}

/// A process with two capabilities is refused a third.
pub fn ask_for_capability(scene: &Scene<'_>) -> Vec<Done> {
    let wants = || -> Wants {
        let actor = scene.act(|_| {
            keep_capabilities(1 << CAP_NET_RAW | 1 << CAP_PERFMON)?;
            match rustix::system::sethostname(b"refused") {
                Err(rustix::io::Errno::PERM) => Ok(()),
                other => Err(io::Error::other(format!("the name of the machine could be set: {other:?}"))),
            }
        })?;
        let mut wants = scene.head(&actor);
        wants.extend([
            ("effective", Want::Number(1 << CAP_NET_RAW | 1 << CAP_PERFMON)),
            ("capability", Want::Number(CAP_SYS_ADMIN)),
            ("result", Want::Number((-libc::EPERM).into())),
            ("user_ns", name_space("user")),
            ("user_ns_level", Want::Number(0)),
            ("noaudit", Want::Number(0)),
        ]);
        Ok(wants)
    };
    vec![Done { what: "a process was refused a capability", hooks: &[], wants: wants() }]
}

#[allow(unsafe_code)]
fn keep_capabilities(kept: u64) -> io::Result<()> {
    let (low, high) = (kept as u32, (kept >> 32) as u32);
    let header = [CAPABILITIES, 0];
    let sets = [low, low, 0, high, high, 0];
    // SAFETY: the call reads a header of two words, and twice effective, permitted, inheritable.
    done(unsafe { libc::syscall(libc::SYS_capset, header.as_ptr(), sets.as_ptr()) }).map(drop)
}

/// A process waits for its first turn, and, under another name, for the next after it slept.
pub fn wait_for_cpu(scene: &Scene<'_>) -> Vec<Done> {
    let later = format!("cpu-{}", scene.token);
    let acted = scene.act(|_| {
        set_name(&later)?;
        thread::sleep(Duration::from_millis(2));
        Ok(())
    });
    let wants = |comm: &str| -> Wants {
        let actor = acted.as_ref().map_err(Clone::clone)?;
        Ok(vec![
            ("woken", Want::Number(actor.pid)),
            ("woken_tgid", Want::Number(actor.pid)),
            ("woken_comm", Want::Text(comm.to_owned())),
            ("waited_ns", Want::Between(1, actor.nanos)),
        ])
    };
    vec![
        Done {
            what: "a new process waited for the processor",
            hooks: &["sched_wakeup_new", "sched_switch"],
            wants: wants(&scene.comm),
        },
        Done {
            what: "a process that slept waited for the processor",
            hooks: &["sched_wakeup", "sched_switch"],
            wants: wants(&later),
        },
    ]
}
