//! `sizes FOLDER TOOL…`: what minimized BTFs cost as a bundle, as packs and in the layouts of others.
//!
//! The folder has what `btfpipe minimize --records` writes for the objects in the tools: NAME.btf and NAME.jsonl, anywhere in it.
//! Prints Markdown.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::path::{Path, PathBuf};

use bundle::pack::{Method, PackOptions, write_pack};
use bundle::{
    Arch, Bundle, BundleBuilder, BundleMeta, Delta, Digest, KernelEntry, Layout, ProgramEntry, delta,
};

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

const LEVEL: i32 = 19;

fn main() -> Outcome<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (folder, tools) = arguments.split_first().ok_or("usage: sizes FOLDER TOOL…")?;
    let mut files = Vec::new();
    walk(Path::new(folder), &mut files)?;
    files.sort();
    let tools = programs_of(tools)?;
    let all = bundle_of(&files, &tools, true)?;
    let without = bundle_of(&files, &tools, false)?;
    sizes(&all, &without)?;
    programs(&all);
    newest(&files, &tools)
}

/// The objects in the tools, named as `btfpipe` names them.
fn programs_of(tools: &[String]) -> Outcome<Vec<ProgramEntry>> {
    let mut programs = Vec::new();
    for tool in tools {
        let executable = std::fs::read(tool)?;
        let objects = relo_core::embedded_objects(&executable);
        let name = Path::new(tool).file_name().unwrap_or_default().to_string_lossy();
        for (number, object) in objects.iter().enumerate() {
            let count = if objects.len() == 1 { String::new() } else { format!(".{}", number + 1) };
            let sha256 = Digest::of(object.bytes);
            programs.push(ProgramEntry { name: format!("{name}{count}.bpf.o"), sha256 });
        }
    }
    Ok(programs)
}

fn sizes(all: &Bundle, without: &Bundle) -> Outcome<()> {
    let blobs = distinct(all);
    let kernels = &all.index().kernels;
    let raw: usize = kernels.iter().map(|kernel| kernel.btf.size as usize).sum();
    let programs = all.index().programs.len();
    println!("{} kernels × {programs} programs, {} distinct minimized BTFs.\n", kernels.len(), blobs.len());
    println!("| as | bytes | of raw |\n|---|---:|---:|");
    let row = |what: &str, bytes: usize| {
        println!("| {what} | {bytes} | {:.1} % |", 100.0 * bytes as f64 / raw as f64);
    };
    row("**raw**: a file for each kernel", raw);
    row("raw, each distinct BTF once", blobs.iter().map(|blob| blob.len()).sum());
    row("**bundle** with records, level 19", compress(all.tar(), LEVEL, true)?);
    row("**bundle** without records, level 19", compress(without.tar(), LEVEL, true)?);
    row("the same without long-range matching", compress(without.tar(), LEVEL, false)?);
    row("the same at level 3", compress(without.tar(), 3, true)?);
    row("the same at level 22", compress(without.tar(), 22, true)?);
    for kib in [16, 64, 256, 1024] {
        let options = PackOptions { chunk_size: kib << 10, ..PackOptions::default() };
        let name = if kib == 64 { "**pack**" } else { "pack" };
        row(&format!("{name}, chunks of {kib} KiB"), write_pack(without, options)?.len());
    }
    let deflate = PackOptions { method: Method::Deflate, ..PackOptions::default() };
    row("pack for Go (DEFLATE)", write_pack(without, deflate)?.len());
    let alone: Outcome<usize> = blobs.iter().map(|blob| compress(blob, LEVEL, false)).sum();
    row("a zstd frame for each distinct BTF", alone?);
    match with_dictionary(&blobs) {
        Ok((dictionary, frames)) => {
            row(
                &format!("the same with a trained dictionary, its {dictionary} bytes counted"),
                dictionary + frames,
            );
        }
        Err(error) => println!("| the same with a trained dictionary | {error} | |"),
    }
    row("**BTFHub custom archive**, .tar.xz", xz(&Layout::BtfhubCustomArchive.tar(without)?)?);
    for (layout, what) in [
        (Layout::BtfhubCustomArchive, "layout btfhub-custom-archive, .tar.zst"),
        (Layout::Datadog, "layout **datadog**, xz in xz"),
        (Layout::Bcc, "layout bcc, .tar.gz"),
        (Layout::LibbpfPath, "layout libbpf-path, .tar.zst"),
    ] {
        row(what, layout.deliver(without, LEVEL, 1)?.bytes.len());
    }
    Ok(())
}

/// What one more kernel costs those who have the bundle.
fn newest(files: &[PathBuf], tools: &[ProgramEntry]) -> Outcome<()> {
    println!("\nOne more kernel for those who have the bundle of all others, records included:\n");
    println!(
        "| kernel | whole bundle | its new files, as a bundle is compressed | delta pack |\n|---|---:|---:|---:|"
    );
    let file = package_of(files, tools, true, LEVEL)?;
    let (new, whole) = (Bundle::open(&file)?, file.len());
    let step = (files.len() / 5).max(1);
    for added in files.iter().step_by(step) {
        let others: Vec<PathBuf> = files.iter().filter(|file| *file != added).cloned().collect();
        let old = bundle_of(&others, tools, true)?;
        let delta = Delta::between(&old, &file)?;
        assert!(delta.file(&delta.apply(&old)?, 1)? == file, "a delta gives the new bundle");
        let fresh = delta::new_files(&old, &new, LEVEL)?.len();
        println!("| {} | {whole} | {fresh} | {} |", name(added), delta.to_bytes().len());
    }
    Ok(())
}

