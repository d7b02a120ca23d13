//! Prints what the packages of a kernel hold: `extract RELEASE PACKAGE.deb… [--out FOLDER]`.

use std::path::PathBuf;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments: Vec<String> = std::env::args().skip(1).collect();
    let out = arguments.iter().position(|argument| argument == "--out").map(|at| {
        let folder = arguments.drain(at..).nth(1).unwrap_or_default();
        PathBuf::from(folder)
    });
    let [release, packages @ ..] = &arguments[..] else {
        return Err("usage: extract RELEASE PACKAGE.deb…".into());
    };
    let packages: Vec<PathBuf> = packages.iter().map(PathBuf::from).collect();
    let found = kernels::extract::from_packages(&packages, release)?;
    let size: usize = found.modules.iter().map(|module| module.btf.len()).sum();
    println!("release     {release}");
    println!("build-id    {}", found.build_id.as_deref().unwrap_or("unknown"));
    println!("BTF         {} bytes, sha256 {}", found.btf.len(), kernels::Digest::of(&found.btf));
    println!("boot image  {} bytes", found.boot.as_ref().map_or(0, Vec::len));
    println!("config      {} bytes", found.config.as_ref().map_or(0, Vec::len));
    println!(
        "modules     {} with BTF ({size} bytes), {} without",
        found.modules.len(),
        found.modules_without_btf
    );
    for bad in &found.bad_modules {
        println!("bad module  {}: {}", bad.path, bad.fault);
    }
    if let Some(out) = out {
        std::fs::create_dir_all(out.join("modules"))?;
        std::fs::write(out.join("vmlinux.btf"), &found.btf)?;
        for module in &found.modules {
            std::fs::write(out.join("modules").join(format!("{}.btf", module.name)), &module.btf)?;
        }
    }
    Ok(())
}
