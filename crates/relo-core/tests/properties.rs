//! Properties over generated types and relocations: on a minimized BTF everything is decided as on the full one,
//! whether there is a match, none, or several; and the same input gives the same bytes.

#[allow(dead_code, reason = "each test uses its part")]
mod case;

use btf::{Btf, Builder, ByteOrder, IntEncoding, Kind, TypeId};
use case::{Relo, btf, load, mov, object, records, relo};
use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use relo_core::{
    BpfObject, Decision, MinimizeOptions, Mode, Outcome, RecordedRelo, ReloKind, Target, Wanted, minimize,
    relocate, relocate_all,
};

const NAMES: [&str; 6] = ["s", "t", "s___old", "u", "t", ""];
const MEMBERS: [&str; 4] = ["a", "b", "c", ""];
const ENUMERATORS: [&str; 4] = ["RED", "BLUE", "RED___2", "GREEN"];
const ACCESSES: [&str; 13] =
    ["0", "0:0", "0:1", "0:2", "0:0:0", "0:1:0", "0:0:1", "0:1:1", "0:2:0", "1", "1:0", "0:0:5", "0:0:0:0"];

/// A type; numbers are places of types in the list, taken modulo of what may be referred to.
#[derive(Debug, Clone)]
enum Ty {
    Int(u32, bool),
    Ptr(usize),
    Array(usize, u32),
    Composite { union: bool, name: usize, members: Vec<(usize, usize, u8)> },
    Enum { wide: bool, signed: bool, name: usize, values: Vec<(usize, i32)> },
    Reference(usize, usize, usize),
    Fwd(usize, bool),
    Proto(usize, Vec<usize>),
}

/// Nearly the same type: what a question must not be mixed up with.
fn nudged(ty: &Ty) -> Ty {
    match ty.clone() {
        Ty::Int(size, signed) => Ty::Int(size, !signed),
        Ty::Enum { wide, signed, name, values } => Ty::Enum { wide, signed, name: name + 1, values },
        Ty::Fwd(name, union) => Ty::Fwd(name + 1, union),
        Ty::Composite { union, name, members } => Ty::Composite { union: !union, name, members },
        Ty::Array(element, len) => Ty::Array(element + 1, len),
        Ty::Ptr(to) | Ty::Reference(_, _, to) => Ty::Array(to, 1),
        Ty::Proto(..) => Ty::Int(4, true),
    }
}

/// A relocation: kind, root, access string, and whether it stands in a load.
type Asked = (usize, usize, usize, bool);

fn ty() -> impl Strategy<Value = Ty> {
    let place = 0usize..64;
    let names = 0..NAMES.len();
    let member = (0..MEMBERS.len(), place.clone(), 0u8..12);
    prop_oneof![
        2 => (prop_oneof![Just(1u32), Just(2), Just(4), Just(8)], any::<bool>()).prop_map(|(size, signed)| Ty::Int(size, signed)),
        3 => place.clone().prop_map(Ty::Ptr),
        2 => (place.clone(), 0u32..4).prop_map(|(element, len)| Ty::Array(element, len)),
        8 => (prop::bool::weighted(0.2), names.clone(), prop::collection::vec(member, 0..4))
            .prop_map(|(union, name, members)| Ty::Composite { union, name, members }),
        3 => (any::<bool>(), any::<bool>(), names.clone(), prop::collection::vec((0..ENUMERATORS.len(), any::<i32>()), 0..3))
            .prop_map(|(wide, signed, name, values)| Ty::Enum { wide, signed, name, values }),
        4 => (0usize..4, names.clone(), place.clone()).prop_map(|(kind, name, to)| Ty::Reference(kind, name, to)),
        1 => (names, any::<bool>()).prop_map(|(name, union)| Ty::Fwd(name, union)),
        1 => (place.clone(), prop::collection::vec(place, 0..3)).prop_map(|(returns, params)| Ty::Proto(returns, params)),
    ]
}

fn asked() -> impl Strategy<Value = Asked> {
    (0..ReloKind::ALL.len(), 0usize..64, 0..ACCESSES.len(), prop::bool::weighted(0.3))
}

