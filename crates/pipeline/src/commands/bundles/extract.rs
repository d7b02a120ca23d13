//! `btfpipe bundle extract`: BTFs out of a bundle, by kernel or in the layout of a loader.

use std::path::Path;

use bundle::{Layout, Member};

use crate::commands::bundles::{broken, kernel, open};
use crate::commands::tools::{ToolError, Voice, put_file};
use crate::outcome::Code;

/// Writes the BTF and the records of kernels into a folder, as `distro/version/arch/release.{btf,jsonl}`; all kernels
/// where none is named.
pub fn kernels(
    path: &Path,
    folder: &Path,
    keys: &[String],
    voice: &mut Voice<'_>,
) -> Result<Code, ToolError> {
    let bundle = open(path)?;
    let chosen = match keys {
        [] => bundle.index().kernels.iter().collect(),
        keys => keys.iter().map(|key| kernel(&bundle, path, key)).collect::<Result<Vec<_>, _>>()?,
    };
    let mut members = Vec::new();
    for kernel in &chosen {
        // Twins, which only their build-ids tell apart, get them into their names.
        let twin = bundle.index().find(&kernel.entry.key()).count() > 1;
        let suffix =
            kernel.entry.build_id.as_ref().filter(|_| twin).map(|id| format!(".{id}")).unwrap_or_default();
        let contents = [("btf", bundle.btf_of(kernel)), ("jsonl", bundle.records_of(kernel))];
        for (extension, content) in contents {
            let path = format!("{}{suffix}.{extension}", kernel.entry.key());
            members.push(Member { path, content: content.unwrap_or_default().to_vec() });
        }
    }
    write(folder, &members)?;
    voice.note(format_args!("{}: BTF and records of {} kernels", folder.display(), chosen.len()));
    Ok(Code::Ok)
}

/// Writes what a layout consists of into a folder: its members, or the file itself where the loader opens that.
pub fn layout(path: &Path, folder: &Path, layout: Layout, voice: &mut Voice<'_>) -> Result<Code, ToolError> {
    let bundle = open(path)?;
    let mut members = layout.members(&bundle).map_err(|error| broken(path, &error))?;
    let opened = matches!(
        layout,
        Layout::Pack
            | Layout::PackDeflate
            | Layout::IgLayer
            | Layout::Datadog
            | Layout::Bcc
            | Layout::Eunomia
    );
    if opened {
        let delivered = layout.deliver(&bundle, 19, 1).map_err(|error| broken(path, &error))?;
        members = vec![Member { path: delivered.file, content: delivered.bytes }];
    }
    write(folder, &members)?;
    voice.note(format_args!("{}: {} files of the layout {layout}", folder.display(), members.len()));
    Ok(Code::Ok)
}

/// A bundle has no part of a path that leads elsewhere: no slash, no `..`.
fn write(folder: &Path, members: &[Member]) -> Result<(), ToolError> {
    for Member { path, content } in members {
        let path = folder.join(path);
        let parent = path.parent().unwrap_or(folder);
        std::fs::create_dir_all(parent).map_err(|error| ToolError::write(parent, error))?;
        put_file(&path, content).map_err(|error| ToolError::write(&path, error))?;
    }
    Ok(())
}
