//! What can be typed.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use pipeline::commands::schemas;
use pipeline::file::{Environment, Given};
use pipeline::project::{Options, Pattern};
use pipeline::work::patience::Patience;

use crate::{bundles, plugin, store, tools, vm};

const EXIT_CODES: &str = "\
Exit codes:
  0 ok
  1 some action failed or a check found a difference
  2 usage or configuration
  3 lock or digest mismatch
  69 environment: QEMU is missing, no machine could run
  70 a bug
  75 transient: try again
  130 interrupted

Examples:
  btfpipe doctor                          what this machine lacks
  btfpipe check pipelines/release.yaml    what is wrong with a pipeline
  btfpipe plan pipelines/release.yaml     what a run would do, and why
  btfpipe run pipelines/release.yaml      do it";

/// Minimal kernel BTF for CO-RE programs, proven on real kernels.
#[derive(Debug, Parser)]
#[command(name = "btfpipe", version, after_help = EXIT_CODES, arg_required_else_help = true)]
pub struct Arguments {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

impl Arguments {
    /// What this process was called with; where that means nothing, the process ends here and says why.
    pub fn of_this_process() -> Arguments {
        let words: Vec<OsString> = std::env::args_os().collect();
        match Command::of_one(&words) {
            Some(command) => Arguments { command },
            None => Arguments::parse_from(words),
        }
    }
}

impl Command {
    /// The commands that are called thousands of times, read without putting all others together first, which takes as
    /// long as opening several objects. None for what is wrong or asks for help: then all of them are needed.
    fn of_one(words: &[OsString]) -> Option<Command> {
        let (name, words) = (words.get(1)?.to_str()?, &words[1..]);
        match name {
            "min-core-btf" => alone("min-core-btf", words).map(Command::MinCoreBtf),
            "minimize" => alone("minimize", words).map(Command::Minimize),
            "record" => alone("record", words).map(Command::Record),
            _other => None,
        }
    }
}

fn alone<A: Args>(name: &'static str, words: &[OsString]) -> Option<A> {
    let command = A::augment_args(clap::Command::new(name));
    A::from_arg_matches(&command.try_get_matches_from(words).ok()?).ok()
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run a pipeline: fetch, record, minimize, package, verify
    ///
    /// Kernels that kernels.lock has are kept; what is missing there, or gone from its source, is resolved again and
    /// written into it, aloud.
    #[command(after_help = "Examples:
  btfpipe run pipelines/release.yaml                        all of it; what was done before is kept
  btfpipe run pipelines/release.yaml --locked --offline     only what kernels.lock and the store have
  btfpipe run pipelines/release.yaml --select 'debian/12'   these kernels only, into dist/selected
  btfpipe run pipelines/release.yaml --step minimize        no packages, no machines
  btfpipe run pipelines/release.yaml --events run.jsonl     and then: btfpipe report run.jsonl --format profile")]
    Run(RunArguments),
    /// Run a pipeline again where something failed in the last run
    ///
    /// What was good is kept, as in every run; this says what is tried again, and does nothing when nothing failed.
    #[command(after_help = "Example: btfpipe retry pipelines/release.yaml --failed")]
    Retry(RetryArguments),
    /// Update kernels.lock, run, and say only what changed since the last night
    ///
    /// New and lost kernels, decisions that changed, programs that are newly poisoned or refused. Ends with 1 when
    /// something broke. Works in dist/nightly.
    #[command(after_help = "Example: btfpipe nightly pipelines/nightly.yaml")]
    Nightly(RunArguments),
    /// Resolve all kernels of a pipeline anew and write them into kernels.lock
    Lock(LockArguments),
    /// Resolve those kernels of a pipeline anew that match a pattern, and leave the others as they are in kernels.lock
    #[command(after_help = "Example: btfpipe update pipelines/release.yaml 'debian/12/**'")]
    Update(UpdateArguments),
    /// Look after the folder with what was fetched and derived
    #[command(subcommand)]
    Store(store::StoreCommand),
    /// Write BTFs, boot images and configurations of a pipeline's kernels into a folder, for other tools
    Extract(ExtractArguments),
    /// Say what a run would do, action by action, and why; do nothing
    #[command(after_help = "Examples:
  btfpipe plan pipelines/release.yaml
  btfpipe plan pipelines/release.yaml --format json | jq '.actions[] | select(.runs == \"yes\")'
  btfpipe plan pipelines/release.yaml --format dot | dot -Tsvg > plan.svg")]
    Plan(PlanArguments),
    /// Say which parts of an action's key are not as in the last run
    #[command(after_help = "Examples:
  btfpipe explain pipelines/release.yaml minimize
  btfpipe explain pipelines/release.yaml verify/debian/12/x86_64/6.1.0-50-cloud-amd64")]
    Explain(ExplainArguments),
    /// Say what is wrong with a pipeline; do nothing
    #[command(after_help = "Example: btfpipe check pipelines/release.yaml --profile full --set level=3")]
    Check(PipelineArguments),
    /// Look after plugins: what there is, what is right, what is new, what is trusted
    #[command(subcommand)]
    Plugin(plugin::PluginCommand),
    /// Boot a kernel of a pipeline for yourself
    #[command(subcommand)]
    Vm(vm::VmCommand),
    /// Make a table, Markdown, JUnit, JSON, a log or a profile of the time out of a run's events
    #[command(after_help = "Example: btfpipe report run.jsonl --format profile")]
    Report(ReportArguments),
    /// Say what this machine has of what pipelines need, and which Debian package brings the rest
    Doctor,
    /// Say what every CO-RE relocation of some programs resolves to on a kernel, and why not
    #[command(after_help = "Examples:
  btfpipe record --btf /sys/kernel/btf/vmlinux opensnoop.bpf.o
  btfpipe record --btf 5.4.0-91-generic.btf.tar.xz --format jsonl /usr/sbin/opensnoop")]
    Record(tools::RecordArguments),
    /// Do everything that libbpf does before it loads some programs, without a kernel, and say how each would end
    #[command(
        after_help = "Example: btfpipe prepare --btf vmlinux.btf --kconfig /boot/config-6.1.0 opensnoop.bpf.o"
    )]
    Prepare(tools::PrepareArguments),
    /// Reduce a BTF to what some programs use, and prove that nothing changed for them
    ///
    /// Takes the arguments of `bpftool gen min_core_btf` in the same order.
    #[command(after_help = "Examples:
  btfpipe min-core-btf vmlinux.btf min.btf *.bpf.o
  btfpipe min-core-btf vmlinux.btf min.btf --module nf_tables=nf_tables.btf *.bpf.o")]
    MinCoreBtf(tools::MinCoreBtfArguments),
    /// The same for many BTFs or archives of them at once
    #[command(after_help = "Example: btfpipe minimize --btf btfhub-archive/ubuntu --out min/ *.bpf.o")]
    Minimize(tools::MinimizeArguments),
    /// Keep BTFs of kernels in the store, indexed: as input, `store:NAME` costs no pass over the BTF
    #[command(after_help = "Examples:
  btfpipe corpus add btfhub-archive/ubuntu
  btfpipe minimize --btf 'store:20.04/*' --out min/ *.bpf.o")]
    Corpus(tools::CorpusArguments),
    /// Print a BTF as text, as bpftool does
    #[command(after_help = "Example: btfpipe dump vmlinuz-6.1.0-50-amd64 --format c > vmlinux.h")]
    Dump(tools::DumpArguments),
    /// Say how two BTFs differ, or what differs for some programs
    #[command(after_help = "Examples:
  btfpipe diff 5.10.btf 6.1.btf
  btfpipe diff 5.10.btf 6.1.btf --programs opensnoop.bpf.o")]
    Diff(tools::DiffArguments),
    /// List, search, compare and verify packages
    #[command(after_help = "Examples:
  btfpipe bundle lookup dist/release-x86_64.tar.zst
  btfpipe bundle extract dist/release-x86_64.tar.zst out --layout bcc")]
    Bundle(bundles::BundleArguments),
    /// Print the JSON Schema of a format
    #[command(after_help = "Example: btfpipe schema pipeline > pipeline.json")]
    Schema(SchemaArguments),
    /// Print the completions for a shell
    #[command(
        after_help = "Example: btfpipe completions bash > ~/.local/share/bash-completion/completions/btfpipe"
    )]
    Completions(CompletionArguments),
    /// Print a manual page, or write those of all commands into a folder
    #[command(after_help = "Examples:
  btfpipe man | man -l -
  btfpipe man --folder /usr/local/share/man/man1")]
    Man(ManArguments),
}

