//! The format of today and tomorrow: headers, the layout section, kinds, counts, split BTF, byte orders.

use std::sync::Arc;

use btf::{
    Btf, Builder, ByteOrder, Error, ErrorKind, Header, HeaderLen, IntEncoding, Kind, TypeId, VarSection,
};

const ORDERS: [ByteOrder; 2] = [ByteOrder::Little, ByteOrder::Big];

/// A type of each kind, in the order of their numbers.
fn every_kind(mut b: Builder) -> Result<Builder, Error> {
    let int = b.int("int", 4, IntEncoding::SIGNED)?;
    b.reference(Kind::Ptr, "", int)?;
    b.array(int, int, 7)?;
    b.composite(Kind::Struct, "s", 16)?;
    b.member("plain", int, 0, None)?;
    b.member("bits", int, 37, Some(5))?;
    b.composite(Kind::Union, "u", 8)?;
    b.member("far", int, 1 << 24, None)?;
    b.enumeration(Kind::Enum, "e", 4, true)?;
    b.enumerator("LESS", -1)?;
    b.fwd("f", true)?;
    b.reference(Kind::Typedef, "t", int)?;
    b.reference(Kind::Volatile, "", int)?;
    b.reference(Kind::Const, "", int)?;
    b.reference(Kind::Restrict, "", TypeId(2))?;
    b.reference(Kind::Func, "act", TypeId(13))?;
    b.func_proto(int)?;
    b.param("argument", int)?;
    b.param("", TypeId::VOID)?;
    let var = b.var("jiffies", int, 1)?;
    b.datasec(".data", 12)?;
    b.var_section(VarSection { type_id: var, offset: 8, size: 4 })?;
    b.float("double", 8)?;
    b.decl_tag("user", TypeId(4), Some(1))?;
    b.reference(Kind::TypeTag, "rcu", int)?;
    b.enumeration(Kind::Enum64, "wide", 8, false)?;
    b.enumerator("WIDE", 0x1_0000_0002)?;
    Ok(b)
}

fn copied(from: &Btf<'_>, mut to: Builder) -> Vec<u8> {
    for id in from.own_ids() {
        to.copy(&from.resolve(id).unwrap(), |_| true, |id| id).unwrap();
    }
    to.finish().unwrap()
}

fn text(btf: &Btf<'_>) -> String {
    let mut text = String::new();
    btf.dump_raw(&mut text).unwrap();
    text
}

#[test]
fn every_kind_in_either_byte_order() {
    let written = ORDERS.map(|order| every_kind(Builder::new(order)).unwrap().finish().unwrap());
    let [little, big] = written.each_ref().map(|bytes| Btf::parse(bytes).unwrap());
    let numbers: Vec<u8> = little.own_ids().map(|id| little.resolve(id).unwrap().kind().number()).collect();
    assert_eq!(numbers, (1..=19).collect::<Vec<_>>());
    assert_eq!((little.order(), big.order()), (ByteOrder::Little, ByteOrder::Big));
    assert_eq!(text(&little), text(&big));
    for (from, order, same) in
        [(&little, ORDERS[1], &written[1]), (&big, ORDERS[0], &written[0]), (&big, ORDERS[1], &written[1])]
    {
        from.check().unwrap();
        assert_eq!(&copied(from, Builder::new(order)), same);
    }
}

#[test]
fn what_each_kind_holds() {
    for order in ORDERS {
        let bytes = every_kind(Builder::new(order)).unwrap().finish().unwrap();
        let btf = Btf::parse(&bytes).unwrap();
        let at = |kind: Kind| btf.resolve(TypeId(kind.number().into())).unwrap();
        let member = |kind, index| at(kind).member(index).unwrap();
        assert_eq!((member(Kind::Struct, 1).bit_offset, member(Kind::Struct, 1).bitfield_size), (37, 5));
        assert_eq!((at(Kind::Struct).kind_flag(), at(Kind::Union).kind_flag()), (true, false));
        assert_eq!(member(Kind::Union, 0).bit_offset, 1 << 24, "32 bits where there are no bitfields");
        assert_eq!(at(Kind::Enum).enumerator(0).unwrap().bits, 0xffff_ffff);
        assert_eq!(at(Kind::Enum64).enumerator(0).unwrap().bits, 0x1_0000_0002);
        assert_eq!(at(Kind::Var).linkage(), Ok(1));
        assert_eq!(at(Kind::Datasec).var_section(0).unwrap().offset, 8);
        assert_eq!(at(Kind::DeclTag).component(), Ok(Some(1)));
        assert_eq!(at(Kind::Array).array().unwrap().len, 7);
    }
}

