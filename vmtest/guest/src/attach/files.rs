//! Files: opened, and removed again.

use std::ffi::CString;
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};

use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};

use super::actor::{Done, Scene, Want, Wants, done};

const FOLDER: &str = "/tmp/disk";
const CONTENT: &[u8] = b"seven b";
const MODE: u32 = 0o640;
/// arm64 never had `open`.
const CALLS: usize = if cfg!(target_arch = "x86_64") { 3 } else { 2 };
const S_IFREG: i128 = 0o100_000;

/// A process opens files that are not there, by each of the system calls.
pub fn open(scene: &Scene<'_>) -> Vec<Done> {
    const FLAGS: i32 = libc::O_RDONLY | libc::O_CLOEXEC | libc::O_NOFOLLOW;
    let calls: [(&'static str, &'static [&'static str], i64); CALLS] = [
        ("a process called openat", &["sys_enter_openat", "sys_exit_openat"], libc::SYS_openat),
        ("a process called openat2", &["sys_enter_openat2", "sys_exit_openat2"], libc::SYS_openat2),
        #[cfg(target_arch = "x86_64")]
        ("a process called open", &["sys_enter_open", "sys_exit_open"], libc::SYS_open),
    ];
    let call = |(what, hooks, number): (_, _, i64)| {
        let path = format!("/none/{}-{number}", scene.token);
        let wants = || -> Wants {
            let name = CString::new(path.as_str()).map_err(|error| error.to_string())?;
            let actor = scene.act(|_| match try_open(number, &name, FLAGS) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
                other => Err(io::Error::other(format!("{path}: {other:?}"))),
            })?;
            let mut wants = scene.head(&actor);
            wants.extend([
                ("took_ns", Want::Between(1, actor.nanos)),
                ("result", Want::Number((-libc::ENOENT).into())),
                ("flags", Want::Number(FLAGS.into())),
                ("mode", Want::Number(0)),
                ("path", Want::Text(path.clone())),
            ]);
            Ok(wants)
        };
        Done { what, hooks, wants: wants() }
    };
    calls.into_iter().map(call).collect()
}

#[allow(unsafe_code)]
fn try_open(number: i64, path: &CString, flags: i32) -> io::Result<i64> {
    let how = [flags as u64, 0, 0];
    // SAFETY: each call gets the arguments that it has, and strings and structs live through it.
    done(unsafe {
        match number {
            libc::SYS_openat => libc::syscall(number, libc::AT_FDCWD, path.as_ptr(), flags, 0),
            libc::SYS_openat2 => {
                libc::syscall(number, libc::AT_FDCWD, path.as_ptr(), how.as_ptr(), size_of_val(&how))
            }
            _ => libc::syscall(number, path.as_ptr(), flags, 0),
        }
    })
}

/// A process creates a file, fills it, removes it.
pub fn create_and_remove(scene: &Scene<'_>) -> Vec<Done> {
    vec![Done { what: "a process created a file and removed it", hooks: &[], wants: try_create(scene) }]
}

fn try_create(scene: &Scene<'_>) -> Wants {
    // A file system of its own: its kind is what the event says.
    let mounted = fs::create_dir_all(FOLDER)
        .and_then(|()| Ok(mount("tmpfs", FOLDER, "tmpfs", MountFlags::empty(), None)?));
    mounted.map_err(|error| format!("{FOLDER}: {error}"))?;
    let wants = create_in(scene);
    let _ = unmount(FOLDER, UnmountFlags::DETACH);
    wants
}

fn create_in(scene: &Scene<'_>) -> Wants {
    let folder = format!("{FOLDER}/short");
    let name = format!("file-{}", scene.token);
    let path = format!("{folder}/{name}");
    fs::create_dir(&folder).map_err(|error| format!("{folder}: {error}"))?;
    let actor = scene.act(|out| {
        let mut file = File::options().write(true).create_new(true).mode(MODE).open(&path)?;
        file.write_all(CONTENT)?;
        write!(out, "{}", file.metadata()?.ino())?;
        drop(file);
        fs::remove_file(&path)
    })?;
    let inode = std::str::from_utf8(&actor.said).ok().and_then(|text| text.parse().ok());
    let device = fs::metadata(&folder).map_err(|error| error.to_string())?.dev();
    let mut wants = scene.head(&actor);
    wants.extend([
        ("lived_ns", Want::Between(1, actor.nanos)),
        ("inode", Want::Number(inode.ok_or("the file had no number")?)),
        ("size", Want::Number(CONTENT.len() as i128)),
        ("device", Want::Number(i128::from(libc::major(device)) << 20 | i128::from(libc::minor(device)))),
        ("mode", Want::Number(S_IFREG | i128::from(MODE))),
        ("creator", Want::Number(actor.pid)),
        ("creator_comm", Want::Text(scene.comm.clone())),
        ("file_system", Want::Text("tmpfs".to_owned())),
        ("directory", Want::Text("short".to_owned())),
        ("name", Want::Text(name)),
    ]);
    Ok(wants)
}
