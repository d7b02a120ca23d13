//! Which of the kernels that a source has are taken.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use super::pattern::Pattern;
use super::release::{self, Range};
use crate::KernelId;

/// What a configuration says about which kernels are taken; empty means all.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(default)]
pub struct Selection {
    /// Patterns of identities: any of them has to match.
    #[serde(deserialize_with = "one_or_more")]
    pub select: Vec<Pattern>,
    /// Kernel versions.
    pub versions: Option<Range>,
    /// How many of each series, newest first.
    pub newest: Option<usize>,
    /// Kernels that are left out, and why.
    pub exclude: Vec<Exclusion>,
}

/// Kernels that are left out for some time.
#[derive(Debug, Clone, PartialEq, Eq, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Exclusion {
    /// A pattern of identities.
    pub kernels: Pattern,
    /// Why.
    pub reason: String,
    /// The last day; from the next day on the kernels count again.
    pub until: Option<Day>,
}

/// A day as `2027-01-31`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Deserialize)]
#[serde(try_from = "String")]
pub struct Day {
    year: u16,
    month: u8,
    day: u8,
}

/// What was selected, and what a person should hear of it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Selected {
    /// The kernels, sorted.
    pub kernels: Vec<KernelId>,
    /// Exclusions that no longer count or that exclude nothing.
    pub notes: Vec<String>,
}

impl Selection {
    /// Applies it on a day.
    pub fn apply(&self, kernels: impl IntoIterator<Item = KernelId>, today: Day) -> Selected {
        let mut used = vec![false; self.exclude.len()];
        let mut series: BTreeMap<(String, String, crate::Arch, String), Vec<KernelId>> = BTreeMap::new();
        for id in kernels {
            let text = id.to_string();
            let asked = self.select.is_empty() || self.select.iter().any(|pattern| pattern.matches(&text));
            if !asked || self.versions.as_ref().is_some_and(|range| !range.contains(id.release())) {
                continue;
            }
            let matching = self.exclude.iter().position(|exclusion| exclusion.kernels.matches(&text));
            if let Some(index) = matching {
                used[index] = true;
                if !self.exclude[index].has_expired(today) {
                    continue;
                }
            }
            let (distro, version) = (id.distro().to_owned(), id.version().to_owned());
            let key = (distro, version, id.arch(), release::series(id.release()));
            series.entry(key).or_default().push(id);
        }
        let mut selected = Selected { kernels: Vec::new(), notes: self.notes(&used, today) };
        for (_, mut kernels) in series {
            kernels.sort_by(|a, b| release::compare(b.release(), a.release()).then_with(|| a.cmp(b)));
            kernels.truncate(self.newest.unwrap_or(usize::MAX));
            selected.kernels.extend(kernels);
        }
        selected.kernels.sort();
        selected
    }

    fn notes(&self, used: &[bool], today: Day) -> Vec<String> {
        let note = |(exclusion, used): (&Exclusion, &bool)| {
            let Exclusion { reason, until, .. } = exclusion;
            let pattern = String::from(exclusion.kernels.clone());
            match (until, used) {
                (Some(day), _) if exclusion.has_expired(today) => Some(format!(
                    "the exclusion of {pattern} ended on {day} ({reason}): its kernels count again"
                )),
                (_, false) => Some(format!("the exclusion of {pattern} excludes nothing ({reason})")),
                (_, true) => None,
            }
        };
        self.exclude.iter().zip(used).filter_map(note).collect()
    }
}

impl Exclusion {
    fn has_expired(&self, today: Day) -> bool {
        self.until.is_some_and(|until| until < today)
    }
}

impl Day {
    /// The day of a time in UTC.
    pub fn of(time: std::time::SystemTime) -> Day {
        let since = time.duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        // Days are counted in eras of 400 years from March of the year 0, so that the leap day is the last one.
        let days = since.as_secs() / 86_400 + 719_468;
        let (era, of_era) = (days / 146_097, days % 146_097);
        let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
        let of_year = of_era - (365 * year + year / 4 - year / 100);
        let month = (5 * of_year + 2) / 153;
        let day = of_year - (153 * month + 2) / 5 + 1;
        let (month, next) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
        Day { year: (year + era * 400 + next) as u16, month: month as u8, day: day as u8 }
    }
}

impl fmt::Display for Day {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04}-{:02}-{:02}", self.year, self.month, self.day)
    }
}

impl FromStr for Day {
    type Err = String;

