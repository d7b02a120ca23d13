//! The prototypes of the kernel's functions that programs may call.

use std::collections::BTreeSet;

use crate::dump_c::Printer;
use crate::dump_c::names::Name;
use crate::{DumpError, Kind, Type, TypeId};

impl<'b> Printer<'b, '_> {
    /// Prints the functions that DECL_TAGs call `bpf_kfunc`, by name (bpftool: `dump_btf_kfuncs`).
    pub(super) fn kfuncs(&mut self) -> Result<(), DumpError> {
        let (mut kfuncs, mut fastcalls) = (Vec::new(), BTreeSet::new());
        for id in 1..self.btf.type_count() {
            let Some((tag, function)) = self.tagged_function(TypeId(id))? else {
                continue;
            };
            match tag {
                b"bpf_kfunc" => kfuncs.push((function.name()?, function)),
                b"bpf_fastcall" => drop(fastcalls.insert(function.id())),
                _another_tag => {}
            }
        }
        kfuncs.sort_by_key(|(name, _)| *name);
        self.text.push("\n/* BPF kfuncs */\n#ifndef BPF_NO_KFUNC_PROTOTYPES\n")?;
        for (name, function) in kfuncs {
            self.text.push("extern ")?;
            if fastcalls.contains(&function.id()) {
                self.text.push("__bpf_fastcall ")?;
            }
            self.declare(function.target()?, Name::plain(name), 0)?;
            self.text.push(" __weak __ksym;\n")?;
        }
        self.text.push("#endif\n\n")
    }

    /// The tag's name and the function, for a DECL_TAG of a whole function.
    fn tagged_function(&self, id: TypeId) -> Result<Option<(&'b [u8], Type<'b>)>, DumpError> {
        let tag = self.btf.resolve(id)?;
        if tag.kind() != Kind::DeclTag || tag.component()?.is_some() {
            return Ok(None);
        }
        let function = self.btf.resolve(tag.target()?)?;
        Ok((function.kind() == Kind::Func).then_some((tag.name()?, function)))
    }
}
