//! Symbols of the kernel: `/proc/kallsyms` or `System.map`.

use std::collections::{HashMap, HashSet};

/// What is asked of a list of symbols. Only looked up, never iterated.
#[derive(Debug, Clone, Default)]
pub(crate) struct Kallsyms<'k> {
    /// The distinct addresses of wanted names, in the order of the list.
    found: HashMap<&'k str, Vec<u64>>,
}

impl<'k> Kallsyms<'k> {
    /// Reads the lines of wanted names; others cost no memory.
    pub(crate) fn read(text: &'k str, wanted: &HashSet<String>) -> Kallsyms<'k> {
        let mut kallsyms = Kallsyms::default();
        for line in text.lines() {
            let mut fields = line.split_ascii_whitespace();
            let (Some(address), Some(kind), Some(name)) = (fields.next(), fields.next(), fields.next())
            else {
                continue;
            };
            // Compilers rename static variables when they optimize over the whole program.
            let name = match name.split_once(".llvm.") {
                Some((plain, _)) if kind == "d" => plain,
                Some(_) | None => name,
            };
            if !wanted.contains(name) {
                continue;
            }
            let Ok(address) = u64::from_str_radix(address, 16) else {
                continue;
            };
            let addresses = kallsyms.found.entry(name).or_default();
            // libbpf refuses an ambiguous symbol; two addresses are enough to know that it is one.
            if addresses.len() < 2 && !addresses.contains(&address) {
                addresses.push(address);
            }
        }
        kallsyms
    }

    /// The distinct addresses of a name, at most two; empty where there is none.
    pub(crate) fn addresses(&self, name: &str) -> &[u64] {
        self.found.get(name).map_or(&[], Vec::as_slice)
    }

    /// Whether there is a symbol of a name.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.found.contains_key(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn symbols() {
        let text = "ffffffff81000000 T _text\n\
                    ffffffff81000010 t twice\n\
                    ffffffff81000020 t twice\n\
                    ffffffff81000030 d var.llvm.1234\n\
                    ffffffff81000040 t f.llvm.1234\n\
                    ffffffffc0000000 t in_module\t[mod]\n\
                    bad line\n\
                    zz T not_hex\n";
        let names = ["_text", "twice", "var", "f", "in_module", "not_hex", "line"];
        let wanted = names.iter().map(|&name| name.to_owned()).collect();
        let kallsyms = Kallsyms::read(text, &wanted);
        let check = |name: &str, want: &[u64]| assert_eq!(kallsyms.addresses(name), want, "{name}");
        check("_text", &[0xffffffff81000000]);
        check("twice", &[0xffffffff81000010, 0xffffffff81000020]);
        check("var", &[0xffffffff81000030]);
        check("f", &[]);
        check("in_module", &[0xffffffffc0000000]);
        check("not_hex", &[]);
        assert!(!kallsyms.has("line"));
    }
}
