//! The layout's rules, read from the Cargo.tomls and the sources: who may depend on whom, purity, names, sizes.
#![forbid(unsafe_code)]

use std::fs;
use std::path::{Path, PathBuf};

/// Package, its folder, and the packages of ours that it may depend on. Arrows point down only.
const LAYERS: &[(&str, &str, &[&str])] = &[
    ("btf", "crates/btf", &[]),
    ("relo-core", "crates/relo-core", &["btf"]),
    ("kernels", "crates/kernels", &["btf", "relo-core"]),
    ("bundle", "crates/bundle", &["btf", "relo-core"]),
    ("plugin", "crates/plugin", &[]),
    ("cage", "crates/cage", &[]),
    ("vmtest", "vmtest", &["btf", "relo-core"]),
    ("vmtest-guest", "vmtest/guest", &[]),
    ("vmtest-old-libbpf", "vmtest/guest/old", &[]),
    ("pipeline", "crates/pipeline", &["btf", "relo-core", "kernels", "bundle", "cage", "plugin", "vmtest"]),
    ("btfpipe", "crates/btfpipe", &["pipeline"]),
    ("btfpipe-plugin-debian", "plugins/debian", &["plugin"]),
    ("btfpipe-plugin-dwarf", "plugins/dwarf", &["plugin"]),
    ("judge-libbpf", "judges/libbpf", &["btf", "relo-core", "kernels", "pipeline"]),
    ("judge-prepare", "judges/prepare", &["btf", "relo-core"]),
    ("load-with-libbpf-rs", "readers/rust", &["bundle"]),
    ("xtask", "xtask", &[]),
];

/// What the two libraries that others use alone may pull in.
const PURE: &[(&str, &[&str])] = &[
    ("crates/btf", &["thiserror"]),
    ("crates/relo-core", &["btf", "object", "rustc-hash", "smallvec", "thiserror"]),
];

/// Bytes in, values out.
const IMPURE: &[&str] = &[
    "std::fs",
    "std::env",
    "std::time",
    "std::net",
    "std::process",
    "std::io::std",
    "serde",
    "println!",
    "eprintln!",
    "SystemTime",
    "Instant::",
];

/// Text that has no place in a folder's sources, and what the rule is.
const FORBIDDEN: &[(&str, &str, &str)] = &[
    ("crates/pipeline/src", "btf::Kind", "pipeline never looks inside a BTF type"),
    ("crates/btfpipe/src", "std::fs", "btfpipe never opens an input itself"),
    ("crates/btfpipe/src", "File::open", "btfpipe never opens an input itself"),
];

/// The folders of the pipeline, each using those before it.
const FLOORS: &[&str] = &[
    "yaml", "outcome", "summary", "work", "events", "file", "host", "lock", "project", "kernel", "package",
    "verify", "plan", "run", "commands",
];

/// The files that use a later folder all the same, and for what.
const UPWARDS: &[(&str, &str, &str)] = &[
    ("outcome.rs", "file", "the error that ends a command names theirs"),
    ("outcome.rs", "host", "the same"),
    ("outcome.rs", "lock", "the same"),
    ("work/patience.rs", "events", "tells of what it tries again"),
    ("work/patience.rs", "lock", "asks a source again"),
    ("work/stop.rs", "events", "gives the terminal its keys back"),
    ("events/chronicle.rs", "package", "the program's name and version"),
    ("file/steps.rs", "host", "what a plugin may be called"),
    ("lock/plugins.rs", "project", "finds plugins as steps do"),
    ("project/building.rs", "kernel", "a builder may want a kernel's BTF"),
    ("kernel/works.rs", "verify", "a kernel that is not booted needs no image"),
    ("package/concluding.rs", "run", "reports"),
    ("package/publishing.rs", "run", "reports"),
    ("verify/machines.rs", "run", "reports"),
];

/// Names that say nothing.
const NAMES: &[&str] = &["util", "utils", "common", "helper", "helpers", "manager", "info", "data", "misc"];

const LONGEST_FILE: usize = 800;

#[test]
fn every_package_has_its_layer() {
    let listed: Vec<PathBuf> = LAYERS.iter().map(|(_, folder, _)| root().join(folder)).collect();
    let unlisted: Vec<PathBuf> = files("Cargo.toml")
        .into_iter()
        .filter(|file| {
            file.parent() != Some(&root()) && !file.components().any(|part| part.as_os_str() == "fuzz")
        })
        .filter(|file| !listed.iter().any(|folder| file.parent() == Some(folder)))
        .collect();
    assert!(unlisted.is_empty(), "not in xtask/tests/tidy.rs's LAYERS: {unlisted:?}");
}

