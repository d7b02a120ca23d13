//! A BTF as a C header, as `bpftool btf dump … format c` writes it: vmlinux.h.
//!
//! Three phases, each with a value of its own: in which order the types are asked for (`sort`), which definitions
//! these need and in what order C wants them (`order`), and the printing of one definition after the other
//! (`define`, `declare`, `body`), which declares ahead what the order could not put first.

mod body;
mod declare;
mod define;
mod kfunc;
mod layout;
mod names;
mod order;
mod sort;

use std::fmt;

use crate::dump::{Budget, Text};
use crate::{Btf, DumpError, TypeId};

use layout::Layouts;
use names::Names;

/// Types within types, before they count as endless. Kernels stay below 30.
const MAX_DEPTH: usize = 200;

/// The types that [`Btf::dump_c`] writes, with all that they need.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Roots<'r> {
    /// All, in an order that changes little from kernel to kernel (bpftool since 7.5).
    #[default]
    Sorted,
    /// All, by id (bpftool: `unsorted`, and always before 7.5).
    ById,
    /// Only these, and no kfuncs (bpftool: `root_id`).
    Only(&'r [TypeId]),
}

const PROLOGUE: &str = r#"#ifndef __VMLINUX_H__
#define __VMLINUX_H__

#ifndef BPF_NO_PRESERVE_ACCESS_INDEX
#pragma clang attribute push (__attribute__((preserve_access_index)), apply_to = record)
#endif

#ifndef __ksym
#define __ksym __attribute__((section(".ksyms")))
#endif

#ifndef __weak
#define __weak __attribute__((weak))
#endif

#ifndef __bpf_fastcall
#if __has_attribute(bpf_fastcall)
#define __bpf_fastcall __attribute__((bpf_fastcall))
#else
#define __bpf_fastcall
#endif
#endif

"#;

const EPILOGUE: &str = "#ifndef BPF_NO_PRESERVE_ACCESS_INDEX
#pragma clang attribute pop
#endif

#endif /* __VMLINUX_H__ */
";

impl Btf<'_> {
    /// Writes a C header that defines the types, as `bpftool btf dump file F format c` does.
    ///
    /// Split BTF brings the base's types along, as with `bpftool -B`. The text is that of bpftool 7.8, byte for
    /// byte, except where that would be wrong:
    /// - sorted, bpftool never prints the type that it sorts first, an anonymous enum in a kernel; here it is printed;
    /// - a `const` on a tagged type stands after the tag, where C allows it, not glued to the type's name;
    /// - a name that gets a number keeps all its bytes.
    ///
    /// Types that C has no words for (a member that is a function) and types that contain themselves are errors.
    ///
    /// ```
    /// use btf::{Btf, Builder, ByteOrder, IntEncoding, Kind, Roots};
    ///
    /// let mut builder = Builder::new(ByteOrder::Little);
    /// let int = builder.int("int", 4, IntEncoding::SIGNED)?;
    /// let point = builder.composite(Kind::Struct, "point", 8)?;
    /// builder.member("x", int, 0, None)?;
    /// builder.member("y", int, 32, None)?;
    /// let bytes = builder.finish()?;
    ///
    /// let mut text = String::new();
    /// Btf::parse(&bytes)?.dump_c(&mut text, Roots::Only(&[point]))?;
    /// assert!(text.contains("struct point {\n\tint x;\n\tint y;\n};\n"));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn dump_c(&self, out: &mut impl fmt::Write, roots: Roots<'_>) -> Result<(), DumpError> {
        let mut budget = Budget::of(self);
        let definitions = match roots {
            Roots::Sorted => order::definitions(self, &sort::sorted_ids(self, &mut budget)?, &mut budget)?,
            Roots::ById => {
                let ids: Vec<_> = (1..self.type_count()).map(TypeId).collect();
                order::definitions(self, &ids, &mut budget)?
            }
            Roots::Only(ids) => order::definitions(self, ids, &mut budget)?,
        };
        let mut printer = Printer::new(self, Text::new(out, budget));
        printer.text.push(PROLOGUE)?;
        for id in definitions {
            printer.define(id)?;
        }
        if !matches!(roots, Roots::Only(_)) {
            printer.kfuncs()?;
        }
        printer.text.push(EPILOGUE)?;
        printer.text.flush()
    }
}

/// Prints definitions and remembers what is already known to the compiler.
struct Printer<'b, 'w> {
    btf: &'b Btf<'b>,
    text: Text<'w>,
    names: Names<'b>,
    layouts: Layouts<'b>,
    known: Vec<define::Known>,
    depth: usize,
}

impl<'b, 'w> Printer<'b, 'w> {
    fn new(btf: &'b Btf<'b>, text: Text<'w>) -> Printer<'b, 'w> {
        let count = btf.type_count() as usize;
        Printer {
            btf,
            text,
            names: Names::new(count),
            layouts: Layouts::new(btf, count),
            known: vec![define::Known::default(); count],
            depth: 0,
        }
    }

    /// Does what is asked one level deeper, if there is one.
    fn deeper(
        &mut self,
        id: TypeId,
        act: impl FnOnce(&mut Self) -> Result<(), DumpError>,
    ) -> Result<(), DumpError> {
        if self.depth == MAX_DEPTH {
            return Err(DumpError::TooDeep(id));
        }
        self.text.budget().step()?;
        self.depth += 1;
        act(self)?;
        self.depth -= 1;
        Ok(())
    }
}