/// A BTF taken apart, to be put together in ways that the writer has no use for.
struct Parts {
    order: ByteOrder,
    header_len: usize,
    types: Vec<u8>,
    layout: Vec<u8>,
    strings: Vec<u8>,
}

impl Parts {
    fn of(bytes: &[u8]) -> Parts {
        let header = Header::parse(bytes).unwrap();
        let part = |range: std::ops::Range<usize>| bytes[range].to_vec();
        let (types, strings) = (part(header.types), part(header.strings));
        Parts { order: header.order, header_len: 32, types, layout: Vec::new(), strings }
    }

    /// A type of any kind: its name is empty, its last word 1.
    fn push(&mut self, kind: u8, len: u32, trailer: &[u32]) {
        for word in [0, u32::from(kind) << 24 | len, 1].iter().chain(trailer) {
            self.types.extend(self.order.encode(*word));
        }
    }

    /// A layout section with entries for kinds up to 19 that say nothing, and these.
    fn describe(&mut self, shapes: &[(u8, u8)]) {
        self.layout = vec![0; 4 * 20];
        self.layout.extend(shapes.iter().flat_map(|&(fixed, each)| [fixed, each, 0, 0]));
    }

    fn bytes(&self) -> Vec<u8> {
        let mut out = match self.order {
            ByteOrder::Little => vec![0x9f, 0xeb, 1, 0],
            ByteOrder::Big => vec![0xeb, 0x9f, 1, 0],
        };
        let [types, layout, strings] = [&self.types, &self.layout, &self.strings].map(|it| it.len() as u32);
        for word in [self.header_len as u32, 0, types, types + layout, strings, types, layout] {
            out.extend(self.order.encode(word));
        }
        out.resize(self.header_len, 0);
        [out.as_slice(), &self.types, &self.layout, &self.strings].concat()
    }
}

#[test]
fn headers() {
    for order in ORDERS {
        let short = every_kind(Builder::new(order)).unwrap().finish().unwrap();
        let long = every_kind(Builder::new(order).header_len(HeaderLen::Long)).unwrap().finish().unwrap();
        let length = |bytes: &[u8]| order.decode([bytes[4], bytes[5], bytes[6], bytes[7]]);
        assert_eq!(
            (length(&short), length(&long)),
            (24, 32),
            "every loader reads what is written by default"
        );
        assert_eq!(long.len(), short.len() + 8);
        let want = text(&Btf::parse(&short).unwrap());
        assert_eq!(text(&Btf::parse(&long).unwrap()), want);
        for header_len in [24, 28, 32, 36, 64] {
            let bytes = Parts { header_len, ..Parts::of(&short) }.bytes();
            assert_eq!(text(&Btf::parse(&bytes).unwrap()), want, "{header_len}");
        }
        let cut = |header_len| {
            let bytes = Parts { header_len, ..Parts::of(&short) }.bytes();
            Btf::parse(bytes).map(drop).unwrap_err().kind
        };
        assert_eq!(cut(20), ErrorKind::HeaderLen(20));
    }
}

#[test]
fn sections_in_the_wrong_place() {
    let mut parts = Parts::of(&every_kind(Builder::new(ByteOrder::Little)).unwrap().finish().unwrap());
    parts.describe(&[]);
    let good = parts.bytes();
    Btf::parse(&good).unwrap();
    let check = |at: usize, value: u32, want: &str| {
        let mut bytes = good.clone();
        bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
        let kind = Btf::parse(bytes).map(drop).unwrap_err().kind;
        assert!(format!("{kind:?}").contains(want), "{value} at {at}: {kind:?}");
    };
    let (types, layout) = (parts.types.len() as u32, parts.layout.len() as u32);
    check(4, good.len() as u32 + 1, "HeaderLen");
    check(8, 2, "type");
    check(12, types + layout + 4, "type");
    check(16, types + layout + 1, "Cut");
    check(20, u32::MAX, "Cut");
    check(24, types - 4, "layout");
    check(24, types + 2, "layout");
    check(28, layout + 4, "layout");
    check(28, layout - 1, "layout");
}

