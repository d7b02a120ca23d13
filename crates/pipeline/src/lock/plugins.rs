//! Source plugins as [`Sources`]: found by name, run by the host, their words turned into ours.

use std::path::{Path, PathBuf};
use std::time::Instant;

use plugin::{FETCH, KernelRef, Provides, RESOLVE, SourceKernel};
use serde_json::{Value, json};

use crate::events::{Events, Task};
use crate::host::{Dirs, Host, Plugin, Request};
use crate::lock::sources::{SourceError, Sources};
use crate::project::acting::{known, source_error, tell};
use crate::work::stop::Stop;

/// The plugins of a repository, of `$BTFPIPE_PLUGIN_PATH` and of `PATH`.
#[derive(Debug)]
pub struct PluginSources<'a> {
    /// The folder that holds `plugins/`.
    pub root: PathBuf,
    /// Where plugins keep what they may need again; none for commands that leave no trace.
    pub cache: Option<PathBuf>,
    /// Who hears of what they say.
    pub events: Events<'a>,
    /// Ends what they do.
    pub stop: Stop,
}

impl PluginSources<'_> {
    fn find(&self, name: &str) -> Result<Plugin, SourceError> {
        let plugin = Host::find(name, &self.root).map_err(source_error)?;
        if plugin.provides(Provides::Source) {
            return Ok(plugin);
        }
        Err(SourceError {
            class: plugin::Class::User,
            message: format!("the plugin {name} is no source of kernels"),
            help: None,
            at: None,
        })
    }

    fn run(
        &self,
        name: &str,
        request: Request<'_>,
        task: &Task<'_>,
    ) -> Result<crate::host::PluginResult, SourceError> {
        let begin = Instant::now();
        let plugin = self.find(name)?;
        let request = Request { cancel: Some(self.stop.flag()), ..request };
        let mut listen = |event| tell(name, event, self.events, task);
        let result = match &self.cache {
            Some(cache) if plugin.is_worker() => {
                let work = cache.with_file_name("tmp");
                let (mut result, folder) =
                    plugin.run_in_worker(&request, &work, &mut listen).map_err(source_error)?;
                let moved = result.move_to(folder.path(), &request.dirs.workdir);
                moved.map(|()| result).map_err(|error| failure(&error.to_string()))
            }
            _ => plugin.run_request(&request, &mut listen).map_err(source_error),
        }?;
        task.acted(name, begin.elapsed(), result.busy());
        Ok(result)
    }

    fn cache_of(&self, name: &str) -> Option<PathBuf> {
        self.cache.as_ref().map(|cache| cache.join(name))
    }
}

impl Sources for PluginSources<'_> {
    fn config_schema(&self, plugin: &str) -> Result<Option<Value>, SourceError> {
        self.find(plugin)?.schema().map_err(source_error)
    }

    fn known(&self) -> Vec<String> {
        known(&self.root)
    }

    fn validate(&self, plugin: &str, with: &Value) -> Result<Vec<plugin::Problem>, SourceError> {
        self.find(plugin)?.validate(with, &mut |_| {}).map_err(source_error)
    }

    fn resolve(
        &self,
        plugin: &str,
        with: &Value,
        folder: &Path,
        task: &Task<'_>,
    ) -> Result<Vec<SourceKernel>, SourceError> {
        let dirs = Dirs::below(folder, self.cache_of(plugin).as_deref());
        let result =
            self.run(plugin, Request { action: "resolve", ..Request::new(RESOLVE, with, &dirs) }, task)?;
        Ok(result.kernels)
    }

    fn fetch(
        &self,
        plugin: &str,
        kernel: &SourceKernel,
        folder: &Path,
        task: &Task<'_>,
    ) -> Result<Vec<PathBuf>, SourceError> {
        let dirs = Dirs::below(folder, self.cache_of(plugin).as_deref());
        let config = json!({ "kernel": kernel });
        let action = format!("fetch {}", kernel.id);
        let arch = kernel.id.split('/').nth(2).unwrap_or_default().to_owned();
        let request = Request {
            action: &action,
            kernel: Some(KernelRef { id: kernel.id.clone(), arch }),
            ..Request::new(FETCH, &config, &dirs)
        };
        let result = self.run(plugin, request, task)?;
        let mut paths = Vec::new();
        for package in &kernel.packages {
            let is_it = |path: &Path| path.file_name().is_some_and(|name| name == package.file.as_str());
            match result.outputs.iter().find(|output| is_it(&output.path)) {
                Some(output) => paths.push(output.path.clone()),
                None => return Err(failure(&format!("the plugin {plugin} brought no {}", package.file))),
            }
        }
        Ok(paths)
    }
}

fn failure(message: &str) -> SourceError {
    SourceError { class: plugin::Class::Tool, message: message.to_owned(), help: None, at: None }
}