/// How many relocations a program brings, and where some are in vain.
fn programs(bundle: &Bundle) {
    let index = bundle.index();
    let mut totals: BTreeMap<&str, (u64, usize)> = BTreeMap::new();
    for kernel in &index.kernels {
        for (name, outcome) in index.outcomes_of(kernel).into_iter().flatten() {
            let total = totals.entry(name).or_default();
            total.0 = outcome.relocated + outcome.absent + outcome.poisoned + outcome.error;
            total.1 += usize::from(outcome.poisoned + outcome.error > 0);
        }
    }
    let (all, with) = (index.programs.len(), totals.len());
    println!("\n{all} programs, {} of them without relocations; those with most:\n", all - with);
    println!("| program | relocations | kernels where some are poisoned or refused |\n|---|---:|---:|");
    let mut sorted: Vec<_> = totals.into_iter().collect();
    sorted.sort_by_key(|(name, (relocations, _))| (std::cmp::Reverse(*relocations), *name));
    for (name, (relocations, vain)) in sorted.into_iter().take(8) {
        println!("| {name} | {relocations} | {vain} |");
    }
}

fn walk(folder: &Path, found: &mut Vec<PathBuf>) -> Outcome<()> {
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            walk(&path, found)?;
        } else if path.extension().is_some_and(|extension| extension == "btf") {
            found.push(path);
        }
    }
    Ok(())
}

/// The last part of a kernel's name: paths have at most 99 bytes.
fn name(path: &Path) -> String {
    let name = path.file_stem().unwrap_or_default().to_string_lossy();
    let last = name.rsplit('_').next().unwrap_or_default();
    last.chars().filter(char::is_ascii_graphic).take(60).collect()
}

/// All of them under Debian's name, so that every layout takes them; a number keeps equal names apart.
fn bundle_of(files: &[PathBuf], tools: &[ProgramEntry], records: bool) -> Outcome<Bundle> {
    Ok(Bundle::open(&package_of(files, tools, records, 1)?)?)
}

fn package_of(files: &[PathBuf], tools: &[ProgramEntry], records: bool, level: i32) -> Outcome<Vec<u8>> {
    let (bundle_name, arch) = ("sizes".to_owned(), Arch::X86_64);
    let meta = BundleMeta { name: bundle_name, arch, engine: "example".into(), source_date_epoch: 0 };
    let mut builder = BundleBuilder::new(meta)?;
    let mut taken: BTreeMap<String, usize> = BTreeMap::new();
    for path in files {
        let twins = taken.entry(name(path)).or_default();
        *twins += 1;
        let release = if *twins == 1 { name(path) } else { format!("{}.{twins}", name(path)) };
        let (distro, version) = ("debian".to_owned(), "12".to_owned());
        let entry = KernelEntry { distro, version, version_aliases: vec![], arch, release, build_id: None };
        let lines = if records { std::fs::read(path.with_extension("jsonl"))? } else { Vec::new() };
        builder.add_kernel(entry, std::fs::read(path)?, lines)?;
    }
    tools.iter().try_for_each(|tool| builder.add_program(tool.clone()))?;
    Ok(builder.finish(level)?.tar_zst)
}

fn distinct(bundle: &Bundle) -> Vec<&[u8]> {
    let mut seen = BTreeSet::new();
    let kernels = bundle.index().kernels.iter().filter(|kernel| seen.insert(kernel.btf.sha256));
    kernels.filter_map(|kernel| bundle.btf_of(kernel)).collect()
}

fn compress(content: &[u8], level: i32, long: bool) -> Outcome<usize> {
    let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), level)?;
    encoder.multithread(1)?;
    if long {
        encoder.long_distance_matching(true)?;
        encoder.window_log(27)?;
    }
    encoder.include_checksum(true)?;
    encoder.set_pledged_src_size(Some(content.len() as u64))?;
    encoder.write_all(content)?;
    Ok(encoder.finish()?.len())
}

/// The dictionary, which is shipped too, compressed; and the frames.
fn with_dictionary(blobs: &[&[u8]]) -> Outcome<(usize, usize)> {
    let dictionary = zstd::dict::from_samples(blobs, 64 << 10)?;
    let mut compressor = zstd::bulk::Compressor::with_dictionary(LEVEL, &dictionary)?;
    let mut frames = 0;
    for blob in blobs {
        frames += compressor.compress(blob)?.len();
    }
    Ok((compress(&dictionary, LEVEL, false)?, frames))
}

fn xz(content: &[u8]) -> Outcome<usize> {
    let mut encoder = liblzma::write::XzEncoder::new(Vec::new(), 6);
    encoder.write_all(content)?;
    Ok(encoder.finish()?.len())
}
