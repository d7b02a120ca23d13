//! From the guest's facts to a verdict.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::io;

use crate::attachment;
use crate::report::{Attachment, Instructions, ObjectVerdict, ProgramVerdict, Ran, Verdict};
use crate::results::Answer;
use crate::spec::Check;
use crate::typeid;
use crate::wire::{Compare, Difference, Differs, End, Engine, Load, Pass, PassEnd, Program};

const ENOMEM: i32 = -12;

/// Judges one check.
pub fn judge(check: &Check, answer: &Answer) -> ObjectVerdict {
    let end = &answer.end;
    let programs: Vec<ProgramVerdict> =
        answer.programs.iter().map(|program| judge_program(check, program, answer)).collect();
    let whole = judge_object(end, programs.is_empty());
    let verdict =
        programs.iter().map(|program| program.verdict).chain(whole).max().unwrap_or(Verdict::Identical);
    ObjectVerdict {
        object: check.object.clone(),
        label: check.label.clone(),
        libbpf: check.libbpf,
        programs,
        verdict,
        detail: object_detail(end),
        millis: [end.full.millis, end.visible.millis, end.hidden.millis],
    }
}

/// True when the guest had too little memory: this says nothing about a BTF.
pub fn lacks_memory(answer: &Answer) -> bool {
    let loads = answer.programs.iter().flat_map(|program| [&program.full, &program.visible, &program.hidden]);
    let no_memory = |load: &Load| matches!(load, Load::Failed { errno: ENOMEM, .. });
    let passes = [&answer.end.full, &answer.end.visible, &answer.end.hidden];
    loads.into_iter().any(no_memory) || passes.iter().any(|pass| errno(pass.end) == Some(ENOMEM))
}

fn judge_program(check: &Check, program: &Program, answer: &Answer) -> ProgramVerdict {
    let end = &answer.end;
    let (verdict, detail) = match find_crash(end) {
        Some(detail) => (Verdict::Crash, Some(detail)),
        None => judge_comparison(check, program)
            .or_else(|| judge_engine(&program.engine))
            .unwrap_or_else(|| judge_loads(program, end)),
    };
    let attached = answer.attached.as_ref();
    let attached = attached.and_then(|attached| attachment::judge(attached, &answer.token, &program.program));
    let (verdict, detail) = match &attached {
        Some(Attachment { ran: Ran::Wrong, detail: wrong }) if verdict < Verdict::WrongEvent => {
            (Verdict::WrongEvent, wrong.clone())
        }
        _ => (verdict, detail),
    };
    let instructions = match program.compare {
        Compare::Same => Instructions::Identical,
        Compare::Differs(_) | Compare::Length { .. } => Instructions::Different,
        Compare::NotDone => Instructions::NotCompared,
    };
    ProgramVerdict {
        program: program.program.clone(),
        section: program.section.clone(),
        verdict,
        instructions,
        agreed: program.engine.compared - program.engine.differ.min(program.engine.compared),
        attached,
        detail,
    }
}

type Judged = (Verdict, Option<String>);

/// `None` when the instructions give no reason to complain.
fn judge_comparison(check: &Check, program: &Program) -> Option<Judged> {
    match &program.compare {
        Compare::Same | Compare::NotDone => None,
        Compare::Length { full, ours } => {
            let detail = format!("{full} instructions with the kernel's own BTF, {ours} with ours");
            Some((Verdict::Mismatch, Some(detail)))
        }
        Compare::Differs(differs) => {
            let exempt = typeid::find_insns(&check.elf, &check.type_id_insns, &differs.funcs);
            let verdict = if only_at(differs, &exempt) { Verdict::TypeIdReloc } else { Verdict::Mismatch };
            Some((verdict, Some(describe(differs, &exempt))))
        }
    }
}

