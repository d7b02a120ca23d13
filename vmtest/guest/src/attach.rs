//! Attaches an object's programs, does what they watch, and reads what they report.
//!
//! For objects whose events say themselves what they are, as those of pipelines/programs do (their event.h); others are
//! attached only.

mod actor;
mod disk;
mod event;
mod files;
mod memory;
mod module;
mod network;
mod processes;

use std::time::{Duration, Instant};

use crate::attached::{Attached, Deed, Linked, Run, Set};
use crate::fork::{Ended, in_child};
use crate::libbpf::{Link, Object, RingBuffer, Types};
use crate::pass::{self, Outcome};
use crate::wire::{Load, PassEnd};
use crate::{log, maps, setup};
use actor::{Done, Scene};
use event::Kind;

/// The ring buffer that our programs report through.
const EVENTS: &str = "events";
/// What every event begins with.
const HEAD: &str = "event";
/// Events of interrupts may come late.
const PATIENCE: Duration = Duration::from_millis(500);
const WAIT_MILLIS: i32 = 20;
/// An option of some programs: only what takes so long is reported.
const SLOW: &str = "slow_ns";

/// What is done for the events of a kind.
type Do = fn(&Scene<'_>) -> Vec<Done>;

/// By the name of the events' struct.
const DEEDS: [(&str, Do); 12] = [
    ("capability_event", processes::ask_for_capability),
    ("connection_event", network::connect),
    ("drop_event", network::send_to_nobody),
    ("exec_event", processes::start_program),
    ("exit_event", processes::end),
    ("file_event", files::create_and_remove),
    ("io_event", disk::read),
    ("module_event", module::load),
    ("oom_event", memory::run_out),
    ("open_event", files::open),
    ("signal_event", processes::send_signal),
    ("wait_event", processes::wait_for_cpu),
];

/// What is attached, and with what.
pub struct Subject<'a> {
    pub elf: &'a str,
    pub btf: &'a str,
    pub seconds: u32,
    pub token: &'a str,
    pub kernel_has_btf: bool,
}

/// Attaches what loaded before: with ours and the kernel's own BTF out of sight, and what needs the latter in its sight.
pub fn attach(subject: &Subject<'_>, index: u32, visible: &Outcome, hidden: &Outcome) -> Attached {
    let loaded = |outcome: &Outcome, needs: bool| -> Vec<String> {
        let loaded = outcome.programs.iter().filter(|p| p.load == Load::Ok && p.needs_kernel_btf == needs);
        loaded.map(|program| program.name.clone()).collect()
    };
    let sets = [(true, loaded(hidden, false)), (false, loaded(visible, true))];
    let sets = sets.into_iter().filter(|(_, programs)| !programs.is_empty());
    Attached { check: index, sets: sets.map(|(hidden, programs)| set(subject, hidden, &programs)).collect() }
}

fn set(subject: &Subject<'_>, hidden: bool, programs: &[String]) -> Set {
    let ours = match hidden.then(setup::hide_kernel_btf).transpose() {
        Ok(_hidden) => run(subject, Some(subject.btf), programs),
        Err(error) => ended(PassEnd::NotRun, Some(format!("cannot hide BTF: {error}"))),
    };
    let full = (subject.kernel_has_btf && !ours.is_right()).then(|| run(subject, None, programs));
    Set { hidden, ours, full }
}

/// In a child; whatever happens to it becomes the end.
fn run(subject: &Subject<'_>, btf: Option<&str>, programs: &[String]) -> Run {
    let deadline = Instant::now() + Duration::from_secs(subject.seconds.into());
    let made = log::start(log::Detail::Warnings).and_then(|()| {
        in_child(deadline, |out| {
            let run = load(subject, btf, programs).unwrap_or_else(|end| ended(end, log::tail(&log::text())));
            out.write_all(&serde_json::to_vec(&run)?)
        })
    });
    if let Ok(Ended::Wrote(answer)) = &made
        && let Ok(run) = serde_json::from_slice(answer)
    {
        return run;
    }
    ended(pass::end_of(made, subject.seconds), log::tail(&log::text()))
}

fn ended(end: PassEnd, log: Option<String>) -> Run {
    Run { end, log, links: Vec::new(), deeds: Vec::new() }
}

