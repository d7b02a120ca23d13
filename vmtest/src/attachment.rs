//! From what the guest says of attached programs to a verdict.

use crate::attached::{Attached, Deed, Run, Set};
use crate::judge::error_name;
use crate::report::{Attachment, Ran};
use crate::wire::PassEnd;

/// What came of one program; `None` where it was not to be attached, e.g. because it does not load.
pub fn judge(attached: &Attached, token: &str, program: &str) -> Option<Attachment> {
    let set = attached.sets.iter().find(|set| {
        let runs = [Some(&set.ours), set.full.as_ref()];
        runs.into_iter().flatten().any(|run| run.links.iter().any(|link| link.program == program))
    });
    let Some(set) = set else {
        // Nothing is known of the programs of a set that did not come so far.
        let broken = attached.sets.iter().find(|set| set.ours.end != PassEnd::Ok)?;
        return Some(Attachment::because(Ran::NotAttached, describe_end(&broken.ours)));
    };
    Some(judge_in(set, token, program))
}

/// What is wrong with ours only is ours.
fn judge_in(set: &Set, token: &str, program: &str) -> Attachment {
    let ours = judge_run(&set.ours, token, program);
    if matches!(ours.ran, Ran::Reported | Ran::NotProvoked) {
        return ours;
    }
    match set.full.as_ref().map(|full| judge_run(full, token, program)) {
        // Without BTF of its own the kernel has nothing to say against ours, except about what is reported.
        None if ours.ran == Ran::NotAttached => ours,
        None => Attachment { ran: Ran::Wrong, ..ours },
        Some(full) if matches!(full.ran, Ran::Reported | Ran::NotProvoked) => {
            let detail = ours.detail.unwrap_or_default();
            Attachment::because(
                Ran::Wrong,
                format!("with the kernel's own BTF it is right, with ours: {detail}"),
            )
        }
        Some(full) => {
            let detail = full.detail.unwrap_or_default();
            let ran = if full.ran == Ran::NotAttached { Ran::NotAttached } else { Ran::Silent };
            Attachment::because(ran, format!("{detail}; with the kernel's own BTF, too"))
        }
    }
}

fn judge_run(run: &Run, token: &str, program: &str) -> Attachment {
    if run.end != PassEnd::Ok {
        return Attachment::because(Ran::NotAttached, describe_end(run));
    }
    match run.links.iter().find(|link| link.program == program) {
        None => return Attachment::because(Ran::NotAttached, "the guest says nothing of it".to_owned()),
        Some(link) => {
            if let Some(errno) = link.errno {
                let error = error_name(errno);
                return Attachment::because(Ran::NotAttached, format!("it does not attach: {error}"));
            }
        }
    }
    judge_deeds(run, token, program)
}

/// All that was done must have been reported; what could not be done says nothing, unless it is all there was to do.
fn judge_deeds(run: &Run, token: &str, program: &str) -> Attachment {
    let deeds: Vec<&Deed> =
        run.deeds.iter().filter(|deed| deed.programs.iter().any(|name| name == program)).collect();
    let (undone, done): (Vec<&Deed>, Vec<&Deed>) = deeds.into_iter().partition(|deed| deed.undone.is_some());
    if let Some(worst) = done.iter().map(|deed| judge_deed(deed, token)).max_by_key(|judged| judged.ran) {
        return worst;
    }
    let why = undone.first().and_then(|deed| deed.undone.clone());
    let why = why.unwrap_or_else(|| "what it watches is not known".to_owned());
    Attachment::because(Ran::NotProvoked, format!("attached, but not provoked: {why}"))
}

fn judge_deed(deed: &Deed, token: &str) -> Attachment {
    let Deed { what, events, .. } = deed;
    // Something of this deed, which no other event has.
    let is_ours = deed.fields.iter().any(|field| field.got.contains(token));
    match deed.fields.iter().find(|field| !field.is_right()) {
        _ if deed.fields.is_empty() => Attachment::because(Ran::Silent, format!("{what}, and no event came")),
        None if is_ours => Attachment { ran: Ran::Reported, detail: Some(what.clone()) },
        None => {
            Attachment::because(Ran::Silent, format!("{what}, and none of {events} events carries its token"))
        }
        Some(wrong) => {
            let count = deed.fields.iter().filter(|field| !field.is_right()).count();
            let rest = if count > 1 { format!("; {count} fields are wrong") } else { String::new() };
            let text =
                format!("{what}, and the event says {} {}, not {}{rest}", wrong.name, wrong.got, wrong.want);
            Attachment::because(if is_ours { Ran::Wrong } else { Ran::Silent }, text)
        }
    }
}

