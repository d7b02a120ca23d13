//! What is wrong in a file, shown with place, line and a hint.

use std::fmt::{self, Write};
use std::path::{Path, PathBuf};

/// A place in a text: line and column from 1, in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct At {
    /// Line, from 1.
    pub line: u32,
    /// Column, from 1, in characters.
    pub column: u32,
}

impl At {
    /// The beginning of the text.
    pub const START: At = At { line: 1, column: 1 };
}

/// One thing that is wrong, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Where.
    pub at: At,
    /// What, in lower case.
    pub message: String,
    /// What to do.
    pub help: Option<String>,
}

impl Problem {
    /// A problem without a hint.
    pub fn new(at: At, message: impl Into<String>) -> Self {
        Problem { at, message: message.into(), help: None }
    }

    /// With a hint.
    pub fn help(self, help: impl Into<String>) -> Self {
        Problem { help: Some(help.into()), ..self }
    }

    /// With the known word that is close to `word`, or all known words when none is.
    pub fn did_you_mean<'a>(self, word: &str, known: impl Iterator<Item = &'a str>) -> Self {
        let known: Vec<&str> = known.collect();
        let help = match closest(word, &known) {
            Some(best) => format!("did you mean `{best}`?"),
            None if known.is_empty() => return self,
            None => format!("known here: {}", known.join(", ")),
        };
        self.help(help)
    }
}

/// Whether `word` looks like a slip of the finger for `known`.
pub fn is_close(word: &str, known: &str) -> bool {
    let distance = strsim::damerau_levenshtein(&word.to_lowercase(), known);
    distance <= (known.chars().count() / 3).max(1)
}

fn closest<'a>(word: &str, known: &[&'a str]) -> Option<&'a str> {
    known
        .iter()
        .filter(|candidate| is_close(word, candidate))
        .min_by_key(|candidate| strsim::damerau_levenshtein(&word.to_lowercase(), candidate))
        .copied()
}

/// All that is wrong in one file, in the order of the file.
#[derive(Debug, Default)]
pub struct Problems {
    list: Vec<Problem>,
}

impl Problems {
    /// Remembers one more.
    pub fn add(&mut self, problem: Problem) {
        self.list.push(problem);
    }

    /// The error when there is any problem.
    pub fn into_result(mut self, path: &Path, text: &str) -> Result<(), Invalid> {
        if self.list.is_empty() {
            return Ok(());
        }
        self.list.sort_by_key(|problem| problem.at);
        self.list.dedup();
        Err(Invalid { path: path.to_owned(), text: text.to_owned(), problems: self.list })
    }
}

/// A file that can't be used, with the lines that are wrong.
#[derive(Debug, Clone)]
pub struct Invalid {
    /// The file as it was named.
    pub path: PathBuf,
    /// Its text.
    pub text: String,
    /// At least one.
    pub problems: Vec<Problem>,
}

impl std::error::Error for Invalid {}

impl fmt::Display for Invalid {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        for (index, problem) in self.problems.iter().enumerate() {
            if index > 0 {
                formatter.write_char('\n')?;
            }
            self.show(problem, formatter)?;
        }
        Ok(())
    }
}

impl Invalid {
    fn show(&self, problem: &Problem, out: &mut fmt::Formatter) -> fmt::Result {
        let Problem { at, message, help } = problem;
        write!(out, "{}:{}:{}: {message}", self.path.display(), at.line, at.column)?;
        let line = self.text.lines().nth(at.line as usize - 1).unwrap_or("");
        let number = at.line.to_string();
        let edge = " ".repeat(number.len());
        if !line.trim().is_empty() {
            let (line, column) = window(line, at.column as usize - 1);
            write!(out, "\n {number} | {line}\n {edge} | {}{}", " ".repeat(column), marks(&line, column))?;
        }
        match help {
            Some(help) => write!(out, "\n {edge} = {help}"),
            None => Ok(()),
        }
    }
}

/// A long line cut around its column, tabs made into one blank each so that the mark stands below its word.
fn window(line: &str, column: usize) -> (String, usize) {
    const WIDE: usize = 100;
    let chars: Vec<char> = line.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let start = if column > WIDE { column - WIDE / 2 } else { 0 };
    let end = chars.len().min(start + WIDE);
    let start = start.min(end);
    (chars[start..end].iter().collect(), column - start)
}

fn marks(line: &str, column: usize) -> String {
    let word = line.chars().skip(column).take_while(|c| !c.is_whitespace() && !":,]}#".contains(*c)).count();
    "^".repeat(word.max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str, problem: Problem) -> String {
        let mut problems = Problems::default();
        problems.add(problem);
        problems.into_result(Path::new("p.yaml"), text).unwrap_err().to_string()
    }

    #[test]
    fn a_problem_shows_its_line() {
        let problem = Problem::new(At { line: 2, column: 3 }, "unknown key `use`")
            .did_you_mean("use", ["uses"].into_iter());
        let wanted =
            "p.yaml:2:3: unknown key `use`\n 2 |   use: debian\n   |   ^^^\n   = did you mean `uses`?";
        assert_eq!(shown("kernels:\n  use: debian\n", problem), wanted);
    }

    #[test]
    fn a_place_outside_the_text_is_shown_without_a_line() {
        assert_eq!(shown("", Problem::new(At { line: 9, column: 900 }, "gone")), "p.yaml:9:900: gone");
        let long = "x".repeat(300);
        let text = shown(&long, Problem::new(At { line: 1, column: 290 }, "far"));
        assert!(text.lines().all(|line| line.len() < 110), "{text}");
        shown("ab", Problem::new(At { line: 1, column: 5000 }, "outside"));
    }

    #[test]
    fn suggestions_are_close_or_complete() {
        let check = |word: &str, wanted: &str| {
            let problem =
                Problem::new(At::START, "x").did_you_mean(word, ["version", "name", "kernels"].into_iter());
            assert_eq!(problem.help.as_deref(), Some(wanted), "{word}");
        };
        check("kernel", "did you mean `kernels`?");
        check("Name", "did you mean `name`?");
        check("verison", "did you mean `version`?");
        check("colour", "known here: version, name, kernels");
    }
}
