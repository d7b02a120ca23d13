//! `many_kernels BTF COUNT OUT`: a pack of so many kernels, each with a BTF of its own, as large as the one given.
//!
//! Says how much memory all layouts of them take, made one after the other into files, as a run makes them.

use std::io::Write;

use bundle::pack::{PackOptions, write_pack};
use bundle::{Arch, Bundle, BundleBuilder, BundleMeta, KernelEntry, Layout};

/// The most memory that this process had, in MiB.
fn peak() -> Result<u64, Box<dyn std::error::Error>> {
    let text = std::fs::read_to_string("/proc/self/status")?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib: u64 = line.and_then(|line| line.split_whitespace().next()).ok_or("no VmHWM")?.parse()?;
    Ok(kib / 1024)
}

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
    let (before, mut together) = (peak()?, 0);
    for layout in Layout::ALL {
        // Some of the four distributions' kernels are none of Datadog's, or no path of libbpf's: what can be made counts.
        let Ok(made) = layout.deliver(&bundle, 19, 1) else { continue };
        together += made.bytes.len();
        tempfile::tempfile()?.write_all(&made.bytes)?;
    }
    println!(
        "the bundle in memory: {} MiB; with the layouts one by one: {} MiB at most; their files: {} MiB",
        before,
        peak()?,
        together >> 20
    );
    Ok(())
}
