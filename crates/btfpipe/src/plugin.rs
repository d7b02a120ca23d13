//! `btfpipe plugin`: what there is, what is right, what is new, what is trusted.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand, ValueEnum};
use pipeline::host::template::{self, Language};
use pipeline::host::trust;
use pipeline::host::{self, kit};
use pipeline::outcome::{Code, Error};

use crate::pipelines::say;

/// What to do with plugins.
#[derive(Debug, Subcommand)]
pub enum PluginCommand {
    /// Say which plugins there are, and where they are found
    Ls(RootArguments),
    /// Play the host for a plugin in all the ways that it has to stand, and say what is wrong
    #[command(after_help = "Example: btfpipe plugin test plugins/debian")]
    Test(TestArguments),
    /// Make a new plugin that works, to be changed into another
    #[command(after_help = "Example: btfpipe plugin new mine --lang python")]
    New(NewArguments),
    /// Take plugins into plugins.lock as they are now, for --locked-plugins
    #[command(after_help = "Example: btfpipe plugin trust debian")]
    Trust(TrustArguments),
}

/// Whose plugins.
#[derive(Debug, Args)]
pub struct RootArguments {
    /// The folder that holds plugins/ and kernels.lock
    #[arg(long, value_name = "FOLDER", default_value = ".")]
    pub root: PathBuf,
}

/// `btfpipe plugin test`.
#[derive(Debug, Args)]
pub struct TestArguments {
    /// Folders with a plugin.yaml
    #[arg(value_name = "FOLDER", required = true)]
    pub folders: Vec<PathBuf>,
}

/// `btfpipe plugin new`.
#[derive(Debug, Args)]
pub struct NewArguments {
    /// Its name, which pipelines use: a-z, 0-9 and -
    #[arg(value_name = "NAME")]
    pub name: String,
    /// What it is written in
    #[arg(long, value_enum)]
    pub lang: Lang,
    /// The folder that holds plugins/
    #[arg(long, value_name = "FOLDER", default_value = ".")]
    pub root: PathBuf,
}

/// What a plugin is written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Lang {
    /// With the SDK of btfpipe's sources
    Rust,
    /// With a helper in one file
    Python,
    /// With nothing
    Sh,
}

/// `btfpipe plugin trust`.
#[derive(Debug, Args)]
pub struct TrustArguments {
    /// Which; without any, all in plugins/
    #[arg(value_name = "NAME")]
    pub names: Vec<String>,
    #[command(flatten)]
    pub root: RootArguments,
}

pub fn run(command: &PluginCommand) -> Result<Code, Error> {
    match command {
        PluginCommand::Ls(arguments) => Ok(list(&arguments.root)),
        PluginCommand::Test(arguments) => Ok(test(&arguments.folders)),
        PluginCommand::New(arguments) => new(arguments),
        PluginCommand::Trust(arguments) => {
            let changes = trust::trust(&arguments.root.root, &arguments.names)?;
            say(&changes.iter().map(|change| format!("{change}\n")).collect::<String>());
            Ok(Code::Ok)
        }
    }
}

fn list(root: &Path) -> Code {
    let found = host::Host::all(root);
    say(&host::table(&found));
    match found.iter().any(|found| found.plugin.is_err()) {
        true => Code::Failed,
        false => Code::Ok,
    }
}

fn test(folders: &[PathBuf]) -> Code {
    let mut code = Code::Ok;
    for folder in folders {
        let report = kit::examine(folder);
        say(&report.to_string());
        if !report.is_good() {
            code = Code::Failed;
        }
    }
    code
}

fn new(arguments: &NewArguments) -> Result<Code, Error> {
    let language = match arguments.lang {
        Lang::Rust => Language::Rust,
        Lang::Python => Language::Python,
        Lang::Sh => Language::Shell,
    };
    let (folder, files) = template::write(&arguments.root.join("plugins"), &arguments.name, language)?;
    let path = folder.display();
    let build = match arguments.lang {
        Lang::Rust => format!("cargo build --release --manifest-path {path}/Cargo.toml && "),
        Lang::Python | Lang::Sh => String::new(),
    };
    say(&format!("{path}: {}\nnow: {build}btfpipe plugin test {path}\n", files.join(", ")));
    Ok(Code::Ok)
}
