//! `btfpipe bundle verify --reproduce`: a pipeline built twice under different circumstances, every difference listed.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use bundle::Bundle;
use serde::Serialize;

use crate::commands::bundles::{Form, answer};
use crate::commands::tools::{ToolError, Voice};
use crate::outcome::Code;

/// What differs between the two builds, and must not matter.
struct Circumstances {
    folder: &'static str,
    umask: &'static str,
    time_zone: &'static str,
    locale: &'static str,
    jobs: &'static str,
}

const FIRST: Circumstances =
    Circumstances { folder: "a", umask: "022", time_zone: "UTC", locale: "C", jobs: "1" };
const SECOND: Circumstances = Circumstances {
    folder: "another folder with a long name",
    umask: "077",
    time_zone: "Pacific/Kiritimati",
    locale: "tr_TR.UTF-8",
    jobs: "3",
};

#[derive(Serialize)]
struct Report {
    files: usize,
    differences: Vec<String>,
}

/// Builds the packages of a pipeline twice, boots nothing, and compares; `arguments` go to both runs.
pub fn reproduce(
    pipeline: &Path,
    arguments: &[String],
    form: Form,
    voice: &mut Voice<'_>,
) -> Result<Code, ToolError> {
    let work = tempfile::tempdir().map_err(|error| ToolError::write(Path::new("temporary folder"), error))?;
    let first = build(pipeline, arguments, &FIRST, work.path(), voice)?;
    let second = build(pipeline, arguments, &SECOND, work.path(), voice)?;
    let files = names(&first)?;
    let differences = compare(&first, &second)?;
    let report = Report { files: files.len(), differences };
    answer(voice, form, &report, || match report.differences.as_slice() {
        [] => format!("{} files, built twice: the same bytes\n", report.files),
        differences => format!("{} files, built twice:\n  {}\n", report.files, differences.join("\n  ")),
    });
    Ok(if report.differences.is_empty() { Code::Ok } else { Code::Lock })
}

/// A run of this program, in a folder of its own that leads to the project.
fn build(
    pipeline: &Path,
    arguments: &[String],
    how: &Circumstances,
    work: &Path,
    voice: &mut Voice<'_>,
) -> Result<PathBuf, ToolError> {
    let failed = |path: &Path, error| ToolError::Read { path: path.to_owned(), error };
    let program = std::env::current_exe().map_err(|error| failed(Path::new("btfpipe"), error))?;
    let real = fs::canonicalize(pipeline).map_err(|error| failed(pipeline, error))?;
    let (Some(folder), Some(name)) = (real.parent(), real.file_name()) else {
        return Err(ToolError::Usage(format!("{} is no file in a folder", pipeline.display())));
    };
    // The project's root is above the pipeline's folder, so it is the root that gets another name.
    let (root, inside) = match (folder.parent(), folder.file_name()) {
        (Some(root), Some(inside)) if folder.ends_with("pipelines") => (root, Path::new(inside).join(name)),
        _ => (folder, PathBuf::from(name)),
    };
    let place = work.join(how.folder);
    let (project, dist) = (place.join("project"), place.join("dist"));
    fs::create_dir(&place).map_err(|error| ToolError::write(&place, error))?;
    std::os::unix::fs::symlink(root, &project).map_err(|error| ToolError::write(&project, error))?;
    voice.note(format_args!(
        "building with umask {}, TZ={}, LC_ALL={}, --jobs {}",
        how.umask, how.time_zone, how.locale, how.jobs
    ));
    // A relative one would be another folder for each of the two.
    let store = std::env::var_os("BTFPIPE_STORE").map(std::path::absolute).transpose();
    let store = store.map_err(|error| failed(Path::new("BTFPIPE_STORE"), error))?;
    let output = Command::new("sh")
        .args(["-c", "umask \"$0\" && exec \"$@\"", how.umask])
        .arg(program)
        .arg("run")
        .arg(project.join(inside))
        .arg("--dist")
        .arg(&dist)
        // What the store has was made under other circumstances: all is made again.
        .args(["--locked", "--no-vm", "--rerun", "--unremembered", "--jobs", how.jobs])
        .args(arguments)
        .current_dir(&place)
        .env("TZ", how.time_zone)
        .env("LC_ALL", how.locale)
        .envs(store.map(|store| ("BTFPIPE_STORE", store)))
        .stdin(Stdio::null())
        .output()
        .map_err(|error| failed(pipeline, error))?;
    // A program that works nowhere, or a kernel that failed, is the same both times; without a release there is nothing
    // to compare.
    if output.status.code() == Some(Code::Failed.number().into()) && dist.join("SHA256SUMS").exists() {
        voice.note("the run ended with 1: not all is well, but there are packages");
    } else if !output.status.success() {
        let told = String::from_utf8_lossy(&output.stderr);
        let last: Vec<&str> = told.lines().rev().take(5).collect();
        let last: Vec<&str> = last.into_iter().rev().collect();
        return Err(ToolError::engine(
            &pipeline.display().to_string(),
            format!("{}: {}", output.status, last.join("\n")),
        ));
    }
    Ok(dist)
}

