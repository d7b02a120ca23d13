//! What a release is made of, for those who must answer for it: a CycloneDX SBOM and an in-toto statement of provenance.
//!
//! Both are plain JSON without a time or a random number: the same inputs make the same bytes. Their digests are in
//! SHA256SUMS, so its signature covers them.

use serde_json::{Value, json};

use crate::digest::Digest;
use crate::manifest::Manifest;

/// The file with the SBOM.
pub const SBOM: &str = "sbom.cdx.json";
/// The file with the statement of provenance.
pub const PROVENANCE: &str = "provenance.intoto.json";
const STATEMENT: &str = "https://in-toto.io/Statement/v1";
const PREDICATE: &str = "https://slsa.dev/provenance/v1";

/// What something that went into a release is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum MaterialKind {
    /// The pipeline file or the lock.
    Definition,
    /// A package of a kernel.
    Kernel,
    /// A BPF object.
    Program,
}

/// Something that went into a release.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Material {
    /// What it is.
    pub kind: MaterialKind,
    /// Its name: a file's, a package's.
    pub name: String,
    /// Its version, where it has one.
    pub version: Option<String>,
    /// Its package URL, where it has one.
    pub purl: Option<String>,
    /// The digest of its bytes.
    pub sha256: Digest,
}

/// Who made a release, and with what settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Build {
    /// The pipeline's name.
    pub pipeline: String,
    /// The program and version, e.g. `btfpipe 0.1.0`.
    pub engine: String,
    /// The layouts that were asked for, beyond bundles.
    pub layouts: Vec<String>,
    /// What the command line gave to the pipeline: `--set level=9`.
    pub given: Vec<String>,
    /// What the environment gave to it: the name of each variable, and the digest of its value, which may be a secret.
    pub environment: Vec<(String, Digest)>,
    /// Everything that went in; sorted here.
    pub materials: Vec<Material>,
}

/// The SBOM, CycloneDX 1.6: the files of the release, the kernels and programs in them, the tool.
pub fn sbom(manifest: &Manifest, build: &Build) -> String {
    let materials = sorted(&build.materials);
    let parts: Vec<Value> = materials.iter().map(|material| component(material)).collect();
    let refs: Vec<String> = materials.iter().map(|material| reference(material)).collect();
    let files: Vec<(String, Digest)> = files(manifest);
    let shipped = files.iter().map(|(name, sha256)| {
        json!({ "type": "file", "bom-ref": format!("file:{name}"), "name": name, "hashes": hashes(sha256) })
    });
    let dependencies =
        files.iter().map(|(name, _)| json!({ "ref": format!("file:{name}"), "dependsOn": refs }));
    let (tool, version) = build.engine.split_once(' ').unwrap_or((&build.engine, ""));
    let bom = json!({
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {
            "tools": { "components": [{ "type": "application", "name": tool, "version": version }] },
            "component": { "type": "data", "bom-ref": format!("release:{}", build.pipeline), "name": build.pipeline },
        },
        "components": shipped.chain(parts).collect::<Vec<_>>(),
        "dependencies": dependencies.collect::<Vec<_>>(),
    });
    text(&bom)
}

/// The statement: these files were made of these materials, by this program, in this way.
pub fn provenance(manifest: &Manifest, build: &Build) -> String {
    let subjects =
        files(manifest).into_iter().map(|(name, sha256)| json!({ "name": name, "digest": digest(&sha256) }));
    let of = |wanted: MaterialKind| {
        let materials = sorted(&build.materials);
        materials
            .into_iter()
            .filter(move |material| material.kind == wanted)
            .map(dependency)
            .collect::<Vec<_>>()
    };
    let variables = build.environment.iter();
    let environment = variables.map(|(name, value)| json!({ "name": name, "digest": digest(value) }));
    let dependencies = [of(MaterialKind::Kernel), of(MaterialKind::Program)].concat();
    let first = manifest.packages.first();
    let statement = json!({
        "_type": STATEMENT,
        "subject": subjects.collect::<Vec<_>>(),
        "predicateType": PREDICATE,
        "predicate": {
            "buildDefinition": {
                "buildType": "urn:btfpipe:run:v1",
                "externalParameters": {
                    "pipeline": build.pipeline,
                    "definitions": of(MaterialKind::Definition),
                    "given": build.given,
                    "environment": environment.collect::<Vec<_>>(),
                    "layouts": build.layouts,
                    "level": first.map(|package| package.level),
                    "source_date_epoch": first.map(|package| package.source_date_epoch),
                },
                "internalParameters": { "zstd": first.map(|package| package.zstd.as_str()) },
                "resolvedDependencies": dependencies,
            },
            "runDetails": {
                "builder": { "id": "urn:btfpipe:builder", "version": { "engine": build.engine } },
            },
        },
    });
    text(&statement)
}

