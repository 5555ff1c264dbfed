//! Which items are edited: `include` and `exclude` (reference: contrib-components, C.3).

mod compile;
mod matcher;
mod rules;
mod value;

use spanbridge_component::{Problems, Signal};
use spanbridge_pdata::{Item, MetricView, ResourceView, ScopeView};

use crate::{Config, MatchConfig};
use compile::compile;
use matcher::{Matcher, Stage};

/// `include` and `exclude`, compiled.
#[derive(Debug, Default)]
pub(crate) struct Filter {
    include: Option<Matcher>,
    exclude: Option<Matcher>,
}

impl Filter {
    /// Compiles the conditions for a pipeline of `signal`.
    ///
    /// # Errors
    /// The first thing that is wrong, with the Go collector's text and the block that it is in.
    pub(crate) fn new(config: &Config, signal: Option<Signal>) -> Result<Self, String> {
        let block = |key: &str, config: &Option<MatchConfig>| {
            let Some(config) = config else { return Ok(None) };
            let compiled = signal
                .map_or(Ok(()), |signal| rules::check(config, signal))
                .and_then(|()| compile(config).map_err(|mut faults| faults.swap_remove(0).message));
            compiled.map(Some).map_err(|message| format!("{key}: {message}"))
        };
        Ok(Self { include: block("include", &config.include)?, exclude: block("exclude", &config.exclude)? })
    }

    /// The choice among the items of one batch.
    pub(crate) fn choice(&self) -> Choice<'_> {
        Choice { filter: self, excluded: [true; Stage::COUNT], text: String::new() }
    }
}

/// Reports what is wrong with a block whatever the signal, each thing where it stands.
pub(crate) fn validate(config: &MatchConfig, problems: &mut Problems) {
    rules::check_any(config, problems);
    for fault in compile(config).err().unwrap_or_default() {
        fault.report(problems);
    }
    rules::warn(config, problems);
}

/// A choice under way: it is asked about resources, scopes, metrics and items in the order in which they stand.
#[derive(Debug)]
pub(crate) struct Choice<'a> {
    filter: &'a Filter,
    /// Whether `exclude` matched what is at hand, at each stage.
    excluded: [bool; Stage::COUNT],
    /// Where numbers become texts.
    text: String,
}

impl Choice<'_> {
    /// Whether items of this resource may be chosen.
    pub(crate) fn resource(&mut self, resource: &ResourceView<'_>) -> bool {
        self.decide(Stage::Resource, |matcher, text| matcher.resource(resource, text))
    }

    /// Whether items of this scope may be chosen.
    pub(crate) fn scope(&mut self, scope: &ScopeView<'_>) -> bool {
        self.decide(Stage::Scope, |matcher, _| matcher.scope(scope))
    }

    /// Whether points of this metric may be chosen.
    pub(crate) fn metric(&mut self, metric: &MetricView<'_>) -> bool {
        self.decide(Stage::Metric, |matcher, _| matcher.metric(metric))
    }

    /// Whether this item is chosen.
    pub(crate) fn item(&mut self, item: &Item<'_>) -> bool {
        self.decide(Stage::Item, |matcher, text| matcher.item(item, text))
    }

    /// What `include` does not match is out, and so is what `exclude` matches to its last condition.
    fn decide(&mut self, stage: Stage, matches: impl Fn(&Matcher, &mut String) -> bool) -> bool {
        let Filter { include, exclude } = self.filter;
        if include.as_ref().is_some_and(|include| !matches(include, &mut self.text)) {
            return false;
        }
        let Some(exclude) = exclude else { return true };
        let so_far = self.excluded.iter().take(stage.index()).all(|excluded| *excluded);
        let excluded = so_far && matches(exclude, &mut self.text);
        if let Some(place) = self.excluded.get_mut(stage.index()) {
            *place = excluded;
        }
        !(excluded && exclude.last_stage() <= stage)
    }
}
