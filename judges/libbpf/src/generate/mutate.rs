//! Target types: changed copies of the local ones, some of them several times, in another order, some in modules.

use btf::Kind;

use crate::generate::graph::{Graph, Member, Ref, Ty};
use crate::generate::local;
use crate::generate::random::Random;
use crate::generate::write::Layout;

/// Makes the types of a target.
pub fn target_of(locals: &Graph, random: &mut Random) -> Graph {
    let mut target = locals.clone();
    // From nearly the same to another world.
    let wildness = random.pick(&[20, 100, 200, 400]);
    for ty in locals.refs() {
        if is_root(locals, ty) {
            copy(&mut target, ty, wildness, random);
        }
    }
    for ty in target.refs() {
        let often = if matches!(target.get(ty), Some(Ty::Int(_))) { wildness / 10 } else { wildness };
        while random.chance(often) {
            change(&mut target, ty, random);
        }
    }
    set_pointer_size(&mut target, random);
    target
}

fn is_root(graph: &Graph, ty: Ref) -> bool {
    !graph.name(ty).is_empty() && !matches!(graph.get(ty), Some(Ty::Int(_)))
}

/// Further candidates of the same essential name, or none at all.
fn copy(target: &mut Graph, ty: Ref, wildness: u64, random: &mut Random) {
    let copies = match random.below(100) {
        0..72 => 0,
        72..88 => 1,
        88..94 => 2,
        _gone => {
            rename(target, ty, |name| format!("{name}_gone"));
            0
        }
    };
    for _ in 0..copies {
        let Some(same) = target.get(ty).cloned() else { return };
        let added = target.add(same);
        if random.chance(500) {
            let flavor = random.pick(&["___v2", "___x___y", "____no", "___"]);
            rename(target, added, |name| format!("{name}{flavor}"));
        }
        if random.chance(wildness) {
            change(target, added, random);
        }
    }
    if random.chance(100) {
        rename(target, ty, |name| format!("{name}___new"));
    }
}

/// Gives a type that has a name another.
pub fn rename(graph: &mut Graph, ty: Ref, to: impl Fn(&str) -> String) {
    match &mut graph.types[ty - 1] {
        Ty::Int(int) => int.name = to(&int.name),
        Ty::Enum(of) => of.name = to(&of.name),
        Ty::Composite { name, .. } | Ty::Fwd { name, .. } => *name = to(name),
        Ty::Typedef(name, _) | Ty::Ptr(name, _) | Ty::Float(name, _) => *name = to(name),
        Ty::Func(name, _) | Ty::Var(name, _) => *name = to(name),
        Ty::Array { .. } | Ty::Modifier(..) | Ty::TypeTag(..) | Ty::Proto { .. } => {}
    }
}

/// 32-bit kernels, and BTF that does not tell.
fn set_pointer_size(target: &mut Graph, random: &mut Random) {
    let long = &mut target.types[2];
    if let Ty::Int(int) = long {
        match random.below(10) {
            0 | 1 => (int.size, int.bits) = (4, 32),
            2 => int.name = "u64".to_owned(),
            3 => int.name = "unsigned long".to_owned(),
            _kept => {}
        }
    }
}

