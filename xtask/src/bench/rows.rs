//! The rows of the table: what is compared with what, and the ratio to be reached.

use std::path::{Path, PathBuf};

use super::cost::{Cost, Outputs, in_turn, once, words};
use super::inputs::{FILES, Inputs, size};
use crate::Error;

/// What is compared, and what came out.
pub struct Row {
    pub work: String,
    pub beside: String,
    pub ours: Cost,
    pub theirs: Cost,
    pub by: By,
    pub wanted: Wanted,
}

/// By which figure the ratio goes.
#[derive(Clone, Copy)]
pub enum By {
    Cpu,
    Wall,
}

/// The ratio to be reached.
#[derive(Clone, Copy)]
pub enum Wanted {
    /// The other takes at least so many times as long.
    Times(f64),
    /// Ours takes at most so many times as long.
    AtMost(f64),
}

impl Row {
    /// Seconds of both sides.
    pub fn seconds(&self) -> (f64, f64) {
        let seconds = |cost: &Cost| match self.by {
            By::Cpu => cost.cpu.as_secs_f64(),
            By::Wall => cost.wall.as_secs_f64(),
        };
        (seconds(&self.ours), seconds(&self.theirs))
    }

    /// The ratio, in the direction that is wanted.
    pub fn ratio(&self) -> f64 {
        let (ours, theirs) = self.seconds();
        match self.wanted {
            Wanted::Times(_) => theirs / ours,
            Wanted::AtMost(_) => ours / theirs,
        }
    }

    /// Whether it is what it should be.
    pub fn is_reached(&self) -> bool {
        match self.wanted {
            Wanted::Times(times) => self.ratio() >= times,
            Wanted::AtMost(times) => self.ratio() <= times,
        }
    }
}

