//! Whether two BTFs can be of the same kernel: "this archive was made from another kernel".
//!
//! BTF that pahole made of debug information and the BTF that a kernel brings differ in order, in number of types, and by
//! pahole's version. What can't differ is the layout of structs and unions.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use btf::{Btf, Error, Kind, Type};

/// A layout that differs.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{name}: {what}")]
pub struct LayoutDifference {
    /// `struct task_struct`
    pub name: String,
    /// `size 9472 and 9536`, `member pid at bit 19456 and 19968`
    pub what: String,
}

/// What was compared.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Comparison {
    /// Structs and unions that both have.
    pub compared: usize,
    /// Those that differ, by name; only the first difference of each.
    pub differences: Vec<LayoutDifference>,
}

impl Comparison {
    /// Whether both can be of one kernel: no layout differs, and there was something to compare.
    pub fn is_same(&self) -> bool {
        self.compared > 0 && self.differences.is_empty()
    }
}

/// Compares the layouts of structs and unions by name. Names that one BTF has more than once say nothing: files of a
/// kernel may have structs of their own by one name.
pub fn compare(a: &Btf<'_>, b: &Btf<'_>) -> Result<Comparison, Error> {
    let (first, second) = (by_name(a)?, by_name(b)?);
    let mut comparison = Comparison::default();
    for (name, a) in &first {
        let (Some(a), Some(Some(b))) = (a, second.get(name)) else { continue };
        comparison.compared += 1;
        if let Some(what) = find_difference(a, b)? {
            let (kind, name) = name;
            let kind = if *kind == Kind::Struct { "struct" } else { "union" };
            let name = format!("{kind} {}", String::from_utf8_lossy(name));
            comparison.differences.push(LayoutDifference { name, what });
        }
    }
    Ok(comparison)
}

/// The differences between two BTFs as bytes; one when nothing could be compared.
pub fn find_differences(a: &[u8], b: &[u8]) -> Result<Vec<LayoutDifference>, Error> {
    let comparison = compare(&Btf::parse(a)?, &Btf::parse(b)?)?;
    if comparison.compared == 0 {
        let what = "they have no struct or union in common".to_owned();
        return Ok(vec![LayoutDifference { name: "types".to_owned(), what }]);
    }
    Ok(comparison.differences)
}

/// None for a name that is there more than once.
type ByName<'b> = BTreeMap<(Kind, &'b [u8]), Option<Type<'b>>>;

fn by_name<'b>(btf: &'b Btf<'b>) -> Result<ByName<'b>, Error> {
    let mut found = ByName::new();
    for id in btf.own_ids() {
        let ty = btf.resolve(id)?;
        if !ty.kind().is_composite() || ty.name()?.is_empty() {
            continue;
        }
        match found.entry((ty.kind(), ty.name()?)) {
            Entry::Vacant(entry) => _ = entry.insert(Some(ty)),
            Entry::Occupied(mut entry) => _ = entry.insert(None),
        }
    }
    Ok(found)
}

fn find_difference(a: &Type<'_>, b: &Type<'_>) -> Result<Option<String>, Error> {
    if a.size()? != b.size()? {
        return Ok(Some(format!("size {} and {}", a.size()?, b.size()?)));
    }
    if a.len() != b.len() {
        return Ok(Some(format!("{} and {} members", a.len(), b.len())));
    }
    for (x, y) in a.members().zip(b.members()) {
        let (x, y) = (x?, y?);
        let (name, other) = (a.string(x.name)?, b.string(y.name)?);
        if name != other {
            let (name, other) = (String::from_utf8_lossy(name), String::from_utf8_lossy(other));
            return Ok(Some(format!("member {name:?}, where the other has {other:?}")));
        }
        if (x.bit_offset, x.bitfield_size) != (y.bit_offset, y.bitfield_size) {
            let name = String::from_utf8_lossy(name);
            return Ok(Some(format!("member {name} at bit {} and {}", x.bit_offset, y.bit_offset)));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use btf::{Builder, ByteOrder, IntEncoding};

    /// Name, size, and members with their bit offsets.
    type Layout = (&'static str, u32, &'static [(&'static str, u32)]);

    fn make(structs: &[Layout]) -> Vec<u8> {
        let mut builder = Builder::new(ByteOrder::Little);
        let int = builder.int("int", 4, IntEncoding::SIGNED).unwrap();
        for (name, size, members) in structs {
            builder.composite(Kind::Struct, name, *size).unwrap();
            members.iter().for_each(|(name, offset)| builder.member(name, int, *offset, None).unwrap());
        }
        builder.finish().unwrap()
    }

    #[test]
    fn layouts() {
        let check = |a: &[Layout], b: &[Layout], compared: usize, wanted: &[&str]| {
            let (a, b) = (make(a), make(b));
            let found = compare(&Btf::parse(&a).unwrap(), &Btf::parse(&b).unwrap()).unwrap();
            let texts: Vec<String> = found.differences.iter().map(ToString::to_string).collect();
            assert_eq!(
                (found.compared, texts),
                (compared, wanted.iter().map(|text| (*text).into()).collect())
            );
        };
        let task: Layout = ("task", 8, &[("pid", 0), ("tgid", 32)]);
        check(&[task, ("x", 4, &[("a", 0)])], &[("y", 4, &[]), task], 1, &[]);
        check(&[task], &[("task", 12, &[("pid", 0), ("tgid", 32)])], 1, &["struct task: size 8 and 12"]);
        check(
            &[task],
            &[("task", 8, &[("pid", 32), ("tgid", 0)])],
            1,
            &["struct task: member pid at bit 0 and 32"],
        );
        check(&[task], &[("task", 8, &[("pid", 0)])], 1, &["struct task: 2 and 1 members"]);
        check(
            &[task],
            &[("task", 8, &[("pid", 0), ("ppid", 32)])],
            1,
            &["struct task: member \"tgid\", where the other has \"ppid\""],
        );
        check(&[task, task], &[("task", 12, &[])], 0, &[]);
        check(&[task], &[], 0, &[]);
        assert!(!Comparison::default().is_same());
    }
}