#[test]
fn unknown_kinds_are_stepped_over() {
    for order in ORDERS {
        let known = every_kind(Builder::new(order)).unwrap().finish().unwrap();
        let mut parts = Parts::of(&known);
        parts.push(20, 0, &[7]);
        parts.push(100, 2, &[7, 1, 2, 3, 4]);
        let int = parts.types[..16].to_vec();
        parts.types.extend(&int);
        let unknown = |id| ErrorKind::UnknownKind { id: TypeId(id), kind: if id == 20 { 20 } else { 100 } };
        let mut shapes = vec![(0, 0); 81];
        shapes[0] = (4, 0);
        let check = |parts: &Parts, want: Result<(), ErrorKind>| {
            let bytes = parts.bytes();
            let btf = Btf::parse(&bytes).map_err(|error| error.kind);
            assert_eq!(btf.as_ref().map(drop).map_err(|kind| *kind), want);
            let Ok(btf) = btf else { return };
            assert_eq!(btf.type_count(), 23);
            assert_eq!(btf.resolve(TypeId(21)).unwrap().kind(), Kind::Unknown(100));
            assert_eq!(btf.resolve(TypeId(22)).unwrap().name(), Ok(&b"int"[..]));
            btf.check().unwrap();
            // What is written has none of them, under the same ids.
            let again = copied(&btf, Builder::new(order));
            let again = Btf::parse(&again).unwrap();
            assert_eq!(
                [20, 21, 22].map(|id| again.resolve(TypeId(id)).unwrap().kind()),
                [Kind::Var, Kind::Var, Kind::Int]
            );
        };
        shapes[80] = (4, 8);
        parts.describe(&shapes);
        check(&parts, Ok(()));
        shapes[80] = (4, 6);
        parts.describe(&shapes);
        check(&parts, Err(unknown(21)));
        parts.describe(&shapes[..80]);
        check(&parts, Err(unknown(21)));
        parts.describe(&[]);
        check(&parts, Err(unknown(20)));
        // Without a section, kinds of the next years are found by trying, and only they.
        parts.layout.clear();
        check(&parts, Err(unknown(20)));
    }
}

#[test]
fn unknown_kinds_that_nothing_describes() {
    for order in ORDERS {
        let mut parts = Parts::of(&every_kind(Builder::new(order)).unwrap().finish().unwrap());
        for len in [1, 3] {
            parts.push(21, len, &vec![9; 1 + 2 * len as usize]);
            let types = parts.types.clone();
            parts.types.extend(types);
        }
        let bytes = parts.bytes();
        let btf = Btf::parse(&bytes).unwrap();
        assert_eq!(btf.inferred_kinds().collect::<Vec<_>>(), [21]);
        // 19 kinds and one, that twice and one, and all of it twice.
        assert_eq!(btf.type_count(), 1 + 2 * (2 * 20 + 1));
        btf.check().unwrap();
        let known = Btf::parse(every_kind(Builder::new(order)).unwrap().finish().unwrap()).unwrap();
        assert_eq!(known.inferred_kinds().count(), 0);
    }
}

/// A module's BTF without a section shares the base's (libbpf: `btf_type_size_unknown`).
#[test]
fn layout_of_the_base() {
    let order = ByteOrder::Little;
    let known = every_kind(Builder::new(order)).unwrap().finish().unwrap();
    let mut parts = Parts::of(&known);
    parts.describe(&[(8, 4)]);
    let with_section = Arc::new(Btf::parse(parts.bytes()).unwrap());
    parts.layout.clear();
    let without = Arc::new(Btf::parse(parts.bytes()).unwrap());
    parts.push(20, 1, &[9, 9, 9]);
    let by_trying = Arc::new(Btf::parse(parts.bytes()).unwrap());

    let mut split = Parts::of(&Builder::split(&without).finish().unwrap());
    split.push(20, 1, &[9, 9, 9]);
    split.push(3, 0, &[1, 1, 1]);
    for base in [with_section, without, by_trying] {
        let split = Btf::parse_split(split.bytes(), base).unwrap();
        let kinds: Vec<Kind> = split.own_ids().map(|id| split.resolve(id).unwrap().kind()).collect();
        assert_eq!(kinds, [Kind::Unknown(20), Kind::Array]);
    }
}

