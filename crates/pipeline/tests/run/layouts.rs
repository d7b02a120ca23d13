//! Packages in the layouts of others, other words for versions, and what a release says of itself.

use bundle::{Bundle, Checksums, Digest, Layout, Manifest};
use pipeline::commands::bundles::{Form, verify};
use pipeline::commands::tools::Voice;
use pipeline::file::Environment;
use pipeline::outcome::Code;
use pipeline::plan::Runs;
use pipeline::project::Project;

use crate::fixture::{ARM, OLD, World, pipeline};
use crate::plugins::{has_python, put};

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

/// A layout as anybody could write it: a list of what the package holds.
const LISTING: &str = "api: 1
name: listing
version: 0.1.0
run: [python3, main.py]
runtime: [main.py, btfpipe_plugin.py]
config_schema: schema.json
provides: [package]
cache: { pure: true }
";
const LISTING_MAIN: &str = r#"
import os, tarfile
import btfpipe_plugin as btfpipe

class Listing(btfpipe.Step):
    def package(self, job, config):
        name = os.path.basename(job.input("package"))[: -len(".tar.zst")]
        path = os.path.join(job.outdir, "listing.txt")
        with tarfile.open(job.input("tar")) as tar, open(path, "w") as out:
            out.write("%s %s\n" % (config.get("title", "listing"), name))
            out.writelines("%d %s\n" % (member.size, member.name) for member in tar)
        return [path]

btfpipe.serve(Listing(), name="listing", version="0.1.0")
"#;
const LISTING_SCHEMA: &[u8] =
    br#"{"type": "object", "properties": {"title": {"type": "string"}}, "additionalProperties": false}"#;

fn put_listing(world: &World, main: &str, with: &str) {
    put(world, "listing", LISTING, main);
    world.write("plugins/listing/schema.json", LISTING_SCHEMA);
    let file = format!("{}  - uses: listing\n    with: {with}\n", pipeline(&["bookworm"]));
    world.write("pipelines/test.yaml", file.as_bytes());
}

/// What `bundle verify` says of the plugin's layouts, and how it ends.
fn verified(world: &World, with_pipeline: bool) -> (Code, Vec<String>) {
    let (mut out, mut notes) = (Vec::new(), Vec::new());
    let options = verify::Options {
        path: world.root.join("dist"),
        pipeline: with_pipeline.then(|| world.options.file.clone()),
        ..verify::Options::default()
    };
    let voice = &mut Voice { out: &mut out, notes: &mut notes };
    let code = verify::verify(&options, Form::Terminal, voice).unwrap();
    let text = String::from_utf8(out).unwrap();
    let lines = text.lines().filter(|line| line.contains("-listing.txt: ") && !line.contains("its digest"));
    (code, lines.map(str::to_owned).collect())
}