/// What all commands on a pipeline take.
#[derive(Debug, Args)]
pub struct PipelineArguments {
    /// The pipeline file
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// Another lock than kernels.lock beside pipelines/
    #[arg(long, value_name = "PATH")]
    pub lock: Option<PathBuf>,
    /// Where packages go, instead of dist/ beside pipelines/
    #[arg(long, value_name = "FOLDER")]
    pub dist: Option<PathBuf>,
    /// Where fetched and derived things are kept
    #[arg(long, value_name = "FOLDER", env = "BTFPIPE_STORE")]
    pub store: Option<PathBuf>,
    /// Turn a profile on, for entries with `when: ${profile.NAME}`
    #[arg(long = "profile", value_name = "NAME")]
    pub profiles: Vec<String>,
    /// Give an input of the pipeline a value; lists are written a,b,c
    #[arg(long = "set", value_name = "NAME=VALUE")]
    pub set: Vec<String>,
    /// Refuse plugins that are not as plugins.lock says (btfpipe plugin trust)
    #[arg(long)]
    pub locked_plugins: bool,
}

/// `btfpipe schema`.
#[derive(Debug, Args)]
pub struct SchemaArguments {
    /// Of what
    #[arg(value_name = "WHAT", value_parser = schemas::SCHEMAS.map(|(name, _)| name))]
    pub what: String,
}

