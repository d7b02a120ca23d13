//! type_matches behind pointers: kind and name are enough, and a declaration stands for the type that it declares.

#[allow(dead_code, reason = "each test uses its part")]
mod case;

use btf::{Builder, ByteOrder, Kind, TypeId};
use case::{btf, mov, object, records, relo, short};
use relo_core::{Mode, ReloKind};

const LE: ByteOrder = ByteOrder::Little;

/// A struct that holds a pointer to a type.
fn holder(builder: &mut Builder, pointee: impl FnOnce(&mut Builder) -> TypeId) -> TypeId {
    let to = pointee(builder);
    let ptr = builder.reference(Kind::Ptr, "", to).expect("fits");
    let holder = builder.composite(Kind::Struct, "holder", 8).expect("fits");
    builder.member("p", ptr, 0, None).expect("fits");
    holder
}

#[test]
fn behind_a_pointer() {
    let full = |kind| move |b: &mut Builder| b.composite(kind, "x", 4).expect("fits");
    let fwd = |union| move |b: &mut Builder| b.fwd("x", union).expect("fits");
    type Pointee = Box<dyn FnOnce(&mut Builder) -> TypeId>;
    let check = |local: Pointee, target: Pointee, matches: bool| {
        let kernel = btf(LE, |b| {
            holder(b, target);
        });
        let program = object(LE, |b| {
            let holder = holder(b, local);
            vec![relo(ReloKind::TypeMatches, holder, "0", mov(1))]
        });
        let want = if matches { "relocated 1" } else { "absent 0" };
        assert_eq!(short(&records(&program, &kernel, Mode::Correct)), [want]);
    };
    for (kind, other, union) in [(Kind::Struct, Kind::Union, false), (Kind::Union, Kind::Struct, true)] {
        check(Box::new(full(kind)), Box::new(full(kind)), true);
        check(Box::new(full(kind)), Box::new(full(other)), false);
        check(Box::new(full(kind)), Box::new(fwd(union)), true);
        check(Box::new(full(kind)), Box::new(fwd(!union)), false);
        check(Box::new(fwd(union)), Box::new(full(kind)), true);
        check(Box::new(fwd(union)), Box::new(full(other)), false);
        check(Box::new(fwd(union)), Box::new(fwd(union)), true);
        check(Box::new(fwd(union)), Box::new(fwd(!union)), false);
    }
}
