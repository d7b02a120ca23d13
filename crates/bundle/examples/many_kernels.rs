//! `many_kernels BTF COUNT OUT`: a pack of so many kernels, each with a BTF of its own, as large as the one given.

use bundle::pack::{PackOptions, write_pack};
use bundle::{Arch, Bundle, BundleBuilder, BundleMeta, KernelEntry};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [btf, count, out] = &arguments[..] else {
        return Err("usage: many_kernels BTF COUNT OUT".into());
    };
    let btf = std::fs::read(btf)?;
    let (name, arch) = ("many".to_owned(), Arch::X86_64);
    let meta = BundleMeta { name, arch, engine: "example".into(), source_date_epoch: 0 };
    let mut builder = BundleBuilder::new(meta)?;
    for number in 0..count.parse::<u64>()? {
        let entry = KernelEntry {
            distro: ["debian", "ubuntu", "rhel", "amzn"][number as usize % 4].into(),
            version: (number / 4 % 20).to_string(),
            version_aliases: vec![format!("{}.1", number / 4 % 20)],
            arch: Arch::X86_64,
            release: format!("5.{}.0-{number}-generic", number % 19),
            build_id: Some(format!("{number:040x}")),
        };
        // What makes them differ stands in the middle, where the offsets of a real one differ.
        let mut own = btf.clone();
        let middle = own.len() / 2;
        own.splice(middle..middle, number.to_le_bytes());
        builder.add_kernel(entry, own, Vec::new())?;
    }
    let bundle = Bundle::open(&builder.finish(1)?.tar_zst)?;
    let pack = write_pack(&bundle, PackOptions::default())?;
    println!("{} kernels, {} bytes", bundle.index().kernels.len(), pack.len());
    std::fs::write(out, pack)?;
    Ok(())
}
