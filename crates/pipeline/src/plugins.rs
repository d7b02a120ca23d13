//! Source plugins as [`Sources`]: found by name, run by the host, their words turned into ours.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use plugin::{FETCH, KernelRef, Level, Provides, RESOLVE, SourceKernel};
use serde_json::{Value, json};

use crate::events::{Events, Task};
use crate::host::{Dirs, Host, Plugin, PluginError, PluginEvent, Request};
use crate::sources::{SourceError, Sources};

/// The plugins of a repository, of `$BTFPIPE_PLUGIN_PATH` and of `PATH`.
#[derive(Debug)]
pub struct PluginSources<'a> {
    /// The folder that holds `plugins/`.
    pub root: PathBuf,
    /// Where plugins keep what they may need again; none for commands that leave no trace.
    pub cache: Option<PathBuf>,
    /// Who hears of what they say.
    pub events: Events<'a>,
}

/// Whether it was said what holds no plugin on this machine: once is enough.
static TOLD: AtomicBool = AtomicBool::new(false);

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
        let plugin = self.find(name)?;
        plugin.run_request(&request, &mut |event| self.tell(name, event, task)).map_err(source_error)
    }

    fn tell(&self, name: &str, event: PluginEvent, task: &Task<'_>) {
        match event {
            PluginEvent::Progress { done, total, message, .. } => task.moved(done, total, message),
            PluginEvent::Log { level: Level::Warn | Level::Error, message, .. }
            | PluginEvent::Warning(message) => {
                self.events.warn(format!("{name}: {message}"));
            }
            PluginEvent::Log { level: Level::Info, message, .. } => {
                self.events.info(format!("{name}: {message}"))
            }
            PluginEvent::Uncaged(message) => {
                if !TOLD.swap(true, Ordering::Relaxed) {
                    self.events.warn(message);
                }
            }
            PluginEvent::Started(_)
            | PluginEvent::Log { level: Level::Debug, .. }
            | PluginEvent::Stderr(_) => {}
        }
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
        let entries = std::fs::read_dir(self.root.join("plugins")).into_iter().flatten().flatten();
        let plugins = entries.filter(|entry| entry.path().join("plugin.yaml").is_file());
        let mut names: Vec<String> =
            plugins.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
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
                None => {
                    return Err(SourceError {
                        class: plugin::Class::Tool,
                        message: format!("the plugin {plugin} brought no {}", package.file),
                        help: None,
                        at: None,
                    });
                }
            }
        }
        Ok(paths)
    }
}

fn source_error(error: PluginError) -> SourceError {
    let class = error.class();
    match error.failure() {
        Some(failure) => SourceError {
            class,
            message: failure.message.clone(),
            help: failure.help.clone(),
            at: failure.at.as_ref().map(|at| at.path.clone()),
        },
        None => SourceError { class, message: error.to_string(), help: None, at: None },
    }
}