fn load(subject: &Subject<'_>, btf: Option<&str>, programs: &[String]) -> Result<Run, PassEnd> {
    let mut object = Object::open(subject.elf, btf).map_err(|errno| PassEnd::NotOpened { errno })?;
    maps::set_sizes(&object);
    for program in object.programs() {
        program.set_autoload(programs.iter().any(|name| name == program.name()));
    }
    let watched = object.types().and_then(|types| find_kind(&object, types));
    if watched.is_some() {
        report_all(&object);
    }
    object.load().map_err(|errno| PassEnd::NotLoaded { errno })?;
    let (links, linked) = attach_all(&object);
    let deeds = match watched.zip(object.types()) {
        Some(((do_it, kind), types)) => {
            let ring = object.maps().find(|map| map.name() == EVENTS).map(|map| RingBuffer::open(map.fd()));
            let mut ring = ring.ok_or(PassEnd::NotRun)?.map_err(|errno| PassEnd::NotLoaded { errno })?;
            let scene = Scene::new(subject.token).map_err(|_| PassEnd::NotRun)?;
            ring.take();
            let done = do_it(&scene);
            let events = collect(&mut ring, kind, types, &done);
            done.iter().map(|done| deed(done, kind, types, &events, &object)).collect()
        }
        None => Vec::new(),
    };
    drop(linked);
    Ok(Run { end: PassEnd::Ok, log: None, links, deeds })
}

/// What the object reports, if that is known here.
fn find_kind(object: &Object, types: Types<'_>) -> Option<(Do, Kind)> {
    object.maps().find(|map| map.name() == EVENTS)?;
    let head = types.find_struct(HEAD)?;
    types.find_member(head, "type")?;
    DEEDS.iter().find_map(|(name, do_it)| {
        let id = types.find_struct(name)?;
        Some((*do_it, Kind { id, kind: types.find_member(id, "head.type")? }))
    })
}

/// Sets the option that holds events back, where there is one.
fn report_all(object: &Object) {
    let place = object.types().and_then(|types| types.find_variable(".rodata", SLOW));
    let constants = object.maps().find(|map| map.name().ends_with(".rodata"));
    if let Some((place, constants)) = place.zip(constants) {
        constants.write_initial(place.offset, &vec![0; place.size]);
    }
}

fn attach_all(object: &Object) -> (Vec<Linked>, Vec<Link>) {
    let (mut told, mut links) = (Vec::new(), Vec::new());
    for program in object.programs().filter(|program| program.autoload()) {
        let errno = match program.attach() {
            Ok(link) => {
                links.push(link);
                None
            }
            Err(errno) => Some(errno),
        };
        told.push(Linked { program: program.name().to_owned(), errno });
    }
    (told, links)
}

/// All events, until those are there that must come.
fn collect(ring: &mut RingBuffer, kind: Kind, types: Types<'_>, done: &[Done]) -> Vec<Vec<u8>> {
    let deadline = Instant::now() + PATIENCE;
    let mut events = ring.take();
    let is_told = |done: &Done, events: &[Vec<u8>]| {
        done.wants.as_ref().is_err() || {
            let (_, fields) = kind.find_nearest(types, done, events);
            !fields.is_empty() && fields.iter().all(crate::attached::Field::is_right)
        }
    };
    while !done.iter().all(|done| is_told(done, &events)) && Instant::now() < deadline {
        ring.wait(WAIT_MILLIS);
        events.extend(ring.take());
    }
    events
}

fn deed(done: &Done, kind: Kind, types: Types<'_>, events: &[Vec<u8>], object: &Object) -> Deed {
    let takes_part = |section: &str| {
        let hook = section.rsplit('/').next().unwrap_or_default();
        done.hooks.is_empty() || done.hooks.contains(&hook)
    };
    let programs = object.programs().filter(|program| program.autoload() && takes_part(program.section()));
    let (count, fields) = kind.find_nearest(types, done, events);
    Deed {
        what: done.what.to_owned(),
        programs: programs.map(|program| program.name().to_owned()).collect(),
        undone: done.wants.as_ref().err().cloned(),
        events: count,
        fields,
    }
}
