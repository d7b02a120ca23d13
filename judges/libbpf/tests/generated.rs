//! Generated pairs: relo-core against libbpf over types, relocations and instructions of every sort.
//!
//! Always the same pairs, or those from the seed in `BTFPIPE_SEED` alone; `BTFPIPE_RELOCATIONS` makes more of them.

use std::collections::BTreeMap;
use std::path::Path;

use btf::ByteOrder;
use judge_libbpf::generate::{Case, Profile};
use judge_libbpf::{Coverage, Disagreement, Known, Verdict, compare};
use relo_core::Mode;

const LITTLE: Profile = Profile { object_order: ByteOrder::Little, target_order: ByteOrder::Little };

/// Goes through seeds until enough relocations are compared.
struct Run {
    profile: Profile,
    coverage: Coverage,
    /// How often each known difference showed.
    known: BTreeMap<Known, u64>,
    /// Seeds of which chance made types that libbpf can't be given.
    skipped: u64,
}

impl Run {
    fn of(profile: Profile, relocations: u64) -> Run {
        let mut run = Run { profile, coverage: Coverage::default(), known: BTreeMap::new(), skipped: 0 };
        match number("BTFPIPE_SEED") {
            Some(seed) => run.take(seed),
            None => run.take_all(number("BTFPIPE_RELOCATIONS").unwrap_or(relocations)),
        }
        println!("{:?} objects, {:?} targets", profile.object_order, profile.target_order);
        println!("{}\nknown differences: {:?}; {} seeds made no pair", run.coverage, run.known, run.skipped);
        run
    }

    fn take_all(&mut self, relocations: u64) {
        for seed in 1.. {
            if self.coverage.total() >= relocations {
                return;
            }
            self.take(seed);
            assert!(self.skipped < 1000 + seed / 2, "most seeds make types that libbpf can't be given");
        }
    }

    fn take(&mut self, seed: u64) {
        match Case::new(seed, self.profile) {
            Some(case) => self.check(seed, &case),
            None => self.skipped += 1,
        }
    }

    fn check(&mut self, seed: u64, case: &Case) {
        let opened = case.open(|pair| {
            let verdicts = pair.judge();
            let strict = compare(pair, &verdicts, Mode::StrictLibbpf).expect("a target that parses");
            fail_on(seed, case, "strict", strict.disagreements.first());
            for (record, verdict) in strict.records.iter().zip(&verdicts) {
                let Verdict::Judged(judged) = verdict else { continue };
                self.coverage.count(record);
                if judged.host_differs {
                    *self.known.entry(Known::HostByteOrder).or_default() += 1;
                }
            }
            let correct = compare(pair, &verdicts, Mode::Correct).expect("a target that parses");
            for disagreement in &correct.disagreements {
                match disagreement.known {
                    Some(known) => *self.known.entry(known).or_default() += 1,
                    None => fail_on(seed, case, "correct", Some(disagreement)),
                }
            }
        });
        opened.unwrap_or_else(|error| panic!("seed {seed}: {error}"));
    }

    fn must_show(&self, known: &[Known]) {
        for known in known {
            assert!(self.known.contains_key(known), "{known:?} never showed: it is no difference");
        }
    }
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|text| text.parse().expect("a number"))
}

/// Leaves the pair behind for `bpftool btf dump`, and fails.
fn fail_on(seed: u64, case: &Case, mode: &str, disagreement: Option<&Disagreement>) {
    let Some(Disagreement { relo, what, .. }) = disagreement else { return };
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let (object, target) = (folder.join(format!("{seed}.o")), folder.join(format!("{seed}.btf")));
    let kept = std::fs::write(&object, &case.object).and(std::fs::write(&target, &case.vmlinux));
    panic!(
        "seed {seed}, mode {mode}, relocation {relo}: {what}\nsee {} and {} ({kept:?}); again with BTFPIPE_SEED={seed}",
        object.display(),
        target.display()
    );
}

#[test]
fn little_endian_pairs() {
    let run = Run::of(LITTLE, 60_000);
    if number("BTFPIPE_SEED").is_none() {
        let faults = run.coverage.faults();
        assert!(faults.is_empty(), "{faults:#?}");
        run.must_show(&[Known::UnsignedEnumerator, Known::UnextendedImmediate, Known::DuplicateMember]);
    }
}

#[test]
fn other_byte_orders() {
    for (object_order, target_order) in [
        (ByteOrder::Big, ByteOrder::Big),
        (ByteOrder::Big, ByteOrder::Little),
        (ByteOrder::Little, ByteOrder::Big),
    ] {
        let run = Run::of(Profile { object_order, target_order }, 10_000);
        if object_order != ByteOrder::NATIVE && number("BTFPIPE_SEED").is_none() {
            run.must_show(&[Known::HostByteOrder]);
        }
    }
}

#[test]
fn every_known_difference_has_its_reason() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../known-differences.md");
    let text = std::fs::read_to_string(path).expect("the file is there");
    let listed: Vec<&str> =
        text.lines().filter_map(|line| line.strip_prefix("## ")?.split(':').next()).collect();
    assert_eq!(listed, Known::ALL.map(Known::heading));
}

#[test]
fn the_layouts_are_those_of_the_linked_version() {
    assert!(judge_libbpf::version().starts_with("v1.7"), "{}", judge_libbpf::version());
}
