//! The commands that need no pipeline: their arguments, and what they mean to the library.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use pipeline::commands::tools::{self, Keep, KernelVersion, Mode, TargetFiles, ToolError, Voice};
use pipeline::outcome::Code;

/// The kernel that a command is about.
#[derive(Debug, Args)]
pub struct TargetArguments {
    /// The kernel's BTF: raw BTF, vmlinux, boot image or module, also packed (.xz .zst .gz .tar.*), or FILE:MEMBER
    #[arg(long = "btf", value_name = "FILE")]
    btf: PathBuf,
    #[command(flatten)]
    more: SplitArguments,
}

/// What stands beside the kernel's BTF.
#[derive(Debug, Args)]
pub struct SplitArguments {
    /// The BTF that a module's is split on
    #[arg(short = 'B', long, value_name = "FILE")]
    base_btf: Option<PathBuf>,
    /// A module's BTF, split on the kernel's; repeat it for several
    #[arg(long = "module", value_name = "NAME=FILE", value_parser = module, conflicts_with = "base_btf")]
    modules: Vec<(String, PathBuf)>,
}

/// Whose rules.
#[derive(Debug, Args)]
pub struct ModeArguments {
    /// Decide as libbpf 1.7 does, its bugs included
    #[arg(long)]
    strict_libbpf: bool,
}

/// For people or machines.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum Format {
    /// Columns
    Table,
    /// JSON Lines
    Jsonl,
}

/// `btfpipe record`.
#[derive(Debug, Args)]
pub struct RecordArguments {
    #[command(flatten)]
    target: TargetArguments,
    #[command(flatten)]
    mode: ModeArguments,
    /// How to write it
    #[arg(long, value_enum, default_value = "table")]
    format: Format,
    /// BPF objects, and executables that carry them
    #[arg(required = true, value_name = "PROGRAM")]
    programs: Vec<PathBuf>,
}

/// `btfpipe prepare`.
#[derive(Debug, Args)]
pub struct PrepareArguments {
    #[command(flatten)]
    target: TargetArguments,
    #[command(flatten)]
    mode: ModeArguments,
    /// The kernel's configuration as text (/boot/config-*)
    #[arg(long, value_name = "FILE")]
    kconfig: Option<PathBuf>,
    /// The kernel's symbols (/proc/kallsyms, System.map)
    #[arg(long, value_name = "FILE")]
    kallsyms: Option<PathBuf>,
    /// The kernel's version, e.g. 6.1.192
    #[arg(long, value_name = "VERSION", value_parser = version)]
    kernel_version: Option<KernelVersion>,
    /// The kernel has no BTF of its own: --btf is given to the loader from outside
    #[arg(long)]
    no_kernel_btf: bool,
    /// Write the relocated instructions of each section into this folder
    #[arg(long, value_name = "FOLDER")]
    insns: Option<PathBuf>,
    /// Write the relocated object to this file
    #[arg(long, value_name = "FILE")]
    elf: Option<PathBuf>,
    /// Print the instructions of each program as well
    #[arg(long)]
    disassemble: bool,
    /// How to write it
    #[arg(long, value_enum, default_value = "table")]
    format: Format,
    /// BPF objects, and executables that carry them
    #[arg(required = true, value_name = "PROGRAM")]
    programs: Vec<PathBuf>,
}

/// What `--keep` takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum KeepWhat {
    /// Attach targets, and the structs of struct_ops
    Attach,
    /// Typed variables of the kernel
    Ksyms,
    /// Functions of the kernel
    Kfuncs,
}

/// `btfpipe min-core-btf`.
#[derive(Debug, Args)]
pub struct MinCoreBtfArguments {
    /// The kernel's BTF: any file that has one
    input: PathBuf,
    /// The minimized BTF; - for standard output
    output: PathBuf,
    /// BPF objects, and executables that carry them
    #[arg(required = true, value_name = "OBJECT")]
    objects: Vec<PathBuf>,
    #[command(flatten)]
    more: SplitArguments,
    /// With --base-btf: where the minimized base goes, on which OUTPUT is split
    #[arg(long, value_name = "FILE", requires = "base_btf")]
    base_output: Option<PathBuf>,
    /// Keep only what bpftool keeps, even where decisions change; says which
    #[arg(long)]
    strict_bpftool: bool,
    /// Keep these as well
    #[arg(long, value_enum, value_delimiter = ',', value_name = "WHAT")]
    keep: Vec<KeepWhat>,
    /// Say what happened as JSON, with the map of type ids
    #[arg(long)]
    json: bool,
}

