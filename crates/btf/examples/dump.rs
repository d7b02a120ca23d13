//! `dump FILE raw|c [BASE]`: prints a raw BTF as `bpftool btf dump` does, as a library user would.

use std::error::Error;
use std::io::Write;
use std::sync::Arc;

use btf::{Btf, Roots};

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let (file, format) = match args.as_slice() {
        [file, format, ..] => (file, format.as_str()),
        _too_few => return Err("usage: dump FILE raw|c [BASE]".into()),
    };
    let bytes = std::fs::read(file)?;
    let btf = match args.get(2) {
        Some(base) => Btf::parse_split(bytes, Arc::new(Btf::parse(std::fs::read(base)?)?))?,
        None => Btf::parse(bytes)?,
    };
    let mut text = String::new();
    match format {
        "raw" => btf.dump_raw(&mut text)?,
        "c" => btf.dump_c(&mut text, Roots::Sorted)?,
        other => return Err(format!("there is no format {other}: raw or c").into()),
    }
    Ok(std::io::stdout().write_all(text.as_bytes())?)
}