/// More elements than 16 bits can count.
#[test]
fn counts_of_24_bits() {
    const COUNT: u32 = 70_000;
    for order in ORDERS {
        let mut b = Builder::new(order);
        let int = b.int("int", 4, IntEncoding::SIGNED).unwrap();
        let all = b.composite(Kind::Struct, "all", 4 * COUNT).unwrap();
        for index in 0..COUNT {
            b.member("member", int, 32 * index, None).unwrap();
        }
        let wide = b.enumeration(Kind::Enum64, "wide", 8, true).unwrap();
        for index in 0..COUNT {
            b.enumerator("ENUMERATOR", -i64::from(index)).unwrap();
        }
        b.fwd("last", false).unwrap();
        let bytes = b.finish().unwrap();
        let btf = Btf::parse(&bytes).unwrap();
        let [all, wide] = [all, wide].map(|id| btf.resolve(id).unwrap());
        assert_eq!((all.len(), wide.len(), wide.kind_flag()), (COUNT, COUNT, true));
        assert_eq!(all.member(COUNT - 1).unwrap().bit_offset, 32 * (COUNT - 1));
        assert_eq!(wide.enumerator(COUNT - 1).unwrap().bits as i64, -i64::from(COUNT - 1));
        assert_eq!(btf.resolve(TypeId(4)).unwrap().name(), Ok(&b"last"[..]));
        assert_eq!(copied(&btf, Builder::new(order)), bytes);
    }
}

#[test]
fn split_btf_goes_on_where_its_base_ends() {
    for order in ORDERS {
        let base = every_kind(Builder::new(order)).unwrap().finish().unwrap();
        let base = Arc::new(Btf::parse(base).unwrap());
        let bytes = every_kind(Builder::split(&base)).unwrap().finish().unwrap();
        assert!(Btf::is_split(&bytes) && !Btf::is_split(base.data()));
        let split = Btf::parse_split(&bytes, base.clone()).unwrap();
        assert_eq!((split.order(), split.first_id(), split.type_count()), (order, TypeId(20), 39));
        assert!(Header::parse(&bytes).unwrap().strings.is_empty(), "the base has every string");
        assert_eq!(text(&split).lines().count(), text(&base).lines().count());
        assert_eq!(split.resolve(TypeId(21)).unwrap().target(), Ok(TypeId(20)), "its own int");
        assert_eq!(split.resolve(TypeId(19)).unwrap().name(), Ok(&b"wide"[..]), "the base's");
        split.check().unwrap();

        // Three levels, as with a module on a module.
        let mut b = Builder::split(&base);
        b.composite(Kind::Struct, "second", 4).unwrap();
        b.member("two", TypeId(1), 0, None).unwrap();
        let second = Arc::new(Btf::parse_split(b.finish().unwrap(), base.clone()).unwrap());
        let mut b = Builder::split(&second);
        b.composite(Kind::Struct, "third", 4).unwrap();
        for name in ["plain", "two", "three"] {
            b.member(name, TypeId(20), 0, None).unwrap();
        }
        let bytes = b.finish().unwrap();
        assert_eq!(&bytes[Header::parse(&bytes).unwrap().strings], b"third\0three\0");
        let third = Btf::parse_split(bytes, second).unwrap();
        let names = third.resolve(TypeId(21)).unwrap().members().map(|it| third.string(it?.name));
        assert_eq!(names.collect::<Result<Vec<_>, _>>().unwrap(), [&b"plain"[..], b"two", b"three"]);
        assert_eq!(third.resolve(TypeId(20)).unwrap().name(), Ok(&b"second"[..]));
    }
}
