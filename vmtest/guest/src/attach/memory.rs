//! A control group that is too small.

use std::fs;
use std::hint;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::mount::{MountFlags, mount};

use super::actor::{Done, Scene, Want, Wants};

const GROUPS: &str = "/sys/fs/cgroup";
const LIMIT_PAGES: usize = 1024;
const PAGE: usize = 4096;
/// `LIMIT_CGROUP` of oomkills.bpf.c.
const LIMIT_CGROUP: i128 = 3;
const SCORE_ADJ: i128 = 137;

/// A process that may have few pages takes more.
pub fn run_out(scene: &Scene<'_>) -> Vec<Done> {
    vec![Done {
        what: "a process used more memory than its control group has",
        hooks: &[],
        wants: use_up(scene),
    }]
}

fn use_up(scene: &Scene<'_>) -> Wants {
    let group = format!("{GROUPS}/{}", scene.comm);
    let inode = make_group(Path::new(&group)).map_err(|error| format!("a control group: {error}"))?;
    let killed = scene.act(|_| {
        fs::write("/proc/self/oom_score_adj", SCORE_ADJ.to_string())?;
        fs::write(format!("{group}/cgroup.procs"), "0")?;
        // Every page is written to.
        let taken = hint::black_box(vec![1_u8; 2 * LIMIT_PAGES * PAGE]);
        Err(io::Error::other(format!("nobody minded {} bytes", taken.len())))
    });
    let removed = fs::remove_dir(&group);
    let actor = killed?;
    removed.map_err(|error| format!("{group}: {error}"))?;
    let mut wants = scene.head(&actor);
    wants.extend([
        ("victim", Want::Number(actor.pid)),
        ("victim_comm", Want::Text(scene.comm.clone())),
        ("score_adj", Want::Number(SCORE_ADJ)),
        ("points", Want::Between(1, 1 << 40)),
        ("allowed_pages", Want::Number(LIMIT_PAGES as i128)),
        // The kernel sums up the counters of its processors now and then; and some pages are the parent's, too.
        ("pages.1", Want::Between(LIMIT_PAGES as i128 / 2, 2 * LIMIT_PAGES as i128)),
        ("total_vm_pages", Want::Between(2 * LIMIT_PAGES as i128, 1 << 30)),
        ("limited_cgroup", Want::Number(inode.into())),
        ("order", Want::Number(0)),
        ("limit", Want::Number(LIMIT_CGROUP)),
    ]);
    Ok(wants)
}

/// Its number.
fn make_group(group: &Path) -> io::Result<u64> {
    let controls = Path::new(GROUPS).join("cgroup.subtree_control");
    if !controls.exists() {
        mount("cgroup2", GROUPS, "cgroup2", MountFlags::empty(), None)?;
    }
    fs::write(controls, "+memory")?;
    fs::create_dir(group)?;
    fs::write(group.join("memory.max"), (LIMIT_PAGES * PAGE).to_string())?;
    Ok(fs::metadata(group)?.ino())
}
