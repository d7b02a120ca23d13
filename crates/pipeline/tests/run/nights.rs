//! Nights, one after the other: what each says of the one before.

use std::path::Path;

use kernels::Arch;
use pipeline::commands::night;
use pipeline::commands::night::Morning;
use pipeline::events::Events;
use pipeline::kernel::works::Tools;
use pipeline::outcome::Code;

use crate::fixture::{NEW, OLD, SID, World, deb, kernel_btf, program};

fn next(world: &World) -> Morning {
    let compiler = |_: &Path, _: Arch| -> Result<Vec<u8>, String> { Err("no compiler here".to_owned()) };
    let tools = Tools { sources: &world.source, compiler: &compiler, events: Events::new(&world.heard) };
    night(&world.options, tools).unwrap()
}

#[test]
fn only_what_changed_is_said() {
    let world = World::new();
    let first = next(&world);
    assert_eq!((first.is_first, first.code()), (true, Code::Ok));
    assert_eq!(first.to_string(), "the first night: 2 kernels, nothing to compare with\n");
    let second = next(&world);
    assert_eq!(second.to_string(), "nothing changed since the last night: 2 kernels\n");

    // A newer kernel, whose structure is another: the program reads elsewhere now, and all is well.
    world.withdraw(OLD);
    world.offer("bookworm", NEW, 24);
    let third = next(&world);
    let wanted = format!(
        "new    {NEW} in place of {OLD}: 1 relocations are decided otherwise\n       a.bpf.o prog: byte_off of struct \
         task.pid: relocated 24, was relocated 8\nnothing broke since the last night: 2 kernels\n"
    );
    assert_eq!((third.to_string(), third.code()), (wanted, Code::Ok));
}

#[test]
fn what_broke_is_said_first_and_ends_with_1() {
    let world = World::new();
    next(&world);
    world.write("pipelines/programs/a.bpf.o", &program(&["gone"]));
    let second = next(&world);
    let said = second.to_string();
    assert!(said.starts_with("BROKE  a.bpf.o prog on debian/12/arm64/"), "{said}");
    assert!(said.contains(": poisoned, was host: "), "{said}");
    assert_eq!((second.code(), second.code().number()), (Code::Failed, 1));
    // The next night it is no news any more.
    assert_eq!(next(&world).code(), Code::Ok);

    world.withdraw(OLD);
    let lost = next(&world);
    assert!(lost.to_string().contains(&format!("BROKE  {OLD} is lost")), "{lost}");
    assert_eq!(lost.code(), Code::Failed);

    world.offer_package("bookworm", SID, deb(SID, &kernel_btf(4)[..10]));
    let broken = next(&world);
    assert!(broken.to_string().contains("BROKE") && broken.code() == Code::Failed, "{broken}");
}