/// libbpf and our engine, with the same BTF: what the records say must be what libbpf does.
fn judge_engine(engine: &Engine) -> Option<Judged> {
    if engine.differ == 0 {
        return None;
    }
    let mut text =
        format!("libbpf and our engine disagree on {} of {} instructions", engine.differ, engine.compared);
    if let Some(Difference { insn, full, ours, .. }) = &engine.first {
        let _ = write!(text, ": instruction {insn} is {full} with libbpf, {ours} with the engine");
    }
    Some((Verdict::Mismatch, Some(text)))
}

/// True when all differences are known and at these places.
fn only_at(differs: &Differs, places: &BTreeSet<u32>) -> bool {
    differs.first.len() == differs.count as usize
        && differs.first.iter().all(|difference| places.contains(&difference.insn))
}

fn describe(differs: &Differs, exempt: &BTreeSet<u32>) -> String {
    let worst = differs.first.iter().find(|difference| !exempt.contains(&difference.insn));
    let Some(shown) = worst.or(differs.first.first()) else {
        return String::new();
    };
    let mut text = format!(
        "instruction {}: {} with the kernel's own BTF, {} with ours",
        shown.insn, shown.full, shown.ours
    );
    if let Some(relo) = &shown.relo {
        let _ = write!(text, ", relocation {relo}");
    }
    if differs.count > 1 {
        let _ = write!(text, "; {} instructions differ", differs.count);
    }
    text
}

fn judge_loads(program: &Program, end: &End) -> Judged {
    if end.full.end == PassEnd::NotRun {
        return judge_without_reference(program, end);
    }
    let full_failed = failed(&program.full, &end.full);
    let visible_failed = failed(&program.visible, &end.visible);
    match (full_failed, visible_failed) {
        (Some(full), Some(_)) => (Verdict::LoadFailBoth, Some(full)),
        (Some(full), None) => {
            (Verdict::LoadFailBoth, Some(format!("loads with ours, not with the kernel's own BTF: {full}")))
        }
        (None, Some(visible)) => (Verdict::LoadFailMinOnly, Some(visible)),
        (None, None) => judge_hidden(program, end),
    }
}

/// It loads while the kernel's own BTF is there. And for a user who has none?
fn judge_hidden(program: &Program, end: &End) -> Judged {
    if program.needs_kernel_btf || end.hidden.end == PassEnd::NeedsKernelBtf {
        return (Verdict::NeedsKernelBtf, None);
    }
    match failed(&program.hidden, &end.hidden) {
        Some(detail) => {
            (Verdict::LoadFailMinOnly, Some(format!("with the kernel's own BTF hidden: {detail}")))
        }
        None => (Verdict::Identical, None),
    }
}

fn judge_without_reference(program: &Program, end: &End) -> Judged {
    if program.needs_kernel_btf {
        return (Verdict::NeedsKernelBtf, None);
    }
    match failed(&program.hidden, &end.hidden) {
        Some(detail) => (Verdict::LoadFailMinOnly, Some(detail)),
        None => {
            (Verdict::Skipped, Some("the kernel has no BTF of its own to compare with; it loads".to_owned()))
        }
    }
}

/// Why a program was not loaded; `None` when it was.
fn failed(load: &Load, pass: &Pass) -> Option<String> {
    match load {
        Load::Ok | Load::NotTried => None,
        Load::Failed { errno, log } => Some(with_log(error_name(*errno), log.as_deref())),
        // The log is with the object.
        Load::NotReached => Some(describe_end(pass.end)),
    }
}

/// A verdict on the object itself; where it is `alone`, no program carries one.
fn judge_object(end: &End, alone: bool) -> Option<Verdict> {
    let fails = |pass: &Pass| !matches!(pass.end, PassEnd::Ok | PassEnd::NotRun | PassEnd::NeedsKernelBtf);
    match (find_crash(end), fails(&end.full), fails(&end.visible)) {
        (Some(_), _, _) => Some(Verdict::Crash),
        (None, true, _) => Some(Verdict::LoadFailBoth),
        (None, false, true) => Some(Verdict::LoadFailMinOnly),
        (None, false, false) if alone && fails(&end.hidden) => Some(Verdict::LoadFailMinOnly),
        (None, false, false) => {
            let ran = named(end).iter().any(|(_, pass)| pass.end != PassEnd::NotRun);
            (alone && !ran).then_some(Verdict::Skipped)
        }
    }
}

