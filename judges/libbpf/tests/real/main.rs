//! Real pairs: real kernels with all their modules against real objects, and against objects whose types are taken out
//! of another real kernel, with relocations of every kind.
//!
//! Runs with `BTFPIPE_REAL=1`, after `btfpipe run pipelines/release.yaml`, on Debian with libbpf-tools and clang.

mod material;

use std::collections::BTreeMap;
use std::sync::Arc;

use btf::Btf;
use judge_libbpf::generate::{Random, object, sample};
use judge_libbpf::{Coverage, Known, Object, Pair, Sound, Target, Verdict, compare};
use material::{Kernel, Named, kernels, objects};
use relo_core::{BpfObject, Mode, ReloKind};

/// Objects sampled of each pair of kernels.
const SAMPLES: u64 = 20;
/// Roots and relocations of a sampled object.
const SHAPE: (usize, usize) = (8, 90);

/// A kernel, read by both sides.
struct Opened<'k> {
    kernel: &'k Kernel,
    btfs: Vec<Arc<Btf<'k>>>,
    judged: Target,
}

impl<'k> Opened<'k> {
    fn new(kernel: &'k Kernel) -> Opened<'k> {
        let base = Arc::new(Btf::parse(kernel.vmlinux.as_slice()).expect("a kernel's BTF"));
        Sound::check(&base).expect("a kernel's BTF is sound");
        let mut btfs = vec![Arc::clone(&base)];
        for module in &kernel.modules {
            let split = Btf::parse_split(module.as_slice(), Arc::clone(&base)).expect("a module's BTF");
            btfs.push(Arc::new(split));
        }
        let modules: Vec<&[u8]> = kernel.modules.iter().map(Vec::as_slice).collect();
        let judged = Target::new(&kernel.vmlinux, &modules).expect("libbpf takes it as well");
        Opened { kernel, btfs, judged }
    }
}

/// What was compared.
#[derive(Default)]
struct Tally {
    coverage: Coverage,
    known: BTreeMap<Known, u64>,
    faults: Vec<String>,
}

impl Tally {
    fn check(&mut self, name: &str, elf: &[u8], target: &Opened<'_>) {
        let Ok(object) = BpfObject::parse(name, elf) else { panic!("{name}: not an object") };
        let judged_object = Object::parse(elf).unwrap_or_else(|error| panic!("{name}: {error}"));
        let pair = Pair {
            object: &object,
            judged_object: &judged_object,
            btfs: &target.btfs,
            judged_target: &target.judged,
        };
        let verdicts = pair.judge();
        for mode in [Mode::StrictLibbpf, Mode::Correct] {
            let comparison = compare(&pair, &verdicts, mode).expect("a target that parses");
            for disagreement in &comparison.disagreements {
                match disagreement.known.filter(|_| mode == Mode::Correct) {
                    Some(known) => *self.known.entry(known).or_default() += 1,
                    None => self.faults.push(format!(
                        "{name} on {}, {mode:?}, relocation {}: {}",
                        target.kernel.name, disagreement.relo, disagreement.what
                    )),
                }
            }
            if mode == Mode::StrictLibbpf {
                let judged = |verdict: &Verdict| matches!(verdict, Verdict::Judged(_));
                let both = comparison.records.iter().zip(&verdicts);
                both.filter(|(_, verdict)| judged(verdict))
                    .for_each(|(record, _)| self.coverage.count(record));
            }
        }
    }

    fn end(self, what: &str) -> Coverage {
        println!("{what}\n{}\nknown differences: {:?}", self.coverage, self.known);
        assert!(self.faults.is_empty(), "{} disagreements:\n{:#?}", self.faults.len(), self.faults);
        self.coverage
    }
}

#[test]
fn real_pairs() {
    if std::env::var_os("BTFPIPE_REAL").is_none_or(|value| value != "1") {
        println!("skipped: set BTFPIPE_REAL=1 to hold relo-core against libbpf on real kernels");
        return;
    }
    let kernels = kernels();
    let (mut real, mut sampled) = (Tally::default(), Tally::default());
    for target in &kernels {
        let target = Opened::new(target);
        for Named { name, elf } in &objects(target.kernel.arch) {
            real.check(name, elf, &target);
        }
        for (index, source) in kernels.iter().enumerate() {
            sample_into(&mut sampled, source, index as u64, &target);
        }
        println!("{}: {} modules", target.kernel.name, target.kernel.modules.len());
    }
    let real = real.end("real objects");
    let sampled = sampled.end("objects with types of real kernels");
    assert!(real.total() >= 3_000, "only {} relocations of real objects", real.total());
    assert!(sampled.total() >= 50_000, "only {} sampled relocations", sampled.total());
    for kind in ReloKind::ALL {
        assert!(sampled.of(kind.name(), "relocated") >= 50, "too few of {kind}");
    }
}

/// Objects with types of one kernel, or of one of its modules, on another.
fn sample_into(tally: &mut Tally, source: &Kernel, index: u64, target: &Opened<'_>) {
    let base = Arc::new(Btf::parse(source.vmlinux.as_slice()).expect("a kernel's BTF"));
    for seed in 0..SAMPLES {
        let mut random = Random::new(1 + seed + SAMPLES * index);
        let modules = source.modules.len();
        let from = match random.below(modules) {
            module if modules > 0 && seed % 4 == 3 => {
                let module = source.modules[module].as_slice();
                Arc::new(Btf::parse_split(module, Arc::clone(&base)).expect("a module's BTF"))
            }
            _vmlinux => Arc::clone(&base),
        };
        let locals = sample(&from, SHAPE.0, &mut random).expect("a sound BTF");
        // None where a change has made a type that libbpf can't be given.
        if let Some(elf) = object(&locals, &target.judged, SHAPE, &mut random) {
            tally.check(&format!("types of {}, seed {seed}", source.name), &elf, target);
        }
    }
}
