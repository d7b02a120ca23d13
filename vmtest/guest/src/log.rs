//! What libbpf says, kept in a file: it outlives the process that crashed while libbpf said it.

use std::ffi::{c_char, c_int, c_void};
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::wire::LOG_MAX;

const PATH: &str = "/libbpf.log";
static FILE: OnceLock<File> = OnceLock::new();
static EVERYTHING: AtomicBool = AtomicBool::new(false);

/// How much libbpf tells.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Detail {
    /// What went wrong.
    Warnings,
    /// Every relocation.
    Everything,
}

/// Starts an empty log.
pub fn start(detail: Detail) -> io::Result<()> {
    let file = match FILE.get() {
        Some(file) => file,
        None => {
            let file = OpenOptions::new().append(true).create(true).open(PATH)?;
            FILE.get_or_init(|| file)
        }
    };
    file.set_len(0)?;
    EVERYTHING.store(detail == Detail::Everything, Ordering::Relaxed);
    listen();
    Ok(())
}

/// C's list of arguments has another type on each architecture, and is a pointer on all that we have.
type Print = unsafe extern "C" fn(libbpf_sys::libbpf_print_level, *const c_char, *mut c_void) -> c_int;

#[allow(unsafe_code)]
fn listen() {
    const PRINT: Print = print;
    // SAFETY: only the type of a pointer is another; the function does not look behind it.
    unsafe {
        libbpf_sys::libbpf_set_print(std::mem::transmute::<Option<Print>, libbpf_sys::libbpf_print_fn_t>(
            Some(PRINT),
        ));
    }
}

#[allow(unsafe_code)]
unsafe extern "C" fn print(
    level: libbpf_sys::libbpf_print_level,
    format: *const c_char,
    arguments: *mut c_void,
) -> c_int {
    if level == libbpf_sys::LIBBPF_WARN || EVERYTHING.load(Ordering::Relaxed) {
        // SAFETY: libbpf gives a format and its arguments.
        let said = unsafe { vsprintf::vsprintf(format, arguments) };
        keep(&said.unwrap_or_else(|error| format!("libbpf said what cannot be read: {error}\n")));
    }
    0
}

/// All of it.
pub fn text() -> String {
    String::from_utf8_lossy(&std::fs::read(PATH).unwrap_or_default()).into_owned()
}

/// The last part of it, from the start of a line; `None` when nothing was said.
pub fn tail(text: &str) -> Option<String> {
    let text = text.trim_end();
    Some(last(text, LOG_MAX).to_owned()).filter(|tail| !tail.is_empty())
}

fn keep(message: &str) {
    // A verifier log can be megabytes long; its end is what tells.
    let first_line = message.split_inclusive('\n').next().unwrap_or_default();
    let text = last(message, 2 * LOG_MAX);
    if let Some(mut file) = FILE.get() {
        if text.len() < message.len() {
            let _ = file.write_all(first_line.as_bytes());
        }
        let _ = file.write_all(text.as_bytes());
    }
}

fn last(text: &str, max: usize) -> &str {
    if text.len() <= max {
        return text;
    }
    let mut from = text.len() - max;
    while !text.is_char_boundary(from) {
        from += 1;
    }
    let tail = &text[from..];
    tail.find('\n').map_or(tail, |end| &tail[end + 1..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tail_starts_at_a_line_and_never_splits_a_character() {
        assert_eq!(last("short", 10), "short");
        assert_eq!(last("one\ntwo\nthree\n", 8), "three\n");
        assert_eq!(last("äöü", 3), "ü");
        assert_eq!(tail(" \n"), None);
        assert_eq!(tail("word \n"), Some("word".into()));
    }
}