#[test]
fn arrows_point_down() {
    let mut wrong = Vec::new();
    for (package, folder, allowed) in LAYERS {
        let manifest = read(&root().join(folder).join("Cargo.toml"));
        // Tests may make inputs with any crate.
        let normal = manifest.split("[dev-dependencies]").next().unwrap_or_default();
        for used in dependencies(normal) {
            let ours = LAYERS.iter().any(|(name, _, _)| *name == used);
            if ours && !allowed.contains(&used.as_str()) {
                wrong.push(format!("{package} may not depend on {used}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn the_pipeline_stands_on_its_floors() {
    let folder = root().join("crates/pipeline/src");
    let floor = |name: &str| FLOORS.iter().position(|floor| *floor == name);
    let mut upwards = Vec::new();
    for file in sources(&folder) {
        let path = file.strip_prefix(&folder).expect("in the folder").to_string_lossy().into_owned();
        let own = path.split('/').next().unwrap_or_default().trim_end_matches(".rs");
        if own == "lib" {
            continue;
        }
        let own = floor(own).unwrap_or_else(|| panic!("{path} is in none of FLOORS"));
        let text = read(&file);
        let code = text.split("#[cfg(test)]\nmod tests").next().unwrap_or_default();
        let used = code.split("crate::").skip(1).map(|rest| {
            rest.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_')
                .next()
                .unwrap_or_default()
        });
        upwards.extend(
            used.filter(|used| floor(used).is_some_and(|used| used > own))
                .map(|used| (path.clone(), used.to_owned())),
        );
    }
    upwards.sort();
    upwards.dedup();
    let mut known: Vec<_> =
        UPWARDS.iter().map(|(file, used, _)| (file.to_string(), used.to_string())).collect();
    known.sort();
    assert_eq!(upwards, known, "found, and known in UPWARDS");
}

#[test]
fn pure_libraries_stay_pure() {
    let mut wrong = Vec::new();
    for (folder, allowed) in PURE {
        let manifest = read(&root().join(folder).join("Cargo.toml"));
        let normal = manifest.split("[dev-dependencies]").next().unwrap_or_default();
        wrong.extend(
            dependencies(normal)
                .into_iter()
                .filter(|used| !allowed.contains(&used.as_str()))
                .map(|used| format!("{folder}: dependency {used}")),
        );
        let library = read(&root().join(folder).join("src/lib.rs"));
        if !library.contains("#![forbid(unsafe_code)]") {
            wrong.push(format!("{folder}: src/lib.rs doesn't forbid unsafe code"));
        }
        for file in sources(&root().join(folder).join("src")) {
            wrong.extend(
                impure_lines(&read(&file)).into_iter().map(|line| format!("{}: {line}", file.display())),
            );
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn folders_keep_to_their_part() {
    let mut wrong = Vec::new();
    for (folder, text, rule) in FORBIDDEN {
        for file in sources(&root().join(folder)) {
            if code(&read(&file)).any(|(_, line)| line.contains(text)) {
                wrong.push(format!("{}: {text}: {rule}", file.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn names_say_something() {
    let wrong: Vec<PathBuf> = files(".rs").into_iter().filter(|file| is_empty_name(file)).collect();
    assert!(wrong.is_empty(), "a module's name is a noun that a user of the field knows: {wrong:?}");
}

#[test]
fn files_are_one_noun_long() {
    let wrong: Vec<String> = files(".rs")
        .into_iter()
        .map(|file| (read(&file).lines().count(), file))
        .filter(|(lines, _)| *lines > LONGEST_FILE)
        .map(|(lines, file)| format!("{} has {lines} lines; {LONGEST_FILE} are the limit", file.display()))
        .collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn the_rules_can_fail() {
    let manifest = "[package]\nname = \"x\"\n[dependencies]\nbtf.workspace = true\nserde = { version = \"1\" }\n\
                    [dependencies.zstd]\nversion = \"0\"\n[features]\nplugin = []\n[dev-dependencies]\ntar = \"0\"\n";
    assert_eq!(dependencies(manifest), ["btf", "serde", "zstd", "tar"]);
    let source = "use std::fs;\n// std::env is fine in a comment\nfn f() {}\n#[cfg(test)]\nmod tests { use std::env; }\n";
    assert_eq!(impure_lines(source), ["line 1: std::fs"]);
    assert!(is_empty_name(Path::new("crates/x/src/utils.rs")));
    assert!(is_empty_name(Path::new("crates/x/src/helpers/mod.rs")));
    assert!(!is_empty_name(Path::new("crates/x/src/datasec.rs")));
}

/// The names under every `[…dependencies]` table.
fn dependencies(manifest: &str) -> Vec<String> {
    let mut names = Vec::new();
    let mut inside = false;
    for line in manifest.lines().map(str::trim) {
        if let Some(table) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            inside = table.ends_with("dependencies");
            if let Some((_, name)) = table.rsplit_once("dependencies.") {
                names.push(name.to_owned());
            }
        } else if inside && !line.starts_with('#') {
            let end = line.find(['=', '.', ' ']).unwrap_or(line.len());
            if end > 0 {
                names.push(line[..end].trim().to_owned());
            }
        }
    }
    names
}

fn impure_lines(source: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (number, line) in code(source) {
        found.extend(
            IMPURE.iter().filter(|word| line.contains(*word)).map(|word| format!("line {number}: {word}")),
        );
    }
    found
}

/// Numbered lines without comments, up to the tests at the foot.
fn code(source: &str) -> impl Iterator<Item = (usize, &str)> {
    source
        .lines()
        .enumerate()
        .take_while(|(_, line)| line.trim() != "#[cfg(test)]")
        .map(|(index, line)| (index + 1, line.split("//").next().unwrap_or_default()))
}

fn is_empty_name(file: &Path) -> bool {
    file.with_extension("").components().any(|part| NAMES.iter().any(|name| part.as_os_str() == *name))
}

fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    walk(folder, ".rs", &mut found);
    assert!(!found.is_empty(), "no sources under {}", folder.display());
    found
}

/// Files of the workspace by the end of their name, sorted.
fn files(end: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for folder in ["crates", "vmtest", "plugins", "judges", "xtask"] {
        walk(&root().join(folder), end, &mut found);
    }
    assert!(!found.is_empty(), "no file ends with {end}");
    found.sort();
    found
}

fn walk(folder: &Path, end: &str, found: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        let path = entry.path();
        if path.is_dir() && path.file_name().is_none_or(|name| name != "target") {
            walk(&path, end, found);
        } else if path.to_string_lossy().ends_with(end) {
            found.push(path);
        }
    }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().map(Path::to_owned).unwrap_or_default()
}

fn read(file: &Path) -> String {
    fs::read_to_string(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}
