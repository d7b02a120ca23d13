//! `join OUTPUT OBJECT…`: one BTF with all types of these objects' own BTFs, one after the other, nothing merged.
//!
//! What the objects ask for is all there: a kernel to try them on where there is none.

use std::error::Error;

use btf::{Btf, Builder, ByteOrder, TypeId};
use object::{Object, ObjectSection};

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let output = args.next().ok_or("usage: join OUTPUT OBJECT...")?;
    let mut builder = Builder::new(ByteOrder::Little);
    for path in args {
        let bytes = std::fs::read(&path)?;
        let file = object::File::parse(&*bytes)?;
        let section = file.section_by_name(".BTF").ok_or_else(|| format!("{path}: no BTF"))?;
        let btf = Btf::parse(section.data()?)?;
        // Void stays void; the others follow what is there.
        let before = builder.next_id().0 - 1;
        let map = |id: TypeId| if id == TypeId::VOID { id } else { TypeId(before + id.0) };
        for id in btf.own_ids() {
            builder.copy(&btf.resolve(id)?, |_| true, map)?;
        }
    }
    std::fs::write(output, builder.finish()?)?;
    Ok(())
}
