//! The code of a program: its own instructions and those of the subprograms that it calls.

use crate::open::{FunctionRelos, OpenObject, ReloTarget};
use crate::{INSN_LEN, Insn, Refusal};

/// Instructions that the kernel takes of one program.
const MAX_INSNS: usize = 1_000_000;

/// A function within the code of a program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// Its name.
    pub name: String,
    /// Index in [`OpenObject::functions`].
    pub function: usize,
    /// Its first instruction.
    pub start: usize,
    /// How many instructions it has.
    pub len: usize,
}

/// A program as the kernel would get it, before its references are filled in.
#[derive(Debug, Clone, Default)]
pub(crate) struct Code {
    pub insns: Vec<Insn>,
    pub parts: Vec<Part>,
    /// Relocations by their instruction in `insns`, in the order of the parts.
    pub relos: Vec<(usize, ReloTarget)>,
}

/// Puts a program together (libbpf: `bpf_object__reloc_code`).
pub(crate) struct Assembler<'a, 'o> {
    pub open: &'a OpenObject<'o>,
    /// The executable sections after CO-RE.
    pub sections: &'a [Vec<u8>],
    /// Functions that libbpf appends although nobody calls them.
    pub exception_callback: Option<usize>,
}

/// Where functions stand in the code of the program at hand. One for all programs: there can be many of both.
#[derive(Debug, Default)]
pub(crate) struct Placed {
    program: usize,
    /// By function: the program that it was placed in last, and where.
    places: Vec<(usize, usize)>,
}

impl Placed {
    fn start(&mut self, functions: usize) {
        self.program += 1;
        self.places.resize(functions, (0, 0));
    }

    fn find(&self, function: usize) -> Option<usize> {
        let (program, place) = self.places[function];
        (program == self.program).then_some(place)
    }

    fn set(&mut self, function: usize, place: usize) {
        self.places[function] = (self.program, place);
    }
}

/// A function whose calls are being followed.
struct Frame {
    part: usize,
    next: usize,
}

impl Assembler<'_, '_> {
    /// The entry program `main`, then each subprogram behind the first call of it.
    pub(crate) fn assemble(&self, main: usize, placed: &mut Placed) -> Result<Code, Refusal> {
        let mut code = Code::default();
        placed.start(self.open.functions().len());
        self.follow(main, &mut code, placed)?;
        if let Some(callback) = self.exception_callback
            && placed.find(callback).is_none()
        {
            self.follow(callback, &mut code, placed)?;
        }
        Ok(code)
    }

    /// Appends a function and all that it calls. A stack of its own: a chain of calls can be as long as the file.
    fn follow(&self, first: usize, code: &mut Code, placed: &mut Placed) -> Result<(), Refusal> {
        let part = self.append(first, code, placed)?;
        let mut stack = vec![Frame { part, next: 0 }];
        while let Some(frame) = stack.last_mut() {
            let (function, start, len) = {
                let part = &code.parts[frame.part];
                (part.function, part.start, part.len)
            };
            let insn = frame.next;
            if insn == len {
                stack.pop();
                continue;
            }
            let Some(callee) = self.callee(function, insn, code.insns[start + insn])? else {
                frame.next += 1;
                continue;
            };
            match placed.find(callee) {
                Some(place) => {
                    code.insns[start + insn].imm = (place as i64 - (start + insn) as i64 - 1) as i32;
                    frame.next += 1;
                }
                // It is called again when the frame comes back to this instruction.
                None => {
                    let part = self.append(callee, code, placed)?;
                    stack.push(Frame { part, next: 0 });
                }
            }
        }
        Ok(())
    }

    fn append(&self, index: usize, code: &mut Code, placed: &mut Placed) -> Result<usize, Refusal> {
        let function = &self.open.functions()[index];
        let FunctionRelos { list, refusal } = self.open.relos_of(index);
        if let Some(refusal) = refusal {
            return Err(refusal.clone());
        }
        let start = code.insns.len();
        if start + function.count > MAX_INSNS {
            return Err(Refusal::TooLong(start + function.count));
        }
        let bytes = self.sections[function.code]
            .get(function.first * INSN_LEN..(function.first + function.count) * INSN_LEN)
            .unwrap_or_default();
        let order = self.open.object().order();
        let insns = bytes.as_chunks::<INSN_LEN>().0.iter().map(|&bytes| Insn::decode(bytes, order));
        code.insns.extend(insns);
        for relo in list {
            let at = start + relo.insn;
            if let ReloTarget::FunctionAddress(_) = relo.target
                && code.insns[at].is_ldimm64()
            {
                code.insns[at].src = Insn::PSEUDO_FUNC;
            }
            code.relos.push((at, relo.target));
        }
        placed.set(index, start);
        code.parts.push(Part {
            name: function.name.clone(),
            function: index,
            start,
            len: code.insns.len() - start,
        });
        Ok(code.parts.len() - 1)
    }

    /// The subprogram that an instruction calls or takes the address of.
    fn callee(&self, function: usize, insn: usize, found: Insn) -> Result<Option<usize>, Refusal> {
        if !found.is_subprogram_call() && !found.is_function_address() {
            return Ok(None);
        }
        let caller = &self.open.functions()[function];
        let refuse = |problem: &str| Refusal::Call {
            function: caller.name.clone(),
            insn,
            problem: problem.to_owned(),
        };
        let relo = self.relo_of(function, insn);
        let imm = i64::from(found.imm);
        let insn_len = INSN_LEN as i64;
        let target = match relo {
            Some(ReloTarget::ExternCall(_)) => return Ok(None),
            Some(ReloTarget::Call(offset)) => offset as i64 / insn_len + imm + 1,
            Some(ReloTarget::FunctionAddress(offset)) => (offset as i64).wrapping_add(imm) / insn_len,
            Some(_other) => return Err(refuse("unexpected relo for a call")),
            None if found.is_function_address() => return Err(refuse("missing subprog addr relo")),
            None => (caller.first + insn) as i64 + imm + 1,
        };
        let functions = self.open.function_table();
        let callee = functions
            .text
            .zip(usize::try_from(target).ok())
            .and_then(|(text, insn)| functions.find(text, insn));
        callee.map(Some).ok_or_else(|| refuse("no .text section found yet sub-program call exists"))
    }

    fn relo_of(&self, function: usize, insn: usize) -> Option<ReloTarget> {
        let list = &self.open.relos_of(function).list;
        let index = list.binary_search_by_key(&insn, |relo| relo.insn).ok()?;
        Some(list[index].target)
    }
}
