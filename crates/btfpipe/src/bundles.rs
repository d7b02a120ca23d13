//! The commands on bundles: their arguments, and what they mean to the library.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use pipeline::commands::bundles::{self, Form, find::Wanted};
use pipeline::commands::tools::{ToolError, Voice};
use pipeline::outcome::Code;

/// `btfpipe bundle`.
#[derive(Debug, Args)]
pub struct BundleArguments {
    /// What to do
    #[command(subcommand)]
    command: BundleCommand,
}

/// The commands.
#[derive(Debug, Subcommand)]
enum BundleCommand {
    /// List the kernels and programs of a bundle, and what each costs
    Ls {
        /// The bundle
        bundle: PathBuf,
        #[command(flatten)]
        form: FormArguments,
    },
    /// Say all that a bundle knows of one kernel
    Show {
        /// The bundle
        bundle: PathBuf,
        /// distro/version/arch/release
        kernel: String,
        #[command(flatten)]
        form: FormArguments,
    },
    /// Say what each kernel and each program costs: how many bytes fewer there would be without it
    ///
    /// The bundle is made again without each of them, which takes as long as making it so often.
    #[command(
        after_help = "Example: btfpipe bundle sizes dist/release-x86_64.tar.zst --program build/*.bpf.o"
    )]
    Sizes(SizesArguments),
    /// Find the BTF of a kernel, and say by which rule; of the one that runs, unless another is described
    Lookup(LookupArguments),
    /// Write the BTF and records of kernels, or what another loader reads
    Extract(ExtractArguments),
    /// Say how two bundles differ
    Diff(DiffArguments),
    /// Write a delta pack: what takes a holder of the old bundle to the new one
    #[command(after_help = "Example: btfpipe bundle delta old.tar.zst new.tar.zst -o new.btfdelta")]
    Delta {
        /// The old bundle
        old: PathBuf,
        /// The new one
        new: PathBuf,
        /// Where to write it; - for standard output
        #[arg(short, long, value_name = "FILE")]
        output: PathBuf,
    },
    /// Make the new bundle of the old one and a delta pack, byte for byte
    #[command(after_help = "Example: btfpipe bundle apply old.tar.zst new.btfdelta -o new.tar.zst")]
    Apply {
        /// The old bundle
        old: PathBuf,
        /// The delta pack
        delta: PathBuf,
        /// Where to write it; - for standard output
        #[arg(short, long, value_name = "FILE")]
        output: PathBuf,
        /// Write the archive without its compression, which no version of zstd changes
        #[arg(long)]
        tar: bool,
    },
    /// Say whether a release, a bundle, a pack or a delta pack is what it says
    #[command(after_help = "Examples:
  btfpipe bundle verify dist --key minisign.pub --program opensnoop.bpf.o
  btfpipe bundle verify --reproduce pipelines/release.yaml")]
    Verify(VerifyArguments),
}

/// For people or machines.
#[derive(Debug, Args)]
struct FormArguments {
    /// Answer as JSON
    #[arg(long)]
    json: bool,
}

impl FormArguments {
    fn form(&self) -> Form {
        if self.json { Form::Json } else { Form::Terminal }
    }
}

#[derive(Debug, Args)]
struct LookupArguments {
    /// The bundle or pack
    bundle: PathBuf,
    /// uname -r of the kernel; then nothing is taken from this machine
    #[arg(long)]
    release: Option<String>,
    /// ID of its os-release
    #[arg(long)]
    distro: Option<String>,
    /// VERSION_ID of its os-release
    #[arg(long = "version-id")]
    version: Option<String>,
    /// Its architecture
    #[arg(long)]
    arch: Option<bundles::Arch>,
    /// Its GNU build-id
    #[arg(long)]
    build_id: Option<String>,
    /// Look for os-release, the release and the build-id below this folder
    #[arg(long, value_name = "FOLDER", conflicts_with = "release")]
    root: Option<PathBuf>,
    /// Write the BTF there; - for standard output
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    #[command(flatten)]
    form: FormArguments,
}

#[derive(Debug, Args)]
struct ExtractArguments {
    /// The bundle
    bundle: PathBuf,
    /// Where to
    folder: PathBuf,
    /// Only these kernels: distro/version/arch/release
    #[arg(value_name = "KERNEL", conflicts_with = "layout")]
    kernels: Vec<String>,
    /// What a loader reads: pack, bcc, tracee, … (docs/layouts.md)
    #[arg(long)]
    layout: Option<bundles::Layout>,
}

#[derive(Debug, Args)]
struct SizesArguments {
    /// The bundle
    bundle: PathBuf,
    /// Only these kernels: distro/version/arch/release
    #[arg(value_name = "KERNEL")]
    kernels: Vec<String>,
    /// Its programs, all of them, to measure each
    #[arg(long = "program", value_name = "PROGRAM", num_args = 1..)]
    programs: Vec<PathBuf>,
    /// The level of zstd
    #[arg(long, default_value_t = 19, value_parser = clap::value_parser!(i32).range(1..=22))]
    level: i32,
    /// How many bundles to make at once; as many as there are processors where it is not given
    #[arg(short, long)]
    jobs: Option<std::num::NonZeroUsize>,
    #[command(flatten)]
    form: FormArguments,
}