/// Changes a type in one way of many.
pub fn change(graph: &mut Graph, ty: Ref, random: &mut Random) {
    let any = local::any_ref(graph, random);
    let value = local::value_ref(graph, random);
    match &mut graph.types[ty - 1] {
        Ty::Int(int) => match random.below(4) {
            0 => int.encoding = random.pick(&[0, 1, 2, 4, 5]),
            1 => int.offset = random.pick(&[0, 4]),
            _size => int.size = random.pick(&[1, 2, 4, 8, 16, 3]),
        },
        Ty::Ptr(_, to) => *to = any,
        Ty::Typedef(_, to) | Ty::Modifier(_, to) | Ty::TypeTag(_, to) => {
            *to = if random.chance(500) { any } else { value };
        }
        Ty::Func(_, to) | Ty::Var(_, to) => *to = any,
        Ty::Array { element, len } => match random.below(3) {
            0 => *element = value,
            1 => *len = 0,
            _other => *len = random.below(8) as u32,
        },
        Ty::Enum(_) => change_enum(graph, ty, random),
        Ty::Fwd { union, name } => match random.below(3) {
            0 => *union = !*union,
            _full => {
                let (name, union) = (name.clone(), *union);
                let members = vec![local::plain("a", value)];
                let size = 8;
                graph.types[ty - 1] = Ty::Composite { union, name, size, members };
            }
        },
        Ty::Proto { returns, params } => match random.below(4) {
            0 => *returns = any,
            1 => params.push(any),
            2 => drop(params.pop()),
            _one => {
                if let Some(param) = params.first_mut() {
                    *param = any;
                }
            }
        },
        Ty::Float(_, size) => *size = random.pick(&[4, 8, 16]),
        Ty::Composite { .. } => change_composite(graph, ty, random),
    }
}

fn change_enum(graph: &mut Graph, ty: Ref, random: &mut Random) {
    let Ty::Enum(of) = &mut graph.types[ty - 1] else { return };
    match random.below(8) {
        0 => of.wide = !of.wide,
        1 => of.signed = !of.signed,
        2 => of.size = random.pick(&[1, 2, 4, 8]),
        3 => drop(of.values.pop()),
        4 => of.values.insert(0, (random.pick(&["NEW", "RED", "BLUE___new"]).to_owned(), 7)),
        5 => random.shuffle(&mut of.values),
        6 => of.name = local::name("e", random),
        _values => {
            for (_, value) in &mut of.values {
                *value = local::enumerator(of.wide, random);
            }
        }
    }
}

fn change_composite(graph: &mut Graph, ty: Ref, random: &mut Random) {
    let added = local::member(random.pick(&local::MEMBERS), graph, random);
    match random.below(24) {
        0..3 => edit(graph, ty, |members| remove(members, random)),
        3..5 => edit(graph, ty, |members| rename_member(members, random)),
        5..9 => retype(graph, ty, random),
        9..11 => edit(graph, ty, |members| random.shuffle(members)),
        11..14 => edit(graph, ty, |members| {
            if members.iter().all(|member| member.name != added.name) || random.chance(40) {
                members.insert(0, added);
            }
        }),
        14..17 => wrap(graph, ty, random),
        17..18 => edit(graph, ty, |members| toggle_bitfield(members, random)),
        18 => shift(graph, ty, random),
        19 => flip(graph, ty),
        20 => {
            if let Ty::Composite { size, .. } = &mut graph.types[ty - 1] {
                *size = random.below(64) as u32;
            }
        }
        21 => unwrap(graph, ty),
        22 => {
            if let Ty::Composite { union, name, .. } = &graph.types[ty - 1] {
                let (union, name) = (*union, name.clone());
                if random.chance(300) {
                    graph.types[ty - 1] = Ty::Fwd { union, name };
                }
            }
        }
        _duplicate => edit(graph, ty, |members| {
            if random.chance(250)
                && let Some(first) = members.first().cloned()
            {
                members.push(first);
            }
        }),
    }
}

/// Changes members and puts them into their places again.
fn edit(graph: &mut Graph, ty: Ref, with: impl FnOnce(&mut Vec<Member>)) {
    if let Ty::Composite { members, .. } = &mut graph.types[ty - 1] {
        with(members);
    }
    graph.lay_out(ty);
}

fn remove(members: &mut Vec<Member>, random: &mut Random) {
    if !members.is_empty() {
        members.remove(random.below(members.len()));
    }
}

fn rename_member(members: &mut [Member], random: &mut Random) {
    let Some(name) = local::free_name(members, random) else { return };
    let index = random.below(members.len());
    if let Some(member) = members.get_mut(index) {
        member.name = name.to_owned();
    }
}

