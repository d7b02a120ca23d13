//! Which definitions the types need, each after those that C wants first (libbpf: `btf_dump_order_type`).

use crate::dump::Budget;
use crate::dump_c::MAX_DEPTH;
use crate::{Btf, DumpError, Error, Kind, Type, TypeId};

/// The definitions for the roots and all that they lead to, in the order of printing.
///
/// What a type holds by value comes before it. What it only points at may come later, and is declared ahead.
pub(super) fn definitions(
    btf: &Btf<'_>,
    roots: &[TypeId],
    budget: &mut Budget,
) -> Result<Vec<TypeId>, DumpError> {
    let count = btf.type_count() as usize;
    let mut order = Order {
        btf,
        budget,
        states: vec![State::New; count],
        referenced: referenced(btf, count)?,
        definitions: Vec::with_capacity(count / 4),
        depth: 0,
    };
    order.states[TypeId::VOID.0 as usize] = State::Done;
    for &root in roots {
        order.visit(root, Through::Value)?;
    }
    Ok(order.definitions)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    New,
    /// A struct or union whose members are being visited.
    Open,
    Done,
}

/// How a type was reached: what stands behind a pointer need only be declared.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Through {
    Value,
    Pointer,
}

/// What the user of a type must wait for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Link {
    /// Nothing: a declaration will do.
    Weak,
    /// The definition.
    Strong,
}

struct Order<'o> {
    btf: &'o Btf<'o>,
    budget: &'o mut Budget,
    states: Vec<State>,
    referenced: Vec<bool>,
    definitions: Vec<TypeId>,
    depth: usize,
}

impl Order<'_> {
    fn visit(&mut self, id: TypeId, through: Through) -> Result<Link, DumpError> {
        self.budget.step()?;
        let ty = self.btf.resolve(id)?;
        match self.states[id.0 as usize] {
            State::New => {}
            State::Done => return Ok(Link::Strong),
            State::Open if through == Through::Pointer && is_named(&ty)? => return Ok(Link::Weak),
            State::Open => return Err(DumpError::ContainsItself(id)),
        }
        if self.depth == MAX_DEPTH {
            return Err(DumpError::TooDeep(id));
        }
        self.depth += 1;
        let link = self.visit_new(&ty, through)?;
        self.depth -= 1;
        Ok(link)
    }

    fn visit_new(&mut self, ty: &Type<'_>, through: Through) -> Result<Link, DumpError> {
        match ty.kind() {
            Kind::Struct | Kind::Union => self.visit_composite(ty, through),
            Kind::Enum | Kind::Enum64 | Kind::Fwd => {
                // Without a name and a user it can only be a list of constants.
                if is_named(ty)? || !self.referenced[ty.id().0 as usize] {
                    self.definitions.push(ty.id());
                }
                Ok(self.done(ty, Link::Strong))
            }
            Kind::Typedef => {
                let link = self.visit(ty.target()?, through)?;
                if through == Through::Pointer && link == Link::Weak {
                    return Ok(Link::Weak);
                }
                self.definitions.push(ty.id());
                Ok(self.done(ty, Link::Strong))
            }
            Kind::Ptr => {
                let link = self.visit(ty.target()?, Through::Pointer)?;
                Ok(self.done(ty, link))
            }
            Kind::Array => self.visit(ty.array()?.element, Through::Value),
            Kind::Volatile | Kind::Const | Kind::Restrict | Kind::TypeTag => {
                self.visit(ty.target()?, through)
            }
            Kind::FuncProto => {
                let mut link = self.visit(ty.target()?, through)?;
                for index in 0..ty.len() {
                    link = link.max(self.visit(ty.param(index)?.type_id, through)?);
                }
                Ok(link)
            }
            // Weak at the first visit only. Nothing needs that, but libbpf's order of typedefs shows it.
            Kind::Void | Kind::Int | Kind::Float => Ok(self.done(ty, Link::Weak)),
            Kind::Func | Kind::Var | Kind::Datasec | Kind::DeclTag | Kind::Unknown(_) => {
                Ok(self.done(ty, Link::Weak))
            }
        }
    }

    fn visit_composite(&mut self, ty: &Type<'_>, through: Through) -> Result<Link, DumpError> {
        let named = is_named(ty)?;
        if named && through == Through::Pointer {
            return Ok(Link::Weak);
        }
        self.states[ty.id().0 as usize] = State::Open;
        for member in ty.members() {
            self.visit(member?.type_id, Through::Value)?;
        }
        // An anonymous one is printed where it is used.
        if named {
            self.definitions.push(ty.id());
        }
        Ok(self.done(ty, Link::Strong))
    }

    fn done(&mut self, ty: &Type<'_>, link: Link) -> Link {
        self.states[ty.id().0 as usize] = State::Done;
        link
    }
}

fn is_named(ty: &Type<'_>) -> Result<bool, Error> {
    Ok(!ty.name()?.is_empty())
}

/// Which types another type refers to.
fn referenced(btf: &Btf<'_>, count: usize) -> Result<Vec<bool>, Error> {
    let mut referenced = vec![false; count];
    let mut mark = |id: TypeId| {
        if let Some(place) = referenced.get_mut(id.0 as usize) {
            *place = true;
        }
    };
    for id in 1..btf.type_count() {
        let ty = btf.resolve(TypeId(id))?;
        match ty.kind() {
            Kind::Void | Kind::Int | Kind::Enum | Kind::Enum64 | Kind::Fwd | Kind::Float => {}
            Kind::Unknown(_) => {}
            Kind::Ptr | Kind::Typedef | Kind::Volatile | Kind::Const | Kind::Restrict | Kind::TypeTag => {
                mark(ty.target()?);
            }
            Kind::Func | Kind::Var | Kind::DeclTag => mark(ty.target()?),
            Kind::Array => {
                let array = ty.array()?;
                mark(array.element);
                mark(array.index);
            }
            Kind::Struct | Kind::Union => {
                for member in ty.members() {
                    mark(member?.type_id);
                }
            }
            Kind::FuncProto => {
                for index in 0..ty.len() {
                    mark(ty.param(index)?.type_id);
                }
            }
            Kind::Datasec => {
                for index in 0..ty.len() {
                    mark(ty.var_section(index)?.type_id);
                }
            }
        }
    }
    Ok(referenced)
}
