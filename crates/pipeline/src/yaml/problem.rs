//! What is wrong in a file, shown with place, line and a hint.

use std::collections::BTreeSet;
use std::fmt;

use crate::yaml::Node;

/// A place in a text: line and column from 1, in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct At {
    /// Which of the texts, 0 for the pipeline file itself.
    pub text: u16,
    /// Line, from 1.
    pub line: u32,
    /// Column, from 1, in characters.
    pub column: u32,
}

impl At {
    /// The beginning of the pipeline file.
    pub const START: At = At::new(1, 1);

    /// A place in the pipeline file.
    pub const fn new(line: u32, column: u32) -> At {
        At { text: 0, line, column }
    }
}

/// One thing that is wrong, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Where.
    pub at: At,
    /// What, in lower case.
    pub message: String,
    /// What to do, line by line.
    pub help: Vec<String>,
}

impl Problem {
    /// A problem without a hint.
    pub fn new(at: At, message: impl Into<String>) -> Self {
        Problem { at, message: message.into(), help: Vec::new() }
    }

    /// With one more hint.
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help.push(help.into());
        self
    }

    /// With the known word that is close to `word`, or all known words when none is.
    pub fn did_you_mean<'a>(self, word: &str, known: impl Iterator<Item = &'a str>) -> Self {
        let known: Vec<&str> = known.collect();
        match closest(word, &known) {
            Some(best) => self.help(format!("did you mean `{best}`?")),
            None if known.is_empty() => self,
            None => self.help(format!("known here: {}", listed(&known))),
        }
    }
}

/// The first of them, and how many more.
fn listed(words: &[&str]) -> String {
    const MOST: usize = 12;
    match words.len() {
        few if few <= MOST => words.join(", "),
        many => format!("{} and {} more", words[..MOST].join(", "), many - MOST),
    }
}

/// Whether `word` looks like a slip of the finger for `known`.
pub fn is_close(word: &str, known: &str) -> bool {
    // Nobody mistypes a kilobyte; comparing costs the product of the lengths.
    if word.chars().count() > 2 * known.chars().count() + 2 {
        return false;
    }
    let distance = strsim::damerau_levenshtein(&word.to_lowercase(), &known.to_lowercase());
    let length = known.chars().count();
    // Of `9` and `3` nobody knows which was meant.
    distance <= (length / 3).max(1) && 2 * distance <= length
}

fn closest<'a>(word: &str, known: &[&'a str]) -> Option<&'a str> {
    known
        .iter()
        .filter(|candidate| is_close(word, candidate))
        .min_by_key(|candidate| strsim::damerau_levenshtein(&word.to_lowercase(), &candidate.to_lowercase()))
        .copied()
}

/// A text that problems can be in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Text {
    /// What it is called in messages: a path, `--set`.
    pub name: String,
    /// What it says.
    pub text: String,
    /// Where another text includes it.
    pub included: Option<At>,
}

/// All texts that a pipeline is made of, by [`At::text`].
pub type Texts = Vec<Text>;

/// All that is wrong with one pipeline.
#[derive(Debug, Default)]
pub struct Problems {
    list: Vec<Problem>,
    /// Places where nothing more is told, since all else follows from the first.
    settled: BTreeSet<At>,
}

impl Problems {
    /// Remembers one more.
    pub fn add(&mut self, problem: Problem) {
        if !self.settled.contains(&problem.at) {
            self.list.push(problem);
        }
    }

    /// The last of its place: what else is wrong there follows from it. Without a message it was told elsewhere.
    pub fn add_last(&mut self, problem: Problem) {
        self.settled.insert(problem.at);
        if !problem.message.is_empty() {
            self.list.push(problem);
        }
    }

    /// How many there are so far.
    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// Whether nothing is wrong so far.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// The error when there is any problem; they come in the order of the texts.
    pub fn into_result(mut self, texts: &Texts) -> Result<(), Invalid> {
        if self.list.is_empty() {
            return Ok(());
        }
        self.list.sort_by_key(|problem| problem.at);
        self.list.dedup();
        Err(Invalid { texts: texts.clone(), problems: self.list })
    }
}

/// A pipeline that can't be used, with the lines that are wrong.
#[derive(Debug, Clone)]
pub struct Invalid {
    /// Its texts.
    pub texts: Texts,
    /// At least one.
    pub problems: Vec<Problem>,
}

impl std::error::Error for Invalid {}

/// A screen is enough to begin with.
const SHOWN: usize = 20;

impl fmt::Display for Invalid {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        for (index, problem) in self.problems.iter().take(SHOWN).enumerate() {
            if index > 0 {
                formatter.write_str("\n\n")?;
            }
            self.show(problem, formatter)?;
        }
        match self.problems.len() {
            0..=SHOWN => Ok(()),
            many => write!(formatter, "\n\nand {} problems more", many - SHOWN),
        }
    }
}

