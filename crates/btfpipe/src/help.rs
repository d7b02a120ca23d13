//! What the program says of itself and of the machine.

use std::path::PathBuf;

use clap::CommandFactory;
use pipeline::commands::doctor;
use pipeline::outcome::{Code, Error};

use crate::arguments::{Arguments, CompletionArguments, ManArguments};
use crate::pipelines::say;

pub fn doctor() -> Code {
    let diagnosis = doctor::examine();
    say(&diagnosis.to_string());
    diagnosis.code()
}

pub fn completions(arguments: &CompletionArguments) -> Code {
    let mut out = Vec::new();
    clap_complete::generate(arguments.shell, &mut Arguments::command(), "btfpipe", &mut out);
    say(&String::from_utf8_lossy(&out));
    Code::Ok
}

pub fn man(arguments: &ManArguments) -> Result<Code, Error> {
    let mut command = Arguments::command();
    command.build();
    let Some(folder) = &arguments.folder else {
        let mut out = Vec::new();
        let rendered = clap_mangen::Man::new(command).render(&mut out);
        rendered.map_err(|error| Error::Output { path: PathBuf::from("man"), error })?;
        say(&String::from_utf8_lossy(&out));
        return Ok(Code::Ok);
    };
    clap_mangen::generate_to(command, folder)
        .map_err(|error| Error::Output { path: folder.clone(), error })?;
    Ok(Code::Ok)
}
