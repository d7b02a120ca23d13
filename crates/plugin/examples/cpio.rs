//! A layout in Rust: the package as a cpio archive (`newc`), which the kernel unpacks behind an initramfs.
//!
//! `plugin.yaml` beside the program would be:
//!
//! ```yaml
//! api: 1
//! name: cpio
//! version: 0.1.0
//! run: [cpio]
//! provides: [package]
//! cache: { pure: true }
//! ```

use std::fs;
use std::io::Write;
use std::process::ExitCode;

use plugin::{Failure, Job, Output, Problem, Step, serve_step};
use serde_json::Value;

struct Cpio;

/// A header of a tar archive, and what files are rounded up to.
const BLOCK: usize = 512;

impl Step for Cpio {
    fn validate(&self, config: &Value) -> Vec<Problem> {
        let folder = config.get("folder").unwrap_or(&Value::Null);
        let is_good = config.is_object() && (folder.is_null() || folder.as_str().is_some_and(is_inside));
        let problem = || Problem {
            path: "/folder".into(),
            message: "no folder of the archive".into(),
            help: Some("e.g. usr/lib/btf".into()),
        };
        if is_good { Vec::new() } else { vec![problem()] }
    }

    fn package(&self, job: &Job<'_>, config: &Value) -> Result<Vec<Output>, Failure> {
        let failed = |error: std::io::Error| Failure::tool(error.to_string());
        let tar = fs::read(job.input("tar")?).map_err(failed)?;
        let folder = config["folder"].as_str().unwrap_or("btf");
        let made = job.output("cpio", "package.cpio");
        let mut out = fs::File::create(&made.path).map_err(failed)?;
        let epoch = job.run().source_date_epoch.unwrap_or(0);
        out.write_all(&cpio(&tar, folder, epoch)?).map_err(failed)?;
        Ok(vec![made])
    }
}

/// A path that leads nowhere else.
fn is_inside(path: &str) -> bool {
    !path.is_empty() && path.split('/').all(|part| !matches!(part, "" | "." | ".."))
}

/// The folders above, then each file, then the end: `Documentation/driver-api/early-userspace/buffer-format.rst`.
fn cpio(tar: &[u8], folder: &str, epoch: u64) -> Result<Vec<u8>, Failure> {
    let files = members(tar)?;
    let mut out = Vec::new();
    let mut made: Vec<String> = Vec::new();
    for (name, content) in &files {
        let path = format!("{folder}/{name}");
        let above = path.match_indices('/').map(|(at, _)| path[..at].to_owned());
        for folder in above {
            if !made.contains(&folder) {
                entry(&mut out, &folder, 0o040_755, b"", epoch);
                made.push(folder);
            }
        }
        entry(&mut out, &path, 0o100_644, content, epoch);
    }
    entry(&mut out, "TRAILER!!!", 0, b"", 0);
    Ok(out)
}

fn entry(out: &mut Vec<u8>, path: &str, mode: u32, content: &[u8], epoch: u64) {
    // Inode, mode, owner, group, links, time, size, four numbers of devices, the name's size, no checksum.
    let fields =
        [0, u64::from(mode), 0, 0, 1, epoch, content.len() as u64, 0, 0, 0, 0, path.len() as u64 + 1, 0];
    out.extend(b"070701");
    fields.iter().for_each(|field| out.extend(format!("{:08X}", field & 0xffff_ffff).bytes()));
    out.extend(path.bytes().chain([0]));
    pad(out);
    out.extend(content);
    pad(out);
}

fn pad(out: &mut Vec<u8>) {
    out.resize(out.len().next_multiple_of(4), 0);
}

/// The files of an archive of btfpipe's: regular ones only, without extensions.
fn members(tar: &[u8]) -> Result<Vec<(String, &[u8])>, Failure> {
    let broken = || Failure::user("the input \"tar\" is no archive of btfpipe's");
    let mut files = Vec::new();
    let mut rest = tar;
    while let Some(header) = rest.get(..BLOCK).filter(|header| header[0] != 0) {
        let text = |from: usize, to: usize| {
            let field = &header[from..to];
            let end = field.iter().position(|&byte| byte == 0).unwrap_or(field.len());
            std::str::from_utf8(&field[..end]).ok()
        };
        let (name, prefix) = (text(0, 100).ok_or_else(broken)?, text(345, 500).ok_or_else(broken)?);
        let digits = text(124, 136).ok_or_else(broken)?.trim();
        let size = usize::from_str_radix(digits, 8).map_err(|_| broken())?;
        let content = size.checked_add(BLOCK).and_then(|end| rest.get(BLOCK..end)).ok_or_else(broken)?;
        let name = if prefix.is_empty() { name.to_owned() } else { format!("{prefix}/{name}") };
        files.push((name, content));
        rest = rest.get(BLOCK + size.next_multiple_of(BLOCK)..).unwrap_or_default();
    }
    Ok(files)
}

fn main() -> ExitCode {
    serve_step("cpio", "0.1.0", &Cpio)
}
