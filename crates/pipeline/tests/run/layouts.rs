//! Packages in the layouts of others, other words for versions, and what a release says of itself.

use bundle::{Bundle, Checksums, Digest, Layout, Manifest};
use pipeline::file::Environment;
use pipeline::outcome::Code;
use pipeline::plan::Runs;

use crate::fixture::{ARM, OLD, World, pipeline};

/// A kernel of a distribution that Datadog's loader doesn't know.
const GENTOO: &str = "gentoo/2/x86_64/6.6.1-gentoo";

/// A pipeline whose package step has these settings as well.
fn declare(world: &World, settings: &str) {
    let file = pipeline(&["bookworm"]).replace("level: 3 }", &format!("level: 3, {settings} }}"));
    world.write("pipelines/test.yaml", file.as_bytes());
}

fn sums(world: &World) -> Checksums {
    Checksums::parse(&String::from_utf8(world.read("dist/SHA256SUMS")).unwrap()).unwrap()
}

/// Which files of packages are in the output folder.
fn files(world: &World) -> Vec<String> {
    let names = std::fs::read_dir(world.root.join("dist")).unwrap();
    let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = names.filter(|name| name.starts_with("test-")).collect();
    names.sort();
    names
}

#[test]
fn layouts_are_made_of_the_package_and_kept() {
    let world = World::new();
    declare(&world, "layouts: [bundle, bcc, pack]");
    let first = world.run().unwrap();
    assert_eq!((first.code, first.actions.ran("package")), (Code::Ok, 6));
    let wanted = [
        "test-arm64-bcc.tar.gz",
        "test-arm64.btfpack",
        "test-arm64.tar.zst",
        "test-x86_64-bcc.tar.gz",
        "test-x86_64.btfpack",
        "test-x86_64.tar.zst",
    ];
    assert_eq!(files(&world), wanted);
    let bundle = Bundle::open(&world.read("dist/test-x86_64.tar.zst")).unwrap();
    for layout in [Layout::Bcc, Layout::Pack] {
        let made = layout.deliver(&bundle, 3, 1).unwrap();
        assert!(made.bytes == world.read(&format!("dist/{}", made.file)), "{layout}");
    }
    let manifest = Manifest::parse(&world.read("dist/manifest.json")).unwrap();
    let named: Vec<&str> = manifest.layouts.iter().map(|layout| layout.file.as_str()).collect();
    assert_eq!(named, [wanted[0], wanted[1], wanted[3], wanted[4]]);
    let second = world.run().unwrap();
    assert_eq!((second.actions.ran("package"), second.actions.count("package")), (0, 6));
    assert_eq!(world.plan().running(), 0, "{}", world.plan());
}

#[test]
fn one_more_layout_costs_that_layout() {
    let world = World::new();
    world.run().unwrap();
    declare(&world, "layouts: [bcc]");
    let kept = (Runs::No, "there, byte for byte".to_owned());
    let new = (Runs::Yes, "not made before".to_owned());
    assert_eq!(world.planned("package"), [kept.clone(), new.clone(), kept, new]);
    assert_eq!(world.run().unwrap().actions.ran("package"), 2);

    // A layout that is gone comes back alone, one that nobody asks for goes.
    std::fs::remove_file(world.root.join("dist/test-arm64-bcc.tar.gz")).unwrap();
    assert_eq!(world.run().unwrap().actions.ran("package"), 1);
    assert!(world.has("dist/test-arm64-bcc.tar.gz"));
    declare(&world, "layouts: [bundle]");
    assert_eq!(world.run().unwrap().actions.ran("package"), 0);
    assert_eq!(files(&world), ["test-arm64.tar.zst", "test-x86_64.tar.zst"]);
    assert_eq!(sums(&world).iter().count(), 5);
}

#[test]
fn aliases_are_in_the_package_and_in_its_key() {
    let world = World::new();
    world.run().unwrap();
    declare(&world, "layouts: [bcc], aliases: { debian/12: [\"12.1\", \"12.0\"], debian/9: [\"9.1\"] }");
    assert_eq!(world.run().unwrap().actions.ran("package"), 4);
    assert!(world.heard("`debian/9` selects no kernel: none of debian has the version `9`"));
    let bundle = Bundle::open(&world.read("dist/test-x86_64.tar.zst")).unwrap();
    assert_eq!(bundle.index().kernels[0].entry.version_aliases, ["12.0", "12.1"]);
    let paths: Vec<String> =
        Layout::Bcc.members(&bundle).unwrap().into_iter().map(|member| member.path).collect();
    let release = OLD.rsplit('/').next().unwrap();
    assert_eq!(
        paths,
        ["12.0", "12.1", "12"].map(|version| format!("./debian/{version}/x86_64/{release}.btf"))
    );
    // Their order says nothing.
    declare(&world, "layouts: [bcc], aliases: { debian/12: [\"12.0\", \"12.1\"] }");
    assert_eq!(world.run().unwrap().actions.ran("package"), 0);
}