impl Invalid {
    fn show(&self, problem: &Problem, out: &mut fmt::Formatter) -> fmt::Result {
        let Problem { at, message, help } = problem;
        let text = self.texts.get(usize::from(at.text));
        let line = text.and_then(|text| text.text.lines().nth(at.line as usize - 1)).unwrap_or("");
        write!(out, "{}: {message}", self.place(*at))?;
        let number = at.line.to_string();
        let edge = " ".repeat(number.len());
        if !line.trim().is_empty() {
            let (line, column) = window(line, at.column as usize - 1);
            write!(out, "\n {number} | {line}\n {edge} | {}{}", " ".repeat(column), marks(&line, column))?;
        }
        for help in help {
            write!(out, "\n {edge} = {help}")?;
        }
        match text.and_then(|text| text.included) {
            Some(included) => write!(out, "\n {edge} = included at {}", self.place(included)),
            None => Ok(()),
        }
    }

    fn place(&self, at: At) -> String {
        place(&self.texts, at)
    }
}

/// `pipelines/release.yaml:4:5`
pub fn place(texts: &Texts, at: At) -> String {
    let name = texts.get(usize::from(at.text)).map_or("", |text| &text.name);
    // An argument is one word: nobody counts columns in it.
    if name.starts_with("--") { name.to_owned() } else { format!("{name}:{}:{}", at.line, at.column) }
}

/// A long line cut around its column, tabs made into one blank each so that the mark stands below its word.
fn window(line: &str, column: usize) -> (String, usize) {
    const WIDE: usize = 100;
    let chars: Vec<char> = line.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let start = if column > WIDE { column - WIDE / 2 } else { 0 };
    let end = chars.len().min(start + WIDE);
    let start = start.min(end);
    (chars[start..end].iter().collect(), (column - start).min(WIDE))
}

fn marks(line: &str, column: usize) -> String {
    let rest: Vec<char> = line.chars().skip(column).collect();
    let ends = |c: &char| c.is_whitespace() || ":,]}#".contains(*c);
    let word = match rest.first() {
        // `${…}` is one word.
        Some('$') if rest.get(1) == Some(&'{') => rest.iter().position(|c| *c == '}').map(|end| end + 1),
        Some(quote @ ('"' | '\'')) => rest[1..].iter().position(|c| c == quote).map(|end| end + 2),
        _ => None,
    };
    "^".repeat(word.unwrap_or_else(|| rest.iter().take_while(|c| !ends(c)).count()).max(1))
}

/// The problem at the place in `with:` that a JSON pointer names; a pointer to a key is shown at the key's value.
pub(crate) fn located(uses: &str, with: &Node, pointer: &str, message: &str, help: Option<&str>) -> Problem {
    let problem = Problem::new(with.place(pointer), format!("{uses}: {message}"));
    match help {
        Some(help) => problem.help(help),
        None => problem,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str, problem: Problem) -> String {
        let mut problems = Problems::default();
        problems.add(problem);
        let texts = vec![Text { name: "p.yaml".into(), text: text.into(), included: None }];
        problems.into_result(&texts).unwrap_err().to_string()
    }

    #[test]
    fn a_problem_shows_its_line() {
        let problem =
            Problem::new(At::new(2, 3), "unknown key `use`").did_you_mean("use", ["uses"].into_iter());
        let wanted =
            "p.yaml:2:3: unknown key `use`\n 2 |   use: debian\n   |   ^^^\n   = did you mean `uses`?";
        assert_eq!(shown("kernels:\n  use: debian\n", problem), wanted);
    }

    #[test]
    fn a_place_outside_the_text_is_shown_without_a_line() {
        assert_eq!(shown("", Problem::new(At::new(9, 900), "gone")), "p.yaml:9:900: gone");
        let long = "x".repeat(300);
        let text = shown(&long, Problem::new(At::new(1, 290), "far"));
        assert!(text.lines().all(|line| line.len() < 110), "{text}");
        shown("ab", Problem::new(At::new(1, 5000), "outside"));
    }

    #[test]
    fn suggestions_are_close_or_complete() {
        let check = |word: &str, wanted: &str| {
            let problem =
                Problem::new(At::START, "x").did_you_mean(word, ["version", "name", "kernels"].into_iter());
            assert_eq!(problem.help, [wanted], "{word}");
        };
        check("kernel", "did you mean `kernels`?");
        check("Name", "did you mean `name`?");
        check("verison", "did you mean `version`?");
        check("colour", "known here: version, name, kernels");
    }
}