fn toggle_bitfield(members: &mut [Member], random: &mut Random) {
    let index = random.below(members.len());
    if let Some(member) = members.get_mut(index) {
        member.bits = if member.bits == 0 { 1 + random.below(9) as u8 } else { 0 };
    }
}

/// Another type for a member: any, or the same in other clothes.
fn retype(graph: &mut Graph, ty: Ref, random: &mut Random) {
    let Ty::Composite { members, .. } = &graph.types[ty - 1] else { return };
    if members.is_empty() {
        return;
    }
    let index = random.below(members.len());
    let before = members[index].ty;
    let after = match random.below(6) {
        0 => graph.add(Ty::Modifier(random.pick(&[Kind::Const, Kind::Volatile]), before)),
        1 => graph.add(Ty::Typedef("t_new".to_owned(), before)),
        2 => graph.add(Ty::TypeTag("tag".to_owned(), before)),
        3 => random.pick(&[2, 3, 4, 6, 7, 9, 10]),
        4 => graph.add(Ty::Array { element: before, len: random.below(5) as u32 }),
        _any => local::value_ref(graph, random),
    };
    edit(graph, ty, |members| members[index].ty = after);
}

/// Moves some members into an anonymous struct or union.
fn wrap(graph: &mut Graph, ty: Ref, random: &mut Random) {
    let Ty::Composite { members, .. } = &mut graph.types[ty - 1] else { return };
    let from = random.below(members.len() + 1);
    let to = from + random.below(members.len() + 1 - from);
    let moved: Vec<Member> = members.drain(from..to).collect();
    let anonymous =
        graph.add(Ty::Composite { union: random.chance(300), name: String::new(), size: 0, members: moved });
    graph.lay_out(anonymous);
    edit(graph, ty, |members| members.insert(from, local::plain("", anonymous)));
}

/// Puts the members of an anonymous member in its place.
fn unwrap(graph: &mut Graph, ty: Ref) {
    let Ty::Composite { members, .. } = &graph.types[ty - 1] else { return };
    let Some(index) = members.iter().position(|member| member.name.is_empty()) else { return };
    if let Some(Ty::Composite { members: inner, .. }) = graph.get(members[index].ty).cloned() {
        edit(graph, ty, |members| drop(members.splice(index..=index, inner)));
    }
}

/// Offsets that are not those of C.
fn shift(graph: &mut Graph, ty: Ref, random: &mut Random) {
    if let Ty::Composite { members, .. } = &mut graph.types[ty - 1] {
        let by = random.pick(&[1, 3, 8, 64, 32_000 * 8]);
        members.iter_mut().for_each(|member| member.bit_offset += by);
    }
}

fn flip(graph: &mut Graph, ty: Ref) {
    if let Ty::Composite { union, .. } = &mut graph.types[ty - 1] {
        *union = !*union;
    }
}

/// The order of ids, and what stands in modules: only types that no other refers to.
pub fn layout(target: &Graph, random: &mut Random) -> Layout {
    let mut used = vec![false; target.types.len() + 1];
    for ty in &target.types {
        Graph::each_ref(&mut ty.clone(), |reference| used[*reference] = true);
    }
    let modules = if random.chance(250) { 1 + random.below(2) } else { 0 };
    let mut layout = Layout { vmlinux: Vec::new(), modules: vec![Vec::new(); modules] };
    for ty in target.refs() {
        // The first is the index of every array.
        if ty > 1 && modules > 0 && !used[ty] && random.chance(500) {
            let module = random.below(modules);
            layout.modules[module].push(ty);
        } else {
            layout.vmlinux.push(ty);
        }
    }
    if random.chance(700) {
        random.shuffle(&mut layout.vmlinux[1..]);
        layout.modules.iter_mut().for_each(|types| random.shuffle(types));
    }
    layout
}