#[derive(Debug, Args)]
struct DiffArguments {
    /// The old one
    old: PathBuf,
    /// The new one
    new: PathBuf,
    /// Say how many bytes an update would take
    #[arg(long)]
    deltas: bool,
    #[command(flatten)]
    form: FormArguments,
}

#[derive(Debug, Args)]
struct VerifyArguments {
    /// The folder of a release, a bundle, a pack or a delta pack
    #[arg(required_unless_present = "reproduce")]
    path: Option<PathBuf>,
    /// A public key of minisign, or the file that has it: the release must be signed by it
    #[arg(long)]
    key: Option<String>,
    /// Programs, to make every decision of theirs again
    #[arg(long = "program", value_name = "PROGRAM", num_args = 1..)]
    programs: Vec<PathBuf>,
    /// The bundle that a delta pack is for, to apply it
    #[arg(long, value_name = "BUNDLE")]
    base: Option<PathBuf>,
    /// The pipeline that made the release: its plugins make their layouts again
    #[arg(long, value_name = "FILE")]
    pipeline: Option<PathBuf>,
    /// Build the packages of a pipeline twice, in other folders, with another umask, time zone, locale and number of
    /// threads, and list every difference
    #[arg(long, value_name = "FILE", conflicts_with_all = ["path", "key", "programs", "base", "pipeline"])]
    reproduce: Option<PathBuf>,
    /// What both runs of --reproduce get as well, e.g. --offline
    #[arg(last = true, requires = "reproduce")]
    arguments: Vec<String>,
    #[command(flatten)]
    form: FormArguments,
}

/// Runs a command on bundles.
pub fn run(arguments: &BundleArguments) -> Result<Code, ToolError> {
    let (mut out, mut notes) = (std::io::stdout().lock(), std::io::stderr().lock());
    let voice = &mut Voice { out: &mut out, notes: &mut notes };
    match &arguments.command {
        BundleCommand::Ls { bundle, form } => bundles::list::list(bundle, form.form(), voice),
        BundleCommand::Show { bundle, kernel, form } => {
            bundles::list::show(bundle, kernel, form.form(), voice)
        }
        BundleCommand::Sizes(arguments) => sizes(arguments, voice),
        BundleCommand::Lookup(arguments) => lookup(arguments, voice),
        BundleCommand::Extract(ExtractArguments { bundle, folder, kernels, layout }) => match layout {
            Some(layout) => bundles::extract::layout(bundle, folder, *layout, voice),
            None => bundles::extract::kernels(bundle, folder, kernels, voice),
        },
        BundleCommand::Diff(DiffArguments { old, new, deltas, form }) => {
            bundles::diff::diff(old, new, *deltas, form.form(), voice)
        }
        BundleCommand::Delta { old, new, output } => bundles::delta::make(old, new, output, voice),
        BundleCommand::Apply { old, delta, output, tar } => {
            bundles::delta::apply(old, delta, output, *tar, voice)
        }
        BundleCommand::Verify(arguments) => verify(arguments, voice),
    }
}

fn sizes(arguments: &SizesArguments, voice: &mut Voice<'_>) -> Result<Code, ToolError> {
    let SizesArguments { bundle, kernels, programs, level, jobs, form } = arguments;
    let machine = std::thread::available_parallelism();
    let jobs = jobs.unwrap_or_else(|| machine.unwrap_or(std::num::NonZeroUsize::MIN)).get();
    let options = bundles::sizes::Options {
        path: bundle.clone(),
        kernels: kernels.clone(),
        programs: programs.clone(),
        level: *level,
        jobs,
    };
    bundles::sizes::sizes(&options, form.form(), voice)
}

fn lookup(arguments: &LookupArguments, voice: &mut Voice<'_>) -> Result<Code, ToolError> {
    let wanted = Wanted {
        root: arguments.root.clone(),
        arch: arguments.arch,
        release: arguments.release.clone(),
        distro: arguments.distro.clone(),
        version: arguments.version.clone(),
        build_id: arguments.build_id.clone(),
    };
    bundles::find::lookup(
        &arguments.bundle,
        &wanted,
        arguments.output.as_deref(),
        arguments.form.form(),
        voice,
    )
}

fn verify(arguments: &VerifyArguments, voice: &mut Voice<'_>) -> Result<Code, ToolError> {
    let VerifyArguments { path, key, programs, base, pipeline, reproduce, arguments, form } = arguments;
    if let Some(pipeline) = reproduce {
        return bundles::reproduce::reproduce(pipeline, arguments, form.form(), voice);
    }
    let path = path.clone().unwrap_or_default();
    let (key, programs, base, pipeline) = (key.clone(), programs.clone(), base.clone(), pipeline.clone());
    let options = bundles::verify::Options { path, key, programs, base, pipeline };
    bundles::verify::verify(&options, form.form(), voice)
}
