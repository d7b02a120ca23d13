//! `btfpipe prepare`: everything that libbpf does to an object before it loads it, without a kernel.

use std::path::{Path, PathBuf};

use relo_core::{
    Environment, KernelBtf, KernelVersion, Mode, OpenObject, Prepared, PreparedProgram, Target, Wanted,
    prepare,
};
use serde_json::{Value, json};

use crate::commands::tools::record::Format;
use crate::commands::tools::table::columns;
use crate::commands::tools::{Objects, TargetFiles, ToolError, Voice, put_file};
use crate::outcome::Code;

/// What to prepare.
#[derive(Debug, Clone)]
pub struct Options {
    /// The BTF that CO-RE relocates against.
    pub target: TargetFiles,
    /// The programs.
    pub programs: Vec<PathBuf>,
    /// The kernel's configuration as text.
    pub kconfig: Option<PathBuf>,
    /// `/proc/kallsyms` or `System.map`.
    pub kallsyms: Option<PathBuf>,
    /// The kernel's version.
    pub version: Option<KernelVersion>,
    /// The kernel has no BTF of its own: the target is given to the loader from outside.
    pub no_kernel_btf: bool,
    /// Correct, or as libbpf does it.
    pub mode: Mode,
    /// A folder for the relocated instructions of each section.
    pub insns: Option<PathBuf>,
    /// A file for the whole relocated object.
    pub elf: Option<PathBuf>,
    /// Print the instructions of each program as well.
    pub disassemble: bool,
    /// For whom.
    pub format: Format,
}

/// Says how each program would end; fails when one would not get past relocation.
pub fn run(options: &Options, voice: &mut Voice<'_>) -> Result<Code, ToolError> {
    let objects = Objects::open(&options.programs);
    objects.report(voice)?;
    if options.elf.is_some() && objects.good.len() != 1 {
        return Err(ToolError::Usage("--elf writes one object: name one program".to_owned()));
    }
    let wanted = Wanted::new(&objects.good);
    let btfs = options.target.read()?;
    let target = btfs.target(&wanted).map_err(|error| ToolError::engine(&btfs.name, error))?;
    let (kconfig, kallsyms) = (text(options.kconfig.as_deref())?, text(options.kallsyms.as_deref())?);
    let environment = Environment {
        kconfig: kconfig.as_deref(),
        kallsyms: kallsyms.as_deref(),
        kernel_version: options.version,
        kernel_btf: if options.no_kernel_btf { KernelBtf::Absent } else { KernelBtf::Target },
        mode: options.mode,
    };
    let mut said = Said { rows: Vec::new(), lines: String::new(), listings: String::new(), good: true };
    for (object, bytes) in objects.with_bytes() {
        let open = open(object, bytes)?;
        let prepared = prepare(&open, &target, &environment);
        said.object(options, &open, &prepared, &target);
        write(options, &open, &prepared)?;
    }
    said.end(options.format, voice);
    Ok(if said.good && objects.bad.is_empty() { Code::Ok } else { Code::Failed })
}

fn open<'o>(object: &'o relo_core::BpfObject, bytes: &'o [u8]) -> Result<OpenObject<'o>, ToolError> {
    OpenObject::open(object, bytes).map_err(|error| ToolError::engine(object.name(), error))
}

fn text(path: Option<&Path>) -> Result<Option<String>, ToolError> {
    let read = |path: &Path| {
        std::fs::read_to_string(path).map_err(|error| ToolError::Read { path: path.to_owned(), error })
    };
    path.map(read).transpose()
}

/// What is said of all objects.
struct Said {
    rows: Vec<[String; 4]>,
    lines: String,
    listings: String,
    good: bool,
}

impl Said {
    fn object(&mut self, options: &Options, open: &OpenObject<'_>, prepared: &Prepared, target: &Target<'_>) {
        let name = open.object().name();
        for program in &prepared.programs {
            self.good &= program.status.is_usable();
            let attach = program.attach.as_ref().map_or("", |attach| &attach.wanted);
            self.rows.push([
                name.to_owned(),
                program.name.clone(),
                attach.to_owned(),
                program.status.to_string(),
            ]);
            self.lines.push_str(&format!("{}\n", line(name, prepared, program, target)));
            if options.disassemble {
                let listing = prepared.listing(open, program);
                self.listings.push_str(&format!("\n{name}: {}\n{listing}", program.name));
            }
        }
        for refusal in &prepared.refusals {
            self.good = false;
            self.listings.push_str(&format!("\n{name}: libbpf refuses the object: {refusal}\n"));
        }
    }

    fn end(&self, format: Format, voice: &mut Voice<'_>) {
        let _ = match format {
            Format::JsonLines => voice.answer(&self.lines),
            Format::Table => {
                let table = columns(["object", "program", "attached to", "status"], &self.rows);
                voice.answer(&format!("{table}{}", self.listings))
            }
        };
    }
}

fn line(object: &str, prepared: &Prepared, program: &PreparedProgram, target: &Target<'_>) -> Value {
    let poisoned = program.poisoned.iter().map(|poisoned| {
        json!({"insn": poisoned.insn, "why": poisoned.poison.to_string(), "reach": format!("{:?}", poisoned.reach)})
    });
    let modules: Vec<&str> = target.btfs().iter().filter_map(|btf| btf.module).collect();
    json!({
        "v": 1,
        "object": object,
        "program": program.name,
        "status": program.status.code(),
        "says": program.status.to_string(),
        "insns": program.insns.len(),
        "attach": program.attach.as_ref().map(|attach| json!({"wanted": attach.wanted, "found": format!("{:?}", attach.found)})),
        "poisoned": poisoned.collect::<Vec<_>>(),
        "refusals": prepared.refusals.iter().map(|refusal| json!({"code": refusal.code(), "says": refusal.to_string()})).collect::<Vec<_>>(),
        "modules": modules,
    })
}

/// Relocated instructions as raw bytes, a file a section, and the whole object.
fn write(options: &Options, open: &OpenObject<'_>, prepared: &Prepared) -> Result<(), ToolError> {
    if let Some(folder) = &options.insns {
        // Sections of two objects have the same names.
        let folder = match options.programs.len() {
            1 => folder.clone(),
            _several => folder.join(open.object().name()),
        };
        std::fs::create_dir_all(&folder).map_err(|error| ToolError::write(&folder, error))?;
        for (section, code) in prepared.sections(open.object()) {
            let path = folder.join(format!("{}.insns", section.replace('/', "_")));
            put_file(&path, code).map_err(|error| ToolError::write(&path, error))?;
        }
    }
    if let Some(path) = &options.elf {
        let elf = prepared.elf(open).map_err(|error| ToolError::engine(open.object().name(), error))?;
        put_file(path, &elf).map_err(|error| ToolError::write(path, error))?;
    }
    Ok(())
}
