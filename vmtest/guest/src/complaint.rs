//! Which program libbpf complains of. There is no API for it; the libbpf that is linked in is a fixed version, so that
//! its words are, too.

/// What libbpf writes after `prog 'NAME': ` when that program ends the work on the whole object.
const FATAL: [&str; 4] =
    [REFUSED, "failed to relocate", "failed to patch insn", "failed to perform .BTF.ext"];

/// When the kernel did not take it.
const REFUSED: &str = "failed to load: ";

/// The program that the log blames, the last word counting.
pub fn blamed(log: &str) -> Option<&str> {
    complaint(log).map(|(name, _)| name)
}

/// True when that is for the kernel's refusal: all programs are relocated before the first is loaded.
#[cfg(any(test, feature = "at-once"))]
pub fn was_refused(log: &str) -> bool {
    complaint(log).is_some_and(|(_, what)| what.starts_with(REFUSED))
}

fn complaint(log: &str) -> Option<(&str, &str)> {
    log.lines().rev().find_map(|line| {
        let (name, rest) = line.strip_prefix("libbpf: prog '")?.split_once("': ")?;
        let what = without_relo(rest);
        FATAL.iter().any(|fatal| what.starts_with(fatal)).then_some((name, what))
    })
}

/// True when libbpf looked for the kernel's own BTF and did not find it.
pub fn misses_kernel_btf(log: &str) -> bool {
    log.contains("Error loading vmlinux BTF")
}

/// True when it was a map that could not be made: everything is relocated before that.
pub fn stopped_at_maps(log: &str) -> bool {
    log.lines().any(|line| line.starts_with("libbpf: map '") && line.contains("': failed to create"))
}

/// The text without `relo #N: ` in front.
fn without_relo(text: &str) -> &str {
    match text.strip_prefix("relo #").and_then(|rest| rest.split_once(": ")) {
        Some((_, rest)) => rest,
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(log: &str, expect: Option<&str>) {
        assert_eq!(blamed(log), expect, "{log:?}");
    }

    #[test]
    fn finds_the_program_that_ended_the_load() {
        check("", None);
        check("libbpf: failed to load object 'x'", None);
        check("libbpf: prog 'a': failed to load: -EINVAL\nlibbpf: failed to load object 'x'", Some("a"));
        check("libbpf: prog 'a': BPF program load failed: -EINVAL\n", None);
        check("libbpf: prog 'a': relo #3: failed to relocate: -EINVAL\n", Some("a"));
        check("libbpf: prog 'a': relo #3: patched insn #1\n", None);
        check("libbpf: prog 'a': failed to relocate calls: -LIBBPF\n", Some("a"));
        // A verifier log may hold anything; only libbpf's own lines count.
        check("prog 'b': failed to load: 1\nlibbpf: prog 'a': failed to load: -13\n", Some("a"));
    }

    #[test]
    fn knows_the_stage() {
        assert!(was_refused("libbpf: prog 'a': failed to load: -13\nlibbpf: failed to load object 'x'"));
        assert!(!was_refused("libbpf: prog 'a': relo #3: failed to relocate: -EINVAL\n"));
        assert!(!was_refused("libbpf: map 'm': failed to create: -ENOMEM"));
        assert!(stopped_at_maps("libbpf: map 'm': failed to create: -ENOMEM"));
        assert!(!stopped_at_maps("libbpf: failed to parse target BTF: -EINVAL"));
        assert!(misses_kernel_btf("libbpf: Error loading vmlinux BTF: -ESRCH"));
    }
}
