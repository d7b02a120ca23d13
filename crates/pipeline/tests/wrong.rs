//! Wrong pipelines, and what is said of them: `tests/wrong/NAME.yaml` and beside it `NAME.txt`.
//!
//! The first line of a case can give arguments: `#: --profile full --set level=3`. `cargo xtask test-update` writes the
//! messages anew; each is read aloud before it is committed.

use std::fs;
use std::path::{Path, PathBuf};

use pipeline::commands;
use pipeline::file::{Environment, Given};
use pipeline::outcome::Code;
use pipeline::project::Options;

const FOLDER: &str = "tests/wrong";
/// Fewer would not be a collection of the slips that people make.
const LEAST: usize = 60;

#[test]
fn every_slip_has_its_message() {
    let update = std::env::var_os("BTFPIPE_TEST_UPDATE").is_some();
    let cases = cases();
    assert!(cases.len() >= LEAST, "{} cases", cases.len());
    let mut differing = Vec::new();
    for case in &cases {
        let (said, expected) = (said_of(case), case.with_extension("txt"));
        if update {
            fs::write(&expected, &said).unwrap();
        } else if fs::read_to_string(&expected).ok().as_ref() != Some(&said) {
            differing.push(format!("{}:\n{said}", case.display()));
        }
    }
    let hint = "if the new messages are better, \"cargo xtask test-update\" takes them over";
    assert!(differing.is_empty(), "{}\n\n{hint}", differing.join("\n"));
    stale(&cases);
}

/// What `btfpipe check` prints, all of it; every case must be refused as a mistake of the file or the command line.
fn said_of(case: &Path) -> String {
    match commands::check(&Options { file: case.to_owned(), given: given(case), ..Options::default() }) {
        Ok(good) => panic!("{}: nothing is wrong with it: {good}", case.display()),
        Err(error) => {
            assert_eq!(error.code(), Code::Usage, "{}: {error}", case.display());
            // Plugins are installed beside the program, which is elsewhere on every machine.
            let program = std::env::current_exe().unwrap();
            let prefix = program.ancestors().nth(2).unwrap().display().to_string();
            format!("{error}\n").replace(&prefix, "PREFIX")
        }
    }
}

fn given(case: &Path) -> Given {
    let text = String::from_utf8_lossy(&fs::read(case).unwrap()).into_owned();
    let line = text.lines().next().and_then(|line| line.strip_prefix("#: ")).unwrap_or_default();
    let mut given = Given { environment: Environment::Process, ..Given::default() };
    let mut words = line.split_whitespace();
    while let (Some(option), Some(value)) = (words.next(), words.next()) {
        match option {
            "--profile" => given.profiles.push(value.to_owned()),
            "--set" => given.set.push(value.to_owned()),
            other => panic!("{}: {other} is no option of a case", case.display()),
        }
    }
    given
}

fn cases() -> Vec<PathBuf> {
    let mut cases: Vec<PathBuf> = fs::read_dir(FOLDER).unwrap().map(|entry| entry.unwrap().path()).collect();
    cases.retain(|path| path.extension().is_some_and(|end| end == "yaml"));
    cases.sort();
    cases
}

/// A message whose case is gone would never be compared again.
fn stale(cases: &[PathBuf]) {
    for entry in fs::read_dir(FOLDER).unwrap() {
        let path = entry.unwrap().path();
        let is_message = path.extension().is_some_and(|end| end == "txt");
        assert!(
            !is_message || cases.contains(&path.with_extension("yaml")),
            "{} has no case",
            path.display()
        );
    }
}
