//! What the work took of the processors, and what others took of them meanwhile.

use std::fs;
use std::time::Instant;

use crate::Error;

/// Ticks a second: the same on every Linux, whatever the kernel's own is.
const TICKS: f64 = 100.0;

/// A stretch of work that began.
pub struct Stretch {
    start: Instant,
    processor: f64,
    all: f64,
}

/// What it took, in seconds.
pub struct Took {
    pub wall: f64,
    /// Of this process and of the children that it collected.
    pub processor: f64,
    /// Of everyone else.
    pub others: f64,
}

impl Stretch {
    pub fn begin() -> Result<Self, Error> {
        Ok(Stretch { start: Instant::now(), processor: ours()?, all: everyone()? })
    }

    pub fn end(self) -> Result<Took, Error> {
        let processor = ours()? - self.processor;
        let others = (everyone()? - self.all - processor).max(0.0);
        Ok(Took { wall: self.start.elapsed().as_secs_f64(), processor, others })
    }
}

/// utime, stime, cutime, cstime: the 14th to the 17th field, counted after the name, which may have spaces.
fn ours() -> Result<f64, Error> {
    let stat = fs::read_to_string("/proc/self/stat")?;
    let (_, fields) = stat.rsplit_once(") ").ok_or("/proc/self/stat has no name")?;
    sum(fields.split(' ').skip(11).take(4))
}

/// user, nice, system.
fn everyone() -> Result<f64, Error> {
    let stat = fs::read_to_string("/proc/stat")?;
    let all = stat.lines().next().ok_or("/proc/stat is empty")?;
    sum(all.split_whitespace().skip(1).take(3))
}

fn sum<'a>(ticks: impl Iterator<Item = &'a str>) -> Result<f64, Error> {
    let ticks = ticks.map(str::parse::<f64>).collect::<Result<Vec<_>, _>>()?;
    Ok(ticks.iter().sum::<f64>() / TICKS)
}
