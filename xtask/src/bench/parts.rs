//! What one process takes with ever more to do: where its time goes, and what no pass over a BTF can change.

use std::fs;

use super::cost::{Cost, in_turn, once};
use super::inputs::{Inputs, size};
use crate::Error;

/// Something that a process does, and what that costs.
pub struct Part {
    pub work: String,
    pub cost: Cost,
}

impl Inputs<'_> {
    /// Measures all, in turn with bpftool, which leaves nothing of them in the caches.
    pub fn parts(&self) -> Result<Vec<Part>, Error> {
        let (middle, _) = self.middle_and_largest();
        let (one, all) = (&self.objects[..1], &self.objects[..]);
        let (program, count) = (self.program.display(), all.len());
        // The smallest BTF that decides as the kernel's.
        let small = self.folder.join("small.btf");
        once(self.shell, &self.min_core_btf(middle, all))?;
        fs::rename(self.folder.join("ours.btf"), &small)?;
        let works = [
            ("`true`, which does nothing".to_owned(), "true".to_owned()),
            ("`btfpipe --version`".to_owned(), format!("{program} --version")),
            ("one kernel × one object".to_owned(), self.min_core_btf(middle, one)),
            (format!("a BTF of {} bytes × {count} objects", size(&small)), self.min_core_btf(&small, all)),
            (format!("one kernel × {count} objects"), self.min_core_btf(middle, all)),
        ];
        let beside = self.bpftool(middle, all);
        let part = |(work, script): (String, String)| {
            eprintln!("{work}");
            let (cost, _) = in_turn(self.shell, &self.outputs(), &script, Some(&beside))?;
            Ok(Part { work, cost })
        };
        works.into_iter().map(part).collect()
    }
}
