//! Map definitions: a struct whose members say by their types what the map is.

use btf::{Btf, Error, Kind, Member, Type, TypeId};

use super::map::{MapDef, PROG_ARRAY};

/// A definition, and that of the maps within it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Parsed {
    pub def: MapDef,
    pub inner: Option<MapDef>,
    /// Where the slots start, in bytes.
    pub values_at: Option<u64>,
}

/// Reads the definition behind a type (libbpf: `parse_btf_map_def`, strict).
pub(crate) fn parse(btf: &Btf<'_>, def: &Type<'_>, is_inner: bool) -> Result<Parsed, String> {
    let mut parser = Parser { btf, is_inner, parsed: Parsed::default() };
    let members = def.len();
    for index in 0..members {
        let member = def.member(index).map_err(text)?;
        let name = def.string(member.name).map_err(text)?;
        parser.member(&member, name, index + 1 == members)?;
    }
    if parser.parsed.def.map_type == 0 {
        return Err("map type isn't specified".to_owned());
    }
    Ok(parser.parsed)
}

struct Parser<'p> {
    btf: &'p Btf<'p>,
    is_inner: bool,
    parsed: Parsed,
}

impl Parser<'_> {
    fn member(&mut self, member: &Member, name: &[u8], last: bool) -> Result<(), String> {
        let number = || self.number(member, name);
        match name {
            b"type" => self.parsed.def.map_type = number()?,
            b"max_entries" => self.parsed.def.max_entries = number()?,
            b"map_flags" => self.parsed.def.flags = number()?,
            b"numa_node" => self.parsed.def.numa_node = number()?,
            b"key_size" => self.parsed.def.key_size = agree("key", self.parsed.def.key_size, number()?)?,
            b"value_size" => {
                self.parsed.def.value_size = agree("value", self.parsed.def.value_size, number()?)?;
            }
            b"key" => {
                let (id, size) = self.pointee_size(member, "key")?;
                self.parsed.def.key_size = agree("key", self.parsed.def.key_size, size)?;
                self.parsed.def.key_type = Some(id);
            }
            b"value" => {
                let (id, size) = self.pointee_size(member, "value")?;
                self.parsed.def.value_size = agree("value", self.parsed.def.value_size, size)?;
                self.parsed.def.value_type = Some(id);
            }
            b"values" => self.values(member, last)?,
            b"pinning" if self.is_inner => return Err("inner def can't be pinned".to_owned()),
            b"pinning" => match number()? {
                0 => self.parsed.def.pinned = false,
                1 => self.parsed.def.pinned = true,
                other => return Err(format!("invalid pinning value {other}")),
            },
            b"map_extra" => self.parsed.def.map_extra = self.long(member, name)?,
            _unknown => return Err(format!("unknown field '{}'", String::from_utf8_lossy(name))),
        }
        Ok(())
    }

    /// A number, written as the length of an array behind a pointer.
    fn number(&self, member: &Member, name: &[u8]) -> Result<u32, String> {
        let name = String::from_utf8_lossy(name);
        let ty = self.btf.skip(member.type_id).map_err(text)?;
        if ty.kind() != Kind::Ptr {
            return Err(format!("attr '{name}': expected PTR, got {}", ty.kind()));
        }
        let array = self.btf.resolve(ty.target().map_err(text)?).map_err(text)?;
        if array.kind() != Kind::Array {
            return Err(format!("attr '{name}': expected ARRAY, got {}", array.kind()));
        }
        Ok(array.array().map_err(text)?.len)
    }

    /// A number of 64 bits: the same, or the only enumerator of an enum.
    fn long(&self, member: &Member, name: &[u8]) -> Result<u64, String> {
        let ty = self.btf.skip(member.type_id).map_err(text)?;
        match ty.kind() {
            Kind::Ptr => self.number(member, name).map(u64::from),
            Kind::Enum | Kind::Enum64 if ty.len() == 1 => Ok(ty.enumerator(0).map_err(text)?.bits),
            Kind::Enum | Kind::Enum64 => Err("attr 'map_extra': invalid __ulong".to_owned()),
            other => Err(format!("attr 'map_extra': expected ENUM or ENUM64, got {other}")),
        }
    }

    fn pointee_size(&self, member: &Member, what: &str) -> Result<(TypeId, u32), String> {
        let ty = self.btf.resolve(member.type_id).map_err(text)?;
        if ty.kind() != Kind::Ptr {
            return Err(format!("{what} spec is not PTR: {}", ty.kind()));
        }
        let pointee = ty.target().map_err(text)?;
        let size = self
            .btf
            .size_of(pointee)
            .map_err(|error| format!("can't determine {what} size for type [{pointee}]: {error}"))?;
        Ok((pointee, size))
    }

    /// The slots of a map of maps or programs; for maps their element's type is the inner definition.
    fn values(&mut self, member: &Member, last: bool) -> Result<(), String> {
        let of_maps = self.parsed.def.is_map_of_maps();
        if self.is_inner {
            return Err("multi-level inner maps not supported".to_owned());
        }
        if !last {
            return Err("'values' member should be last".to_owned());
        }
        if !of_maps && self.parsed.def.map_type != PROG_ARRAY {
            return Err("should be map-in-map or prog-array".to_owned());
        }
        self.parsed.def.value_size = agree("value", self.parsed.def.value_size, 4)?;
        self.parsed.values_at = Some(u64::from(member.bit_offset / 8));
        let slots = self.btf.resolve(member.type_id).map_err(text)?;
        let array = slots.array().ok().filter(|array| array.len == 0);
        let Some(array) = array else {
            return Err("'values' spec is not a zero-sized array".to_owned());
        };
        let element = self.btf.skip(array.element).map_err(text)?;
        if element.kind() != Kind::Ptr {
            return Err(format!("'values' def is of unexpected kind {}", element.kind()));
        }
        let def = self.btf.skip(element.target().map_err(text)?).map_err(text)?;
        match (of_maps, def.kind()) {
            (false, Kind::FuncProto) => Ok(()),
            (true, Kind::Struct) => {
                self.parsed.inner = Some(parse(self.btf, &def, true)?.def);
                Ok(())
            }
            (_, kind) => Err(format!("'values' def is of unexpected kind {kind}")),
        }
    }
}

