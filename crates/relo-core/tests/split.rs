//! Properties of split BTF: a generated kernel is cut at random into vmlinux and a module. Against both everything is
//! decided as against the whole, but for one rule of libbpf: where vmlinux has a candidate, the module's don't count.

#[allow(dead_code, reason = "each test uses its part")]
mod case;

use std::collections::BTreeSet;
use std::sync::Arc;

use btf::{Btf, Builder, ByteOrder, IntEncoding, Kind, TypeId};
use case::{Relo, btf, load, mov, object, records, records_on, relo, with_unknown_kind};
use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use relo_core::{
    BpfObject, Decision, MinimizeError, MinimizeOptions, Mode, ModuleTypes, Outcome, RecordedRelo, ReloKind,
    Target, TargetBtf, Wanted, essential_name, minimize_target,
};

const NAMES: [&str; 6] = ["s", "t", "s___old", "u", "v", ""];
const MEMBERS: [&str; 4] = ["a", "b", "c", ""];
const ENUMERATORS: [&str; 3] = ["RED", "BLUE", "RED___2"];
const ACCESSES: [&str; 8] = ["0", "0:0", "0:1", "0:0:0", "0:1:0", "0:1:1", "1:0", "0:0:5"];

/// Void, an int and a long stand before all others.
const FIRST: usize = 3;

/// A type; numbers are places of types, taken modulo of what may be referred to.
#[derive(Debug, Clone)]
enum Ty {
    Int(u32, bool),
    Ptr(usize),
    Array(usize, u32),
    Composite {
        union: bool,
        name: usize,
        members: Vec<(usize, usize)>,
    },
    Enum {
        wide: bool,
        name: usize,
        values: Vec<usize>,
    },
    Reference(usize, usize, usize),
    Fwd(usize, bool),
    Proto(usize, usize),
    /// Written as a DECL_TAG, which then becomes a kind that nobody knows.
    Unknown,
}

fn ty() -> impl Strategy<Value = Ty> {
    let place = 0usize..64;
    let names = 0..NAMES.len();
    let members = prop::collection::vec((0..MEMBERS.len(), place.clone()), 0..4);
    let values = prop::collection::vec(0..ENUMERATORS.len(), 0..3);
    prop_oneof![
        2 => (prop_oneof![Just(2u32), Just(4), Just(8)], any::<bool>()).prop_map(|(size, signed)| Ty::Int(size, signed)),
        3 => place.clone().prop_map(Ty::Ptr),
        2 => (place.clone(), 0u32..3).prop_map(|(element, len)| Ty::Array(element, len)),
        8 => (prop::bool::weighted(0.2), names.clone(), members)
            .prop_map(|(union, name, members)| Ty::Composite { union, name, members }),
        2 => (any::<bool>(), names.clone(), values).prop_map(|(wide, name, values)| Ty::Enum { wide, name, values }),
        4 => (0usize..3, names.clone(), place.clone()).prop_map(|(kind, name, to)| Ty::Reference(kind, name, to)),
        1 => (names, any::<bool>()).prop_map(|(name, union)| Ty::Fwd(name, union)),
        1 => (place.clone(), place).prop_map(|(returns, param)| Ty::Proto(returns, param)),
        1 => Just(Ty::Unknown),
    ]
}

/// Types, and what each refers to as an index among all: void, int, long, then these.
#[derive(Debug, Clone)]
struct Graph {
    types: Vec<Ty>,
    narrow: bool,
}

impl Graph {
    /// By value only what stands before: no type holds itself.
    fn held(&self, index: usize, place: usize) -> usize {
        1 + place % (index + FIRST - 1)
    }

    fn any(&self, place: usize) -> usize {
        place % (self.types.len() + FIRST)
    }

    fn refers(&self, index: usize) -> Vec<usize> {
        match &self.types[index] {
            Ty::Int(..) | Ty::Enum { .. } | Ty::Fwd(..) | Ty::Unknown => Vec::new(),
            Ty::Ptr(to) => vec![self.any(*to)],
            Ty::Array(to, _) | Ty::Reference(_, _, to) => vec![self.held(index, *to)],
            Ty::Composite { members, .. } => members.iter().map(|&(_, to)| self.held(index, to)).collect(),
            Ty::Proto(returns, param) => vec![self.any(*returns), self.any(*param)],
        }
    }

    /// What stands in the module: what was put there, and all that refers to it.
    fn in_module(&self, put: u64) -> Vec<bool> {
        let mut inside: Vec<bool> = (0..self.types.len()).map(|index| put >> (index % 64) & 1 == 1).collect();
        loop {
            let drawn = |index: &usize| {
                let leads = |to: usize| to >= FIRST && inside[to - FIRST];
                !inside[*index] && self.refers(*index).into_iter().any(leads)
            };
            let Some(index) = (0..self.types.len()).find(drawn) else { return inside };
            inside[index] = true;
        }
    }