#[test]
fn a_layout_of_a_plugin() {
    if !has_python() {
        return;
    }
    let world = World::new();
    put_listing(&world, LISTING_MAIN, "{ title: Content }");
    let first = world.run().unwrap();
    assert_eq!((first.code, first.actions.ran("package")), (Code::Ok, 4));
    let wanted =
        ["test-arm64-listing.txt", "test-arm64.tar.zst", "test-x86_64-listing.txt", "test-x86_64.tar.zst"];
    assert_eq!(files(&world), wanted);
    let made = String::from_utf8(world.read("dist/test-x86_64-listing.txt")).unwrap();
    let bundle = Bundle::open(&world.read("dist/test-x86_64.tar.zst")).unwrap();
    // The header of the first file: its name, and its size in octal digits.
    let header = String::from_utf8(bundle.tar()[..136].to_vec()).unwrap();
    let name = header[..100].trim_end_matches('\0');
    let size = u64::from_str_radix(&header[124..135], 8).unwrap();
    assert!(made.starts_with(&format!("Content test-x86_64\n{size} {name}\n")), "{made}");
    assert_eq!(sums(&world).find(wanted[2]), Some(Digest::of(made.as_bytes())));
    let manifest = Manifest::parse(&world.read("dist/manifest.json")).unwrap();
    let named: Vec<(&str, &str)> = manifest
        .layouts
        .iter()
        .map(|one| (one.file.as_str(), one.plugin.as_ref().map_or("", |plugin| &plugin.name)))
        .collect();
    assert_eq!(named, [(wanted[0], "listing"), (wanted[2], "listing")]);
    let second = world.run().unwrap();
    assert_eq!((second.actions.ran("package"), second.actions.count("package")), (0, 4));
    assert_eq!(world.plan().running(), 0, "{}", world.plan());

    // Whoever has the plugin makes it again; nothing runs on the manifest's word alone.
    let (code, said) = verified(&world, false);
    assert!(code == Code::Ok && said.len() == 2 && said[0].starts_with("unchecked"), "{said:?}");
    let (code, said) = verified(&world, true);
    assert!(
        code == Code::Ok && said.iter().all(|line| line.ends_with("is what its bundle makes")),
        "{said:?}"
    );
    world.write("dist/test-x86_64-listing.txt", b"x");
    assert_eq!(verified(&world, true).0, Code::Lock);
    let why = "the file is there, with other bytes".to_owned();
    assert!(world.planned("package").contains(&(Runs::Yes, why)));
    assert_eq!(world.run().unwrap().actions.ran("package"), 1);

    // Another plugin or another word to it: exactly its files are made again.
    put_listing(&world, &format!("{LISTING_MAIN}# changed\n"), "{ title: Content }");
    let (_, said) = verified(&world, true);
    assert!(said.len() == 2 && said[0].contains("was another one when it made it"), "{said:?}");
    for title in ["Content", "Other"] {
        put_listing(&world, &format!("{LISTING_MAIN}# changed\n"), &format!("{{ title: {title} }}"));
        let planned = world.planned("package");
        let running: Vec<&String> =
            planned.iter().filter(|(runs, _)| *runs == Runs::Yes).map(|(_, why)| why).collect();
        let part = if title == "Other" { "with" } else { "plugin digest" };
        assert!(running.len() == 2 && running.iter().all(|why| why.contains(part)), "{planned:?}");
        assert_eq!(world.run().unwrap().actions.ran("package"), 2);
    }
    // What nobody asks for any more is no part of the release.
    world.write("pipelines/test.yaml", pipeline(&["bookworm"]).as_bytes());
    assert_eq!(world.run().unwrap().code, Code::Ok);
    assert_eq!(files(&world), ["test-arm64.tar.zst", "test-x86_64.tar.zst"]);
}

#[test]
fn layouts_of_plugins_that_go_wrong() {
    if !has_python() {
        return;
    }
    let world = World::new();
    // The schema is the plugin's, the place that of the pipeline.
    put_listing(&world, LISTING_MAIN, "{ tittle: x }");
    let error = Project::load(&world.options).unwrap().validate(&world.source).unwrap_err().to_string();
    assert!(error.contains("test.yaml:14:13") && error.contains("tittle"), "{error}");
    let check = |from: &str, to: &str, said: &str| {
        put_listing(&world, &LISTING_MAIN.replace(from, to), "{}");
        let failed = world.run().unwrap();
        let text = pipeline::summary::to_markdown(&failed.summary);
        assert!(failed.code == Code::Failed && text.contains(said), "{said}: {text}");
        // The package itself is there.
        assert!(world.has("dist/test-x86_64.tar.zst") && !world.has("dist/test-x86_64-listing.txt"));
    };
    check("return [path]", "return []", "is in the output folder, and not among the outputs");
    check("\"listing.txt\"", "\"listing\"", "has no ending such as .tar.gz");
    check("return [path]", "raise btfpipe.Failure.tool(\"out of ink\")", "listing: out of ink");
    check(
        "return [path]",
        "open(path + \".b\", \"w\"); return [path, path + \".b\"]",
        "made 2 outputs, and one file is",
    );
    // A name that a layout of ours has.
    put(&world, "bcc", &LISTING.replace("listing", "bcc"), LISTING_MAIN);
    world.write("plugins/bcc/schema.json", LISTING_SCHEMA);
    let file = format!("{}  - uses: bcc\n", pipeline(&["bookworm"]));
    world.write("pipelines/test.yaml", file.as_bytes());
    let error = Project::load(&world.options).unwrap_err().to_string();
    assert!(error.contains("`bcc` is a layout of btfpipe's own"), "{error}");
}
