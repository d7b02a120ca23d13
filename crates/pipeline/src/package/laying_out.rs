//! A package in a layout of a plugin's: one file, made of the package alone, so that whoever has both can make it again.

use std::path::Path;

use bundle::{Bundle, LayoutEntry, LayoutPlugin};
use plugin::PACKAGE;

use crate::events::Task;
use crate::host;
use crate::kernel::transforming::failure;
use crate::outcome::Failure;
use crate::package::concluding::unpacked;
use crate::project::acting::{Asked, Stage};
use crate::project::plugin_step::Step;
use crate::work::key::Key;

/// The longest ending of a file, such as `.tar.gz`.
const LONGEST_ENDING: usize = 32;

/// What plans and ledgers call it: its file without the ending, which is the plugin's choice.
pub(crate) fn subject(step: &Step, name: &str, arch: impl std::fmt::Display) -> String {
    format!("{name}-{arch}-{}", step.name)
}

/// The key: the plugin, what it is told, and the package, whose key stands for its bytes.
pub(crate) fn key(step: &Step, package: &Key) -> Result<Key, String> {
    Ok(step.actor.key(PACKAGE)?.with("package", package.digest()))
}

/// The file, and what the manifest says of it. `path` is the package's, under whatever name.
pub(crate) fn make(
    step: &Step,
    bundle: &Bundle,
    path: &Path,
    stage: Stage<'_>,
    task: &Task<'_>,
) -> Result<(LayoutEntry, Vec<u8>), Failure> {
    let index = bundle.index();
    let folder = tempfile::Builder::new().prefix("package-").tempdir_in(stage.work).map_err(Failure::new)?;
    let whole = folder.path().join(format!("{}-{}.tar.zst", index.name, index.arch));
    // Its bytes may still have another name, and another file system has no links to them.
    std::fs::hard_link(path, &whole)
        .or_else(|_| std::fs::copy(path, &whole).map(|_| ()))
        .map_err(Failure::new)?;
    let tar = whole.with_extension("");
    let inputs = vec![host::input("package", &whole)?, unpacked(bundle, "tar", &tar)?];
    let (arch, subject) = (index.arch.to_string(), subject(step, &index.name, index.arch));
    let asked = Asked {
        step: PACKAGE,
        subject: &subject,
        arch: Some(&arch),
        inputs,
        epoch: Some(bundle.source_date_epoch()),
        ..Asked::default()
    };
    let acted = step.actor.act(stage, task, &asked).map_err(failure)?;
    let [output] = acted.result.outputs.as_slice() else {
        let count = acted.result.outputs.len();
        let name = step.actor.name();
        return Err(Failure::new(format!("the plugin {name} made {count} outputs, and one file is wanted")));
    };
    let made = output.path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let ending = ending(made).ok_or_else(|| {
        Failure::new(format!(
            "the output {made} has no ending such as .tar.gz, which its file in the release gets"
        ))
    })?;
    let bytes = output.read().map_err(Failure::new)?;
    Ok((LayoutEntry::by(plugin(step)?, &step.name, subject + ending, index.arch, &bytes), bytes))
}

/// The plugin as the manifest names it.
pub(crate) fn plugin(step: &Step) -> Result<LayoutPlugin, Failure> {
    let plugin = step.actor.plugin();
    let sha256 = plugin.digest().map_err(Failure::new)?.to_string();
    // Both crates spell a digest in the same 64 digits.
    Ok(LayoutPlugin { name: plugin.name().to_owned(), sha256: sha256.parse().map_err(Failure::new)? })
}

/// From the first dot on: lower-case letters, digits and dots.
fn ending(file: &str) -> Option<&str> {
    let ending = &file[file.find('.')?..];
    let is_plain = |part: &str| {
        !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
    };
    (ending.len() <= LONGEST_ENDING && ending[1..].split('.').all(is_plain)).then_some(ending)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endings() {
        let check = |file, wanted: Option<&str>| assert_eq!(ending(file), wanted, "{file}");
        check("image.squashfs", Some(".squashfs"));
        check("x.tar.gz", Some(".tar.gz"));
        for wrong in ["image", "image.", "a..b", "a.b c", "a.\u{e4}", "a.GZ"] {
            check(wrong, None);
        }
        check(&format!("a.{}", "b".repeat(33)), None);
    }
}