/// Writes the types; the first is always an int, so that there is something to hold.
fn write(builder: &mut Builder, types: &[Ty]) {
    builder.int("int", 4, IntEncoding::SIGNED).expect("fits");
    let count = types.len() + 1;
    for (index, ty) in types.iter().enumerate() {
        // By value only what stands before: no type holds itself.
        let held = |place: usize| TypeId((1 + place % (index + 1)) as u32);
        let any = |place: usize| TypeId((place % (count + 1)) as u32);
        match ty {
            Ty::Int(size, signed) => {
                let encoding = if *signed { IntEncoding::SIGNED } else { IntEncoding::NONE };
                builder.int("num", *size, encoding).map(drop)
            }
            Ty::Ptr(to) => builder.reference(Kind::Ptr, "", any(*to)).map(drop),
            Ty::Array(element, len) => builder.array(held(*element), TypeId(1), *len).map(drop),
            Ty::Composite { union, name, members } => write_composite(builder, *union, *name, members, held),
            Ty::Enum { wide, signed, name, values } => {
                let (kind, size) = if *wide { (Kind::Enum64, 8) } else { (Kind::Enum, 4) };
                builder.enumeration(kind, NAMES[*name % 6], size, *signed).expect("fits");
                values
                    .iter()
                    .try_for_each(|&(name, value)| builder.enumerator(ENUMERATORS[name], value.into()))
            }
            Ty::Reference(kind, name, to) => match kind {
                0 => builder.reference(Kind::Const, "", held(*to)).map(drop),
                1 => builder.reference(Kind::TypeTag, "tag", held(*to)).map(drop),
                _typedef => builder.reference(Kind::Typedef, NAMES[*name % 4], held(*to)).map(drop),
            },
            Ty::Fwd(name, union) => builder.fwd(NAMES[*name % 4], *union).map(drop),
            Ty::Proto(returns, params) => {
                builder.func_proto(any(*returns)).expect("fits");
                params.iter().try_for_each(|&param| builder.param("", any(param)))
            }
        }
        .expect("fits");
    }
}

fn write_composite(
    builder: &mut Builder,
    union: bool,
    name: usize,
    members: &[(usize, usize, u8)],
    held: impl Fn(usize) -> TypeId,
) -> Result<(), btf::Error> {
    let kind = if union { Kind::Union } else { Kind::Struct };
    builder.composite(kind, NAMES[name], 8 * members.len() as u32)?;
    let mut at = 0;
    for &(name, ty, bits) in members {
        // Some are bitfields, whatever their type.
        let bits = if (1..6).contains(&bits) { Some(bits) } else { None };
        builder.member(MEMBERS[name], held(ty), if union { 0 } else { at }, bits)?;
        at += if bits.is_some() { 7 } else { 64 - at % 64 };
    }
    Ok(())
}

/// An object, with the values in its instructions that its own types give.
fn program(order: ByteOrder, types: &[Ty], asked: &[Asked]) -> BpfObject {
    let build = |values: &[Option<Decision>]| {
        object(order, |builder| {
            write(builder, types);
            let relo = |(index, &(kind, root, access, loads)): (usize, &Asked)| -> Relo {
                let decision = values.get(index).copied().flatten();
                let value = decision.map_or(0, |decision| decision.local);
                let width = decision.map_or(8, |decision| decision.local_size.max(1));
                let insn = if loads { load(width, value as i16) } else { mov(value as i32) };
                let root = TypeId((1 + root % (types.len() + 1)) as u32);
                let kind = ReloKind::ALL[kind];
                // Few access strings fit the kinds that are not about fields.
                let access = match kind {
                    ReloKind::EnumvalExists | ReloKind::EnumvalValue => ["0", "1"][access % 2],
                    kind if kind >= ReloKind::LocalTypeId => "0",
                    _field => ACCESSES[access],
                };
                relo(kind, root, access, insn)
            };
            asked.iter().enumerate().map(relo).collect()
        })
    };
    let draft = build(&[]);
    // A target that lacks everything still tells the local values.
    let nothing = btf(order, |_| {});
    let values: Vec<_> =
        records(&draft, &nothing, Mode::Correct).iter().map(|record| record.decision).collect();
    build(&values)
}

/// What must not change. Ids of the target are others by design; whether there is one is not.
fn essence(record: &RecordedRelo) -> (String, Option<(bool, u64, u32)>, Vec<u8>) {
    let is_id = record.kind == Some(ReloKind::TargetTypeId);
    let outcome = match &record.outcome {
        Outcome::Error(error) => format!("error {}", error.code()),
        other => other.name().to_owned(),
    };
    let decision = record.decision.filter(|_| !is_id);
    let insn = if is_id { Vec::new() } else { record.insn_after.clone() };
    (outcome, decision.map(|decision| (decision.poison, decision.target, decision.target_size)), insn)
}

