//! What a command costs: wall and processor time, and the most memory that it had at once.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use nix::sys::resource::{UsageWho, getrusage};
use xshell::{Shell, cmd};

use crate::{Error, Outcome};

/// Of these the median counts.
pub const ROUNDS: usize = 5;

/// What one command cost, from its start to its end.
#[derive(Debug, Clone, Copy)]
pub struct Cost {
    pub wall: Duration,
    pub cpu: Duration,
    /// In KiB.
    pub peak: u64,
}

/// `xtask measure COMMAND…`: runs it and prints wall and processor time in microseconds, and the peak memory in KiB.
///
/// A process of its own, so that the usage of its children is that of this command alone.
pub fn measure(_: &Shell, arguments: &[String]) -> Outcome {
    let (program, arguments) = arguments.split_first().ok_or("measure what?")?;
    let start = Instant::now();
    let status =
        Command::new(program).args(arguments).stdout(Stdio::null()).stderr(Stdio::null()).status()?;
    let wall = start.elapsed();
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN)?;
    let cpu = [usage.user_time(), usage.system_time()];
    let cpu: i64 = cpu.iter().map(|time| time.tv_sec() * 1_000_000 + time.tv_usec()).sum();
    println!("{} {cpu} {}", wall.as_micros(), usage.max_rss());
    Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Runs a script once.
pub fn once(shell: &Shell, script: &str) -> Result<Cost, Error> {
    let xtask = std::env::current_exe()?;
    // One command needs no shell around it.
    let said = match script.contains([';', '|', '>']) {
        true => cmd!(shell, "{xtask} measure sh -c {script}").quiet().read()?,
        false => {
            let words = script.split(' ').filter(|word| !word.is_empty());
            cmd!(shell, "{xtask} measure {words...}").quiet().read()?
        }
    };
    let mut numbers = said.split(' ').map(str::parse::<u64>);
    let mut next = || numbers.next().ok_or("no figure")?.map_err(Error::from);
    let (wall, cpu) = (Duration::from_micros(next()?), Duration::from_micros(next()?));
    Ok(Cost { wall, cpu, peak: next()? })
}

/// What the two sides write. It is put aside before each round: a file that is there with the same bytes need not be
/// written, and that would be no work. It is not removed, since ext4 looks for minutes for inodes that were not in use
/// a moment ago, which costs each new file half a millisecond.
pub struct Outputs {
    pub ours: Vec<PathBuf>,
    pub theirs: Vec<PathBuf>,
    /// A folder for what is put aside, to be removed when all is measured.
    pub spent: PathBuf,
}

impl Outputs {
    fn put_aside(&self, paths: &[PathBuf]) -> Result<(), Error> {
        fs::create_dir_all(&self.spent)?;
        for path in paths.iter().filter(|path| path.exists()) {
            let count = fs::read_dir(&self.spent)?.count();
            fs::rename(path, self.spent.join(count.to_string()))?;
        }
        Ok(())
    }
}

/// Both in turn, so that what disturbs the machine disturbs both; medians of all rounds.
pub fn in_turn(
    shell: &Shell,
    outputs: &Outputs,
    ours: &str,
    theirs: Option<&str>,
) -> Result<(Cost, Option<Cost>), Error> {
    let (mut our_costs, mut their_costs) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        outputs.put_aside(&outputs.ours)?;
        our_costs.push(once(shell, ours)?);
        if let Some(theirs) = theirs {
            outputs.put_aside(&outputs.theirs)?;
            their_costs.push(once(shell, theirs)?);
        }
    }
    let theirs = (!their_costs.is_empty()).then(|| median(&their_costs));
    Ok((median(&our_costs), theirs))
}

/// The median of each figure.
pub fn median(costs: &[Cost]) -> Cost {
    let middle = |mut values: Vec<u64>| {
        values.sort_unstable();
        values[values.len() / 2]
    };
    let of = |field: fn(&Cost) -> u64| middle(costs.iter().map(field).collect());
    Cost {
        wall: Duration::from_micros(of(|cost| cost.wall.as_micros() as u64)),
        cpu: Duration::from_micros(of(|cost| cost.cpu.as_micros() as u64)),
        peak: of(|cost| cost.peak),
    }
}

/// Paths as words of a command line.
pub fn words<P: AsRef<Path>>(paths: &[P]) -> String {
    paths.iter().map(|path| path.as_ref().display().to_string()).collect::<Vec<_>>().join(" ")
}
