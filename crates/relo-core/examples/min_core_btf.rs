//! `min_core_btf INPUT OUTPUT OBJECT…`: minimizes a raw BTF, as a library user would.

use std::error::Error;

use btf::Btf;
use relo_core::{BpfObject, MinimizeOptions, minimize};

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let (Some(input), Some(output)) = (args.next(), args.next()) else {
        return Err("usage: min_core_btf INPUT OUTPUT OBJECT...".into());
    };
    let bytes = std::fs::read(input)?;
    let btf = Btf::parse(&bytes)?;
    let objects = args
        .map(|path| Ok(BpfObject::parse(path.clone(), &std::fs::read(path)?)?))
        .collect::<Result<Vec<_>, Box<dyn Error>>>()?;
    let objects: Vec<&BpfObject> = objects.iter().collect();
    let minimized = minimize(&btf, &objects, MinimizeOptions::default())?;
    for (object, proof) in objects.iter().zip(&minimized.proofs) {
        if !proof.errors.is_empty() || !proof.kept_for.is_empty() {
            println!("{}: {:?} {:?}", object.name(), proof.errors, proof.kept_for);
        }
    }
    std::fs::write(output, minimized.bytes)?;
    Ok(())
}