/// Questions that objects share are answered once: with others each gets what it gets alone.
fn all_at_once(objects: &[BpfObject], kernel: &[u8], mode: Mode) {
    let every: Vec<&BpfObject> = objects.iter().collect();
    let wanted = Wanted::new(every.iter().copied());
    let full = Btf::parse(kernel).expect("a BTF");
    let target = Target::new(&full, &[], &wanted).expect("whole");
    let all = relocate_all(&every, &target, mode);
    for (object, together) in objects.iter().zip(&all) {
        assert_eq!(&relocate(object, &target, mode), together);
        let alone: Vec<_> = records(object, kernel, mode).iter().map(essence).collect();
        assert_eq!(alone, together.iter().map(essence).collect::<Vec<_>>());
    }
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
    fn minimized_decides_as_full(
        local in prop::collection::vec(ty(), 1..12),
        other in prop::collection::vec(ty(), 1..12),
        target in prop::collection::vec(ty(), 0..24),
        related in prop::bool::weighted(0.7),
        asked in prop::collection::vec(asked(), 1..12),
        asked_too in prop::collection::vec(asked(), 1..12),
        big in any::<bool>(),
        strict in any::<bool>(),
        nudges in any::<u16>(),
    ) {
        let order = if big { ByteOrder::Big } else { ByteOrder::Little };
        let mode = if strict { Mode::StrictLibbpf } else { Mode::Correct };
        // Mostly a kernel that has the program's types, then others of the same names.
        let target: Vec<Ty> = if related { [local.clone(), target].concat() } else { target };
        let kernel = btf(order, |builder| write(builder, &target));
        let objects = [program(order, &local, &asked), program(order, &other, &asked_too)];
        let full = Btf::parse(&kernel).expect("a BTF");
        let options = MinimizeOptions { mode, ..MinimizeOptions::default() };
        let both: Vec<&BpfObject> = objects.iter().collect();
        let minimized = minimize(&full, &both, options).expect("sound");
        for (object, proof) in objects.iter().zip(&minimized.proofs) {
            prop_assert!(proof.differences.is_empty());
            let on = |target: &[u8]| records(object, target, mode).iter().map(essence).collect::<Vec<_>>();
            prop_assert_eq!(on(&kernel), on(&minimized.bytes));
        }
        prop_assert_eq!(&minimize(&full, &both, options).expect("sound").bytes, &minimized.bytes);
        let near: Vec<Ty> =
            local.iter().enumerate().map(|(index, ty)| if nudges >> index & 1 == 1 { nudged(ty) } else { ty.clone() }).collect();
        let more = [program(order, &near, &asked), program(order, &local, &asked_too)];
        all_at_once(&[&objects[..], &more].concat(), &kernel, mode);
        let again = Btf::parse(&minimized.bytes).expect("a BTF");
        // A path that libbpf builds wrongly may lead nowhere in the one and somewhere in the other.
        if !strict {
            prop_assert_eq!(&minimize(&again, &both, options).expect("sound").bytes, &minimized.bytes, "minimized twice");
        }
        Btf::parse(&minimized.bytes).expect("a BTF").check().expect("whole");
    }
}

/// The same access, loaded as signed or not: only one may change its width.
#[test]
fn signs_are_told_apart() {
    let order = ByteOrder::Little;
    let with_int = |bytes: u32, encoding| {
        move |builder: &mut Builder| {
            builder.int("num", bytes, encoding).expect("fits");
            builder.composite(Kind::Struct, "s", bytes).expect("fits");
            builder.member("a", TypeId(1), 0, None).expect("fits");
        }
    };
    let kernel = btf(order, with_int(8, IntEncoding::NONE));
    let program = |encoding| {
        object(order, |builder| {
            with_int(4, encoding)(builder);
            vec![relo(ReloKind::ByteOff, TypeId(2), "0:0", load(4, 0))]
        })
    };
    let [unsigned, signed] = [IntEncoding::NONE, IntEncoding::SIGNED].map(program);
    for objects in [[unsigned.clone(), signed.clone()], [signed, unsigned]] {
        all_at_once(&objects, &kernel, Mode::Correct);
    }
}
