//! Objects and targets of both byte orders and both pointer sizes, made by clang and pahole.

#[path = "../case/mod.rs"]
#[allow(dead_code, reason = "each test uses its part")]
mod case;
mod tools;

use std::collections::BTreeSet;
use std::process::Command;

use btf::{Btf, ByteOrder, PointerSize};
use case::{records, sections, tool::run};
use relo_core::{BpfObject, MinimizeOptions, Mode, Outcome, ReloKind, minimize};
use tools::Tools;

/// Machines that pahole can read objects of: target of clang, byte order, pointer size.
const MACHINES: [(&str, ByteOrder, PointerSize); 5] = [
    ("i386-linux-gnu", ByteOrder::Little, PointerSize::Four),
    ("arm-linux-gnueabihf", ByteOrder::Little, PointerSize::Four),
    ("armeb-linux-gnueabi", ByteOrder::Big, PointerSize::Four),
    ("s390x-linux-gnu", ByteOrder::Big, PointerSize::Eight),
    ("x86_64-linux-gnu", ByteOrder::Little, PointerSize::Eight),
];

const OBJECTS: [(&str, ByteOrder); 2] = [("bpfel", ByteOrder::Little), ("bpfeb", ByteOrder::Big)];

/// What kernel.c says to program.c: its layout on 32 and 64 bits by hand, shifts by the byte order of the object.
fn expected(object: ByteOrder, pointer: PointerSize) -> BTreeSet<String> {
    let narrow = pointer == PointerSize::Four;
    let either = |four: u64, eight: u64| if narrow { four } else { eight };
    // 11 bits that start 3 bits into a unit of 32, and 5 bits that start 16 bits into it.
    let (sort, nice) = if object == ByteOrder::Little { (64 - 14, 64 - 21) } else { (32 + 3, 32 + 16) };
    [
        format!("byte_off struct task.flags: relocated {}", either(4, 8)),
        format!("byte_off struct task.pid: relocated {}", either(16, 32)),
        "byte_off struct task.stack: relocated 0".to_owned(),
        format!("byte_off struct task.tasks.next: relocated {}", either(8, 16)),
        format!("byte_off struct task.hidden: relocated {}", either(32, 56)),
        format!("byte_off struct task.inner.a: relocated {}", either(36, 64)),
        format!("byte_off struct task.tail[3]: relocated {}", either(51, 91)),
        // A signed long does not keep its value in a narrower load.
        format!("byte_off struct task.inner.b: {}", if narrow { "poisoned 40" } else { "relocated 72" }),
        format!("byte_off struct task.sort: relocated {}", either(20, 36)),
        "byte_sz struct task.sort: relocated 4".to_owned(),
        "signed struct task.sort: relocated 0".to_owned(),
        format!("lshift_u64 struct task.sort: relocated {sort}"),
        "rshift_u64 struct task.sort: relocated 53".to_owned(),
        "signed struct task.nice: relocated 1".to_owned(),
        format!("lshift_u64 struct task.nice: relocated {nice}"),
        "rshift_u64 struct task.nice: relocated 59".to_owned(),
        format!("byte_sz struct task.stack: relocated {}", either(4, 8)),
        format!("byte_sz struct task.both: relocated {}", either(4, 8)),
        "field_exists struct task.pid: relocated 1".to_owned(),
        "field_exists struct task___lost.lost: absent 0".to_owned(),
        "type_exists struct task: relocated 1".to_owned(),
        "type_exists struct missing: absent 0".to_owned(),
        format!("type_size struct task: relocated {}", either(48, 88)),
        format!("type_size struct list: relocated {}", either(8, 16)),
        "type_matches struct list: relocated 1".to_owned(),
        format!("type_matches union both: {}", if narrow { "absent 0" } else { "relocated 1" }),
        "target_type_id struct missing: absent 0".to_owned(),
        "enumval_value enum state::RUNNING: relocated 5".to_owned(),
        "enumval_exists enum state::RUNNING: relocated 1".to_owned(),
        "enumval_exists enum state::PAUSED: absent 0".to_owned(),
        "enumval_value enum wide::LARGE: relocated 4294967298".to_owned(),
    ]
    .into()
}

fn found(object: &BpfObject, target: &[u8]) -> BTreeSet<String> {
    let line = |record: &relo_core::RecordedRelo| {
        let kind = record.kind?;
        let (local, decision) = (record.local.as_ref()?, record.decision?);
        let text = local.0.text(object.btf()).ok()?;
        let outcome = record.outcome.name();
        // Ids are the compiler's.
        (kind != ReloKind::LocalTypeId).then(|| format!("{kind} {text}: {outcome} {}", decision.target))
    };
    let records = records(object, target, Mode::Correct);
    assert!(records.iter().all(|record| !matches!(record.outcome, Outcome::Error(_))));
    records.iter().filter_map(line).collect()
}

#[test]
fn decisions_on_full_and_minimized() {
    let Some(tools) = Tools::find("decisions_on_full_and_minimized") else { return };
    for (machine, order, pointer) in MACHINES {
        let kernel = tools.kernel(machine);
        let target = Btf::parse(&kernel).expect("pahole's BTF");
        assert_eq!((target.order(), target.pointer_size()), (order, Some(pointer)), "{machine}");
        for (bpf, object_order) in OBJECTS {
            let object = BpfObject::parse("program", &tools.program(bpf)).expect("clang's object");
            assert_eq!(object.order(), object_order);
            let expected = expected(object_order, pointer);
            assert_eq!(found(&object, &kernel), expected, "{bpf} on {machine}");
            for written in [None, Some(ByteOrder::Little), Some(ByteOrder::Big)] {
                let options = MinimizeOptions { order: written, ..MinimizeOptions::default() };
                let min = minimize(&target, &[&object], options).expect("sound").bytes;
                assert_eq!(found(&object, &min), expected, "{bpf} on minimized {machine}");
                let min = Btf::parse(&min).expect("a BTF");
                assert_eq!(min.pointer_size(), Some(pointer), "{bpf} on minimized {machine}");
                assert_eq!(min.order(), written.unwrap_or(order));
                let dump = tools.dump(&format!("{machine}.min.btf"), min.data());
                assert_eq!(dump.lines().filter(|line| line.starts_with('[')).count(), min.own_ids().len());
            }
        }
    }
}

/// bpftool writes the host's byte order, so only machines of that order can be compared, byte by byte.
#[test]
fn equal_to_bpftool() {
    let Some(tools) = Tools::find("equal_to_bpftool") else { return };
    let elf = tools.program("bpfel");
    let object = BpfObject::parse("program", &elf).expect("clang's object");
    for (machine, _, _) in MACHINES.into_iter().filter(|(_, order, _)| *order == ByteOrder::NATIVE) {
        let kernel = tools.kernel(machine);
        let files =
            [tools.file("kernel.btf", &kernel), tools.file("min.btf", b""), tools.file("program.o", &elf)];
        let mut bpftool = Command::new(&tools.bpftool);
        bpftool.args(["gen", "min_core_btf"]).args(&files);
        run(bpftool);
        let theirs = std::fs::read(&files[1]).expect("bpftool's BTF");
        let options = MinimizeOptions { strict_bpftool: true, ..MinimizeOptions::default() };
        let ours =
            minimize(&Btf::parse(&kernel).expect("a BTF"), &[&object], options).expect("written").bytes;
        assert_eq!(sections(&ours), sections(&theirs), "{machine}");
    }
}
