//! Essential names: what is left of a name without its flavor.

/// The name without its flavor suffix (libbpf: `bpf_core_essential_name_len`).
///
/// A flavor starts at the last place of the form `X___Y`, where neither X nor Y is an underscore.
pub fn essential_name(name: &[u8]) -> &[u8] {
    if !has_three_underscores(name) {
        return name;
    }
    match name.windows(5).rposition(is_flavor_separator) {
        Some(at) => &name[..=at],
        None => name,
    }
}

/// Whether there may be three in a row: one of these stands at every third place. Nearly no name gets further.
#[inline]
fn has_three_underscores(name: &[u8]) -> bool {
    let is_underscore = |at: usize| name.get(at) == Some(&b'_');
    (2..name.len()).step_by(3).any(|at| is_underscore(at) && (is_underscore(at - 1) || is_underscore(at + 1)))
}

fn is_flavor_separator(place: &[u8]) -> bool {
    place[0] != b'_' && &place[1..4] == b"___" && place[4] != b'_'
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flavors() {
        let check = |name: &str, want: &str| assert_eq!(essential_name(name.as_bytes()), want.as_bytes());
        check("task_struct", "task_struct");
        check("task_struct___old", "task_struct");
        check("a___b___c", "a___b");
        check("foo___", "foo___");
        check("___foo", "___foo");
        check("a____b", "a____b");
        check("____x", "____x");
        check("a___b", "a");
        check("a__b", "a__b");
        check("", "");
        check("a___b____c", "a");
        // Wherever the separator stands.
        for before in 1..20 {
            let essential = "x".repeat(before);
            for after in 1..9 {
                check(&format!("{essential}___{}", "y".repeat(after)), &essential);
                check(
                    &format!("{essential}__{}", "y".repeat(after)),
                    &format!("{essential}__{}", "y".repeat(after)),
                );
            }
        }
    }
}
