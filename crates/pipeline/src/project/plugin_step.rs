//! A step of the pipeline that a plugin does, and where it has its place.

use std::collections::BTreeSet;

use plugin::Provides;

use crate::file::PipelineFile;
use crate::file::steps::{self, PluginStep};
use crate::project::acting::{Actor, unusable};
use crate::yaml::problem::{Invalid, Problem};

/// What a plugin's step is to the release.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Makes another BTF of each kernel, whose decisions are compared.
    Transform,
    /// Makes a file of each package, in a layout of its own.
    Package,
    /// Looks at the release.
    Verify,
    /// Brings the release to its users.
    Publish,
}

/// A plugin's step.
#[derive(Debug)]
pub struct Step {
    /// The plugin and what it is told.
    pub actor: Actor,
    /// What it does.
    pub role: Role,
    /// The plugin's name, with a number where it does several steps.
    pub name: String,
    /// The packages that it is for; all if there is none.
    packages: BTreeSet<String>,
}

impl Role {
    /// The protocol's word.
    pub fn provides(self) -> Provides {
        match self {
            Role::Transform => Provides::Transform,
            Role::Package => Provides::Package,
            Role::Verify => Provides::Verify,
            Role::Publish => Provides::Publish,
        }
    }

    /// Whether it has its turn when the release is there.
    pub fn is_conclusion(self) -> bool {
        match self {
            Role::Transform | Role::Package => false,
            Role::Verify | Role::Publish => true,
        }
    }

    /// What a step behind this one of [`steps::NAMES`] can be.
    fn behind(place: usize) -> &'static [Role] {
        match steps::NAMES[place] {
            "minimize" => &[Role::Transform],
            "package" => &[Role::Package, Role::Verify, Role::Publish],
            _ => &[Role::Verify, Role::Publish],
        }
    }
}

impl Step {
    /// Finds the plugin of an entry that stands behind `others`.
    pub fn find(file: &PipelineFile, entry: &PluginStep, others: &[Step]) -> Result<Step, Invalid> {
        let roles = Role::behind(entry.place)
            .iter()
            .filter(|role| entry.only.is_none_or(|only| only == role.provides()));
        let roles: Vec<Role> = roles.copied().collect();
        let provides: Vec<Provides> = roles.iter().map(|role| role.provides()).collect();
        if roles.is_empty() {
            let (place, words) = (steps::NAMES[entry.place], words(Role::behind(entry.place)));
            let problem = Problem::new(entry.at, format!("no plugin can do that behind `{place}`"));
            return Err(file.invalid(problem.help(format!("`as` can be {words} here"))));
        }
        let actor = Actor::find(&entry.uses, &file.root(), entry.with.to_json(), &provides);
        let actor = actor.map_err(|error| {
            file.invalid(unusable(entry.uses_at, &entry.uses, &file.root(), error, &steps::NAMES))
        })?;
        // In the plugin's own order: what it names first is what it is for.
        let own = actor.plugin().manifest().provides.iter();
        let role = own.filter_map(|what| roles.iter().find(|role| role.provides() == *what)).next();
        let Some(role) = role.or(roles.first()).copied() else {
            return Err(file.invalid(Problem::new(entry.uses_at, "this plugin can do nothing here")));
        };
        for (at, name) in &entry.packages {
            let known = file.packages.iter().map(|package| package.name.as_str());
            if !known.clone().any(|known| known == name) {
                let problem = Problem::new(*at, format!("there is no package `{name}`"));
                return Err(file.invalid(problem.did_you_mean(name, known)));
            }
        }
        let packages = entry.packages.iter().map(|(_, name)| name.clone()).collect();
        let before = others.iter().filter(|other| other.actor.name() == entry.uses).count();
        let name = match before {
            0 => entry.uses.clone(),
            number => format!("{}-{}", entry.uses, number + 1),
        };
        if role == Role::Package && steps::layouts().contains(&name.as_str()) {
            let problem = Problem::new(entry.uses_at, format!("`{name}` is a layout of btfpipe's own"));
            return Err(
                file.invalid(problem.help("its files would have the same names; call the plugin otherwise"))
            );
        }
        Ok(Step { actor, role, name, packages })
    }

    /// Whether it is for this package.
    pub fn is_for(&self, package: &str) -> bool {
        self.packages.is_empty() || self.packages.contains(package)
    }
}

fn words(roles: &[Role]) -> String {
    roles.iter().map(|role| role.provides().word()).collect::<Vec<_>>().join(" or ")
}
