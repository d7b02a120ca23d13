//! Local types: what a compiler writes, and what no compiler writes.

use btf::Kind;

use crate::generate::graph::{Enumeration, Graph, Int, Member, Ref, Ty};
use crate::generate::random::Random;

/// Names of members; few, so that they meet.
pub const MEMBERS: [&str; 10] = ["a", "b", "c", "d", "e", "f", "g", "h", "b___x", "flags"];
const ENUMERATORS: [&str; 8] =
    ["RED", "BLUE", "RED___old", "GREEN", "BLUE___v2", "X____Y", "LAST", "GREEN___"];
const FLAVORS: [&str; 6] = ["___old", "___a___b", "___", "____x", "___7", "_"];
const FIRST_INTS: [(&str, u32, u8); 11] = [
    // The first is the index of every array.
    ("int", 4, 1),
    ("unsigned int", 4, 0),
    ("long unsigned int", 8, 0),
    ("long long int", 8, 1),
    ("char", 1, 1),
    ("unsigned char", 1, 0),
    ("short unsigned int", 2, 0),
    ("_Bool", 1, 4),
    ("__int128 unsigned", 16, 0),
    ("int24", 3, 0),
    ("char8_t", 1, 3),
];

/// Makes local types.
pub fn grow(random: &mut Random) -> Graph {
    let mut graph = Graph::default();
    for (name, size, encoding) in FIRST_INTS {
        graph.add(int(name, size, encoding));
    }
    for _ in 0..8 + random.below(16) {
        let ty = any(&graph, random);
        let added = graph.add(ty);
        if !random.chance(40) {
            graph.lay_out(added);
        }
        spoil_offsets(&mut graph, added, random);
        // Self-reference, as in lists.
        if matches!(graph.get(added), Some(Ty::Composite { .. })) && random.chance(300) {
            let ptr = graph.add(Ty::Ptr(String::new(), added));
            if let Ty::Composite { members, .. } = &mut graph.types[added - 1]
                && let Some(name) = free_name(members, random)
            {
                members.push(plain(name, ptr));
            }
            graph.lay_out(added);
        }
    }
    graph
}

/// An INT that uses all its bits.
pub fn int(name: &str, size: u32, encoding: u8) -> Ty {
    Ty::Int(Int { name: name.to_owned(), size, encoding, offset: 0, bits: (size * 8) as u8 })
}

/// A member without place.
pub fn plain(name: &str, ty: Ref) -> Member {
    Member { name: name.to_owned(), ty, bit_offset: 0, bits: 0 }
}

/// Offsets as no C compiler gives them.
fn spoil_offsets(graph: &mut Graph, composite: Ref, random: &mut Random) {
    if !random.chance(60) {
        return;
    }
    if let Ty::Composite { members, size, .. } = &mut graph.types[composite - 1] {
        for member in members.iter_mut() {
            member.bit_offset = random.below(600) as u32;
        }
        *size = random.below(200) as u32;
    }
}

fn any(graph: &Graph, random: &mut Random) -> Ty {
    match random.below(100) {
        0..38 => composite(graph, random),
        38..50 => Ty::Enum(enumeration(random)),
        50..60 => Ty::Typedef(name("t", random), any_ref(graph, random)),
        60..69 => Ty::Ptr(odd_name(random), any_ref(graph, random)),
        69..78 => Ty::Array { element: value_ref(graph, random), len: random.pick(&[0, 1, 2, 3, 4, 7]) },
        78..83 => {
            Ty::Modifier(random.pick(&[Kind::Const, Kind::Volatile, Kind::Restrict]), any_ref(graph, random))
        }
        83..86 => Ty::TypeTag(random.pick(&["rcu", "user"]).to_owned(), any_ref(graph, random)),
        86..91 => proto(graph, random),
        91..95 => Ty::Fwd { union: random.chance(300), name: name("s", random) },
        95..97 => Ty::Float(random.pick(&["float", "double"]).to_owned(), random.pick(&[4, 8])),
        97..98 => Ty::Array { element: 5, len: random.pick(&[32_760, 40_000]) },
        _int => Ty::Int(Int {
            name: random.pick(&["u9", "bits", "int"]).to_owned(),
            size: random.pick(&[1, 2, 4, 8]),
            encoding: random.pick(&[0, 1, 2, 4, 5]),
            offset: random.pick(&[0, 0, 3]),
            bits: random.pick(&[1, 8, 9, 32]),
        }),
    }
}

/// A name of few, often with a flavor.
pub fn name(prefix: &str, random: &mut Random) -> String {
    let plain = format!("{prefix}{}", random.below(4));
    if random.chance(250) { plain + random.pick(&FLAVORS) } else { plain }
}

fn odd_name(random: &mut Random) -> String {
    if random.chance(30) { name("p", random) } else { String::new() }
}