fn object_detail(end: &End) -> Option<String> {
    let passes = named(end);
    let told = passes.iter().find(|(_, pass)| !matches!(pass.end, PassEnd::Ok | PassEnd::NotRun))?;
    let (name, pass) = told;
    Some(with_log(format!("{name}: {}", describe_end(pass.end)), pass.log.as_deref()))
}

fn find_crash(end: &End) -> Option<String> {
    let crashed = |pass: &Pass| {
        matches!(pass.end, PassEnd::Crashed { .. } | PassEnd::TimedOut { .. } | PassEnd::Lost { .. })
    };
    let (name, pass) = named(end).into_iter().find(|(_, pass)| crashed(pass))?;
    Some(format!("{name}: {}", describe_end(pass.end)))
}

fn named(end: &End) -> [(&'static str, &Pass); 3] {
    [
        ("with the kernel's own BTF", &end.full),
        ("with ours", &end.visible),
        ("with ours, the kernel's own hidden", &end.hidden),
    ]
}

/// How a pass ended, in words.
pub fn describe_end(end: PassEnd) -> String {
    match end {
        PassEnd::Ok => "loaded".to_owned(),
        PassEnd::NotRun => "not tried".to_owned(),
        PassEnd::NotOpened { errno } => format!("libbpf cannot open the object: {}", error_name(errno)),
        PassEnd::NotPrepared { errno } => format!("libbpf cannot prepare the object: {}", error_name(errno)),
        PassEnd::NotLoaded { errno } => format!("libbpf cannot load the object: {}", error_name(errno)),
        PassEnd::NeedsKernelBtf => {
            "the object itself needs the kernel's own BTF (typed ksyms or struct_ops)".to_owned()
        }
        PassEnd::Crashed { signal } => format!("libbpf crashed (signal {signal})"),
        PassEnd::TimedOut { seconds } => format!("libbpf did not come back within {seconds} s"),
        PassEnd::Lost { code } => format!("the worker in the guest failed (code {code})"),
    }
}

fn errno(end: PassEnd) -> Option<i32> {
    match end {
        PassEnd::NotOpened { errno } | PassEnd::NotPrepared { errno } | PassEnd::NotLoaded { errno } => {
            Some(errno)
        }
        PassEnd::Ok | PassEnd::NotRun | PassEnd::NeedsKernelBtf => None,
        PassEnd::Crashed { .. } | PassEnd::TimedOut { .. } | PassEnd::Lost { .. } => None,
    }
}

/// libbpf has errors of its own from 4000 on, and the kernel one that C knows nothing of.
pub fn error_name(errno: i32) -> String {
    const ENOTSUPP: i32 = -524;
    if errno == ENOTSUPP {
        return "the kernel does not support this here (ENOTSUPP)".to_owned();
    }
    if errno <= -4000 {
        return format!("libbpf error {}", -errno);
    }
    io::Error::from_raw_os_error(-errno).to_string()
}

fn with_log(text: String, log: Option<&str>) -> String {
    match log {
        Some(log) => format!("{text}\n{}", log.trim_end()),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pass(end: PassEnd) -> Pass {
        Pass { end, millis: 0, log: None }
    }

    fn fails() -> Load {
        Load::Failed { errno: -22, log: Some("log".into()) }
    }

    /// A program that loads everywhere with equal instructions.
    fn good() -> Program {
        Program {
            program: "p".into(),
            section: "kprobe/x".into(),
            needs_kernel_btf: false,
            full: Load::Ok,
            visible: Load::Ok,
            hidden: Load::Ok,
            compare: Compare::Same,
            engine: Engine { compared: 4, differ: 0, first: None },
        }
    }

    fn differing(count: u32) -> Compare {
        let first =
            Difference { insn: 3, full: "aa".into(), ours: "bb".into(), relo: Some("<byte_off> x".into()) };
        Compare::Differs(Differs { count, first: vec![first], funcs: vec![(0, 5)] })
    }

    fn answer_of(programs: Vec<Program>, [full, visible, hidden]: [Pass; 3]) -> Answer {
        let end = End { check: 0, full, visible, hidden };
        Answer { programs, attached: None, end, token: String::new() }
    }

    fn verdict(program: Program, ends: [PassEnd; 3]) -> ObjectVerdict {
        verdict_on(vec![program], ends)
    }

    fn verdict_on(programs: Vec<Program>, ends: [PassEnd; 3]) -> ObjectVerdict {
        let [full, visible, hidden] = ends.map(pass);
        let check = Check { object: "o".into(), label: "l".into(), ..Check::default() };
        judge(&check, &answer_of(programs, [full, visible, hidden]))
    }

    #[track_caller]
    fn check(program: Program, ends: [PassEnd; 3], expect: Verdict) {
        assert_eq!(verdict(program, ends).verdict, expect);
    }

    const OK: [PassEnd; 3] = [PassEnd::Ok; 3];

    #[test]
    fn one_verdict_for_each_case() {
        check(good(), OK, Verdict::Identical);
        check(Program { compare: differing(1), ..good() }, OK, Verdict::Mismatch);
        check(Program { compare: Compare::Length { full: 1, ours: 2 }, ..good() }, OK, Verdict::Mismatch);
        check(
            Program { full: fails(), visible: fails(), hidden: fails(), ..good() },
            OK,
            Verdict::LoadFailBoth,
        );
        check(Program { visible: fails(), ..good() }, OK, Verdict::LoadFailMinOnly);
        check(Program { hidden: fails(), ..good() }, OK, Verdict::LoadFailMinOnly);
        let attached = Program { needs_kernel_btf: true, hidden: Load::NotTried, ..good() };
        check(attached.clone(), OK, Verdict::NeedsKernelBtf);
        check(Program { compare: differing(1), ..attached.clone() }, OK, Verdict::Mismatch);
        check(Program { full: fails(), visible: fails(), ..attached }, OK, Verdict::LoadFailBoth);
    }

    #[test]
    fn the_object_as_a_whole() {
        let lost = || Program {
            visible: Load::NotReached,
            hidden: Load::NotReached,
            compare: Compare::NotDone,
            ..good()
        };
        let refused = PassEnd::NotPrepared { errno: -22 };
        check(lost(), [PassEnd::Ok, refused, refused], Verdict::LoadFailMinOnly);
        let crashed = PassEnd::Crashed { signal: 11 };
        check(lost(), [PassEnd::Ok, crashed, crashed], Verdict::Crash);
        check(lost(), [PassEnd::Ok, PassEnd::TimedOut { seconds: 9 }, PassEnd::Ok], Verdict::Crash);
        check(Program { full: Load::NotReached, ..lost() }, [refused; 3], Verdict::LoadFailBoth);
        let ksyms = Program { hidden: Load::NotReached, ..good() };
        check(ksyms, [PassEnd::Ok, PassEnd::Ok, PassEnd::NeedsKernelBtf], Verdict::NeedsKernelBtf);
    }

    #[test]
    fn without_a_reference() {
        let alone = || Program { full: Load::NotReached, compare: Compare::NotDone, ..good() };
        let ends = [PassEnd::NotRun, PassEnd::Ok, PassEnd::Ok];
        check(alone(), ends, Verdict::Skipped);
        check(Program { visible: fails(), hidden: fails(), ..alone() }, ends, Verdict::LoadFailMinOnly);
    }

    #[test]
    fn no_program_was_reported() {
        let check = |ends: [PassEnd; 3], expect: Verdict| {
            assert_eq!(verdict_on(vec![], ends).verdict, expect, "{ends:?}");
        };
        let refused = PassEnd::NotLoaded { errno: -22 };
        check(OK, Verdict::Identical);
        check([PassEnd::NotRun, PassEnd::NotRun, refused], Verdict::LoadFailMinOnly);
        check([PassEnd::Ok, PassEnd::Ok, refused], Verdict::LoadFailMinOnly);
        check([PassEnd::Ok, PassEnd::Ok, PassEnd::NeedsKernelBtf], Verdict::Identical);
        check([PassEnd::NotRun; 3], Verdict::Skipped);
    }

    #[test]
    fn the_engine_must_agree_with_libbpf() {
        assert_eq!(verdict(good(), OK).programs[0].agreed, 4);
        let first = Difference { insn: 7, full: "aa".into(), ours: "bb".into(), relo: None };
        let engine = Engine { compared: 4, differ: 1, first: Some(first) };
        let disagrees = verdict(Program { engine, ..good() }, OK);
        assert_eq!(disagrees.verdict, Verdict::Mismatch);
        let detail = disagrees.programs[0].detail.as_deref();
        let expect = "libbpf and our engine disagree on 1 of 4 instructions: instruction 7 is aa with libbpf, bb with the engine";
        assert_eq!((detail, disagrees.programs[0].agreed), (Some(expect), 3));
    }

    #[test]
    fn details_say_where() {
        let mismatch = verdict(Program { compare: differing(4), ..good() }, OK);
        let detail = mismatch.programs[0].detail.as_deref().unwrap();
        let expect = "instruction 3: aa with the kernel's own BTF, bb with ours, relocation <byte_off> x; \
                      4 instructions differ";
        assert_eq!(detail, expect);
        assert_eq!(error_name(-4001), "libbpf error 4001");
        assert!(error_name(-22).starts_with("Invalid argument"));
    }

    #[test]
    fn exempt_places_are_not_a_mismatch_unless_something_else_differs() {
        let Compare::Differs(one) = differing(1) else { panic!() };
        assert!(only_at(&one, &BTreeSet::from([3])));
        assert!(!only_at(&one, &BTreeSet::from([4])));
        let Compare::Differs(unlisted) = differing(2) else { panic!() };
        assert!(!only_at(&unlisted, &BTreeSet::from([3])));
    }

    #[test]
    fn a_wrong_event_is_graver_than_a_load_and_less_than_other_instructions() {
        use crate::attached::{Attached, Deed, Field, Linked, Run, Set};
        let field = Field { name: "head.parent".into(), want: "1".into(), got: "0".into() };
        let deed = Deed {
            what: "done".into(),
            programs: vec!["p".into()],
            undone: None,
            events: 1,
            fields: vec![field],
        };
        let links = vec![Linked { program: "p".into(), errno: None }];
        let ours = Run { end: PassEnd::Ok, log: None, links, deeds: vec![deed] };
        let attached = Attached { check: 0, sets: vec![Set { hidden: true, ours, full: None }] };
        let check = |program: Program, expect: Verdict| {
            let wanted = Check { object: "o".into(), label: "l".into(), ..Check::default() };
            let answer =
                Answer { attached: Some(attached.clone()), ..answer_of(vec![program], OK.map(pass)) };
            let judged = judge(&wanted, &answer);
            assert_eq!(judged.verdict, expect);
            assert_eq!(judged.programs[0].attached.as_ref().unwrap().ran, Ran::Wrong);
            judged.programs[0].detail.clone().unwrap()
        };
        let detail = check(good(), Verdict::WrongEvent);
        assert_eq!(detail, "done, and the event says head.parent 0, not 1");
        check(Program { compare: differing(1), ..good() }, Verdict::Mismatch);
    }

    #[test]
    fn memory_is_the_machines_trouble() {
        let answer = |program, ends: [PassEnd; 3]| {
            let [full, visible, hidden] = ends.map(pass);
            lacks_memory(&answer_of(vec![program], [full, visible, hidden]))
        };
        assert!(!answer(Program { full: fails(), ..good() }, OK));
        assert!(answer(Program { hidden: Load::Failed { errno: -12, log: None }, ..good() }, OK));
        assert!(answer(good(), [PassEnd::NotPrepared { errno: -12 }, PassEnd::Ok, PassEnd::Ok]));
    }
}
