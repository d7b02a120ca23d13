//! Pairs of roots for what chance nearly never finds: limits of depth and length, and sizes that no access has.

use crate::generate::graph::{Graph, Member, Ref, Ty};
use crate::generate::local::{int, plain};
use crate::generate::random::Random;

/// Adds a root to both sides, sometimes.
pub fn add(locals: &mut Graph, target: &mut Graph, random: &mut Random) {
    match random.below(8) {
        0 => long_path(locals, target, random),
        1 => deep_pointer(locals, target, random),
        2 => deep_members(locals, target, random),
        3 => wide_bitfield(locals, target, random),
        4 => resized(locals, target, random),
        5 => two_places(locals, target, random),
        _none => {}
    }
}

fn composite(graph: &mut Graph, name: &str, members: Vec<Member>) -> Ref {
    let added = graph.add(Ty::Composite { union: false, name: name.to_owned(), size: 0, members });
    graph.lay_out(added);
    added
}

/// Anonymous structs in each other, around a named member, about as many as a spec may have parts.
fn long_path(locals: &mut Graph, target: &mut Graph, random: &mut Random) {
    composite(locals, "s_long", vec![plain("z", 1)]);
    let depth = 60 + random.below(6);
    nest(target, "s_long", depth);
    if random.chance(300) {
        let depth = 58 + random.below(8);
        nest(locals, "s_long", depth);
    }
}

fn nest(graph: &mut Graph, name: &str, depth: usize) {
    let mut inner = composite(graph, "", vec![plain("z", 1)]);
    for _ in 0..depth {
        inner = composite(graph, "", vec![plain("", inner)]);
    }
    composite(graph, name, vec![plain("", inner)]);
}

/// Pointers to pointers, about as many as a comparison follows.
fn deep_pointer(locals: &mut Graph, target: &mut Graph, random: &mut Random) {
    let depth = 29 + random.below(6);
    for graph in [locals, target] {
        let mut ty = 1;
        for _ in 0..depth {
            ty = graph.add(Ty::Ptr(String::new(), ty));
        }
        graph.add(Ty::Typedef("t_deep".to_owned(), ty));
    }
}

/// Structs in each other or signatures in each other, about as many as a comparison enters.
fn deep_members(locals: &mut Graph, target: &mut Graph, random: &mut Random) {
    let depth = 28 + random.below(7);
    let of_protos = random.chance(500);
    for graph in [locals, target] {
        let mut ty = 1;
        for _ in 0..depth {
            ty = if of_protos {
                let (returns, params) = (0, vec![ty]);
                graph.add(Ty::Proto { returns, params })
            } else {
                composite(graph, "s_in", vec![plain("a", ty)])
            };
        }
        let ty = if of_protos { graph.add(Ty::Ptr(String::new(), ty)) } else { ty };
        graph.add(Ty::Typedef("t_nest".to_owned(), ty));
        composite(graph, "s_nest", vec![plain("a", ty)]);
    }
}

/// Bitfields that one load reads on one side and not on the other.
fn wide_bitfield(locals: &mut Graph, target: &mut Graph, random: &mut Random) {
    for graph in [locals, target] {
        let mut members = vec![plain("a", 3), plain("b", 2)];
        members[0].bits = 40;
        members[1].bits = 20;
        let added = composite(graph, "s_bits", members);
        if let Ty::Composite { members, .. } = &mut graph.types[added - 1] {
            members[0].bit_offset = random.pick(&[0, 7, 24, 30]);
            members[1].bit_offset = random.pick(&[40, 50, 62]);
        }
    }
}

/// Unsigned integers and pointers of other sizes, behind offsets that are near the limit.
fn resized(locals: &mut Graph, target: &mut Graph, random: &mut Random) {
    for graph in [locals, target] {
        let padding = graph.add(Ty::Array { element: 6, len: random.pick(&[0, 4, 8, 32_760, 33_000]) });
        let size = random.pick(&[1, 2, 4, 8, 3, 16]);
        let integer = graph.add(int("uint", size, 0));
        let pointer = graph.add(Ty::Ptr(String::new(), integer));
        let name = if random.chance(500) { "s_sized" } else { "s_sized___v2" };
        composite(graph, name, vec![plain("pad", padding), plain("u", integer), plain("p", pointer)]);
    }
}

/// A field at one bit offset with two meanings.
fn two_places(locals: &mut Graph, target: &mut Graph, random: &mut Random) {
    composite(locals, "s_two", vec![plain("pad", 3), plain("x", 2)]);
    for name in ["s_two", "s_two___other"] {
        let mut field = plain("x", random.pick(&[2, 6, 3, 1]));
        field.bits = random.pick(&[0, 3, 5]);
        field.bit_offset = 104;
        target.add(Ty::Composite { union: false, name: name.to_owned(), size: 32, members: vec![field] });
    }
    composite(locals, "s_slot", vec![plain("y", 1)]);
}
