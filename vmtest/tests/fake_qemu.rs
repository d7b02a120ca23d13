//! Machines that misbehave: a shell script in QEMU's place hangs, dies, lies or dawdles, and the report says so.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

use vmtest::{Accel, Arch, Check, Limits, Outcome, StateFolder, Verdict, VmEvent, VmReport, VmSpec};

/// Dead machines are found after this; those that must live get more than they could ever need.
const SHORT: Duration = Duration::from_millis(400);
const LONG: Duration = Duration::from_secs(60);

struct Machine {
    folder: tempfile::TempDir,
    spec: VmSpec,
}

impl Machine {
    fn new(script: &str) -> Self {
        let folder = tempfile::tempdir().expect("temporary folder");
        let path = |name: &str| folder.path().join(name);
        fs::write(path("kernel"), b"\x7fELF").expect("kernel");
        fs::write(path("guest"), b"guest").expect("guest");
        fs::write(path("script"), script).expect("script");
        let mut spec = VmSpec::new(Arch::X86_64, path("kernel"), folder.path());
        spec.qemu = Some(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fake-qemu.sh").into());
        spec.guest = Some(path("guest"));
        spec.accel = Accel::Tcg;
        spec.limits = Limits { console: LONG, console_kvm: LONG, ready: LONG, check: LONG };
        Machine { folder, spec }
    }

    fn limits(mut self, change: impl FnOnce(&mut Limits)) -> Self {
        change(&mut self.spec.limits);
        self
    }

    fn run(&self) -> VmReport {
        let report = vmtest::run(&self.spec, &[a_check()], &mut |_| ());
        for pid in self.pids() {
            assert!(is_gone(pid), "process {pid} lives on");
        }
        report
    }

    fn pids(&self) -> Vec<u32> {
        read_pids(&self.folder.path().join("pids"))
    }
}

fn read_pids(path: &Path) -> Vec<u32> {
    let text = fs::read_to_string(path).unwrap_or_default();
    text.lines().filter_map(|line| line.parse().ok()).collect()
}

/// Gone, or dead and not yet collected by whoever inherited it.
fn is_gone(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(')').next().is_none_or(|rest| rest.trim().is_empty() || rest.trim().starts_with('Z'))
}

fn a_check() -> Check {
    Check { object: "one.bpf.o".into(), elf: vec![1], btf: vec![2], label: "min".into(), ..Check::default() }
}

/// The machine gives no verdict, and every boot failed for this reason.
#[track_caller]
fn check_infra(machine: &Machine, boots: usize, expect: &str) -> VmReport {
    let report = machine.run();
    let Outcome::Infra { reason } = &report.outcome else { panic!("{report:#?}") };
    assert!(reason.contains(expect), "{reason}");
    assert_eq!(report.attempts.len(), boots, "{reason}");
    for attempt in &report.attempts {
        assert!(attempt.failure.as_deref().is_some_and(|failure| failure.contains(expect)), "{attempt:#?}");
    }
    report
}

/// The machine answers, after that many boots.
#[track_caller]
fn check_done(machine: &Machine, boots: usize) -> VmReport {
    let report = machine.run();
    let Outcome::Done(verdicts) = &report.outcome else { panic!("{report:#?}") };
    // The fake kernel has no BTF to compare with, but its passes say "ok" all the same.
    assert_eq!(verdicts.iter().map(|verdict| verdict.verdict).collect::<Vec<_>>(), [Verdict::Identical]);
    assert_eq!(report.attempts.len(), boots);
    assert_eq!(report.attempts.last().and_then(|attempt| attempt.failure.clone()), None);
    report
}

#[test]
fn a_good_machine() {
    let report = check_done(&Machine::new("log booting; all; sleep 1000"), 1);
    assert_eq!(report.kernel_release.as_deref(), Some("6.1"));
    assert_eq!(report.libbpf.as_deref(), Some("v1.7"));
    let attempt = &report.attempts[0];
    assert_eq!((attempt.machine.as_str(), attempt.accel), ("q35", Accel::Tcg));
    assert_eq!(attempt.console, ["[    0.1] booting"]);
    assert!(attempt.command.iter().any(|word| word.contains("panic=-1")));
}

#[test]
fn answers_count_however_qemu_ends_after_them() {
    check_done(&Machine::new("log booting; all; exit 0"), 1);
    check_done(&Machine::new("log booting; all; kill -ABRT $$"), 1);
    check_done(&Machine::new("log booting; all; exit 134"), 1);
}

#[test]
fn a_hang_in_the_firmware() {
    let machine = Machine::new("sleep 1000").limits(|limits| limits.console = SHORT);
    check_machines(&check_infra(&machine, 3, "before the kernel's first word"));
}

/// Each boot is on another machine type; the last one is told how fast this machine's counter runs.
#[track_caller]
fn check_machines(report: &VmReport) {
    let machines: Vec<_> = report.attempts.iter().map(|attempt| attempt.machine.as_str()).collect();
    let last = if cfg!(target_arch = "x86_64") { "microvm" } else { "q35" };
    assert_eq!(machines, ["q35", "pc", last]);
}

#[test]
fn both_forms_of_a_kernel_are_tried_on_different_machines() {
    let mut machine = Machine::new("exit 1");
    let fallback = machine.folder.path().join("vmlinuz");
    fs::write(&fallback, b"MZ").expect("kernel");
    machine.spec.fallback_kernel = Some(fallback);
    let report = check_infra(&machine, 3, "exited with code 1");
    check_machines(&report);
    let with_fallback =
        report.attempts.iter().map(|attempt| attempt.command.iter().any(|word| word.ends_with("/vmlinuz")));
    assert_eq!(with_fallback.collect::<Vec<_>>(), [false, true, false]);
}

#[test]
fn a_hang_while_booting() {
    let machine = Machine::new("log hello; sleep 1000").limits(|limits| limits.console = SHORT);
    check_infra(&machine, 3, "while the kernel booted");
}

#[test]
fn a_kernel_that_talks_for_ever() {
    let machine =
        Machine::new("while :; do log again; sleep 0.02; done").limits(|limits| limits.ready = SHORT);
    check_infra(&machine, 3, "while the kernel booted");
}

#[test]
fn a_hang_after_ready() {
    let machine = Machine::new("log hello; hello; sleep 1000").limits(|limits| limits.check = SHORT);
    check_infra(&machine, 3, "between two checks");
    // The kernel's complaints are no sign of life of the guest.
    let script = "log hello; hello; begin; while :; do log stuck; sleep 0.02; done";
    let report = check_infra(
        &Machine::new(script).limits(|limits| limits.check = SHORT),
        3,
        "during check 1 (one.bpf.o)",
    );
    assert!(report.attempts[0].console.contains(&"[    0.1] stuck".to_owned()));
}

#[test]
fn a_panic_ends_the_boot_at_once() {
    let report = check_infra(
        &Machine::new("log Kernel panic - not syncing: x; sleep 1000"),
        3,
        "the kernel died while",
    );
    assert!(report.attempts[0].failure.as_deref().is_some_and(|failure| failure.contains("not syncing: x")));
    check_infra(
        &Machine::new("log booting; hello; begin; log Oops: 0000; exit 0"),
        3,
        "the kernel died during check 1",
    );
}

#[test]
fn answers_of_a_dying_kernel_do_not_count() {
    check_infra(&Machine::new("log Oops: 0000; sleep 0.2; all; sleep 1000"), 3, "the kernel died");
}

#[test]
fn an_early_end() {
    for (end, expect) in [
        ("exit 0", "exited with code 0"),
        ("exit 1", "exited with code 1"),
        ("exit 134", "exited with code 134"),
        ("kill -ABRT $$", "signal 6"),
    ] {
        check_infra(&Machine::new(&format!("log booting; hello; {end}")), 3, expect);
    }
    let report = check_infra(&Machine::new("echo no such machine >&2; exit 1"), 3, "exited with code 1");
    assert_eq!(report.attempts[0].qemu_stderr, ["no such machine"]);
}

#[test]
fn results_that_cannot_be_believed() {
    let cases = [
        ("hello 0123456789abcdef", "the number of another boot"),
        ("hello; hello", "message 0 of the results came where 1 was due"),
        ("hello; begin; end", "message 3 of the results came where 2 was due"),
        ("hello; begin | tr 0 1", "damaged"),
        ("hello | cut -c 1-60", "damaged"),
        ("hello; frame 1 '{\"type\":\"done\",\"count\":1}'", "1 checks and speaks of 0"),
        (
            "hello; frame 1 '{\"type\":\"fatal\",\"reason\":\"no manifest\"}'",
            "the guest gave up: no manifest",
        ),
    ];
    for (script, expect) in cases {
        check_infra(&Machine::new(&format!("log booting; {script}; sleep 1000")), 3, expect);
    }
}

#[test]
fn a_replayed_result_is_not_believed() {
    // Everything that the first boot said, word for word, in the second and the third.
    let script =
        "log booting; if [ $boot = 1 ]; then all > said; head -n 5 said; exit 1; fi; cat said; sleep 1000";
    let script = script.replace("said", "$folder/said");
    let report = check_infra(&Machine::new(&script), 3, "");
    let failures: Vec<_> = report.attempts.iter().filter_map(|attempt| attempt.failure.as_deref()).collect();
    assert!(failures[0].contains("exited with code 1"), "{failures:?}");
    assert!(
        failures[1..].iter().all(|failure| failure.contains("the number of another boot")),
        "{failures:?}"
    );
}

#[test]
fn garbage_between_the_lines_is_ignored() {
    let script = "log booting; head -c 5000 /dev/urandom | tr -d '@'; hello; echo '[ 1.0] a kernel message'; begin; \
                  head -c 300 /dev/zero; program '\"ok\"'; end; done_; sleep 1000";
    check_done(&Machine::new(script), 1);
}

#[test]
fn slow_but_alive() {
    // In all longer than the limit of silence, never silent for so long.
    let script = "for n in 1 2 3 4 5 6 7 8 9; do log $n; sleep 0.4; done; all; sleep 1000";
    let start = Instant::now();
    check_done(&Machine::new(script).limits(|limits| limits.console = Duration::from_secs(3)), 1);
    assert!(start.elapsed() > Duration::from_secs(3));
}

#[test]
fn a_flaky_machine_gets_another_boot() {
    let report = check_done(&Machine::new("log booting; [ $boot -lt 3 ] && exit 1; all; sleep 1000"), 3);
    assert_eq!(report.attempts[1].machine, "pc");
    assert!(report.attempts[0].failure.is_some());
}

#[test]
fn too_little_memory_is_no_verdict() {
    let script = "log booting; hello; begin; if [ $boot = 1 ]; then program '{\"failed\":{\"errno\":-12}}'; \
                  else program '\"ok\"'; fi; end; done_; sleep 1000";
    let report = check_done(&Machine::new(script), 2);
    assert_eq!(report.attempts.iter().map(|attempt| attempt.memory_mib).collect::<Vec<_>>(), [256, 512]);
}

#[test]
fn the_time_limit_ends_it_without_another_boot() {
    let mut machine = Machine::new("log booting; hello; sleep 1000");
    machine.spec.timeout = SHORT;
    check_infra(&machine, 1, "raise the timeout");
}

#[test]
fn nothing_to_start() {
    let mut machine = Machine::new("exit 0");
    machine.spec.qemu = Some(PathBuf::from("/nowhere/qemu"));
    check_infra(&machine, 1, "cannot start QEMU");
    machine.spec.kernel = PathBuf::from("/nowhere/kernel");
    let Outcome::Infra { reason } = machine.run().outcome else { panic!() };
    assert!(reason.contains("/nowhere/kernel"), "{reason}");
}

#[test]
fn arm64_has_one_machine() {
    let mut machine = Machine::new("log booting; [ $boot -lt 2 ] && exit 1; all; sleep 1000");
    machine.spec.arch = Arch::Arm64;
    let report = check_done(&machine, 2);
    assert!(report.attempts.iter().all(|attempt| attempt.machine == "virt"));
}

#[test]
fn kvm_runs_only_the_own_architecture() {
    let mut machine = Machine::new("all");
    machine.spec.arch = if cfg!(target_arch = "x86_64") { Arch::Arm64 } else { Arch::X86_64 };
    machine.spec.accel = Accel::Kvm;
    let Outcome::Infra { reason } = machine.run().outcome else { panic!() };
    assert!(reason.contains("own architecture"), "{reason}");
}

/// Boots once, waits, and goes on from its state from then on; `restored` is what it does then.
fn machine_with_states(restored: &str) -> Machine {
    let script =
        format!("case $* in *incoming*) {restored} ;; *) log booting; waiting; fed; all ;; esac; sleep 1000");
    let mut machine = Machine::new(&script);
    let folder = machine.folder.path().join("states");
    machine.spec.states = Some(StateFolder { folder, limit: 1 << 20 });
    machine
}

/// Which of the boots that led to the answers went on from a state.
#[track_caller]
fn check_restored(machine: &Machine, expect: &[bool]) -> VmReport {
    let report = check_done(machine, expect.len());
    let restored: Vec<bool> = report.attempts.iter().map(|attempt| attempt.restored).collect();
    assert_eq!(restored, expect);
    report
}

#[test]
fn a_kept_state_saves_the_boot() {
    let mut machine = machine_with_states("fed; all");
    check_restored(&machine, &[false]);
    check_restored(&machine, &[true]);
    // Another guest program, memory or kernel is another state.
    fs::write(machine.folder.path().join("guest"), b"other").expect("guest");
    check_restored(&machine, &[false]);
    machine.spec.memory_mib = 512;
    check_restored(&machine, &[false]);
    fs::write(machine.folder.path().join("kernel"), b"\x7fELF2").expect("kernel");
    check_restored(&machine, &[false]);
    check_restored(&machine, &[true]);
}

#[test]
fn trouble_with_a_state_leads_to_a_boot() {
    let troubles = [
        ("exit 1", "exited with code 1"),
        ("exec <&- 3>&-; kill $!; sleep 1000", "control socket"),
        ("fed; hello; log Kernel panic; sleep 1000", "the kernel died"),
        // The state's own hello, as if nothing had been given to it.
        ("hello; sleep 1000", "the number of another boot"),
        ("waiting; sleep 1000", "\"waiting\" came out of turn"),
        ("fed; sleep 1000", "nothing happened"),
    ];
    for (restored, expect) in troubles {
        let machine = machine_with_states(restored).limits(|limits| limits.console = SHORT * 5);
        check_restored(&machine, &[false]);
        let report = check_restored(&machine, &[true, false]);
        let failure = report.attempts[0].failure.as_deref().unwrap_or_default();
        assert!(failure.contains(expect) || failure.contains("control socket"), "{restored}: {failure}");
    }
}

#[test]
fn a_damaged_state_leads_to_a_boot() {
    let machine = machine_with_states("fed; all");
    check_restored(&machine, &[false]);
    let states = fs::read_dir(machine.folder.path().join("states")).expect("states");
    for state in states {
        fs::write(state.expect("entry").path(), b"no state").expect("state");
    }
    check_restored(&machine, &[true, false]);
}

#[test]
fn a_machine_that_cannot_wait_boots_plainly() {
    let script = "log booting; [ -n \"$memory\" ] && exit 1; all; sleep 1000";
    let mut machine = Machine::new(script);
    let folder = machine.folder.path().join("states");
    machine.spec.states = Some(StateFolder { folder, limit: 1 << 20 });
    check_restored(&machine, &[false, false]);
}

#[test]
fn evidence_is_left() {
    let mut machine = Machine::new("log booting; [ $boot -lt 2 ] && exit 1; all; sleep 1000");
    let folder = machine.folder.path().join("evidence");
    machine.spec.evidence = Some(folder.clone());
    check_done(&machine, 2);
    let read = |name: &str| fs::read_to_string(folder.join(name)).expect(name);
    assert!(read("boot-1/command.txt").contains("-M q35"));
    assert_eq!(read("boot-2/console.log"), "[    0.1] booting\n");
    assert_eq!(read("boot-2/results.jsonl").matches("@@btfpipe1").count(), 5);
    assert!(read("report.json").contains("exited with code 1"));
}

#[test]
fn events_tell_the_story() {
    let machine = Machine::new("log booting; all; sleep 1000");
    let mut told = Vec::new();
    vmtest::run(&machine.spec, &[a_check()], &mut |event| {
        told.push(match event {
            VmEvent::Accel { .. } => "accel",
            VmEvent::Boot { .. } => "boot",
            VmEvent::Console { .. } => "console",
            VmEvent::Ready { .. } => "ready",
            VmEvent::CheckBegin { .. } => "begin",
            VmEvent::CheckEnd { .. } => "end",
            VmEvent::BootFailed { .. } => "failed",
            VmEvent::StateKept { .. } => "kept",
            VmEvent::StateNotKept { .. } => "not kept",
            VmEvent::NoEvidence { .. } => "no evidence",
            VmEvent::Output { .. } => "output",
        });
    });
    told.retain(|event| *event != "console");
    assert_eq!(told, ["accel", "boot", "ready", "begin", "end"]);
}

#[test]
fn a_killed_host_leaves_no_machine() {
    check_killed_host("a_killed_host_leaves_no_machine", |machine| drop(machine.run()));
}

#[test]
fn a_killed_shell_leaves_no_machine() {
    check_killed_host("a_killed_shell_leaves_no_machine", |machine| {
        drop(vmtest::session::attach(&machine.spec, &[], &["sh".to_owned()]));
    });
}

/// Starts the test once more as a host that does this, and kills it.
#[track_caller]
fn check_killed_host(test: &str, work: impl Fn(&Machine)) {
    const FOLDER: &str = "FAKE_QEMU_FOLDER";
    let mut machine = Machine::new("log booting; exec sleep 1000");
    if let Some(folder) = std::env::var_os(FOLDER) {
        machine.spec.work = PathBuf::from(folder);
        return work(&machine);
    }
    let pids = machine.folder.path().join("pids");
    let mut host = Command::new(std::env::current_exe().expect("this program"))
        .args([test, "--exact"])
        .env(FOLDER, machine.folder.path())
        .spawn()
        .expect("host");
    wait_until(|| !read_pids(&pids).is_empty());
    host.kill().expect("kill");
    host.wait().expect("wait");
    let pid = read_pids(&pids)[0];
    wait_until(|| is_gone(pid));
}

#[track_caller]
fn wait_until(what: impl Fn() -> bool) {
    let start = Instant::now();
    while !what() {
        assert!(start.elapsed() < LONG, "it did not happen");
        sleep(Duration::from_millis(10));
    }
}
