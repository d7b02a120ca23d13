//! What people write that isn't YAML, explained.

use serde_saphyr::Error;

use super::reading::at_of;
use crate::yaml::problem::{At, Problem};

const INDENT: &str = "entries of one list or mapping begin in the same column";
const BRACKETS: &str = "every `[` needs its `]`, every `{` its `}`";

/// How the library's message begins, what we say, and what to do.
///
/// Words of the library that are not here are shown as they are: a new version may explain better.
const SAID: [(&str, &str, &str); 15] = [
    (
        "simple key expected ':'",
        "this is no `key: value`",
        "a key ends with a colon and a blank: `name: release`",
    ),
    (
        "mapping values are not allowed",
        "there is a `:` where none can be",
        "quote a text that holds a colon and a blank: \"release: nightly\"",
    ),
    ("tabs disallowed", "there is a tab in the indentation", "YAML is indented with blanks only"),
    ("while parsing a block collection", "the indentation doesn't fit the lines above", INDENT),
    ("while parsing a block mapping", "the indentation doesn't fit the lines above", INDENT),
    ("mismatched bracket", "this bracket is closed by one of another kind", BRACKETS),
    ("while parsing a flow mapping", "a `{` above is not closed", "look for the missing `}` or `,` above"),
    ("while parsing a flow sequence", "a `[` above is not closed", "look for the missing `]` or `,` above"),
    (
        "unexpected EOF while parsing an implicit",
        "there is a `,` too much",
        "one comma stands between two entries",
    ),
    ("unclosed bracket", "a bracket is never closed", BRACKETS),
    ("unclosed quote", "this quote is never closed", "a quoted text ends with the quote that it begins with"),
    ("budget breached: Documents", "a second document begins here", "a pipeline is one: remove the `---`"),
    (
        "budget breached: Nodes",
        "this makes more than 20000 values, those of aliases counted",
        "no pipeline is that large; look for aliases of aliases",
    ),
    ("budget breached: Depth", "this is nested more than 64 levels deep", "no pipeline is that deep"),
    ("unsupported tag", "tags such as `!name` mean nothing here", "write the value without it, or quote it"),
];

/// The library's error in our words.
pub(super) fn explained(error: &Error, text: &str) -> Problem {
    let at = error.location().map_or(At::START, at_of);
    let message = message_of(error);
    if message.starts_with("alias references unknown anchor") {
        return unknown_anchor(at, text);
    }
    match SAID.iter().find(|(begin, _, _)| message.starts_with(begin)) {
        Some((_, said, help)) => Problem::new(at, *said).help(*help),
        None => Problem::new(at, message),
    }
}

/// Hardly anybody means an anchor: it is a pattern without quotes.
fn unknown_anchor(at: At, text: &str) -> Problem {
    let line = text.lines().nth(at.line as usize - 1).unwrap_or_default();
    let rest = line.chars().skip(at.column as usize - 1);
    let word: String = rest.take_while(|c| !c.is_whitespace() && !",]}".contains(*c)).collect();
    let word = super::shortened(&word);
    Problem::new(at, format!("`{word}` names an anchor, and there is none of that name"))
        .help(format!("quote a text that begins with `*`: \"{word}\""))
}

/// The first line of what the parser says, without the place, which [`Problem`] shows.
fn message_of(error: &Error) -> String {
    let text = error.without_snippet().to_string();
    let line = text.lines().next().unwrap_or("not YAML");
    let line = line.split(" at line ").next().unwrap_or(line);
    let line = line.strip_prefix("error: ").unwrap_or(line);
    match line.split_once(": line ") {
        Some((before, _)) => before.to_owned(),
        None => line.to_owned(),
    }
}

/// Where the first byte is that isn't UTF-8.
pub(super) fn not_utf8(bytes: &[u8], valid: usize) -> Problem {
    let before = String::from_utf8_lossy(&bytes[..valid]);
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    let number = |value: usize| u32::try_from(value).unwrap_or(u32::MAX);
    let at = At::new(number(line), number(column));
    let problem = Problem::new(at, format!("the byte {:#04x} is not UTF-8", bytes[valid]));
    match bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]) {
        true => problem.help("the file looks like UTF-16; save it as UTF-8"),
        false => problem.help("save the file as UTF-8"),
    }
}
