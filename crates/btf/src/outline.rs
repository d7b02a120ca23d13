//! The outline of a BTF: named types, members and enumerators as text, so that two BTFs can be compared by name.

use std::collections::{BTreeMap, BTreeSet};

use crate::{Btf, Error, Kind, Type};

/// What C calls a type, a member or an enumerator (`struct task_struct.pid`), and how it is: `offset 1248, 4 bytes`.
///
/// A name can stand for several types, so each has a set of descriptions.
pub type Outline = BTreeMap<String, BTreeSet<String>>;

impl Btf<'_> {
    /// The outline of the types that stand here, the base's left out. Offsets and sizes are in bytes, those of
    /// bitfields also in bits.
    ///
    /// ```
    /// use btf::{Btf, Builder, ByteOrder, IntEncoding, Kind};
    ///
    /// let mut builder = Builder::new(ByteOrder::Little);
    /// let int = builder.int("int", 4, IntEncoding::SIGNED)?;
    /// builder.composite(Kind::Struct, "task", 8)?;
    /// builder.member("pid", int, 32, None)?;
    /// let outline = Btf::parse(builder.finish()?)?.outline()?;
    ///
    /// assert!(outline["struct task.pid"].contains("offset 4, 4 bytes"));
    /// # Ok::<(), btf::Error>(())
    /// ```
    pub fn outline(&self) -> Result<Outline, Error> {
        let mut outline = Outline::new();
        for id in self.own_ids() {
            let ty = self.resolve(id)?;
            if let Some(key) = key_of(&ty)? {
                describe(self, &ty, &key, &mut outline)?;
            }
        }
        Ok(outline)
    }
}

/// A named type as C writes it; None for what says nothing by itself.
fn key_of(ty: &Type<'_>) -> Result<Option<String>, Error> {
    let name = String::from_utf8_lossy(ty.name()?);
    if name.is_empty() {
        return Ok(None);
    }
    Ok(match ty.kind() {
        Kind::Struct => Some(format!("struct {name}")),
        Kind::Union => Some(format!("union {name}")),
        Kind::Enum | Kind::Enum64 => Some(format!("enum {name}")),
        Kind::Typedef => Some(format!("typedef {name}")),
        Kind::Int | Kind::Float | Kind::Func | Kind::Var => {
            Some(format!("{} {name}", ty.kind().name().to_lowercase()))
        }
        _without_content => None,
    })
}

fn describe(btf: &Btf<'_>, ty: &Type<'_>, key: &str, all: &mut Outline) -> Result<(), Error> {
    let mut add = |what: String, how: String| {
        all.entry(what).or_default().insert(how);
    };
    match ty.kind() {
        Kind::Struct | Kind::Union => {
            add(key.to_owned(), format!("{} bytes", ty.size()?));
            for (index, member) in ty.members().enumerate() {
                let member = member?;
                let name = String::from_utf8_lossy(ty.string(member.name)?).into_owned();
                let name = if name.is_empty() { format!("(anonymous {index})") } else { name };
                let bits = match member.bitfield_size {
                    0 => String::new(),
                    bits => format!(", {bits} bits"),
                };
                let (at, bit) = (member.bit_offset / 8, member.bit_offset % 8);
                let at = if bit == 0 { at.to_string() } else { format!("{at}.{bit}") };
                let size = btf.size_of(member.type_id).map_or("?".to_owned(), |size| size.to_string());
                add(format!("{key}.{name}"), format!("offset {at}, {size} bytes{bits}"));
            }
        }
        Kind::Enum | Kind::Enum64 => {
            add(key.to_owned(), format!("{} bytes", ty.size()?));
            for index in 0..ty.len() {
                let enumerator = ty.enumerator(index)?;
                let name = String::from_utf8_lossy(ty.string(enumerator.name)?).into_owned();
                add(format!("{key}::{name}"), (enumerator.bits as i64).to_string());
            }
        }
        Kind::Int | Kind::Float => add(key.to_owned(), format!("{} bytes", ty.size()?)),
        Kind::Func => {
            let proto = btf.resolve(ty.target()?)?;
            add(key.to_owned(), format!("{} parameters", proto.len()));
        }
        Kind::Typedef | Kind::Var => {
            let target = btf.skip(ty.target()?)?;
            add(key.to_owned(), target.kind().name().to_lowercase());
        }
        _without_content => {}
    }
    Ok(())
}
