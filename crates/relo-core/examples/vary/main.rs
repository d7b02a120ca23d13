//! `vary SEED COUNT COPIES FOLDER BTF…`: kernels that never were, made from real ones.
//!
//! Every one has the types of one of the BTFs in another order, under other ids, with structs that have grown: no
//! offset that a program asks for stays what it was. Which is which depends on the seed and the number alone. With
//! COPIES above 1 all types come that many times, those of the copies under names of their own: a larger kernel in
//! which a program finds the same. Files are called `NUMBER-NAME.btf`; one that is there is not made again.

mod growth;
mod random;
mod renumber;

use std::error::Error;
use std::path::{Path, PathBuf};

use btf::Btf;

use growth::Growth;
use random::Random;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [seed, count, copies, folder, inputs @ ..] = &arguments[..] else {
        return Err("usage: vary SEED COUNT COPIES FOLDER BTF...".into());
    };
    let (seed, count, copies): (u64, usize, u32) = (seed.parse()?, count.parse()?, copies.parse()?);
    let inputs: Vec<(PathBuf, Vec<u8>)> =
        inputs.iter().map(|path| Ok((path.into(), std::fs::read(path)?))).collect::<std::io::Result<_>>()?;
    if inputs.is_empty() {
        return Err("no BTF to make kernels from".into());
    }
    std::fs::create_dir_all(folder)?;
    for number in 0..count {
        let (path, bytes) = &inputs[number % inputs.len()];
        let name = path.file_stem().unwrap_or_default().to_string_lossy();
        let file = Path::new(folder).join(format!("{number:04}-{name}.btf"));
        if !file.exists() {
            let made = vary(bytes, Random::new(seed, number as u64), copies)
                .map_err(|error| format!("{}: {error}", path.display()))?;
            let half = file.with_extension("half");
            std::fs::write(&half, made)?;
            std::fs::rename(half, file)?;
        }
    }
    Ok(())
}

fn vary(bytes: &[u8], mut random: Random, copies: u32) -> Result<Vec<u8>, Box<dyn Error>> {
    let btf = Btf::parse(bytes)?;
    let growth = Growth::choose(&btf, &mut random)?;
    renumber::write(&btf, &growth, &mut random, copies)
}
