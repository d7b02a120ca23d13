//! `prepare [-v VERSION] [-k CONFIG] [-s KALLSYMS] [-o KERNEL_BTF | -n] [-l] TARGET OBJECT…`: how each program would end.
//!
//! `-o` is the kernel's own BTF where TARGET is not, `-n` says that it has none, `-l` prints the instructions.

use std::error::Error;

use btf::Btf;
use relo_core::{BpfObject, Environment, KernelBtf, OpenObject, Target, TargetBtf, Wanted, prepare};

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1).peekable();
    let (mut version, mut config, mut symbols, mut own, mut listing) = (None, None, None, None, false);
    let mut absent = false;
    while let Some(flag) = args.next_if(|arg| arg.starts_with('-')) {
        let mut value = || args.next().ok_or("an option needs a value");
        match flag.as_str() {
            "-v" => version = Some(value()?.parse()?),
            "-k" => config = Some(std::fs::read_to_string(value()?)?),
            "-s" => symbols = Some(std::fs::read_to_string(value()?)?),
            "-o" => own = Some(Btf::parse(std::fs::read(value()?)?)?),
            "-n" => absent = true,
            "-l" => listing = true,
            other => return Err(format!("unknown option {other}").into()),
        }
    }
    let input = args.next().ok_or("usage: prepare [options] TARGET OBJECT...")?;
    let btf = Btf::parse(std::fs::read(input)?)?;
    let own: Option<[TargetBtf<'_>; 1]> = own.as_ref().map(|btf| [TargetBtf { module: None, btf }]);
    let environment = Environment {
        kconfig: config.as_deref(),
        kallsyms: symbols.as_deref(),
        kernel_version: version,
        kernel_btf: match &own {
            Some(btfs) => KernelBtf::Other(btfs),
            None if absent => KernelBtf::Absent,
            None => KernelBtf::Target,
        },
        ..Environment::default()
    };
    for path in args {
        let bytes = std::fs::read(&path)?;
        let object = BpfObject::parse(path.clone(), &bytes)?;
        let open = OpenObject::open(&object, &bytes)?;
        let wanted = Wanted::new([&object]);
        let target = Target::new(&btf, &[], &wanted)?;
        let prepared = prepare(&open, &target, &environment);
        for refusal in &prepared.refusals {
            println!("{path}: refused: {refusal}");
        }
        for program in &prepared.programs {
            println!("{path} {}: {}", program.name, program.status);
            if listing {
                println!("{}", prepared.listing(&open, program));
            }
        }
    }
    Ok(())
}