/// Every file but hidden ones, which are not of the release.
fn names(folder: &Path) -> Result<BTreeSet<String>, ToolError> {
    let failed = |error| ToolError::Read { path: folder.to_owned(), error };
    let mut names = BTreeSet::new();
    for entry in fs::read_dir(folder).map_err(failed)? {
        let name = entry.map_err(failed)?.file_name().to_string_lossy().into_owned();
        if !name.starts_with('.') {
            names.insert(name);
        }
    }
    Ok(names)
}

fn compare(first: &Path, second: &Path) -> Result<Vec<String>, ToolError> {
    let (a, b) = (names(first)?, names(second)?);
    let mut differences: Vec<String> =
        a.symmetric_difference(&b).map(|name| format!("{name} is made by one of them only")).collect();
    for name in a.intersection(&b) {
        let read = |folder: &Path| {
            let path = folder.join(name);
            fs::read(&path).map_err(|error| ToolError::Read { path, error })
        };
        let (one, other) = (read(first)?, read(second)?);
        if one != other {
            differences.extend(difference(name, &one, &other));
        }
    }
    Ok(differences)
}

/// Where two files differ; for bundles, which files in them do.
fn difference(name: &str, one: &[u8], other: &[u8]) -> Vec<String> {
    let at = one.iter().zip(other).position(|(a, b)| a != b).unwrap_or(one.len().min(other.len()));
    let mut lines =
        vec![format!("{name}: {} and {} bytes, different from byte {at} on", one.len(), other.len())];
    if let (Ok(one), Ok(other)) = (Bundle::open(one), Bundle::open(other)) {
        let paths = |bundle: &Bundle| -> BTreeSet<String> {
            bundle.files().map(|(path, _)| path.to_owned()).collect()
        };
        let (a, b) = (paths(&one), paths(&other));
        lines.extend(a.symmetric_difference(&b).map(|path| format!("{name}: {path} is in one of them only")));
        let changed = a.intersection(&b).filter(|path| one.file(path) != other.file(path));
        lines.extend(changed.map(|path| format!("{name}: {path} differs")));
        if one.source_date_epoch() != other.source_date_epoch() {
            lines.push(format!("{name}: the times of its files differ"));
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(engine: &str) -> Vec<u8> {
        let (name, arch) = ("n".into(), bundle::Arch::X86_64);
        let meta = bundle::BundleMeta { name, arch, engine: engine.into(), source_date_epoch: 0 };
        bundle::BundleBuilder::new(meta).unwrap().finish(1).unwrap().tar_zst
    }

    #[test]
    fn every_difference_is_listed() {
        let root = tempfile::tempdir().unwrap();
        let put = |name: &str, bytes: &[u8]| {
            let path = root.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, bytes).unwrap();
        };
        put("a/same", b"same");
        put("b/same", b"same");
        put("a/.hidden", b"1");
        put("b/.hidden", b"2");
        put("a/text", b"one");
        put("b/text", b"onto");
        put("a/left", b"");
        put("a/n.tar.zst", &package("e 1"));
        put("b/n.tar.zst", &package("e 2"));
        let found = compare(&root.path().join("a"), &root.path().join("b")).unwrap();
        assert_eq!(found[0], "left is made by one of them only");
        assert!(found.contains(&"n.tar.zst: index.json differs".to_owned()), "{found:?}");
        assert!(found.contains(&"text: 3 and 4 bytes, different from byte 2 on".to_owned()), "{found:?}");
        assert_eq!(found.len(), 4, "{found:?}");
    }
}
