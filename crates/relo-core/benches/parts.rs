//! What the parts of the engine cost: `cargo bench -p relo-core`.
//!
//! The kernel is made here, as many types of each kind as that of a distribution has; `BTFPIPE_BENCH_BTF` names a real one.
//! Whole processes, beside bpftool, are what `cargo xtask bench` measures.

#[allow(dead_code)]
#[path = "../tests/case/mod.rs"]
mod case;

use std::sync::LazyLock;

use btf::{Btf, Builder, ByteOrder, IntEncoding, Kind, TypeId};
use case::{Relo, mov, relo};
use divan::Bencher;
use divan::counter::BytesCount;
use relo_core::{
    BpfObject, MinimizeOptions, Mode, ReloKind, Target, Wanted, minimize_each, minimize_target, relocate_all,
};

fn main() {
    divan::main();
}

/// Structs with their pointers, functions and modifiers: 120,000 types.
const GROUPS: u32 = 10_000;
const MEMBERS: u32 = 12;
/// As many objects as Debian's libbpf-tools have, each with a few paths of its own and some that all share.
const OBJECTS: u32 = 52;

static KERNEL: LazyLock<Vec<u8>> = LazyLock::new(|| match std::env::var_os("BTFPIPE_BENCH_BTF") {
    Some(path) => std::fs::read(path).expect("the BTF that is named"),
    None => case::btf(ByteOrder::Little, |builder| made(builder).expect("a BTF")),
});

static FILES: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| {
    let file =
        |number| case::object_file(ByteOrder::Little, |builder| program(builder, number).expect("a BTF"));
    (0..OBJECTS).map(file).collect()
});

fn made(builder: &mut Builder) -> Result<(), btf::Error> {
    let int = builder.int("int", 4, IntEncoding::SIGNED)?;
    builder.int("long", 8, IntEncoding::SIGNED)?;
    for group in 0..GROUPS {
        let name = format!("subsystem{}_struct_{group}", group % 97);
        let own = builder.composite(Kind::Struct, &name, 8 * MEMBERS)?;
        for member in 0..MEMBERS {
            builder.member(&format!("member_{member}"), int, 64 * member, None)?;
        }
        let pointer = builder.reference(Kind::Ptr, "", own)?;
        builder.reference(Kind::Const, "", own)?;
        builder.reference(Kind::Typedef, &format!("{name}_t"), own)?;
        for function in 0..4 {
            let proto = builder.func_proto(int)?;
            builder.param("argument", pointer)?;
            builder.reference(Kind::Func, &format!("function_{group}_{function}"), proto)?;
        }
    }
    Ok(())
}

fn program(builder: &mut Builder, number: u32) -> Result<Vec<Relo>, btf::Error> {
    let int = builder.int("int", 4, IntEncoding::SIGNED)?;
    let mut relos = Vec::new();
    for group in [1, 2, 3, 100 + number, 5000 + number] {
        let root = builder.composite(Kind::Struct, &format!("subsystem{}_struct_{group}", group % 97), 8)?;
        builder.member("member_7", int, 0, None)?;
        builder.member("nowhere", int, 32, None)?;
        relos.push(relo(ReloKind::ByteOff, root, "0:0", mov(0)));
        relos.push(relo(ReloKind::FieldExists, root, "0:1", mov(1)));
    }
    Ok(relos)
}

fn objects() -> Vec<BpfObject> {
    FILES.iter().map(|file| case::parsed(file)).collect()
}

/// Everything up to the target, made anew for whoever measures what comes after.
fn with_target(bencher: Bencher<'_, '_>, measured: impl Fn(&Target<'_>, &[&BpfObject]) + Sync) {
    let objects = objects();
    let refs: Vec<&BpfObject> = objects.iter().collect();
    let wanted = Wanted::new(&objects);
    let (btf, candidates) = wanted.parse(&KERNEL[..]).expect("the kernel's BTF");
    let target = Target::with_candidates(&btf, candidates, &[], &wanted).expect("a target");
    bencher.bench(|| measured(&target, &refs));
}

#[divan::bench]
fn open_52_objects(bencher: Bencher<'_, '_>) {
    LazyLock::force(&FILES);
    bencher.bench(objects);
}

#[divan::bench]
fn parse(bencher: Bencher<'_, '_>) {
    bencher.counter(BytesCount::new(KERNEL.len())).bench(|| Btf::parse(&KERNEL[..]));
}

#[divan::bench]
fn parse_and_search(bencher: Bencher<'_, '_>) {
    let wanted = Wanted::new(&objects());
    bencher.counter(BytesCount::new(KERNEL.len())).bench(|| wanted.parse(&KERNEL[..]));
}

#[divan::bench]
fn resolve_every_type(bencher: Bencher<'_, '_>) {
    let btf = Btf::parse(&KERNEL[..]).expect("the kernel's BTF");
    let names = |id: TypeId| btf.resolve(id).and_then(|ty| ty.name().map(<[u8]>::len)).unwrap_or(0);
    bencher.bench(|| btf.own_ids().map(names).sum::<usize>());
}

#[divan::bench]
fn relocate_52_objects(bencher: Bencher<'_, '_>) {
    with_target(bencher, |target, objects| {
        divan::black_box(relocate_all(objects, target, Mode::default()));
    });
}

#[divan::bench]
fn minimize_for_52_objects(bencher: Bencher<'_, '_>) {
    with_target(bencher, |target, objects| {
        divan::black_box(minimize_target(target, objects, MinimizeOptions::default()))
            .expect("a minimized BTF");
    });
}

#[divan::bench]
fn minimize_for_each_of_52_objects(bencher: Bencher<'_, '_>) {
    with_target(bencher, |target, objects| {
        divan::black_box(minimize_each(target, objects, MinimizeOptions::default()));
    });
}

#[divan::bench]
fn write_what_is_minimized_already(bencher: Bencher<'_, '_>) {
    let objects = objects();
    let refs: Vec<&BpfObject> = objects.iter().collect();
    let wanted = Wanted::new(&objects);
    let kernel = Btf::parse(&KERNEL[..]).expect("the kernel's BTF");
    let full = Target::new(&kernel, &[], &wanted).expect("a target");
    let small = minimize_target(&full, &refs, MinimizeOptions::default()).expect("a minimized BTF").bytes;
    let btf = Btf::parse(&small[..]).expect("the minimized BTF");
    let target = Target::new(&btf, &[], &wanted).expect("a target");
    bencher.bench(|| minimize_target(&target, &refs, MinimizeOptions::default()));
}