/// What takes threads.
#[derive(Debug, Args)]
pub struct JobArguments {
    /// How many kernels at a time; as many as there are processors by default
    #[arg(short, long, value_name = "N", default_value_t = 0, hide_default_value = true)]
    pub jobs: usize,
}

/// `btfpipe run`.
#[derive(Debug, Args)]
pub struct RunArguments {
    #[command(flatten)]
    pub pipeline: PipelineArguments,
    #[command(flatten)]
    pub jobs: JobArguments,
    /// Refuse what kernels.lock doesn't have, instead of resolving it
    #[arg(long)]
    pub locked: bool,
    /// Open no connection
    #[arg(long)]
    pub offline: bool,
    /// Boot no kernel: verify on the host only
    #[arg(long)]
    pub no_vm: bool,
    /// Boot every kernel from cold, also those that an earlier run verified with the same programs
    #[arg(long, conflicts_with = "no_vm")]
    pub boot_anew: bool,
    /// Work on these kernels only, such as 'debian/*' or '*/*/arm64'; packages go to dist/selected
    #[arg(long, value_name = "KERNELS")]
    pub select: Vec<String>,
    /// The last step to do
    #[arg(long, value_name = "STEP", value_parser = pipeline::file::steps::NAMES)]
    pub step: Option<String>,
    /// Begin nothing new after the first kernel that fails
    #[arg(long)]
    pub fail_fast: bool,
    /// One bad kernel doesn't stop the others: so it is by default
    #[arg(long, conflicts_with = "fail_fast")]
    pub keep_going: bool,
    /// Make everything again, whatever was made before; fetched packages stay
    #[arg(long)]
    pub rerun: bool,
    /// Leave the last run as it is, of which retry and explain speak: for `bundle verify --reproduce`
    #[arg(long, hide = true)]
    pub unremembered: bool,
    /// How often to try again what may work when tried again: a mirror that doesn't answer
    #[arg(long, value_name = "N", default_value_t = 2)]
    pub retries: u32,
    /// Write what happens as JSON Lines, one event a line, while it happens (btfpipe schema event)
    #[arg(long, value_name = "FILE")]
    pub events: Option<PathBuf>,
}

/// `btfpipe retry`.
#[derive(Debug, Args)]
pub struct RetryArguments {
    #[command(flatten)]
    pub run: RunArguments,
    /// Only what failed: there is nothing else that retry does
    #[arg(long)]
    pub failed: bool,
}

/// `btfpipe plan`.
#[derive(Debug, Args)]
pub struct PlanArguments {
    #[command(flatten)]
    pub pipeline: PipelineArguments,
    /// Plan as `btfpipe run --select` would
    #[arg(long, value_name = "KERNELS")]
    pub select: Vec<String>,
    /// How to write it
    #[arg(long, value_enum, default_value = "table")]
    pub format: PlanFormat,
    /// The same as --format json
    #[arg(long, conflicts_with = "format")]
    pub json: bool,
    /// The same as --format dot
    #[arg(long, conflicts_with_all = ["format", "json"])]
    pub dot: bool,
}

/// How a plan is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum PlanFormat {
    /// Lines for people; equal ones are folded
    Table,
    /// All actions, with keys and what they need
    Json,
    /// A graph for Graphviz
    Dot,
}

/// `btfpipe explain`.
#[derive(Debug, Args)]
pub struct ExplainArguments {
    #[command(flatten)]
    pub pipeline: PipelineArguments,
    /// minimize, package or verify, and perhaps of what
    #[arg(value_name = "STEP[/SUBJECT]")]
    pub what: String,
}

/// `btfpipe report`.
#[derive(Debug, Args)]
pub struct ReportArguments {
    /// What `btfpipe run --events` wrote
    #[arg(value_name = "EVENTS")]
    pub events: PathBuf,
    /// How to write it
    #[arg(long, value_enum, default_value = "table")]
    pub format: ReportFormat,
}

/// What is made of events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ReportFormat {
    /// Programs by kernels
    Table,
    /// For CI pages
    Markdown,
    /// For CI systems: a suite for each kernel, a case for each program
    Junit,
    /// As summary.json
    Json,
    /// Which step and which kernel took how long
    Profile,
    /// What the run said, line by line
    Log,
}