/// Any type, void included.
pub fn any_ref(graph: &Graph, random: &mut Random) -> Ref {
    if random.chance(60) { 0 } else { 1 + random.below(graph.types.len()) }
}

/// A type that can be held by value.
pub fn value_ref(graph: &Graph, random: &mut Random) -> Ref {
    for _ in 0..16 {
        let ty = 1 + random.below(graph.types.len());
        if graph.size(ty).is_some_and(|size| size <= 1 << 16) {
            return ty;
        }
    }
    1
}

fn proto(graph: &Graph, random: &mut Random) -> Ty {
    Ty::Proto {
        returns: any_ref(graph, random),
        params: (0..random.below(4)).map(|_| any_ref(graph, random)).collect(),
    }
}

/// An enum with a few enumerators.
pub fn enumeration(random: &mut Random) -> Enumeration {
    let wide = random.chance(300);
    let mut names = ENUMERATORS;
    random.shuffle(&mut names);
    let count = random.below(5);
    let values = names[..count].iter().map(|name| ((*name).to_owned(), enumerator(wide, random))).collect();
    Enumeration {
        wide,
        signed: random.chance(500),
        name: if random.chance(150) { String::new() } else { name("e", random) },
        size: if wide { 8 } else { random.pick(&[4, 4, 4, 1, 2]) },
        values,
    }
}

/// A value, small, negative or large.
pub fn enumerator(wide: bool, random: &mut Random) -> i64 {
    match random.below(10) {
        0 => -1,
        1 => i64::from(i32::MIN),
        2 => 0x8000_0001,
        3 if wide => 1 << 40 | 5,
        4 => 40_000,
        _small => random.below(4) as i64,
    }
}

fn composite(graph: &Graph, random: &mut Random) -> Ty {
    let mut names = MEMBERS;
    random.shuffle(&mut names);
    let count = random.below(6);
    let mut members: Vec<Member> = names[..count].iter().map(|name| member(name, graph, random)).collect();
    if random.chance(250) {
        add_anonymous(graph, &mut members, random);
    }
    if random.chance(120) {
        add_flexible(graph, &mut members, random);
    }
    if random.chance(15)
        && let Some(first) = members.first().cloned()
    {
        members.push(first);
    }
    Ty::Composite {
        union: random.chance(200),
        name: if random.chance(200) { String::new() } else { name("s", random) },
        size: 4,
        members,
    }
}

/// A member, sometimes a bitfield.
pub fn member(name: &str, graph: &Graph, random: &mut Random) -> Member {
    let mut member = plain(name, value_ref(graph, random));
    let fits = matches!(graph.get(graph.skip(member.ty)), Some(Ty::Int(_) | Ty::Enum(_)));
    let odd =
        matches!(graph.get(graph.skip(member.ty)), Some(Ty::Composite { size: 1.., .. } | Ty::Float(..)));
    if fits && random.chance(300) || odd && random.chance(20) {
        let bits = graph.size(member.ty).unwrap_or(1).clamp(1, 8) * 8;
        member.bits = 1 + random.below(bits as usize) as u8;
    }
    member
}

/// An anonymous struct or union that shares no name with the others, if there is one.
fn add_anonymous(graph: &Graph, members: &mut Vec<Member>, random: &mut Random) {
    let taken: Vec<&str> = members.iter().map(|member| member.name.as_str()).collect();
    let free = graph.refs().filter(|&ty| match graph.get(ty) {
        Some(Ty::Composite { name, members, .. }) if name.is_empty() => {
            members.iter().all(|member| !taken.contains(&member.name.as_str()))
        }
        _other => false,
    });
    let free: Vec<Ref> = free.collect();
    if !free.is_empty() {
        members.insert(random.below(members.len() + 1), plain("", random.pick(&free)));
    }
}

/// An array without length, mostly at the end.
fn add_flexible(graph: &Graph, members: &mut Vec<Member>, random: &mut Random) {
    let is_flexible = |ty: &Ref| matches!(graph.get(graph.skip(*ty)), Some(Ty::Array { len: 0, .. }));
    let arrays: Vec<Ref> = graph.refs().filter(is_flexible).collect();
    if let (false, Some(name)) = (arrays.is_empty(), free_name(members, random)) {
        let place = if random.chance(800) { members.len() } else { random.below(members.len() + 1) };
        members.insert(place, plain(name, random.pick(&arrays)));
    }
}

/// A name that no member has.
pub fn free_name(members: &[Member], random: &mut Random) -> Option<&'static str> {
    let is_free = |name: &&str| members.iter().all(|member| member.name != *name);
    let free: Vec<&'static str> = MEMBERS.into_iter().filter(is_free).collect();
    (!free.is_empty()).then(|| random.pick(&free))
}
