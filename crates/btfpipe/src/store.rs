//! `btfpipe store`: the folder with what was fetched and derived.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use pipeline::commands::store;
use pipeline::outcome::{Code, Error};

use crate::pipelines::say;

/// What to do with it.
#[derive(Debug, Subcommand)]
pub enum StoreCommand {
    /// Say how much is in it
    Stats(StoreArguments),
    /// Read everything; report and remove what is broken
    Verify(StoreArguments),
    /// Remove what was not used for longest
    #[command(after_help = "Example: btfpipe store gc --max-size 20G")]
    Gc(GcArguments),
    /// Say why something is in it
    #[command(after_help = "Example: btfpipe store why debian/12/x86_64/6.1.0-56-cloud-amd64")]
    Why(WhyArguments),
}

/// Which store.
#[derive(Debug, Args)]
pub struct StoreArguments {
    /// The folder
    #[arg(long, value_name = "FOLDER", env = "BTFPIPE_STORE")]
    pub store: Option<PathBuf>,
}

/// `btfpipe store gc`.
#[derive(Debug, Args)]
pub struct GcArguments {
    #[command(flatten)]
    pub store: StoreArguments,
    /// How much may stay, in bytes, or with K, M, G or T
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    pub max_size: u64,
}

/// `btfpipe store why`.
#[derive(Debug, Args)]
pub struct WhyArguments {
    #[command(flatten)]
    pub store: StoreArguments,
    /// The lock that kernels are looked up in
    #[arg(long, value_name = "PATH")]
    pub lock: Option<PathBuf>,
    /// A sha256, or a kernel of the lock
    #[arg(value_name = "WHAT")]
    pub what: String,
}

pub fn run(command: &StoreCommand) -> Result<Code, Error> {
    let (text, code) = match command {
        StoreCommand::Stats(arguments) => (store::stats(arguments.store.as_deref())?, Code::Ok),
        StoreCommand::Verify(arguments) => store::verify(arguments.store.as_deref())?,
        StoreCommand::Gc(arguments) => store::collect(arguments.store.store.as_deref(), arguments.max_size)?,
        StoreCommand::Why(arguments) => {
            let (place, lock) = (arguments.store.store.as_deref(), arguments.lock.as_deref());
            store::why(place, lock, &arguments.what)?
        }
    };
    say(&text);
    Ok(code)
}

/// `500M`, powers of 1024.
fn parse_size(text: &str) -> Result<u64, String> {
    let wrong = || format!("{text:?} is no size such as 500M or 20G");
    let digits = text.trim_end_matches(['K', 'M', 'G', 'T']);
    let shift = match &text[digits.len()..] {
        "" => 0,
        "K" => 10,
        "M" => 20,
        "G" => 30,
        "T" => 40,
        _ => return Err(wrong()),
    };
    let number: u64 = digits.parse().map_err(|_| wrong())?;
    number.checked_mul(1 << shift).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        let check = |text: &str, wanted: Option<u64>| assert_eq!(parse_size(text).ok(), wanted, "{text}");
        check("0", Some(0));
        check("100", Some(100));
        check("2K", Some(2048));
        check("20G", Some(20 << 30));
        check("", None);
        check("G", None);
        check("1KK", None);
        check("-1", None);
        check("99999999999T", None);
    }
}