/// `btfpipe completions`.
#[derive(Debug, Args)]
pub struct CompletionArguments {
    /// Which
    #[arg(value_enum, value_name = "SHELL")]
    pub shell: clap_complete::Shell,
}

/// `btfpipe man`.
#[derive(Debug, Args)]
pub struct ManArguments {
    /// Write btfpipe.1 and a page for each command there
    #[arg(long, value_name = "FOLDER")]
    pub folder: Option<PathBuf>,
}

/// `btfpipe lock`.
#[derive(Debug, Args)]
pub struct LockArguments {
    #[command(flatten)]
    pub pipeline: PipelineArguments,
    #[command(flatten)]
    pub jobs: JobArguments,
    /// Only say what would change, and fail when something would
    #[arg(long)]
    pub check: bool,
}

/// `btfpipe update`.
#[derive(Debug, Args)]
pub struct UpdateArguments {
    #[command(flatten)]
    pub pipeline: PipelineArguments,
    #[command(flatten)]
    pub jobs: JobArguments,
    /// Which kernels: `*` and `?` within the parts of DISTRO/VERSION/ARCH/RELEASE, `**` for any number of parts
    #[arg(value_name = "GLOB", value_parser = str::parse::<Pattern>)]
    pub pattern: Option<Pattern>,
}

/// `btfpipe extract`.
#[derive(Debug, Args)]
pub struct ExtractArguments {
    #[command(flatten)]
    pub run: RunArguments,
    /// The folder: btf/NAME.btf, kernels/NAME, configs/NAME
    #[arg(value_name = "FOLDER")]
    pub folder: PathBuf,
}

impl PipelineArguments {
    /// What it means to the library.
    pub fn options(&self) -> Options {
        Options {
            file: self.file.clone(),
            lock: self.lock.clone(),
            dist: self.dist.clone(),
            store: self.store.clone(),
            locked_plugins: self.locked_plugins,
            given: Given {
                profiles: self.profiles.clone(),
                set: self.set.clone(),
                environment: Environment::Process,
            },
            ..Options::default()
        }
    }
}

impl RunArguments {
    /// What it means to the library.
    pub fn options(&self) -> Options {
        Options {
            jobs: self.jobs.jobs,
            locked: self.locked,
            offline: self.offline,
            select: self.select.clone(),
            until: self.step.clone(),
            fail_fast: self.fail_fast,
            rerun: self.rerun,
            unremembered: self.unremembered,
            patience: Patience { retries: self.retries, ..Patience::default() },
            no_vm: self.no_vm,
            boot_anew: self.boot_anew,
            ..self.pipeline.options()
        }
    }
}

impl UpdateArguments {
    /// What it means to the library.
    pub fn options(&self) -> Options {
        Options { jobs: self.jobs.jobs, ..self.pipeline.options() }
    }
}

impl PlanArguments {
    /// What it means to the library.
    pub fn options(&self) -> Options {
        Options { select: self.select.clone(), ..self.pipeline.options() }
    }

    /// How the plan is written.
    pub fn format(&self) -> PlanFormat {
        match (self.json, self.dot) {
            (true, _) => PlanFormat::Json,
            (_, true) => PlanFormat::Dot,
            _ => self.format,
        }
    }
}

impl LockArguments {
    /// What it means to the library.
    pub fn options(&self) -> Options {
        Options { jobs: self.jobs.jobs, ..self.pipeline.options() }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_arguments_are_consistent() {
        Arguments::command().debug_assert();
    }

    /// A command that is read alone is read as among all others.
    #[test]
    fn alone_and_among_all() {
        let check = |line: &str, alone: bool| {
            let words: Vec<OsString> = line.split(' ').map(OsString::from).collect();
            let all = Arguments::try_parse_from(&words).ok();
            let one = Command::of_one(&words);
            assert_eq!(one.is_some(), alone, "{line}");
            if let Some(one) = one {
                assert_eq!(format!("{one:?}"), format!("{:?}", all.unwrap().command), "{line}");
            }
        };
        check("btfpipe min-core-btf a b c d", true);
        check("btfpipe min-core-btf --keep attach,ksyms a --json b c.o --module m=f", true);
        check("btfpipe min-core-btf -B base a b c --base-output x", true);
        check("btfpipe minimize --btf a --btf b --out c -j 2 --each --records x.o", true);
        check("btfpipe record --btf a --format jsonl x.o y.o", true);
        for wrong in [
            "btfpipe",
            "btfpipe min-core-btf",
            "btfpipe min-core-btf a b",
            "btfpipe min-core-btf --help",
            "btfpipe min-core-btf --base-output x a b c",
            "btfpipe minimize --only-records --each --btf a --out b c",
            "btfpipe record --version",
            "btfpipe dump a",
            "btfpipe --version",
        ] {
            check(wrong, false);
        }
    }
}
