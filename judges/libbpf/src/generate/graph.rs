//! Types as plain values that are easy to change.

/// A type by its place in a [`Graph`]; 0 is void.
pub type Ref = usize;

/// Types that refer to each other.
#[derive(Debug, Clone, Default)]
pub struct Graph {
    /// The type of reference `n` stands at `n - 1`.
    pub types: Vec<Ty>,
}

/// A type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ty {
    /// INT.
    Int(Int),
    /// PTR; it has a name only in broken BTF.
    Ptr(String, Ref),
    /// ARRAY.
    Array {
        /// Type of an element.
        element: Ref,
        /// Number of elements.
        len: u32,
    },
    /// STRUCT or UNION.
    Composite {
        /// A UNION.
        union: bool,
        /// Empty for an anonymous one.
        name: String,
        /// Bytes.
        size: u32,
        /// In order.
        members: Vec<Member>,
    },
    /// ENUM or ENUM64.
    Enum(Enumeration),
    /// FWD.
    Fwd {
        /// Of a UNION.
        union: bool,
        /// Its name.
        name: String,
    },
    /// TYPEDEF.
    Typedef(String, Ref),
    /// CONST, VOLATILE or RESTRICT.
    Modifier(btf::Kind, Ref),
    /// TYPE_TAG.
    TypeTag(String, Ref),
    /// FUNC_PROTO.
    Proto {
        /// What is returned.
        returns: Ref,
        /// Types of the parameters.
        params: Vec<Ref>,
    },
    /// FLOAT.
    Float(String, u32),
    /// FUNC.
    Func(String, Ref),
    /// VAR.
    Var(String, Ref),
}

/// An INT.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Int {
    /// Its name.
    pub name: String,
    /// Bytes.
    pub size: u32,
    /// SIGNED 1, CHAR 2, BOOL 4.
    pub encoding: u8,
    /// Bit offset of old compilers' bitfields.
    pub offset: u8,
    /// Bits.
    pub bits: u8,
}

/// An ENUM or ENUM64.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Enumeration {
    /// ENUM64.
    pub wide: bool,
    /// The kind flag.
    pub signed: bool,
    /// Its name.
    pub name: String,
    /// Bytes.
    pub size: u32,
    /// Names and values.
    pub values: Vec<(String, i64)>,
}

/// A member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Empty for an anonymous one.
    pub name: String,
    /// Its type.
    pub ty: Ref,
    /// Offset in bits.
    pub bit_offset: u32,
    /// Bits of a bitfield, or 0.
    pub bits: u8,
}

impl Graph {
    /// Adds a type.
    pub fn add(&mut self, ty: Ty) -> Ref {
        self.types.push(ty);
        self.types.len()
    }

    /// A type; None for void.
    pub fn get(&self, ty: Ref) -> Option<&Ty> {
        self.types.get(ty.checked_sub(1)?)
    }

    /// All references.
    pub fn refs(&self) -> std::ops::RangeInclusive<Ref> {
        1..=self.types.len()
    }

    /// What stands behind typedefs and modifiers.
    pub fn skip(&self, mut ty: Ref) -> Ref {
        // Longer chains than types can only be cycles, which are thrown away later.
        for _ in 0..self.types.len() {
            match self.get(ty) {
                Some(Ty::Typedef(_, to) | Ty::Modifier(_, to) | Ty::TypeTag(_, to)) => ty = *to,
                _it => break,
            }
        }
        ty
    }

    /// Bytes of a type, with pointers of 8 bytes.
    pub fn size(&self, ty: Ref) -> Option<u32> {
        self.size_within(ty, 32)
    }

    fn size_within(&self, ty: Ref, depth: u32) -> Option<u32> {
        let depth = depth.checked_sub(1)?;
        match self.get(self.skip(ty))? {
            Ty::Int(int) => Some(int.size),
            Ty::Ptr(..) => Some(8),
            Ty::Array { element, len } => self.size_within(*element, depth)?.checked_mul(*len),
            Ty::Composite { size, .. } => Some(*size),
            Ty::Enum(of) => Some(of.size),
            Ty::Float(_, size) => Some(*size),
            Ty::Fwd { .. } | Ty::Typedef(..) | Ty::Modifier(..) | Ty::TypeTag(..) => None,
            Ty::Proto { .. } | Ty::Func(..) | Ty::Var(..) => None,
        }
    }

    /// The name of a type; empty without one.
    pub fn name(&self, ty: Ref) -> &str {
        match self.get(ty) {
            Some(Ty::Int(int)) => &int.name,
            Some(Ty::Enum(of)) => &of.name,
            Some(Ty::Composite { name, .. } | Ty::Fwd { name, .. }) => name,
            Some(Ty::Typedef(name, _) | Ty::Ptr(name, _) | Ty::Float(name, _)) => name,
            Some(Ty::Func(name, _) | Ty::Var(name, _)) => name,
            Some(Ty::Array { .. } | Ty::Modifier(..) | Ty::TypeTag(..) | Ty::Proto { .. }) | None => "",
        }
    }

    /// Calls `with` for every reference that a type holds.
    pub fn each_ref(ty: &mut Ty, mut with: impl FnMut(&mut Ref)) {
        match ty {
            Ty::Ptr(_, to) | Ty::Typedef(_, to) | Ty::Modifier(_, to) | Ty::TypeTag(_, to) => with(to),
            Ty::Func(_, to) | Ty::Var(_, to) => with(to),
            Ty::Array { element, .. } => with(element),
            Ty::Composite { members, .. } => members.iter_mut().for_each(|member| with(&mut member.ty)),
            Ty::Proto { returns, params } => {
                with(returns);
                params.iter_mut().for_each(with);
            }
            Ty::Int(_) | Ty::Enum(_) | Ty::Fwd { .. } | Ty::Float(..) => {}
        }
    }

    /// Puts members one behind the other as C does, unions at 0, and sets the size.
    pub fn lay_out(&mut self, composite: Ref) {
        let Some(Ty::Composite { union, members, .. }) = self.get(composite).cloned() else { return };
        let mut at = 0u32;
        let mut end = 0u32;
        let mut placed = members;
        for member in &mut placed {
            let size = self.size(member.ty).unwrap_or(0).min(1 << 20) * 8;
            let bits = if member.bits > 0 { u32::from(member.bits) } else { size };
            let unit = size.clamp(8, 64);
            let crosses = at / unit != (at + bits.max(1) - 1) / unit;
            if member.bits == 0 || crosses {
                at = at.next_multiple_of(unit);
            }
            member.bit_offset = if union { 0 } else { at };
            end = end.max(member.bit_offset + bits);
            at = member.bit_offset + bits;
        }
        if let Ty::Composite { members, size, .. } = &mut self.types[composite - 1] {
            *members = placed;
            *size = end.div_ceil(8).next_multiple_of(if end > 32 { 8 } else { 4 });
        }
    }
}
