//! A program, a kernel and what is given of it, and one function that prepares the one for the other.

use btf::Btf;
use relo_core::{BpfObject, Environment, OpenObject, Prepared, Target, Wanted, prepare};

use crate::compiler;

/// A case; a field that is not given is empty.
#[derive(Clone, Copy, Default)]
pub struct Case<'c> {
    /// C that becomes the kernel's BTF.
    pub kernel: &'c str,
    /// C that becomes the object.
    pub program: &'c str,
    pub environment: Environment<'c>,
    /// Compile for a machine of the other byte order.
    pub big_endian: bool,
}

impl Case<'_> {
    fn target(&self) -> &'static str {
        if self.big_endian { "bpfeb" } else { "bpfel" }
    }

    /// The object file.
    pub fn object(&self) -> Vec<u8> {
        compiler::object(self.target(), self.program)
    }

    /// Prepares, and hands over what came of it.
    pub fn with<T>(&self, look: impl FnOnce(&OpenObject<'_>, &Prepared) -> T) -> T {
        let kernel = compiler::kernel(self.target(), &format!("int so_that_there_is_btf;\n{}", self.kernel));
        prepare_bytes(&self.object(), &kernel, &self.environment, look)
    }

    /// Checks how each program ends, `name: status`, and why the object is refused, `refused: why`; `#` stands for any
    /// number, which compilers may choose.
    #[track_caller]
    pub fn check(&self, want: &[&str]) {
        let got = self.with(|_, prepared| {
            let refusals = prepared.refusals.iter().map(|refusal| format!("refused: {refusal}"));
            let statuses =
                prepared.programs.iter().map(|program| format!("{}: {}", program.name, program.status));
            refusals.chain(statuses).collect::<Vec<_>>()
        });
        let same = got.len() == want.len() && got.iter().zip(want).all(|(got, want)| is_like(got, want));
        assert!(same, "{got:#?}\nis not {want:#?}\nkernel: {}\nprogram: {}", self.kernel, self.program);
    }

    /// The codes of the programs' statuses.
    pub fn codes(&self) -> Vec<&'static str> {
        self.with(|_, prepared| prepared.programs.iter().map(|program| program.status.code()).collect())
    }
}

/// Prepares an object's bytes for a kernel's BTF.
pub fn prepare_bytes<T>(
    object: &[u8],
    kernel: &[u8],
    environment: &Environment<'_>,
    look: impl FnOnce(&OpenObject<'_>, &Prepared) -> T,
) -> T {
    let parsed = BpfObject::parse("case", object).expect("an object");
    let open = OpenObject::open(&parsed, object).expect("an object that opens");
    let btf = Btf::parse(kernel).expect("a BTF");
    let wanted = Wanted::new([&parsed]);
    let target = Target::new(&btf, &[], &wanted).expect("a target");
    look(&open, &prepare(&open, &target, environment))
}

/// Whether a text is the wanted one, of which each `#` stands for a number.
pub fn is_like(got: &str, want: &str) -> bool {
    let mut rest = got;
    for (index, part) in want.split('#').enumerate() {
        let after = if index == 0 { rest } else { rest.trim_start_matches(|c: char| c.is_ascii_digit()) };
        match after.strip_prefix(part) {
            Some(after) if index == 0 || after.len() + part.len() < rest.len() => rest = after,
            _other => return false,
        }
    }
    rest.is_empty()
}

#[test]
fn numbers_are_any() {
    let check = |got: &str, want: &str, same: bool| assert_eq!(is_like(got, want), same, "{got} {want}");
    check("a 12 b 3", "a # b #", true);
    check("a 12 b 3", "a 12 b #", true);
    check("a  b 3", "a # b #", false);
    check("a 12 b 3 c", "a # b #", false);
    check("a", "a", true);
    check("a", "b", false);
}