    /// The types in the order in which they are written, and the id that each one gets so.
    fn order(&self, in_module: &[bool]) -> (Vec<usize>, Vec<TypeId>) {
        let part = |module| (0..self.types.len()).filter(move |&index| in_module[index] == module);
        let order: Vec<usize> = part(false).chain(part(true)).collect();
        let mut ids: Vec<TypeId> = (0..FIRST + order.len()).map(|id| TypeId(id as u32)).collect();
        for (position, &index) in order.iter().enumerate() {
            ids[FIRST + index] = TypeId((FIRST + position) as u32);
        }
        (order, ids)
    }

    fn write_first(&self, builder: &mut Builder) {
        builder.int("int", 4, IntEncoding::SIGNED).expect("fits");
        builder.int("long", if self.narrow { 4 } else { 8 }, IntEncoding::SIGNED).expect("fits");
    }

    fn write(&self, builder: &mut Builder, order: &[usize], ids: &[TypeId]) {
        for &index in order {
            let mut refers = self.refers(index).into_iter().map(|to| ids[to]);
            let mut next = || refers.next().unwrap_or(TypeId::VOID);
            match &self.types[index] {
                Ty::Int(size, signed) => {
                    let encoding = if *signed { IntEncoding::SIGNED } else { IntEncoding::NONE };
                    builder.int("num", *size, encoding)
                }
                Ty::Ptr(_) => builder.reference(Kind::Ptr, "", next()),
                Ty::Array(_, len) => builder.array(next(), TypeId(1), *len),
                Ty::Reference(0, ..) => builder.reference(Kind::Const, "", next()),
                Ty::Reference(1, ..) => builder.reference(Kind::TypeTag, "tag", next()),
                Ty::Reference(_, name, _) => builder.reference(Kind::Typedef, NAMES[*name % 5], next()),
                Ty::Fwd(name, union) => builder.fwd(NAMES[*name % 5], *union),
                Ty::Unknown => builder.decl_tag("new", TypeId(1), None),
                Ty::Proto(..) => {
                    let id = builder.func_proto(next());
                    builder.param("", next()).map(drop).and(id)
                }
                Ty::Composite { union, name, members } => {
                    let kind = if *union { Kind::Union } else { Kind::Struct };
                    let id = builder.composite(kind, NAMES[*name], 8 * members.len() as u32);
                    for (at, &(name, _)) in members.iter().enumerate() {
                        let at = if *union { 0 } else { 64 * at as u32 };
                        builder.member(MEMBERS[name], next(), at, None).expect("fits");
                    }
                    id
                }
                Ty::Enum { wide, name, values } => {
                    let (kind, size) = if *wide { (Kind::Enum64, 8) } else { (Kind::Enum, 4) };
                    let id = builder.enumeration(kind, NAMES[*name], size, false);
                    for (value, &name) in values.iter().enumerate() {
                        builder.enumerator(ENUMERATORS[name], value as i64).expect("fits");
                    }
                    id
                }
            }
            .expect("fits");
        }
    }
}

/// A relocation: kind, root, access string, and whether it stands in a load.
type Asked = (usize, usize, usize, bool);

fn asked() -> impl Strategy<Value = Asked> {
    (0..ReloKind::ALL.len(), 0usize..64, 0..ACCESSES.len(), prop::bool::weighted(0.3))
}

/// An object with these types, and the values in its instructions that they give.
fn program(order: ByteOrder, graph: &Graph, asked: &[Asked]) -> BpfObject {
    let (all, ids) = graph.order(&vec![false; graph.types.len()]);
    let build = |values: &[Option<Decision>]| {
        object(order, |builder| {
            graph.write_first(builder);
            graph.write(builder, &all, &ids);
            let relo = |(index, &(kind, root, access, loads)): (usize, &Asked)| -> Relo {
                let decision = values.get(index).copied().flatten();
                let value = decision.map_or(0, |decision| decision.local);
                let width = decision.map_or(8, |decision| decision.local_size.max(1));
                let insn = if loads { load(width, value as i16) } else { mov(value as i32) };
                let root = TypeId((1 + root % (ids.len() - 1)) as u32);
                let access = match ReloKind::ALL[kind] {
                    ReloKind::EnumvalExists | ReloKind::EnumvalValue => ["0", "1"][access % 2],
                    kind if kind >= ReloKind::LocalTypeId => "0",
                    _field => ACCESSES[access],
                };
                relo(ReloKind::ALL[kind], root, access, insn)
            };
            asked.iter().enumerate().map(relo).collect()
        })
    };
    let draft = build(&[]);
    // A target that lacks everything still tells the local values.
    let values: Vec<_> =
        records(&draft, &btf(order, |_| {}), Mode::Correct).iter().map(|record| record.decision).collect();
    build(&values)
}

fn outcome(record: &RecordedRelo) -> &str {
    match &record.outcome {
        Outcome::Error(error) => error.code(),
        other => other.name(),
    }
}

/// Everything about a record but where its target stands and where strings do.
fn all_of(record: &RecordedRelo) -> impl PartialEq + std::fmt::Debug {
    let target = record.target.as_ref();
    let path = target.map(|target| (target.candidate.id, target.spec.raw.clone(), target.spec.bit_offset));
    let counts = (record.candidates, record.matches);
    let after = record.insn_after.clone();
    (outcome(record).to_owned(), record.decision, path, counts, record.reason.clone(), after)
}