/// Sizes that are given twice must be equal.
fn agree(what: &str, before: u32, now: u32) -> Result<u32, String> {
    if before != 0 && before != now {
        return Err(format!("conflicting {what} size {before} != {now}"));
    }
    Ok(now)
}

fn text(error: Error) -> String {
    error.to_string()
}

#[cfg(test)]
mod tests {
    use btf::{Builder, ByteOrder, IntEncoding};

    use super::*;

    fn number(b: &mut Builder, int: TypeId, value: u32) -> TypeId {
        let array = b.array(int, int, value).expect("fits");
        b.reference(Kind::Ptr, "", array).expect("fits")
    }

    fn check(members: &[(&str, u32)], want: Result<MapDef, &str>) {
        let mut b = Builder::new(ByteOrder::Little);
        let int = b.int("int", 4, IntEncoding::SIGNED).expect("fits");
        let pointer = b.reference(Kind::Ptr, "", int).expect("fits");
        let types: Vec<TypeId> = members
            .iter()
            .map(|&(name, value)| match name {
                "key" | "value" => pointer,
                "bad" => int,
                _number => number(&mut b, int, value),
            })
            .collect();
        let def = b.composite(Kind::Struct, "", 8 * members.len() as u32).expect("fits");
        for (index, (&(name, _), &ty)) in members.iter().zip(&types).enumerate() {
            b.member(name, ty, 64 * index as u32, None).expect("fits");
        }
        let btf = Btf::parse(b.finish().expect("a BTF")).expect("a BTF");
        let got = parse(&btf, &btf.resolve(def).expect("there"), false).map(|parsed| parsed.def);
        assert_eq!(got, want.map_err(str::to_owned), "{members:?}");
    }

    #[test]
    fn definitions() {
        let hash = MapDef { map_type: 1, max_entries: 10, ..MapDef::default() };
        check(&[("type", 1), ("max_entries", 10)], Ok(hash.clone()));
        check(
            &[("type", 1), ("key_size", 4), ("key", 0), ("max_entries", 10)],
            Ok(MapDef { key_size: 4, key_type: Some(TypeId(1)), ..hash.clone() }),
        );
        check(
            &[("type", 1), ("max_entries", 10), ("pinning", 1), ("numa_node", 2)],
            Ok(MapDef { pinned: true, numa_node: 2, ..hash }),
        );
        check(&[("max_entries", 10)], Err("map type isn't specified"));
        check(&[("type", 1), ("pinning", 2)], Err("invalid pinning value 2"));
        check(&[("type", 1), ("value_size", 8), ("value", 0)], Err("conflicting value size 8 != 4"));
        check(&[("type", 1), ("bad", 0)], Err("unknown field 'bad'"));
        check(&[("type", 1), ("values", 0)], Err("should be map-in-map or prog-array"));
        check(&[("type", 3), ("values", 0)], Err("'values' spec is not a zero-sized array"));
        check(&[("type", 3), ("values", 0), ("max_entries", 1)], Err("'values' member should be last"));
    }
}
