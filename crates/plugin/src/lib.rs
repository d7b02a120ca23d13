//! The plugin protocol `btfpipe-plugin/1`: messages, the manifest, and a small SDK for plugins written in Rust.
//!
//! A plugin is a program in any language. It reads [`HostMessage`]s from stdin and writes [`PluginMessage`]s to
//! stdout, one JSON object a line; stderr is its log. One process does one action:
//!
//! ```text
//! host    {"type":"hello","protocols":[1],"host":{"name":"btfpipe","version":"0.1.0"},"features":["progress","cancel"]}
//! plugin  {"type":"hello","protocol":1,"plugin":{"name":"debian","version":"0.1.0"},"features":["progress","cancel"]}
//! host    {"type":"run","id":1,"step":"resolve","config":{…},"workdir":"/w","outdir":"/w/out","tmpdir":"/w/tmp"}
//! plugin  {"type":"progress","id":1,"done":1,"total":4,"unit":"suites","message":"bookworm amd64"}
//! plugin  {"type":"result","id":1,"status":"ok","kernels":[…]}
//! host    {"type":"shutdown"}
//! ```
//!
//! Version 1 of the protocol only gains fields, and unknown fields are ignored, so an old plugin works with a new
//! host and the other way round. [`serve_source`] does all of this for a source plugin, see [`Source`],
//! and [`serve_step`] for one that does steps, see [`Step`].
// Not forbidden: parent.rs has the one function that needs it, so that host and plugins can do without.
#![deny(unsafe_code)]

mod job;
mod line;
mod manifest;
mod message;
mod parent;
mod serve;
mod step;

pub use job::{Job, Source};
pub use line::LineError;
pub use manifest::{Cache, Capabilities, Limits, Manifest, Provides, RunCommand};
pub use message::{
    At, Class, Hello, HostMessage, Identity, Input, Invalid, KernelRef, Level, Log, Outcome, Output,
    PluginHello, PluginMessage, Problem, Progress, Run, RunResult, SourceKernel, SourcePackage, Success,
    Validate,
};
pub use message::{BUILD, FETCH, Failure, MAX_LINE, PACKAGE, PROTOCOL, PUBLISH, RESOLVE, TRANSFORM, VERIFY};
pub use parent::die_with_parent;
pub use serve::{serve_source, serve_step};
pub use step::Step;
