//! Which relocation wrote an instruction, read from libbpf's debug log. Only an explanation: no verdict hangs on it.

use std::collections::BTreeMap;

/// Spec of the relocation by function and instruction, and where each program keeps its functions.
#[derive(Default)]
pub struct Relocations<'a> {
    by_insn: BTreeMap<(&'a str, u32), &'a str>,
    subprogs: BTreeMap<(&'a str, u32), &'a str>,
}

/// Reads the log of one prepared object.
pub fn parse(log: &str) -> Relocations<'_> {
    let mut relocations = Relocations::default();
    let mut specs: BTreeMap<(&str, u32), &str> = BTreeMap::new();
    for line in log.lines() {
        let Some((name, rest)) = line.strip_prefix("libbpf: prog '").and_then(|rest| rest.split_once("': "))
        else {
            continue;
        };
        if let Some((number, what)) = numbered(rest, "relo #") {
            if what.starts_with('<') {
                specs.insert((name, number), what);
            } else if let Some((insn, _)) =
                what.split_once("insn #").and_then(|(_, rest)| leading_number(rest))
            {
                specs.get(&(name, number)).map(|spec| relocations.by_insn.insert((name, insn), spec));
            }
        } else if let Some((subprog, at)) = placed_subprog(rest) {
            relocations.subprogs.insert((name, at), subprog);
        }
    }
    relocations
}

impl<'a> Relocations<'a> {
    /// The relocation of instruction `insn` of a program with its subprograms behind it.
    pub fn find(&self, program: &'a str, insn: u32) -> Option<&'a str> {
        let subprog = self.subprogs.range((program, 0)..=(program, insn)).next_back();
        let (function, start) = subprog.map_or((program, 0), |(&(_, at), &name)| (name, at));
        self.by_insn.get(&(function, insn - start)).copied()
    }
}

/// `insn #4 relocated, imm 9 points to subprog 'helper' (now at 14 offset)`.
fn placed_subprog(text: &str) -> Option<(&str, u32)> {
    let (_, rest) = text.split_once("points to subprog '")?;
    let (name, rest) = rest.split_once("' (now at ")?;
    Some((name, leading_number(rest)?.0))
}

/// `relo #3: what`.
fn numbered<'a>(text: &'a str, prefix: &str) -> Option<(u32, &'a str)> {
    let (number, rest) = leading_number(text.strip_prefix(prefix)?)?;
    Some((number, rest.strip_prefix(": ")?))
}

fn leading_number(text: &str) -> Option<(u32, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    Some((text[..end].parse().ok()?, &text[end..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: &str = "\
libbpf: sec 'kprobe/x': found 2 CO-RE relocations
libbpf: prog 'main': relo #0: <byte_off> [7] struct task_struct.pid (0:1 @ offset 8)
libbpf: prog 'main': relo #0: matching candidate #0 <byte_off> [12] struct task_struct.pid (0:3 @ offset 20)
libbpf: prog 'main': relo #0: patched insn #2 (ALU/ALU64) imm 8 -> 20
libbpf: prog 'main': relo #1: <enumval_value> [8] enum e::A = 1
libbpf: prog 'main': relo #1: no matching targets found
libbpf: prog 'main': relo #1: substituting insn #5 w/ invalid insn
libbpf: prog 'helper': relo #0: <byte_off> [7] struct task_struct.comm (0:9 @ offset 80)
libbpf: prog 'helper': relo #0: patched insn #1 (LDX/ST/STX) off 80 -> 88
libbpf: prog 'main': insn #4 relocated, imm 5 points to subprog 'helper' (now at 10 offset)
";

    #[track_caller]
    fn check(insn: u32, expect: Option<&str>) {
        assert_eq!(parse(LOG).find("main", insn), expect, "insn {insn}");
    }

    #[test]
    fn finds_the_relocation_of_an_instruction() {
        check(2, Some("<byte_off> [7] struct task_struct.pid (0:1 @ offset 8)"));
        check(5, Some("<enumval_value> [8] enum e::A = 1"));
        check(11, Some("<byte_off> [7] struct task_struct.comm (0:9 @ offset 80)"));
        check(3, None);
        check(10, None);
        check(12, None);
    }
}
