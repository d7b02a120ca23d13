//! A new plugin, from its template to a package, as people do it.

mod world;

use world::{World, kernel};

const DEBIAN: &str = "debian/12/x86_64/6.1.0-50-amd64";

/// A pipeline whose kernels come from the plugin `mine`.
fn world(language: &str, with: &str) -> World {
    let world = World::new();
    world.put("kernel.btf", &kernel(8));
    let said = world.check(&format!("plugin new mine --lang {language}"), 0, "");
    assert!(said.contains("btfpipe plugin test ./plugins/mine"), "{said}");
    let with = with.replace("BTF", world.path("kernel.btf").to_str().unwrap());
    let text = format!(
        "version: 1\nname: small\nkernels:\n  - uses: mine\n    with: {with}\nprograms:\n  - pid.bpf.o\nsteps:\n  - uses: record\n  \
         - uses: minimize\n  - uses: package\n    with: {{ layouts: [bundle], level: 3 }}\n"
    );
    world.put("p.yaml", text.as_bytes());
    world
}

fn check(language: &str, with: &str, wrong: &str, said: &str) {
    let world = world(language, with);
    let report = world.check("plugin test plugins/mine", 0, "");
    assert!(report.contains("all is well") && report.contains("tests/fetch.json"), "{report}");
    assert!(world.check("plugin ls", 0, "").contains("./plugins/mine/plugin.yaml"));
    world.check("check p.yaml", 0, "");
    world.check("run p.yaml --store store", 0, "");
    assert!(world.path("dist/small-x86_64.tar.zst").is_file());
    let lock = std::fs::read_to_string(world.path("kernels.lock")).unwrap();
    assert!(lock.contains(DEBIAN), "{lock}");
    // A new store: what is locked is fetched again.
    world.check("run p.yaml --locked --store other", 0, "");
    let text = std::fs::read_to_string(world.path("p.yaml")).unwrap();
    let with = text.lines().find(|line| line.contains("with: {")).unwrap();
    world.put("wrong.yaml", text.replacen(with, wrong, 1).as_bytes());
    world.check("check wrong.yaml", 2, said);
    world.check("plugin new mine --lang sh", 2, "is there already");
}

#[test]
fn shell() {
    let wrong = "    with: { ids: x, path: /x }";
    check("sh", &format!("{{ id: {DEBIAN}, path: BTF }}"), wrong, "unknown key `ids`");
}

#[test]
fn python() {
    if std::process::Command::new("python3").arg("--version").output().is_err() {
        assert!(std::env::var_os("BTFPIPE_NO_SKIPS").is_none(), "python3 is not installed");
        return eprintln!("skipped: python3 is not installed");
    }
    let wrong = "    with: { kernels: { debian: /x } }";
    check(
        "python",
        &format!("{{ kernels: {{ \"{DEBIAN}\": BTF }} }}"),
        wrong,
        "debian is not DISTRO/VERSION",
    );
}

#[test]
fn only_trusted_plugins() {
    let world = world("sh", &format!("{{ id: {DEBIAN}, path: BTF }}"));
    world.check("run p.yaml --locked-plugins --store store", 3, "\"btfpipe plugin trust\" writes it");
    assert_eq!(world.check("plugin trust", 0, ""), "mine: new, version 0.1.0\n");
    world.check("check p.yaml --locked-plugins", 0, "");
    world.check("run p.yaml --locked-plugins --store store", 0, "");
    let script = std::fs::read_to_string(world.path("plugins/mine/main.sh")).unwrap();
    world.put("plugins/mine/main.sh", format!("{script}# changed\n").as_bytes());
    world.check("run p.yaml --locked-plugins --store store", 3, "its files changed; look at it, and run");
    world.check("run p.yaml --store store", 0, "");
    assert!(world.check("plugin trust mine", 0, "").contains("its files changed"));
    world.check("run p.yaml --locked-plugins --store store", 0, "");
    world.check("plugin trust nobody", 2, "no plugin \"nobody\"");
}

#[test]
fn a_broken_plugin_is_told() {
    let world = World::new();
    world.put("plugins/broken/plugin.yaml", b"api: 1\nname: broken\n");
    assert!(world.check("plugin ls", 1, "").contains("can't be used"));
    assert!(world.check("plugin test plugins/broken", 1, "").contains("FAILED  manifest"));
}