#[test]
fn a_layout_that_cannot_be_made_costs_the_others_nothing() {
    let world = World::new();
    world.offer("bookworm", GENTOO, 24);
    declare(&world, "layouts: [datadog, bcc]");
    let finished = world.run().unwrap();
    assert_eq!(finished.code, Code::Failed);
    let failures = &finished.summary.failures;
    assert_eq!(failures.len(), 1, "{failures:?}");
    for word in ["test-x86_64-datadog.tar.xz: ", GENTOO] {
        assert!(failures[0].contains(word), "{failures:?}");
    }
    let wanted = [
        "test-arm64-bcc.tar.gz",
        "test-arm64-datadog.tar.xz",
        "test-arm64.tar.zst",
        "test-x86_64-bcc.tar.gz",
        "test-x86_64.tar.zst",
    ];
    assert_eq!(files(&world), wanted);
    let before = world.read("dist/SHA256SUMS");
    // It is tried again, and the release stays as it is.
    let again = world.run().unwrap();
    assert_eq!((again.code, again.actions.ran("package")), (Code::Failed, 1));
    assert!(world.read("dist/SHA256SUMS") == before);
}

#[test]
fn a_release_says_what_it_is_made_of() {
    let mut world = World::new();
    let file = pipeline(&["bookworm"]).replace("kernels:", "env: [TAG, IDLE]\ninputs:\n  level: 3\nkernels:");
    let file = file.replace("name: test", "name: \"${env.TAG}\"");
    world.write("pipelines/test.yaml", file.as_bytes());
    world.options.given.set = vec!["level=4".to_owned()];
    let variables = [("TAG".to_owned(), "test".to_owned()), ("IDLE".to_owned(), "x".to_owned())];
    world.options.given.environment = Environment::Of(variables.into());
    world.run().unwrap();
    let sums = sums(&world);
    for name in ["sbom.cdx.json", "provenance.intoto.json"] {
        let text = String::from_utf8(world.read(&format!("dist/{name}"))).unwrap();
        assert_eq!(sums.find(name), Some(Digest::of(text.as_bytes())), "{name}");
        let files = bundle::attestation::attested_files(text.as_bytes()).unwrap();
        let packages = ["test-arm64.tar.zst", "test-x86_64.tar.zst"];
        assert_eq!(files, packages.map(|name| (name.to_owned(), sums.find(name).unwrap())), "{name}");
        let inputs =
            [world.read("kernels.lock"), file.clone().into_bytes(), world.read("pipelines/programs/a.bpf.o")];
        for input in inputs {
            assert!(text.contains(&Digest::of(&input).to_string()), "{name}: {text}");
        }
        for id in [OLD, ARM] {
            let release = id.rsplit('/').next().unwrap();
            let purl = format!("pkg:deb/debian/linux-image-{release}@1?arch=all");
            assert!(text.contains(&purl), "{name}: {text}");
        }
        assert_eq!(text.contains("--set level=4"), name == "provenance.intoto.json", "{text}");
        assert!(!text.contains(world.root.to_str().unwrap()), "{name} has a path");
    }
    // Of the environment: what the pipeline names, by a digest.
    let provenance: serde_json::Value =
        serde_json::from_slice(&world.read("dist/provenance.intoto.json")).unwrap();
    let told = &provenance["predicate"]["buildDefinition"]["externalParameters"]["environment"];
    let sha256 = Digest::of(b"test").to_string();
    assert_eq!(*told, serde_json::json!([{ "name": "TAG", "digest": { "sha256": sha256 } }]));
    // A signature is of the release that it was made for.
    world.write("dist/SHA256SUMS.minisig", b"of the vendor");
    world.run().unwrap();
    assert!(world.has("dist/SHA256SUMS.minisig"));
    world.options.given.set = vec!["level=5".to_owned()];
    world.run().unwrap();
    assert!(!world.has("dist/SHA256SUMS.minisig"));
}
