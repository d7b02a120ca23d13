//! The cases of relo-core's tests, asked of libbpf: what they expect is checked there, here only that libbpf agrees.

use btf::Btf;
use relo_core::{
    BpfObject, Environment, KernelBtf, OpenObject, Prepared, Resolution, Status, Target, Wanted, prepare,
};

use crate::compiler;
use crate::libbpf::{self, Files};

/// As in relo-core's tests.
#[derive(Clone, Copy, Default)]
pub struct Case<'c> {
    pub kernel: &'c str,
    pub program: &'c str,
    pub environment: Environment<'c>,
    pub big_endian: bool,
}

impl Case<'_> {
    pub fn with<T>(&self, look: impl FnOnce(&OpenObject<'_>, &Prepared) -> T) -> T {
        let target = if self.big_endian { "bpfeb" } else { "bpfel" };
        let kernel = compiler::kernel(target, &format!("int so_that_there_is_btf;\n{}", self.kernel));
        prepare_bytes(&compiler::object(target, self.program), &kernel, &self.environment, look)
    }

    #[track_caller]
    pub fn check(&self, _want: &[&str]) {
        self.with(|_, _| ());
    }

    pub fn codes(&self) -> Vec<&'static str> {
        self.with(|_, prepared| prepared.programs.iter().map(|program| program.status.code()).collect())
    }
}

/// Prepares, and lets libbpf do the same.
pub fn prepare_bytes<T>(
    object: &[u8],
    kernel: &[u8],
    environment: &Environment<'_>,
    look: impl FnOnce(&OpenObject<'_>, &Prepared) -> T,
) -> T {
    let parsed = BpfObject::parse("case", object).expect("an object");
    let open = OpenObject::open(&parsed, object).expect("an object that opens");
    let btf = Btf::parse(kernel).expect("a BTF");
    let wanted = Wanted::new([&parsed]);
    let target = Target::new(&btf, &[], &wanted).expect("a target");
    let prepared = prepare(&open, &target, environment);
    let tally = compare(object, kernel, &open, &prepared, environment);
    println!("{tally:?}");
    look(&open, &prepared)
}

/// What was compared.
#[derive(Debug, Default)]
pub struct Tally {
    /// Programs whose instructions are equal.
    pub equal: usize,
    /// Instructions that are equal.
    pub insns: usize,
    /// Programs that both refuse.
    pub refused: usize,
    /// Programs of which prepare says that it does not know.
    pub unknown: usize,
}

/// Holds every program against libbpf's answer.
pub fn compare(
    object: &[u8],
    kernel: &[u8],
    open: &OpenObject<'_>,
    prepared: &Prepared,
    environment: &Environment<'_>,
) -> Tally {
    let mut tally = Tally::default();
    // libbpf loads no object of the other byte order, and values that are not given can't be compared.
    let unknown = prepared.externs.iter().any(|resolution| matches!(resolution, Resolution::Unknown(_)));
    if open.object().order() != btf::ByteOrder::Little || unknown {
        tally.unknown += prepared.programs.len();
        return tally;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let write = |name: &str, bytes: &[u8]| {
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).expect("a file");
        path
    };
    let (object, kernel) = (write("object.bpf.o", object), write("kernel.btf", kernel));
    let kconfig = environment.kconfig.map(|text| write("kconfig", text.as_bytes()));
    let kallsyms = environment.kallsyms.map(|text| write("kallsyms", text.as_bytes()));
    let own = matches!(environment.kernel_btf, KernelBtf::Target);
    let files = Files {
        kernel: own.then_some(kernel.as_path()),
        custom: (!own).then_some(kernel.as_path()),
        kconfig: kconfig.as_deref(),
        kallsyms: kallsyms.as_deref(),
    };
    for program in &prepared.programs {
        let answer = libbpf::load(&object, &program.name, files);
        let name =
            format!("{} {}: {}\nlibbpf: {}", open.object().name(), program.name, program.status, answer.said);
        match &program.status {
            Status::Refused(_) | Status::NeedsKernelBtf(_) => {
                assert!(!answer.loaded, "{name}");
                tally.refused += 1;
            }
            // What it can't tell is about the verifier, or about what the loader says.
            Status::Unknown(_) => tally.unknown += 1,
            _usable_or_poisoned => assert!(answer.loaded, "{name}"),
        }
        if let Some(insns) = &answer.insns {
            let first = insns.iter().zip(&program.insns).position(|(theirs, ours)| theirs != ours);
            let shown = first.map(|at| (at, insns[at], program.insns[at]));
            assert_eq!((shown, insns.len()), (None, program.insns.len()), "{name}");
            tally.equal += 1;
            tally.insns += insns.len();
        }
    }
    tally
}
