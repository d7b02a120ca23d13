//! `min_core_btf INPUT OUTPUT OBJECT…`: minimizes a raw BTF, as a library user would.

use std::error::Error;

use relo_core::{BpfObject, MinimizeOptions, Target, Wanted, minimize_target};

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let (Some(input), Some(output)) = (args.next(), args.next()) else {
        return Err("usage: min_core_btf INPUT OUTPUT OBJECT...".into());
    };
    let bytes = std::fs::read(input)?;
    let objects = args
        .map(|path| Ok(BpfObject::parse(path.clone(), &std::fs::read(path)?)?))
        .collect::<Result<Vec<_>, Box<dyn Error>>>()?;
    let objects: Vec<&BpfObject> = objects.iter().collect();
    // The names to look for come first, so that parsing and searching are one pass over the BTF.
    let wanted = Wanted::new(objects.iter().copied());
    let (btf, candidates) = wanted.parse(&bytes)?;
    let target = Target::with_candidates(&btf, candidates, &[], &wanted)?;
    let minimized = minimize_target(&target, &objects, MinimizeOptions::default())?;
    for (object, proof) in objects.iter().zip(&minimized.proofs) {
        if !proof.errors.is_empty() || !proof.kept_for.is_empty() {
            println!("{}: {:?} {:?}", object.name(), proof.errors, proof.kept_for);
        }
    }
    std::fs::write(output, minimized.bytes)?;
    Ok(())
}
