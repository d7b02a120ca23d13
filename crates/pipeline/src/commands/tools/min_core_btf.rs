//! `btfpipe min-core-btf`: one BTF reduced to what some programs use, and the proof that nothing changed for them.

use std::mem::ManuallyDrop;
use std::path::PathBuf;

use relo_core::{
    BpfObject, Candidate, Environment, Keep, MinCoreBtf, MinimizeOptions, ModuleTypes, ObjectError,
    ObjectProof, OpenObject, Target, Wanted, minimize_keeping, prepare,
};
use serde_json::{Value, json};

use crate::commands::tools::{Objects, TargetFiles, ToolError, Voice, put};
use crate::outcome::Code;

/// What to minimize.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// The kernel.
    pub target: TargetFiles,
    /// Where the minimized BTF goes; `-` is the standard output.
    pub output: PathBuf,
    /// Where the minimized base goes, when the target is split BTF.
    pub base_output: Option<PathBuf>,
    /// The programs.
    pub programs: Vec<PathBuf>,
    /// Keep only what bpftool keeps, even where decisions change.
    pub strict_bpftool: bool,
    /// What to keep besides what CO-RE needs.
    pub keep: Keep,
    /// Say what happened as JSON on standard output.
    pub json: bool,
}

/// Writes the minimized BTF. An object that can't be used costs the others nothing, and the exit code says so.
pub fn run(options: &Options, voice: &mut Voice<'_>) -> Result<Code, ToolError> {
    let objects = Objects::open(&options.programs);
    objects.report(voice)?;
    // The program ends after this: giving all of it back piece by piece would serve nobody.
    let objects = ManuallyDrop::new(objects);
    let wanted = Wanted::new(&objects.good);
    let Some(kernel) = options.target.alone()? else {
        let btfs = options.target.read()?;
        let target = btfs.target(&wanted).map_err(|error| ToolError::engine(&btfs.name, error))?;
        return minimize(options, &objects, &target, btfs.vmlinux.data().len(), voice);
    };
    let (btf, candidates) = kernel.parse(&wanted)?;
    let target = Target::with_candidates(&btf, candidates, &[], &wanted)
        .map_err(|error| ToolError::engine(kernel.name(), error))?;
    minimize(options, &objects, &target, kernel.size(), voice)
}

fn minimize(
    options: &Options,
    objects: &Objects,
    target: &Target<'_>,
    full: usize,
    voice: &mut Voice<'_>,
) -> Result<Code, ToolError> {
    let split = options.target.base.is_some();
    let engine = MinimizeOptions {
        strict_bpftool: options.strict_bpftool,
        modules: if split { ModuleTypes::Split } else { ModuleTypes::Merge },
        ..MinimizeOptions::default()
    };
    let refs = objects.refs();
    let name = options.target.btf.display().to_string();
    let kept = kept(options.keep, objects, target).map_err(|error| ToolError::engine(&name, error))?;
    let made =
        minimize_keeping(target, &refs, engine, &kept).map_err(|error| ToolError::engine(&name, error))?;
    if let (true, Some(module)) = (split, made.modules.first()) {
        put(&options.output, module, voice)?;
        if let Some(path) = &options.base_output {
            put(path, &made.bytes, voice)?;
        }
    } else {
        put(&options.output, &made.bytes, voice)?;
    }
    let good = say(&refs, &made, voice) && objects.bad.is_empty();
    if options.json {
        let _ = voice.answer(&format!("{}\n", to_json(options, &refs, &made, full)));
    } else {
        let relocations: usize = made.proofs.iter().map(|proof| proof.relocations).sum();
        voice.note(format_args!(
            "{}: {} of {full} bytes; {relocations} relocations of {} objects are decided as on the full BTF",
            options.output.display(),
            made.bytes.len() + made.modules.iter().map(Vec::len).sum::<usize>(),
            refs.len()
        ));
    }
    Ok(if good { Code::Ok } else { Code::Failed })
}

/// The types that all objects need by `--keep`.
fn kept(keep: Keep, objects: &Objects, target: &Target<'_>) -> Result<Vec<Candidate>, ObjectError> {
    let mut places = Vec::new();
    // Most ask for nothing, and preparing an object costs far more than all the rest.
    if keep.is_empty() {
        return Ok(places);
    }
    for (object, bytes) in objects.with_bytes() {
        let open = OpenObject::open(object, bytes)?;
        places.extend(keep.places(&open, &prepare(&open, target, &Environment::default())));
    }
    Ok(places)
}

/// What people should know; false when something is not as it should be.
fn say(objects: &[&BpfObject], made: &MinCoreBtf, voice: &mut Voice<'_>) -> bool {
    let mut good = true;
    for (object, proof) in objects.iter().zip(&made.proofs) {
        if let Some((relo, error)) = proof.errors.first() {
            good = false;
            voice.note(format_args!(
                "{}: libbpf refuses it on this kernel, with the full BTF too: relocation {relo}: {error}",
                object.name()
            ));
        }
        for difference in &proof.differences {
            good = false;
            voice.note(format_args!(
                "{}: relocation {} is decided otherwise on what bpftool keeps",
                object.name(),
                difference.relo
            ));
        }
        if proof.target_type_ids > 0 {
            voice.note(format_args!(
                "{}: {} relocations give the id of a type, which is another one in every BTF; only the running \
                 kernel's own has the right one",
                object.name(),
                proof.target_type_ids
            ));
        }
    }
    good
}

fn to_json(options: &Options, objects: &[&BpfObject], made: &MinCoreBtf, full: usize) -> Value {
    let proof = |(object, proof): (&&BpfObject, &ObjectProof)| {
        let errors =
            proof.errors.iter().map(|(relo, error)| json!({"relo": relo, "reason": error.to_string()}));
        json!({
            "object": object.name(),
            "relocations": proof.relocations,
            "target_type_ids": proof.target_type_ids,
            "errors": errors.collect::<Vec<_>>(),
            "kept_for": proof.kept_for,
            "differences": proof.differences.iter().map(|difference| difference.relo).collect::<Vec<_>>(),
        })
    };
    let ids = made.ids.iter().map(|map| map.iter().map(|(old, new)| [old.0, new.0]).collect::<Vec<_>>());
    json!({
        "v": 1,
        "input": options.target.btf.display().to_string(),
        "output": options.output.display().to_string(),
        "bytes": {"full": full, "minimized": made.bytes.len()},
        "objects": objects.iter().zip(&made.proofs).map(proof).collect::<Vec<_>>(),
        "ids": ids.collect::<Vec<_>>(),
    })
}