/// `btfpipe minimize`.
#[derive(Debug, Args)]
pub struct MinimizeArguments {
    /// A file with BTF, or a folder of them; repeat it for several
    #[arg(long = "btf", required = true, value_name = "PATH")]
    inputs: Vec<PathBuf>,
    /// Where the results go, under the names of the inputs
    #[arg(long, value_name = "FOLDER")]
    out: PathBuf,
    /// A BTF for each object: NAME/OBJECT.btf
    #[arg(long)]
    each: bool,
    /// Write what each relocation resolves to as well: NAME.jsonl
    #[arg(long)]
    records: bool,
    /// Write only that, and no BTF
    #[arg(long, conflicts_with_all = ["records", "each"])]
    only_records: bool,
    #[command(flatten)]
    jobs: crate::arguments::JobArguments,
    /// BPF objects, and executables that carry them
    #[arg(required = true, value_name = "OBJECT")]
    objects: Vec<PathBuf>,
}

/// Which text.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum DumpFormat {
    /// A line a type and member
    Raw,
    /// A C header (vmlinux.h)
    C,
}

/// `btfpipe corpus`.
#[derive(Debug, Args)]
pub struct CorpusArguments {
    #[command(subcommand)]
    action: CorpusAction,
}

#[derive(Debug, Subcommand)]
enum CorpusAction {
    /// Keep the BTFs of files, archives or folders of them, each under its path without suffixes
    Add {
        /// Files that have BTF, or folders of them
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
        #[command(flatten)]
        place: StoreArguments,
        #[command(flatten)]
        jobs: crate::arguments::JobArguments,
    },
    /// List the kernels
    Ls(CorpusChoice),
    /// Read every byte again; make wrong indexes again, say what is lost
    Verify(CorpusChoice),
    /// Compress kernels, related ones beside each other, until they are unpacked or added again
    Pack(CorpusChoice),
    /// Keep kernels ready to be read again
    Unpack(CorpusChoice),
}

/// Which kernels of which store.
#[derive(Debug, Args)]
struct CorpusChoice {
    /// Names, with `*` and `?`; all if none is given
    #[arg(value_name = "NAME")]
    kernels: Vec<String>,
    #[command(flatten)]
    place: StoreArguments,
}

/// Where the store is.
#[derive(Debug, Args)]
struct StoreArguments {
    /// Where the store is
    #[arg(long, value_name = "FOLDER", env = "BTFPIPE_STORE")]
    store: Option<PathBuf>,
}

/// `btfpipe dump`.
#[derive(Debug, Args)]
pub struct DumpArguments {
    /// Any file that has BTF
    file: PathBuf,
    /// The BTF that this one is split on
    #[arg(short = 'B', long, value_name = "FILE")]
    base_btf: Option<PathBuf>,
    /// Which text
    #[arg(long, value_enum, default_value = "raw")]
    format: DumpFormat,
    /// C in the order of the ids, instead of one that changes little from kernel to kernel
    #[arg(long)]
    unsorted: bool,
}

/// `btfpipe diff`.
#[derive(Debug, Args)]
pub struct DiffArguments {
    /// A file that has BTF
    first: PathBuf,
    /// Another one
    second: PathBuf,
    /// See both through these programs: which of their relocations come to something else
    #[arg(long, num_args = 1.., value_name = "PROGRAM")]
    programs: Vec<PathBuf>,
    /// As JSON Lines
    #[arg(long)]
    json: bool,
}

pub fn record(arguments: &RecordArguments) -> Result<Code, ToolError> {
    let options = tools::record::Options {
        target: arguments.target.files(),
        programs: arguments.programs.clone(),
        mode: arguments.mode.mode(),
        format: arguments.format.into(),
    };
    aloud(|voice| tools::record::run(&options, voice))
}

pub fn prepare(arguments: &PrepareArguments) -> Result<Code, ToolError> {
    let options = tools::prepare::Options {
        target: arguments.target.files(),
        programs: arguments.programs.clone(),
        kconfig: arguments.kconfig.clone(),
        kallsyms: arguments.kallsyms.clone(),
        version: arguments.kernel_version,
        no_kernel_btf: arguments.no_kernel_btf,
        mode: arguments.mode.mode(),
        insns: arguments.insns.clone(),
        elf: arguments.elf.clone(),
        disassemble: arguments.disassemble,
        format: arguments.format.into(),
    };
    aloud(|voice| tools::prepare::run(&options, voice))
}

