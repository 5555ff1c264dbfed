//! Which conditions go with which signal.

use spanbridge_component::{Problems, Signal};

use super::compile::{REGEXP, STRICT};
use crate::MatchConfig;

const NONE_FOR_SPANS: &str =
    "at least one of \"attributes\", \"libraries\",  or \"resources\" field must be specified";
const NONE_FOR_LOGS: &str = "at least one of \"attributes\", \"libraries\", \"span_kinds\", \"resources\", \
    \"log_bodies\", \"log_severity_texts\" or \"log_severity_number\" field must be specified";
const NONE_FOR_METRICS: &str = "at least one of \"metric_names\" or \"resources\" field must be specified";
const WRONG_FOR_LOGS: &str =
    "services, span_names, span_kinds and metric_names are not valid for log records";
const WRONG_FOR_METRICS: &str = "\"span_names\", \"span_kinds\", \"log_bodies\", \"log_severity_texts\", \
    \"log_severity_number\", \"services\", \"attributes\" and \"libraries\" are not valid for metrics";
const NEVER: &str = "no signal has all of these conditions";
const CONDITIONS: &str = "services, span_names and span_kinds are for spans, log_bodies, log_severity_texts and \
    log_severity_number for log records, attributes and libraries for both, metric_names for metrics, and resources for \
    all";

/// Refuses a block that has no condition for `signal`, or one that is not for it.
///
/// # Errors
/// The Go collector's text.
pub(crate) fn check(config: &MatchConfig, signal: Signal) -> Result<(), String> {
    let Given { spans, logs, metrics, both, resources } = Given::of(config);
    let (of_the_signal, none) = match signal {
        Signal::Traces => match logs.or(metrics) {
            Some(key) => return Err(format!("{key} should not be specified for trace spans")),
            None => (spans.or(both), NONE_FOR_SPANS),
        },
        Signal::Logs if spans.or(metrics).is_some() => return Err(WRONG_FOR_LOGS.to_owned()),
        Signal::Logs => (logs.or(both), NONE_FOR_LOGS),
        Signal::Metrics if spans.or(logs).or(both).is_some() => return Err(WRONG_FOR_METRICS.to_owned()),
        Signal::Metrics => (metrics, NONE_FOR_METRICS),
    };
    if of_the_signal.or(resources).is_some() { Ok(()) } else { Err(none.to_owned()) }
}

/// Reports a block that can be for no signal at all: with the Go collector's text if there is no condition; it has none for
/// conditions of several signals.
pub(crate) fn check_any(config: &MatchConfig, problems: &mut Problems) {
    if Signal::ALL.into_iter().any(|signal| check(config, signal).is_ok()) {
        return;
    }
    let Given { spans, logs, metrics, both, resources } = Given::of(config);
    let none = spans.or(logs).or(metrics).or(both).or(resources).is_none();
    problems.error(if none { NONE_FOR_SPANS } else { NEVER }).help(CONDITIONS);
}

/// Warns of what has no effect.
pub(crate) fn warn(config: &MatchConfig, problems: &mut Problems) {
    if config.regexp.as_ref().is_some_and(|regexp| regexp.cacheenabled || regexp.cachemaxnumentries > 0) {
        let message = "cacheenabled and cachemaxnumentries have no effect: matches are not cached";
        let help = "patterns are matched in time linear in the text; remove the block";
        problems.warn_at("regexp", message).help(help);
    }
    let mut names: Vec<&str> = config.libraries.iter().map(|library| &*library.name).collect();
    names.sort_unstable();
    names.dedup();
    if config.match_type == STRICT && names.len() > 1 {
        let message = "no scope has several names, and every library in the list must match: this block matches nothing";
        let help = format!("as in the Go collector; name several with match_type: {REGEXP}");
        problems.warn_at("libraries", message).help(help);
    }
}

/// The first condition of each kind that a block has.
struct Given {
    spans: Option<&'static str>,
    logs: Option<&'static str>,
    metrics: Option<&'static str>,
    /// For spans and log records.
    both: Option<&'static str>,
    /// For every signal.
    resources: Option<&'static str>,
}

impl Given {
    fn of(config: &MatchConfig) -> Self {
        let first = |given: &[(&'static str, bool)]| {
            given.iter().find_map(|(key, is_given)| is_given.then_some(*key))
        };
        Self {
            spans: first(&[
                ("services", !config.services.is_empty()),
                ("span_names", !config.span_names.is_empty()),
                ("span_kinds", !config.span_kinds.is_empty()),
            ]),
            logs: first(&[
                ("log_bodies", !config.log_bodies.is_empty()),
                ("log_severity_texts", !config.log_severity_texts.is_empty()),
                ("log_severity_number", config.log_severity_number.is_some()),
            ]),
            metrics: first(&[("metric_names", !config.metric_names.is_empty())]),
            both: first(&[
                ("attributes", !config.attributes.is_empty()),
                ("libraries", !config.libraries.is_empty()),
            ]),
            resources: first(&[("resources", !config.resources.is_empty())]),
        }
    }
}
