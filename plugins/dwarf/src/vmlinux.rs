//! The vmlinux in a debug package, and whether it is the right one.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use plugin::Failure;

use crate::program::{command, failed, not_started};

/// The text that a kernel prints first, followed by its release.
const BANNER: &[u8] = b"Linux version ";

/// The vmlinux of a release: the file itself, or unpacked from a package into `folder`.
pub fn unpack(file: &Path, release: &str, folder: &Path) -> Result<PathBuf, Failure> {
    let mut start = [0; 8];
    let read = File::open(file).and_then(|mut open| open.read_exact(&mut start));
    read.map_err(|error| Failure::tool(format!("{}: {error}", file.display())))?;
    let found = match start {
        [0x7f, b'E', b'L', b'F', ..] => file.to_owned(),
        [b'!', b'<', b'a', b'r', b'c', b'h', b'>', ..] => unpack_deb(file, release, folder)?,
        [0xed, 0xab, 0xee, 0xdb, ..] => unpack_rpm(file, release, folder)?,
        _ => {
            let what = "neither an ELF file nor a Debian package nor an RPM package";
            return Err(Failure::user(format!("{} is {what}", file.display())));
        }
    };
    check_release(&found, release)?;
    Ok(found)
}

/// Where debug packages have it.
fn places(release: &str) -> [String; 4] {
    [
        format!("usr/lib/debug/boot/vmlinux-{release}"),
        format!("usr/lib/debug/lib/modules/{release}/vmlinux"),
        format!("usr/lib/debug/usr/lib/modules/{release}/vmlinux"),
        format!("usr/lib/debug/boot/vmlinux-{release}.debug"),
    ]
}

/// Only the one file is unpacked, and to where we say.
fn unpack_deb(file: &Path, release: &str, folder: &Path) -> Result<PathBuf, Failure> {
    let target = folder.join("vmlinux");
    let mut packer = command("dpkg-deb");
    packer.arg("--fsys-tarfile").arg(file).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = packer.spawn().map_err(|error| not_started(&packer, &error))?;
    let out =
        File::create(&target).map_err(|error| Failure::tool(format!("{}: {error}", target.display())))?;
    let mut tar = command("tar");
    tar.args(["-xO", "--occurrence=1", "--wildcards", "-f", "-"]);
    tar.args(places(release).map(|place| format!("./{place}")));
    if let Some(stream) = child.stdout.take() {
        tar.stdin(stream);
    }
    // tar complains about those of the places that are not there.
    let status = tar.stdout(out).stderr(Stdio::null()).status().map_err(|error| not_started(&tar, &error));
    let _ = child.kill();
    let _ = child.wait();
    status?;
    there(file, release, target)
}

fn unpack_rpm(file: &Path, release: &str, folder: &Path) -> Result<PathBuf, Failure> {
    let mut packer = command("rpm2cpio");
    packer.arg(file).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = packer.spawn().map_err(|error| not_started(&packer, &error))?;
    let target = folder.join("vmlinux");
    let out =
        File::create(&target).map_err(|error| Failure::tool(format!("{}: {error}", target.display())))?;
    let mut cpio = command("cpio");
    cpio.args(["--extract", "--to-stdout", "--quiet"]);
    cpio.args(places(release).map(|place| format!("./{place}")));
    if let Some(stream) = child.stdout.take() {
        cpio.stdin(stream);
    }
    let output = cpio.stdout(out).output().map_err(|error| not_started(&cpio, &error));
    let _ = child.kill();
    let _ = child.wait();
    let output = output?;
    if !output.status.success() {
        return Err(failed(&cpio, output.status, &output.stderr));
    }
    there(file, release, target)
}

fn there(package: &Path, release: &str, target: PathBuf) -> Result<PathBuf, Failure> {
    match target.metadata() {
        Ok(metadata) if metadata.len() > 0 => Ok(target),
        _ => Err(Failure::user(format!("{}: no vmlinux of {release} is in it", package.display()))),
    }
}

/// A BTF of another kernel gives wrong offsets without any error, so the kernel's own text decides.
fn check_release(vmlinux: &Path, release: &str) -> Result<(), Failure> {
    let banners =
        find_banners(vmlinux).map_err(|error| Failure::tool(format!("{}: {error}", vmlinux.display())))?;
    if banners.iter().any(|found| found == release) {
        return Ok(());
    }
    let found = match &banners[..] {
        [] => "no kernel at all".to_owned(),
        banners => banners.join(", "),
    };
    Err(Failure::user(format!("the vmlinux is that of {found}, not of {release}"))
        .help("take the debug package of the same release"))
}

/// Releases after `Linux version `, each once.
fn find_banners(path: &Path) -> io::Result<Vec<String>> {
    const PIECE: usize = 1 << 20;
    const LONGEST: usize = 256;
    let mut reader = BufReader::with_capacity(PIECE, File::open(path)?);
    let mut found: Vec<String> = Vec::new();
    let mut window = Vec::new();
    loop {
        let got = reader.by_ref().take(PIECE as u64).read_to_end(&mut window)?;
        for at in positions(&window) {
            let rest = &window[at + BANNER.len()..];
            let end = rest.iter().take(LONGEST).position(|byte| !byte.is_ascii_graphic()).unwrap_or(0);
            let text = String::from_utf8_lossy(&rest[..end]).into_owned();
            // The format string has no release.
            if !text.is_empty() && !text.contains('%') && !found.contains(&text) {
                found.push(text);
            }
        }
        if got == 0 {
            return Ok(found);
        }
        // What may go on in the next piece.
        window.drain(..window.len().saturating_sub(BANNER.len() + LONGEST));
    }
}

fn positions(bytes: &[u8]) -> impl Iterator<Item = usize> {
    let starts = bytes.iter().enumerate().filter(|(_, byte)| **byte == BANNER[0]).map(|(at, _)| at);
    starts.filter(|at| bytes[*at..].starts_with(BANNER))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vmlinux(texts: &[&str]) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        let filler = "\0".repeat((1 << 20) - 20);
        let text: String = texts.iter().map(|text| format!("{filler}{text}\0")).collect();
        std::fs::write(file.path(), format!("\x7fELF{text}")).unwrap();
        file
    }

    #[test]
    fn of_the_right_release() {
        let check = |texts: &[&str], wanted: Result<(), &str>| {
            let file = vmlinux(texts);
            let found = unpack(file.path(), "6.1.0-1-amd64", Path::new("/nonexistent"));
            match (found, wanted) {
                (Ok(path), Ok(())) => assert_eq!(path, file.path()),
                (Err(failure), Err(wanted)) => assert!(failure.message.contains(wanted), "{failure:?}"),
                (found, wanted) => panic!("{found:?}, not {wanted:?}"),
            }
        };
        check(&["Linux version 6.1.0-1-amd64 (gcc)"], Ok(()));
        check(&["x", "Linux version %s (%s)", "Linux version 6.1.0-1-amd64 (gcc)"], Ok(()));
        check(
            &["Linux version 6.1.0-1-amd64+debug (gcc)"],
            Err("that of 6.1.0-1-amd64+debug, not of 6.1.0-1-amd64"),
        );
        check(&["nothing"], Err("no kernel at all"));
    }

    #[test]
    fn other_files() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), b"PK\x03\x04 and more").unwrap();
        let failure = unpack(file.path(), "6.1", Path::new("/")).unwrap_err();
        assert!(failure.message.contains("neither an ELF file"), "{failure:?}");
    }
}
