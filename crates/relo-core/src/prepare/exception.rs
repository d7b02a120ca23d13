//! Exception callbacks: subprograms that a tag ties to a program.

use btf::{Btf, Kind};

use crate::Refusal;
use crate::open::OpenObject;

const PREFIX: &[u8] = b"exception_callback:";

/// The callback of an entry program, as an index of a function (libbpf: `bpf_prog_assign_exc_cb`).
pub(crate) fn callback(open: &OpenObject<'_>, program: &str) -> Result<Option<usize>, Refusal> {
    let btf = open.object().btf();
    let mut found = None;
    for name in tags(btf, program) {
        // Of several the verifier will complain.
        if found.is_some() {
            return Ok(None);
        }
        let refuse = |problem: &str| Refusal::program(program, problem);
        if name.is_empty() {
            return Err(refuse("exception_callback:<value> decl tag contains empty value"));
        }
        let functions = open.functions();
        let callback = functions.iter().position(|function| !function.entry && function.name == name);
        let callback = callback.ok_or_else(|| refuse("cannot find exception callback"))?;
        if !functions[callback].global {
            return Err(refuse("exception callback must be a global non-hidden function"));
        }
        found = Some(callback);
    }
    Ok(found)
}

/// Whether any program has one: nearly no object has, and then nothing needs to be searched twice.
pub(crate) fn any(btf: &Btf<'_>) -> bool {
    btf.own_ids().any(|id| {
        btf.resolve(id).is_ok_and(|ty| {
            ty.kind() == Kind::DeclTag && ty.name().is_ok_and(|name| name.starts_with(PREFIX))
        })
    })
}

/// The names that tags of the program's FUNC give.
fn tags(btf: &Btf<'_>, program: &str) -> Vec<String> {
    let name_of = |id| -> Option<String> {
        let ty = btf.resolve(id).ok()?;
        if ty.kind() != Kind::DeclTag || ty.component().ok()?.is_some() {
            return None;
        }
        let name = ty.name().ok()?.strip_prefix(PREFIX)?;
        let function = btf.resolve(ty.target().ok()?).ok()?;
        let is_it = function.kind() == Kind::Func && function.name().ok()? == program.as_bytes();
        is_it.then(|| String::from_utf8_lossy(name).into_owned())
    };
    btf.own_ids().filter_map(name_of).collect()
}