    fn from_str(text: &str) -> Result<Day, String> {
        let parse = || {
            let mut numbers = text.splitn(3, '-');
            let mut next = |digits: usize| {
                let number = numbers.next()?;
                (number.len() == digits && number.bytes().all(|b| b.is_ascii_digit())).then_some(number)
            };
            let (year, month, day) = (next(4)?.parse().ok()?, next(2)?.parse().ok()?, next(2)?.parse().ok()?);
            ((1..=12).contains(&month) && (1..=31).contains(&day)).then_some(Day { year, month, day })
        };
        parse().ok_or_else(|| format!("{text:?} is no day such as 2027-01-31"))
    }
}

impl TryFrom<String> for Day {
    type Error = String;

    fn try_from(text: String) -> Result<Day, String> {
        text.parse()
    }
}

/// A list, or its only element.
pub(super) fn one_or_more<'de, D, T>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    D: serde::Deserializer<'de>,
    T: serde::Deserialize<'de>,
{
    #[derive(serde::Deserialize)]
    #[serde(untagged)]
    enum OneOrMore<T> {
        One(T),
        More(Vec<T>),
    }
    Ok(match serde::Deserialize::deserialize(deserializer)? {
        OneOrMore::One(one) => vec![one],
        OneOrMore::More(more) => more,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use std::time::{Duration, UNIX_EPOCH};

    const KERNELS: &[&str] = &[
        "rhel/8/x86_64/4.18.0-147.el8.x86_64",
        "ubuntu/20.04/x86_64/5.15.0-9-generic",
        "ubuntu/20.04/x86_64/5.4.0-100-generic",
        "ubuntu/20.04/x86_64/5.4.0-91-azure",
        "ubuntu/20.04/x86_64/5.4.0-91-generic",
        "ubuntu/20.04/arm64/5.4.0-91-generic",
    ];

    fn check(with: serde_json::Value, wanted: &[usize], notes: &[&str]) {
        let selection: Selection = serde_json::from_value(with).unwrap();
        let all = KERNELS.iter().rev().map(|id| id.parse().unwrap());
        let selected = selection.apply(all, "2026-11-28".parse().unwrap());
        let found: Vec<String> = selected.kernels.iter().map(ToString::to_string).collect();
        assert_eq!(found, wanted.iter().map(|index| KERNELS[*index]).collect::<Vec<_>>());
        assert_eq!(selected.notes.len(), notes.len(), "{:?}", selected.notes);
        for (note, wanted) in selected.notes.iter().zip(notes) {
            assert!(note.contains(wanted), "{note}");
        }
    }

    #[test]
    fn selecting() {
        check(json!({}), &[0, 1, 2, 3, 4, 5], &[]);
        check(json!({"select": "ubuntu/*/x86_64/*-generic"}), &[1, 2, 4], &[]);
        check(json!({"select": ["rhel/**", "**/*-azure"]}), &[0, 3], &[]);
        check(json!({"versions": ">=5.4, <5.10"}), &[2, 3, 4, 5], &[]);
        check(json!({"newest": 1}), &[0, 1, 2, 3, 5], &[]);
        check(json!({"newest": 0}), &[], &[]);
    }

    #[test]
    fn excluding() {
        let exclude = |kernels: &str, until: &str| json!({"exclude": [{"kernels": kernels, "reason": "broken", "until": until}]});
        check(exclude("ubuntu/**", "2026-11-28"), &[0], &[]);
        check(exclude("ubuntu/**", "2026-11-27"), &[0, 1, 2, 3, 4, 5], &["ended on 2026-11-27 (broken)"]);
        check(exclude("debian/**", "2027-01-01"), &[0, 1, 2, 3, 4, 5], &["excludes nothing"]);
        // What is excluded does not count among the newest.
        let with = json!({"newest": 1, "exclude": [{"kernels": "**/5.4.0-100-generic", "reason": "x"}]});
        check(with, &[0, 1, 3, 4, 5], &[]);
    }

    #[test]
    fn days() {
        let of = |seconds: u64| Day::of(UNIX_EPOCH + Duration::from_secs(seconds)).to_string();
        assert_eq!(of(0), "1970-01-01");
        assert_eq!(of(951_782_400), "2000-02-29");
        assert_eq!(of(951_868_800), "2000-03-01");
        assert_eq!(of(1_798_675_199), "2026-12-30");
        for wrong in ["", "2026-1-1", "2026-13-01", "2026-01-32", "26-01-01", "2026-01-01-01", "+026-01-01"] {
            assert!(wrong.parse::<Day>().is_err(), "{wrong}");
        }
        assert!(serde_json::from_value::<Selection>(json!({"versions": "5.4"})).is_err());
    }
}
