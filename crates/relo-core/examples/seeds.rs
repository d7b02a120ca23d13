//! `seeds FOLDER BTF OBJECT…`: what the fuzzers start from. Each object alone, with its own types as a kernel, and with
//! the BTF of a kernel, minimized for it. An object is an ELF file of BPF, or an executable that carries skeletons.

use std::error::Error;
use std::fs;
use std::path::Path;

use btf::Btf;
use object::{Object, ObjectSection};
use relo_core::{BpfObject, MinimizeOptions, minimize};

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let (Some(folder), Some(kernel)) = (args.next(), args.next()) else {
        return Err("usage: seeds FOLDER BTF OBJECT...".into());
    };
    let folder = Path::new(&folder);
    let kernel = fs::read(kernel)?;
    let kernel = Btf::parse(&*kernel)?;
    for target in ["elf", "btf", "btf_ext", "index", "relocate", "minimize", "prepare"] {
        fs::create_dir_all(folder.join(target))?;
    }
    for path in args {
        let bytes = fs::read(&path)?;
        let name = Path::new(&path).file_name().unwrap_or_default().to_string_lossy();
        let embedded = relo_core::embedded_objects(&bytes);
        match embedded.is_empty() {
            true => write(folder, &name, &bytes, &kernel)?,
            false => {
                for (index, object) in embedded.iter().enumerate() {
                    write(folder, &format!("{name}.{index}"), object.bytes, &kernel)?;
                }
            }
        }
    }
    Ok(())
}

fn write(folder: &Path, name: &str, object: &[u8], kernel: &Btf<'_>) -> Result<(), Box<dyn Error>> {
    let parsed = BpfObject::parse(name, object)?;
    let file = object::File::parse(object)?;
    let section = |name| file.section_by_name(name).ok_or("no BTF")?.data().map_err(Box::<dyn Error>::from);
    let own = section(".BTF")?;
    let minimized = minimize(kernel, &[&parsed], MinimizeOptions::default())?.bytes;
    fs::write(folder.join("elf").join(name), object)?;
    fs::write(folder.join("btf").join(name), own)?;
    fs::write(folder.join("index").join(name), [&[0xff; 8], own].concat())?;
    fs::write(folder.join("btf_ext").join(name), section(".BTF.ext")?)?;
    for target in ["relocate", "minimize", "prepare"] {
        for (of, btf) in [("own", own), ("kernel", &minimized)] {
            let seed = [&(object.len() as u32).to_le_bytes(), object, btf].concat();
            fs::write(folder.join(target).join(format!("{name}.{of}")), seed)?;
        }
    }
    Ok(())
}