/// What an SBOM or a statement says of files and their digests; none where it is neither.
///
/// Both are read so loosely on purpose: what vouches for them is their own digest.
pub fn attested_files(json: &[u8]) -> Option<Vec<(String, Digest)>> {
    let value: Value = serde_json::from_slice(json).ok()?;
    let entry =
        |name: &Value, sha256: &Value| Some((name.as_str()?.to_owned(), sha256.as_str()?.parse().ok()?));
    if value["_type"] == STATEMENT && value["predicateType"] == PREDICATE {
        return value["subject"]
            .as_array()?
            .iter()
            .map(|one| entry(&one["name"], &one["digest"]["sha256"]))
            .collect();
    }
    if value["bomFormat"] != "CycloneDX" {
        return None;
    }
    let files = value["components"].as_array()?.iter().filter(|one| one["type"] == "file");
    files.map(|one| entry(&one["name"], &one["hashes"][0]["content"])).collect()
}

fn files(manifest: &Manifest) -> Vec<(String, Digest)> {
    let packages = manifest.packages.iter().map(|package| (package.file.clone(), package.zst.sha256));
    let layouts = manifest.layouts.iter().map(|layout| (layout.file.clone(), layout.content.sha256));
    let mut files: Vec<_> = packages.chain(layouts).collect();
    files.sort();
    files
}

fn sorted(materials: &[Material]) -> Vec<&Material> {
    let mut sorted: Vec<&Material> = materials.iter().collect();
    sorted.sort();
    sorted.dedup();
    sorted
}

fn component(material: &Material) -> Value {
    let kind = match material.kind {
        MaterialKind::Definition => "data",
        MaterialKind::Kernel => "operating-system",
        MaterialKind::Program => "application",
    };
    let mut component = json!({ "type": kind, "bom-ref": reference(material), "name": material.name });
    let texts = [("version", &material.version), ("purl", &material.purl)];
    for (key, text) in texts.into_iter().filter_map(|(key, text)| Some((key, text.as_ref()?))) {
        component[key] = json!(text);
    }
    component["hashes"] = hashes(&material.sha256);
    component
}

fn reference(material: &Material) -> String {
    format!("sha256:{}:{}", material.sha256, material.name)
}

fn dependency(material: &Material) -> Value {
    let mut dependency = json!({ "name": material.name, "digest": digest(&material.sha256) });
    if let Some(purl) = &material.purl {
        dependency["uri"] = json!(purl);
    }
    dependency
}

fn hashes(sha256: &Digest) -> Value {
    json!([{ "alg": "SHA-256", "content": sha256.to_string() }])
}

fn digest(sha256: &Digest) -> Value {
    json!({ "sha256": sha256.to_string() })
}

fn text(value: &Value) -> String {
    let mut text = serde_json::to_string_pretty(value).expect("JSON values are JSON");
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Arch, BundleBuilder, BundleMeta, PackageEntry};

    fn manifest() -> Manifest {
        let meta =
            BundleMeta { name: "n".into(), arch: Arch::Arm64, engine: "e 1".into(), source_date_epoch: 7 };
        Manifest::new([PackageEntry::of(&BundleBuilder::new(meta).unwrap().finish(3).unwrap())])
    }

    fn build(materials: Vec<Material>) -> Build {
        let (layouts, given) = (vec!["bcc".into()], vec!["--set level=9".into()]);
        let environment = vec![("TAG".into(), Digest::of(b"v1"))];
        Build { pipeline: "n".into(), engine: "btfpipe 0.1.0".into(), layouts, given, environment, materials }
    }

    fn material(kind: MaterialKind, name: &str) -> Material {
        let purl = (kind == MaterialKind::Kernel).then(|| format!("pkg:deb/debian/{name}@1"));
        Material {
            kind,
            name: name.into(),
            version: Some("1".into()),
            purl,
            sha256: Digest::of(name.as_bytes()),
        }
    }

    #[test]
    fn both_name_the_files_and_the_materials() {
        let materials = vec![
            material(MaterialKind::Program, "p.bpf.o"),
            material(MaterialKind::Kernel, "linux-image-1"),
            material(MaterialKind::Definition, "kernels.lock"),
        ];
        let file = manifest().packages[0].clone();
        let want = Some(vec![(file.file, file.zst.sha256)]);
        for text in
            [sbom(&manifest(), &build(materials.clone())), provenance(&manifest(), &build(materials.clone()))]
        {
            assert_eq!(attested_files(text.as_bytes()), want);
            for material in &materials {
                assert!(
                    text.contains(&material.name) && text.contains(&material.sha256.to_string()),
                    "{text}"
                );
            }
        }
        let mut turned = materials.clone();
        turned.reverse();
        assert_eq!(sbom(&manifest(), &build(materials.clone())), sbom(&manifest(), &build(turned.clone())));
        assert_eq!(provenance(&manifest(), &build(materials)), provenance(&manifest(), &build(turned)));
    }

    #[test]
    fn a_variable_is_named_and_its_value_is_not() {
        let text = provenance(&manifest(), &build(vec![]));
        let value: Value = serde_json::from_str(&text).unwrap();
        let told = &value["predicate"]["buildDefinition"]["externalParameters"]["environment"];
        let want = json!([{ "name": "TAG", "digest": { "sha256": Digest::of(b"v1").to_string() } }]);
        assert_eq!(*told, want);
    }

    #[test]
    fn neither() {
        for text in ["", "{}", "[]", r#"{"bomFormat":"CycloneDX"}"#, r#"{"_type":1}"#] {
            assert_eq!(attested_files(text.as_bytes()), None, "{text}");
        }
    }
}
