//! Graphs as BTF, written without the library under test.

use std::collections::HashMap;

use btf::{ByteOrder, Kind};

use crate::generate::graph::{Graph, Ref, Ty};

/// The strings of a BTF; split BTF counts on from its base.
#[derive(Debug, Clone)]
pub struct Strings {
    first: u32,
    bytes: Vec<u8>,
    /// Only looked up.
    known: HashMap<String, u32>,
}

impl Strings {
    fn new(first: u32) -> Strings {
        Strings {
            first,
            bytes: if first == 0 { vec![0] } else { Vec::new() },
            known: HashMap::from([(String::new(), 0)]),
        }
    }

    /// The place of a string, which is added if it is new.
    pub fn add(&mut self, text: &str) -> u32 {
        if let Some(&known) = self.known.get(text) {
            return known;
        }
        let place = self.first + self.bytes.len() as u32;
        self.bytes.extend(text.as_bytes());
        self.bytes.push(0);
        self.known.insert(text.to_owned(), place);
        place
    }
}

/// A BTF whose types are written and whose strings may still grow.
#[derive(Debug, Clone)]
pub struct Written {
    order: ByteOrder,
    types: Vec<u8>,
    /// The strings.
    pub strings: Strings,
}

/// Where the types of a target go.
#[derive(Debug, Clone)]
pub struct Layout {
    /// Types of vmlinux, by id from 1.
    pub vmlinux: Vec<Ref>,
    /// Types of each module, by id from vmlinux's end.
    pub modules: Vec<Vec<Ref>>,
}

/// Writes a graph with ids equal to references.
pub fn whole(graph: &Graph, order: ByteOrder) -> Written {
    let mut written = Written::new(order, 0);
    for ty in &graph.types {
        written.ty(ty, &|reference| reference as u32);
    }
    written
}

/// Writes a target: vmlinux, and split BTF for each module.
pub fn split(graph: &Graph, layout: &Layout, order: ByteOrder) -> (Vec<u8>, Vec<Vec<u8>>) {
    let mut ids = HashMap::from([(0, 0)]);
    number(&layout.vmlinux, 1, &mut ids);
    let mut vmlinux = Written::new(order, 0);
    vmlinux.all(graph, &layout.vmlinux, &ids);
    let strings_end = vmlinux.strings.bytes.len() as u32;
    let mut modules = Vec::new();
    for types in &layout.modules {
        let mut ids = ids.clone();
        number(types, 1 + layout.vmlinux.len(), &mut ids);
        let mut module = Written::new(order, strings_end);
        module.all(graph, types, &ids);
        modules.push(module.finish());
    }
    (vmlinux.finish(), modules)
}

fn number(types: &[Ref], first: usize, ids: &mut HashMap<Ref, u32>) {
    ids.extend(types.iter().enumerate().map(|(index, &ty)| (ty, (first + index) as u32)));
}

impl Written {
    fn new(order: ByteOrder, first_string: u32) -> Written {
        Written { order, types: Vec::new(), strings: Strings::new(first_string) }
    }

    fn all(&mut self, graph: &Graph, types: &[Ref], ids: &HashMap<Ref, u32>) {
        for &ty in types {
            if let Some(ty) = graph.get(ty) {
                // A type that is nowhere can't be referred to: the layout keeps what is needed.
                self.ty(ty, &|reference| ids.get(&reference).copied().unwrap_or(0));
            }
        }
    }

    /// The bytes, with a header of 24.
    pub fn finish(self) -> Vec<u8> {
        let mut out = match self.order {
            ByteOrder::Little => vec![0x9f, 0xeb, 1, 0],
            ByteOrder::Big => vec![0xeb, 0x9f, 1, 0],
        };
        let (types, strings) = (self.types.len() as u32, self.strings.bytes.len() as u32);
        for word in [24, 0, types, types, strings] {
            out.extend(self.order.encode(word));
        }
        out.extend(self.types);
        out.extend(self.strings.bytes);
        out
    }

    fn words(&mut self, words: &[u32]) {
        for &word in words {
            self.types.extend(self.order.encode(word));
        }
    }

    fn common(&mut self, name: &str, kind: Kind, flag: bool, len: usize, last: u32) {
        let name = self.strings.add(name);
        let info = u32::from(flag) << 31 | u32::from(kind.number()) << 24 | len as u32;
        self.words(&[name, info, last]);
    }

    fn ty(&mut self, ty: &Ty, id: &dyn Fn(Ref) -> u32) {
        match ty {
            Ty::Int(int) => {
                self.common(&int.name, Kind::Int, false, 0, int.size);
                let data = u32::from(int.encoding) << 24 | u32::from(int.offset) << 16 | u32::from(int.bits);
                self.words(&[data]);
            }
            Ty::Ptr(name, to) => self.common(name, Kind::Ptr, false, 0, id(*to)),
            Ty::Array { element, len } => {
                self.common("", Kind::Array, false, 0, 0);
                self.words(&[id(*element), 1, *len]);
            }
            Ty::Composite { union, name, size, members } => {
                let kind = if *union { Kind::Union } else { Kind::Struct };
                let flag = members.iter().any(|member| member.bits > 0);
                self.common(name, kind, flag, members.len(), *size);
                for member in members {
                    let name = self.strings.add(&member.name);
                    self.words(&[name, id(member.ty), u32::from(member.bits) << 24 | member.bit_offset]);
                }
            }
            Ty::Enum(of) => {
                let kind = if of.wide { Kind::Enum64 } else { Kind::Enum };
                self.common(&of.name, kind, of.signed, of.values.len(), of.size);
                for (name, value) in &of.values {
                    let name = self.strings.add(name);
                    self.words(&[name, *value as u32]);
                    if of.wide {
                        self.words(&[(*value >> 32) as u32]);
                    }
                }
            }
            Ty::Fwd { union, name } => self.common(name, Kind::Fwd, *union, 0, 0),
            Ty::Typedef(name, to) => self.common(name, Kind::Typedef, false, 0, id(*to)),
            Ty::Modifier(kind, to) => self.common("", *kind, false, 0, id(*to)),
            Ty::TypeTag(name, to) => self.common(name, Kind::TypeTag, false, 0, id(*to)),
            Ty::Proto { returns, params } => {
                self.common("", Kind::FuncProto, false, params.len(), id(*returns));
                for &param in params {
                    self.words(&[0, id(param)]);
                }
            }
            Ty::Float(name, size) => self.common(name, Kind::Float, false, 0, *size),
            Ty::Func(name, to) => self.common(name, Kind::Func, false, 1, id(*to)),
            Ty::Var(name, to) => {
                self.common(name, Kind::Var, false, 0, id(*to));
                self.words(&[1]);
            }
        }
    }
}
