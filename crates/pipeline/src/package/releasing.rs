//! What a release was made of, for its SBOM and its statement of provenance.

use bundle::attestation::{Build, Material, MaterialKind};
use kernels::LockedPackage;

use crate::file::steps;
use crate::kernel::engine::ProgramSet;
use crate::kernel::works::Worked;
use crate::lock::locking::locked_packages;
use crate::package::packaging::ENGINE;
use crate::project::Project;
use crate::project::plugin_step::Role;
use crate::yaml::problem::Text;

/// Who makes the release, and everything that goes into it.
pub fn build<'a>(
    project: &Project,
    step: &steps::Package,
    done: &[Worked],
    sets: impl Iterator<Item = &'a ProgramSet>,
) -> Build {
    let mut materials: Vec<Material> = project.file.texts.iter().filter_map(definition).collect();
    // Without a lock, as with --lock of a file that nobody wrote yet, there is nothing to name.
    if let Ok(bytes) = std::fs::read(&project.lock_path) {
        materials.push(file(&project.lock_path.to_string_lossy(), &bytes));
    }
    for worked in done.iter().filter(|worked| is_shipped(worked)) {
        let distro = worked.chosen.id.distro();
        let packages = locked_packages(&worked.chosen.source).unwrap_or_default();
        materials.extend(packages.iter().filter_map(|package| kernel(distro, package)));
    }
    for program in sets.flat_map(|set| &set.programs) {
        materials.push(Material {
            kind: MaterialKind::Program,
            name: program.name.clone(),
            version: None,
            purl: None,
            sha256: bundle::Digest::of(&program.elf),
        });
    }
    let own = step.layouts.iter().map(|layout| layout.name().to_owned());
    let of_plugins = project.steps.iter().filter(|step| step.role == Role::Package);
    let layouts = own.chain(of_plugins.map(|step| step.name.clone())).collect();
    let (profiles, set) = (&project.given.profiles, &project.given.set);
    let profiles = profiles.iter().map(|profile| format!("--profile {profile}"));
    let given = profiles.chain(set.iter().map(|word| format!("--set {word}"))).collect();
    let environment = environment(project);
    let (pipeline, engine) = (project.file.name.clone(), ENGINE.to_owned());
    Build { pipeline, engine, layouts, given, environment, materials }
}

/// The variables that the pipeline names. A value may be a secret, so what is told is its digest: who knows the value can
/// check it.
fn environment(project: &Project) -> Vec<(String, bundle::Digest)> {
    let set = |name: &String| {
        let value = project.given.environment.find(name).ok()?;
        Some((name.clone(), bundle::Digest::of(value.as_bytes())))
    };
    project.file.variables.iter().filter_map(set).collect()
}

/// Whether the kernel is in a package.
fn is_shipped(worked: &Worked) -> bool {
    worked.result.as_ref().is_ok_and(|ready| ready.made.iter().any(Option::is_some))
}

/// The pipeline file or a fragment; a word of the command line is no file.
fn definition(text: &Text) -> Option<Material> {
    (!text.text.is_empty()).then(|| file(&text.name, text.text.as_bytes()))
}

/// By its name alone: where it lies must not matter.
fn file(path: &str, bytes: &[u8]) -> Material {
    let name = path.rsplit('/').next().unwrap_or(path).to_owned();
    let (kind, sha256) = (MaterialKind::Definition, bundle::Digest::of(bytes));
    Material { kind, name, version: None, purl: None, sha256 }
}

fn kernel(distro: &str, package: &LockedPackage) -> Option<Material> {
    Some(Material {
        kind: MaterialKind::Kernel,
        purl: purl(distro, package),
        name: package.name.clone(),
        version: Some(package.version.clone()),
        // Both crates spell a digest in the same 64 digits.
        sha256: package.sha256.to_string().parse().ok()?,
    })
}

/// The package URL of a Debian or RPM package, as the purl specification has it.
fn purl(distro: &str, package: &LockedPackage) -> Option<String> {
    let kind = match package.file.rsplit_once('.')?.1 {
        "deb" | "ddeb" => "deb",
        "rpm" => "rpm",
        _ => return None,
    };
    let (name, version, arch) = (&package.name, encoded(&package.version), &package.arch);
    Some(format!("pkg:{kind}/{distro}/{}@{version}?arch={arch}", encoded(name)))
}

/// What a version may hold and a URL may not.
fn encoded(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b".-_~".contains(&byte);
    let escaped = |byte: u8| if plain(byte) { (byte as char).to_string() } else { format!("%{byte:02X}") };
    text.bytes().map(escaped).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn package_urls() {
        let package = |file: &str, version: &str| LockedPackage {
            name: "linux-image-6.12+deb13-amd64".into(),
            version: version.into(),
            arch: "amd64".into(),
            file: file.into(),
            sha256: kernels::Digest::of(b""),
            size: 0,
        };
        assert_eq!(
            purl("debian", &package("linux-image.deb", "1:6.12-1~bpo12")).as_deref(),
            Some("pkg:deb/debian/linux-image-6.12%2Bdeb13-amd64@1%3A6.12-1~bpo12?arch=amd64")
        );
        assert_eq!(purl("debian", &package("vmlinux", "1")), None);
    }
}