/// What must not change by minimizing. Ids of the target are others by design; whether there is one is not.
fn essence(record: &RecordedRelo) -> impl PartialEq + std::fmt::Debug {
    let is_id = record.kind == Some(ReloKind::TargetTypeId);
    let decision = record.decision.filter(|_| !is_id);
    let insn = if is_id { Vec::new() } else { record.insn_after.clone() };
    (outcome(record).to_owned(), decision.map(|it| (it.poison, it.target, it.target_size)), insn)
}

/// Whether types of a BTF, its base left out, can stand for a root.
fn has_candidates(btf: &Btf<'_>, local: &Btf<'_>, root: TypeId) -> bool {
    let root = local.resolve(root).expect("a root");
    let name = essential_name(root.name().expect("a name"));
    btf.own_ids().any(|id| {
        let ty = btf.resolve(id).expect("a type");
        let same_kind = ty.kind() == root.kind() || ty.kind().is_any_enum() && root.kind().is_any_enum();
        let own = ty.name().expect("a name");
        same_kind && !own.is_empty() && essential_name(own) == name
    })
}

fn number(variable: &str, otherwise: u64) -> u64 {
    std::env::var(variable).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: number("BTFPIPE_CASES", 2000) as u32,
        // The same cases everywhere, at all times.
        rng_seed: RngSeed::Fixed(number("BTFPIPE_SEED", 1)),
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn vmlinux_and_a_module_are_the_whole(
        local in prop::collection::vec(ty(), 1..12),
        other in prop::collection::vec(ty(), 0..20),
        put in any::<u64>(),
        narrow in any::<bool>(),
        asked in prop::collection::vec(asked(), 1..12),
        big in any::<bool>(),
        strict in any::<bool>(),
    ) {
        let order = if big { ByteOrder::Big } else { ByteOrder::Little };
        let mode = if strict { Mode::StrictLibbpf } else { Mode::Correct };
        let object = program(order, &Graph { types: local.clone(), narrow: false }, &asked);
        let graph = Graph { types: [local, other].concat(), narrow };
        let inside = graph.in_module(put);
        let (written, ids) = graph.order(&inside);
        let (base_types, module_types) = written.split_at(inside.iter().filter(|module| !**module).count());
        let whole = with_unknown_kind(&btf(order, |builder| {
            graph.write_first(builder);
            graph.write(builder, &written, &ids);
        }), None, true);
        let base = with_unknown_kind(&btf(order, |builder| {
            graph.write_first(builder);
            graph.write(builder, base_types, &ids);
        }), None, true);
        let vmlinux = Arc::new(Btf::parse(base.clone()).expect("a BTF"));
        let mut builder = Builder::split(&vmlinux);
        graph.write(&mut builder, module_types, &ids);
        let module = with_unknown_kind(&builder.finish().expect("split BTF"), Some(&vmlinux), true);

        let split = Btf::parse_split(module.clone(), vmlinux.clone()).expect("split BTF");
        let found = records_on(&object, &base, std::slice::from_ref(&module), mode);
        let on_whole = records(&object, &whole, mode);
        let on_base = records(&object, &base, mode);
        for (index, record) in found.iter().enumerate() {
            let root = object.relos()[index].relo.type_id;
            let expected = match has_candidates(&vmlinux, object.btf(), root) {
                true => &on_base[index],
                false => &on_whole[index],
            };
            prop_assert_eq!(all_of(record), all_of(expected));
        }

        let modules = [TargetBtf { module: Some("module"), btf: &split }];
        let wanted = Wanted::new([&object]);
        let target = Target::new(&vmlinux, &modules, &wanted).expect("whole");
        let twice = [modules[0].clone(), TargetBtf { module: Some("twin"), btf: &split }];
        let twice = Target::new(&vmlinux, &twice, &wanted).expect("whole");
        for modules in [ModuleTypes::Split, ModuleTypes::Merge] {
            let options = MinimizeOptions { mode, modules, ..MinimizeOptions::default() };
            let min = match minimize_target(&target, &[&object], options) {
                Err(MinimizeError::Merge { .. }) => {
                    // Both have candidates for some root, and the module's are needed under their names.
                    let roots = object.relos().iter().map(|relo| relo.relo.type_id);
                    let has = |btf| roots.clone().filter(|&root| has_candidates(btf, object.btf(), root)).collect();
                    let [ours, theirs]: [BTreeSet<TypeId>; 2] = [has(&vmlinux), has(&split)];
                    prop_assert!(modules == ModuleTypes::Merge && !ours.is_disjoint(&theirs));
                    continue;
                }
                min => min.expect("sound"),
            };
            let on_min = records_on(&object, &min.bytes, &min.modules, mode);
            prop_assert_eq!(
                found.iter().map(essence).collect::<Vec<_>>(),
                on_min.iter().map(essence).collect::<Vec<_>>()
            );
            // A module that repeats another one adds nothing to the one BTF.
            if modules == ModuleTypes::Merge {
                let min_twice = minimize_target(&twice, &[&object], options).expect("sound");
                prop_assert_eq!(min_twice.bytes, min.bytes);
            }
        }
    }
}