pub fn min_core_btf(arguments: &MinCoreBtfArguments) -> Result<Code, ToolError> {
    let keeps = |what| arguments.keep.contains(&what);
    let options = tools::min_core_btf::Options {
        target: arguments.more.files(&arguments.input),
        output: arguments.output.clone(),
        base_output: arguments.base_output.clone(),
        programs: arguments.objects.clone(),
        strict_bpftool: arguments.strict_bpftool,
        keep: Keep {
            attach: keeps(KeepWhat::Attach),
            ksyms: keeps(KeepWhat::Ksyms),
            kfuncs: keeps(KeepWhat::Kfuncs),
        },
        json: arguments.json,
    };
    aloud(|voice| tools::min_core_btf::run(&options, voice))
}

pub fn minimize(arguments: &MinimizeArguments) -> Result<Code, ToolError> {
    let options = tools::batch::Options {
        inputs: arguments.inputs.clone(),
        out: arguments.out.clone(),
        programs: arguments.objects.clone(),
        each: arguments.each,
        records: arguments.records,
        only_records: arguments.only_records,
        jobs: arguments.jobs.jobs,
    };
    aloud(|voice| tools::batch::run(&options, voice))
}

pub fn corpus(arguments: &CorpusArguments) -> Result<Code, ToolError> {
    let (action, store, kernels, jobs) = match &arguments.action {
        CorpusAction::Add { files, place, jobs } => {
            (tools::corpus::Action::Add(files.clone()), place, Vec::new(), jobs.jobs)
        }
        CorpusAction::Ls(chosen) => (tools::corpus::Action::List, &chosen.place, chosen.kernels.clone(), 0),
        CorpusAction::Verify(chosen) => {
            (tools::corpus::Action::Verify, &chosen.place, chosen.kernels.clone(), 0)
        }
        CorpusAction::Pack(chosen) => (tools::corpus::Action::Pack, &chosen.place, chosen.kernels.clone(), 0),
        CorpusAction::Unpack(chosen) => {
            (tools::corpus::Action::Unpack, &chosen.place, chosen.kernels.clone(), 0)
        }
    };
    let options = tools::corpus::Options { action, kernels, store: store.store.clone(), jobs };
    aloud(|voice| tools::corpus::run(&options, voice))
}

pub fn dump(arguments: &DumpArguments) -> Result<Code, ToolError> {
    let format = match arguments.format {
        DumpFormat::Raw => tools::dump::Format::Raw,
        DumpFormat::C => tools::dump::Format::C { sorted: !arguments.unsorted },
    };
    let (file, base) = (arguments.file.clone(), arguments.base_btf.clone());
    aloud(|voice| tools::dump::run(&tools::dump::Options { file, base, format }, voice))
}

pub fn diff(arguments: &DiffArguments) -> Result<Code, ToolError> {
    let options = tools::diff::Options {
        first: arguments.first.clone(),
        second: arguments.second.clone(),
        programs: arguments.programs.clone(),
        json: arguments.json,
    };
    aloud(|voice| tools::diff::run(&options, voice))
}

fn aloud<T>(run: impl FnOnce(&mut Voice<'_>) -> T) -> T {
    let (mut out, mut notes) = (std::io::stdout().lock(), std::io::stderr().lock());
    run(&mut Voice { out: &mut out, notes: &mut notes })
}

impl TargetArguments {
    fn files(&self) -> TargetFiles {
        self.more.files(&self.btf)
    }
}

impl SplitArguments {
    fn files(&self, btf: &std::path::Path) -> TargetFiles {
        TargetFiles { btf: btf.to_owned(), base: self.base_btf.clone(), modules: self.modules.clone() }
    }
}

impl ModeArguments {
    fn mode(&self) -> Mode {
        if self.strict_libbpf { Mode::StrictLibbpf } else { Mode::Correct }
    }
}

impl From<Format> for tools::record::Format {
    fn from(format: Format) -> Self {
        match format {
            Format::Table => tools::record::Format::Table,
            Format::Jsonl => tools::record::Format::JsonLines,
        }
    }
}

fn module(text: &str) -> Result<(String, PathBuf), String> {
    match text.split_once('=') {
        Some((name, path)) if !name.is_empty() && !path.is_empty() => Ok((name.to_owned(), path.into())),
        _ => Err("a module is named and given: nf_tables=nf_tables.btf".to_owned()),
    }
}

fn version(text: &str) -> Result<KernelVersion, String> {
    text.parse().map_err(|error| format!("{error}; e.g. 6.1.192"))
}
