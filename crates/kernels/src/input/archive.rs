//! One member of a tar archive.

use std::io::Read;

use super::InputProblem;
use crate::FormatError;

/// Members that are looked at: an archive of BTFs of every kernel has a few thousand.
const MAX_MEMBERS: usize = 100_000;

/// Whether a tar archive starts here: the magic number of the first header.
pub(super) fn is_tar(bytes: &[u8]) -> bool {
    bytes.get(257..262) == Some(b"ustar")
}

/// The content of the member that is asked for, or else of the only one.
pub(super) fn take(bytes: &[u8], member: Option<String>, limit: usize) -> Result<Vec<u8>, InputProblem> {
    let broken = |cause| FormatError::Decompress { format: "tar", cause };
    let mut names = Vec::new();
    let mut places = Vec::new();
    let mut archive = tar::Archive::new(bytes);
    for entry in archive.entries().map_err(broken)?.take(MAX_MEMBERS) {
        let entry = entry.map_err(broken)?;
        if entry.header().entry_type().is_file() {
            names.push(String::from_utf8_lossy(&entry.path_bytes()).into_owned());
            places.push((entry.raw_file_position(), entry.size()));
        }
    }
    let index = match member {
        Some(member) => choose(&names, &member).map_err(|several| match several {
            true => InputProblem::SeveralSuch { member: member.clone(), members: names.clone() },
            false => InputProblem::NoMember { member: member.clone(), members: names.clone() },
        })?,
        None if names.len() == 1 => 0,
        None => return Err(InputProblem::Members(names)),
    };
    let (start, size) = places[index];
    if size > limit as u64 {
        return Err(FormatError::TooLarge { what: "the member", limit: limit as u64 }.into());
    }
    let mut content = Vec::new();
    let rest = bytes.get(start as usize..).unwrap_or_default();
    rest.take(size).read_to_end(&mut content).map_err(InputProblem::Read)?;
    if content.len() as u64 != size {
        return Err(FormatError::Truncated { what: "the member's content", offset: start }.into());
    }
    Ok(content)
}

/// The member of this name, or else the only one whose last folders and name are these; whether there are several
/// of them is the error.
fn choose(names: &[String], member: &str) -> Result<usize, bool> {
    let plain = |name: &str| name.trim_start_matches("./").to_owned();
    if let Some(index) = names.iter().position(|name| plain(name) == plain(member)) {
        return Ok(index);
    }
    let end = format!("/{member}");
    let mut ends = names.iter().enumerate().filter(|(_, name)| name.ends_with(&end));
    match (ends.next(), ends.next()) {
        (Some((index, _)), None) => Ok(index),
        (Some(_), Some(_)) => Err(true),
        (None, _) => Err(false),
    }
}