fn describe_end(run: &Run) -> String {
    let end = crate::judge::describe_end(run.end);
    match &run.log {
        Some(log) => format!("{end}\n{}", log.trim_end()),
        None => end,
    }
}

impl Attachment {
    fn because(ran: Ran, detail: String) -> Self {
        Attachment { ran, detail: Some(detail) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attached::{Field, Linked};

    const TOKEN: &str = "abcdef";

    fn deed(fields: &[(&str, &str)]) -> Deed {
        let field =
            |(want, got): &(&str, &str)| Field { name: "f".into(), want: (*want).into(), got: (*got).into() };
        Deed {
            what: "it was done".into(),
            programs: vec!["p".into()],
            undone: None,
            events: 1,
            fields: fields.iter().map(field).collect(),
        }
    }

    fn run_of(deeds: Vec<Deed>) -> Run {
        let links = vec![Linked { program: "p".into(), errno: None }];
        Run { end: PassEnd::Ok, log: None, links, deeds }
    }

    fn right() -> Deed {
        deed(&[("vm-abcdef", "vm-abcdef"), ("1..3", "2")])
    }

    fn wrong() -> Deed {
        deed(&[("vm-abcdef", "vm-abcdef"), ("1..3", "4")])
    }

    #[track_caller]
    fn check(ours: Run, full: Option<Run>, expect: Ran) {
        let attached = Attached { check: 0, sets: vec![Set { hidden: true, ours, full }] };
        assert_eq!(judge(&attached, TOKEN, "p").unwrap().ran, expect);
    }

    #[test]
    fn only_an_event_of_this_deed_counts() {
        check(run_of(vec![right()]), None, Ran::Reported);
        check(run_of(vec![right(), right()]), None, Ran::Reported);
        check(run_of(vec![right(), wrong()]), Some(run_of(vec![right(), right()])), Ran::Wrong);
        check(run_of(vec![deed(&[])]), Some(run_of(vec![right()])), Ran::Wrong);
        // All that was wanted, but nothing that others have not as well.
        let stale = || run_of(vec![deed(&[("7", "7")])]);
        check(stale(), Some(stale()), Ran::Silent);
        check(stale(), None, Ran::Wrong);
        let other = || run_of(vec![deed(&[("vm-abcdef", "vm-012345")])]);
        check(other(), Some(other()), Ran::Silent);
    }

    #[test]
    fn what_fails_with_the_kernels_own_btf_too_is_not_ours() {
        check(run_of(vec![wrong()]), Some(run_of(vec![wrong()])), Ran::Silent);
        let refused = || Run {
            links: vec![Linked { program: "p".into(), errno: Some(-2) }],
            ..run_of(vec![deed(&[])])
        };
        check(refused(), Some(refused()), Ran::NotAttached);
        check(refused(), None, Ran::NotAttached);
        check(refused(), Some(run_of(vec![right()])), Ran::Wrong);
        check(refused(), Some(run_of(vec![])), Ran::Wrong);
    }

    #[test]
    fn what_could_not_be_done_says_nothing() {
        let undone = || Deed { undone: Some("no disk".into()), ..deed(&[]) };
        check(run_of(vec![undone()]), None, Ran::NotProvoked);
        check(run_of(vec![undone(), right()]), None, Ran::Reported);
        check(run_of(vec![]), None, Ran::NotProvoked);
    }

    #[test]
    fn a_set_that_broke_is_no_report() {
        let crashed = Run { end: PassEnd::Crashed { signal: 11 }, links: vec![], ..run_of(vec![right()]) };
        check(crashed.clone(), Some(run_of(vec![right()])), Ran::Wrong);
        check(crashed.clone(), None, Ran::NotAttached);
        let nobody = Attached { check: 0, sets: vec![] };
        assert_eq!(judge(&nobody, TOKEN, "p"), None);
    }
}