impl Inputs<'_> {
    /// Measures all rows.
    pub fn rows(&self) -> Result<Vec<Row>, Error> {
        let objects = self.objects.len();
        let (middle, largest) = self.middle_and_largest();
        let bpftool = |kernel: &Path| self.bpftool(kernel, &self.objects);
        let mut rows = Vec::new();
        let mut row = |work: String, beside: &str, scripts: (String, String), by: By, wanted: Wanted| {
            eprintln!("{work}");
            let (ours, theirs) = in_turn(self.shell, &self.outputs(), &scripts.0, Some(&scripts.1))?;
            let theirs = theirs.ok_or("nothing beside it")?;
            rows.push(Row { work, beside: beside.to_owned(), ours, theirs, by, wanted });
            Ok::<(), Error>(())
        };
        for (name, kernel, input, times) in [
            ("one kernel", middle, middle.to_owned(), 50.0),
            ("the same, with an index in the store", middle, self.in_store(middle), 100.0),
            ("the largest kernel", largest, largest.to_owned(), 50.0),
        ] {
            row(
                format!("{name} ({} bytes) × {objects} objects", size(kernel)),
                "bpftool",
                (self.min_core_btf(&input, &self.objects), bpftool(kernel)),
                By::Cpu,
                Wanted::Times(times),
            )?;
        }
        let each: Vec<String> =
            self.objects.iter().map(|object| self.bpftool(middle, std::slice::from_ref(object))).collect();
        row(
            format!("one kernel, a BTF for each of {objects} objects"),
            "bpftool, once for each",
            (self.minimize(&[middle.to_owned()], 1, "--each"), each.join("; ")),
            By::Cpu,
            Wanted::Times(300.0),
        )?;
        let all: Vec<String> = self.kernels.iter().map(|kernel| bpftool(kernel)).collect();
        row(
            format!("{} kernels × {objects} objects, two threads", self.kernels.len()),
            "bpftool, one after the other",
            (self.minimize(&self.kernels, 2, ""), all.join("; ")),
            By::Wall,
            Wanted::Times(100.0),
        )?;
        row(
            format!("{} kernels × {objects} objects, two threads", self.kernels.len()),
            "the same with one",
            (self.minimize(&self.kernels, 2, ""), self.minimize(&self.kernels, 1, "")),
            By::Wall,
            Wanted::Times(1.8),
        )?;
        row(
            format!("{} archives (.btf.tar.xz) × {objects} objects, two threads", self.archives.len()),
            "two xz that decode them and do nothing else",
            (self.minimize(&self.archives, 2, ""), self.decode_archives()),
            By::Wall,
            Wanted::AtMost(1.15),
        )?;
        let some = &self.kernels[..self.kernels.len().min(FILES)];
        let records = self.minimize(some, 1, "--only-records");
        once(self.shell, &records)?;
        row(
            format!("records of {} kernels × {objects} objects as JSON Lines", some.len()),
            "copying these files",
            (records, self.copy_output()),
            By::Cpu,
            Wanted::AtMost(3.0),
        )?;
        rows.push(self.stored_row()?);
        Ok(rows)
    }

    /// A thousand kernels in the store; what bpftool would take is reckoned from some of them.
    fn stored_row(&self) -> Result<Row, Error> {
        let (count, objects) = (self.stored.len(), self.objects.len());
        let work = format!("{count} made kernels in the store × {objects} objects, two threads");
        eprintln!("{work}");
        let ours = self.minimize_stored(count, 2, &self.objects);
        let theirs: Vec<String> =
            self.made.iter().map(|kernel| self.bpftool(kernel, &self.objects)).collect();
        // Once for nothing: the store's pages come into memory.
        once(self.shell, &ours)?;
        let (ours, theirs) = in_turn(self.shell, &self.outputs(), &ours, Some(&theirs.join("; ")))?;
        let mut theirs = theirs.ok_or("nothing beside it")?;
        let times = count as f64 / self.made.len() as f64;
        theirs.wall = theirs.wall.mul_f64(times);
        theirs.cpu = theirs.cpu.mul_f64(times);
        let beside = format!("bpftool, one after the other: {times:.0} times what {} take", self.made.len());
        Ok(Row { work, beside, ours, theirs, by: By::Wall, wanted: Wanted::Times(500.0) })
    }

    /// What the commands below write.
    pub fn outputs(&self) -> Outputs {
        let of = |names: [&str; 2]| names.map(|name| self.folder.join(name)).into();
        Outputs {
            ours: of(["ours.btf", "out"]),
            theirs: of(["theirs.btf", "copy"]),
            spent: self.folder.join("spent"),
        }
    }

    /// How the store calls a real kernel.
    fn in_store(&self, kernel: &Path) -> PathBuf {
        let name = kernel.file_name().unwrap_or_default().to_string_lossy();
        format!("store:{}", name.strip_suffix(".btf").unwrap_or(&name)).into()
    }

    /// `btfpipe min-core-btf`, which is one process for one kernel.
    pub fn min_core_btf(&self, kernel: &Path, objects: &[PathBuf]) -> String {
        let output = self.folder.join("ours.btf");
        let (program, kernel, output) = (self.program.display(), kernel.display(), output.display());
        format!("{program} min-core-btf {kernel} {output} {}", words(objects))
    }

    pub fn bpftool(&self, kernel: &Path, objects: &[PathBuf]) -> String {
        let output = self.folder.join("theirs.btf");
        let (program, kernel, output) = (self.bpftool.display(), kernel.display(), output.display());
        format!("{program} gen min_core_btf {kernel} {output} {}", words(objects))
    }

    fn minimize(&self, kernels: &[PathBuf], threads: usize, more: &str) -> String {
        let inputs: String = kernels.iter().map(|kernel| format!(" --btf {}", kernel.display())).collect();
        self.batch(&inputs, threads, more, &self.objects)
    }

    /// `btfpipe minimize` of so many of the made kernels in the store.
    pub fn minimize_stored(&self, count: usize, threads: usize, objects: &[PathBuf]) -> String {
        let input = match count == self.stored.len() {
            true => " --btf store:made-*".to_owned(),
            false => self.stored[..count].iter().map(|name| format!(" --btf store:{name}")).collect(),
        };
        self.batch(&input, threads, "", objects)
    }

    fn batch(&self, inputs: &str, threads: usize, more: &str, objects: &[PathBuf]) -> String {
        let (program, out) = (self.program.display(), self.folder.join("out"));
        format!(
            "{program} minimize --jobs {threads} --out {}{inputs} {more} {}",
            out.display(),
            words(objects)
        )
    }

    fn decode_archives(&self) -> String {
        format!("printf '%s\\n' {} | xargs -n 1 -P 2 xz -dc > /dev/null", words(&self.archives))
    }

    fn copy_output(&self) -> String {
        let (from, to) = (self.folder.join("out"), self.folder.join("copy"));
        format!("cp -r {} {}", from.display(), to.display())
    }
}
