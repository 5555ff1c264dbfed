//! The process's own logs, in the layouts that the Go collector's users know (reference: collector-core, 4.4).
//!
//! [`Logging`] exists before any configuration is read: until [`Logging::install`] it keeps records in memory, and then
//! writes them as configured.

mod config;
mod format;
mod layer;
mod output;
mod sampling;
#[cfg(test)]
mod tests;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use serde_json::{Map, Value};
use tracing::level_filters::LevelFilter;

pub use config::{Config, Encoding, LogLevel, Sampling};
pub use layer::LogLayer;

use format::{Layout, Record};
use output::Outputs;
use sampling::Sampler;

use super::Resource;

/// Records kept before the configuration is known; later ones are dropped. Loading a configuration makes a handful.
const EARLY_RECORDS_MAX: usize = 1_000;

/// The process's logger. Cheap to clone; all clones are the same logger.
#[derive(Clone)]
pub struct Logging {
    shared: Arc<Shared>,
}

struct Shared {
    /// Index of the current filter in [`FILTERS`].
    level: AtomicUsize,
    state: RwLock<State>,
}

enum State {
    /// The configuration is not known yet.
    Early(Vec<Record>),
    /// As configured.
    Writing(Logger),
}

struct Logger {
    layout: Layout,
    sampler: Option<Sampler>,
    outputs: Outputs,
}

const FILTERS: [LevelFilter; 5] =
    [LevelFilter::OFF, LevelFilter::ERROR, LevelFilter::WARN, LevelFilter::INFO, LevelFilter::DEBUG];
const DEBUG: usize = FILTERS.len() - 1;

impl Logging {
    /// A logger that keeps its records until it is configured, and the layer that feeds it.
    pub fn new() -> (Self, LogLayer) {
        let state = RwLock::new(State::Early(Vec::new()));
        let logging = Self { shared: Arc::new(Shared { level: AtomicUsize::new(DEBUG), state }) };
        (logging.clone(), LogLayer::new(logging))
    }

    /// Writes as `config` says from now on, and first what was kept so far.
    ///
    /// # Errors
    /// If an output cannot be opened; nothing has changed then.
    pub fn install(&self, config: &Config, resource: &Resource) -> Result<(), String> {
        self.install_with(config, resource, Outputs::open(&config.output_paths)?);
        Ok(())
    }

    /// Writes what was kept so far to standard error: the process ends before the configuration is known.
    pub fn give_up(&self) {
        let is_early = matches!(*self.read(), State::Early(_));
        if is_early {
            let config = Config::default();
            if let Ok(outputs) = Outputs::open(&config.output_paths) {
                let layout =
                    Layout { encoding: config.encoding, with_caller: true, first_fields: Map::new() };
                self.switch_to(Logger { layout, sampler: None, outputs }, LevelFilter::DEBUG);
            }
        }
    }

    /// The filter that records must pass.
    pub(crate) fn level(&self) -> LevelFilter {
        FILTERS.get(self.shared.level.load(Ordering::Relaxed)).copied().unwrap_or(LevelFilter::INFO)
    }

    fn write(&self, record: Record) {
        if let State::Writing(logger) = &*self.read() {
            logger.write(&record);
            return;
        }
        match &mut *self.shared.state.write().unwrap_or_else(PoisonError::into_inner) {
            State::Early(records) if records.len() < EARLY_RECORDS_MAX => records.push(record),
            State::Early(_) => {}
            State::Writing(logger) => logger.write(&record),
        }
    }

    fn install_with(&self, config: &Config, resource: &Resource, outputs: Outputs) {
        let layout = Layout {
            encoding: config.encoding,
            with_caller: !config.disable_caller,
            first_fields: first_fields(config, resource),
        };
        let sampler = config.sampling.enabled.then(|| Sampler::new(config.sampling.clone()));
        self.switch_to(Logger { layout, sampler, outputs }, config.level.filter());
    }

    fn switch_to(&self, logger: Logger, filter: LevelFilter) {
        let index = FILTERS.iter().position(|f| *f == filter).unwrap_or(DEBUG);
        self.shared.level.store(index, Ordering::Relaxed);
        {
            let mut state = self.shared.state.write().unwrap_or_else(PoisonError::into_inner);
            if let State::Early(records) = &*state {
                for record in records.iter().filter(|r| r.level.filter() <= filter) {
                    logger.write(record);
                }
            }
            *state = State::Writing(logger);
        }
        // Call sites remember whether anyone wants their events.
        tracing::callsite::rebuild_interest_cache();
    }

    fn read(&self) -> std::sync::RwLockReadGuard<'_, State> {
        self.shared.state.read().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Logger {
    fn write(&self, record: &Record) {
        let is_admitted =
            self.sampler.as_ref().is_none_or(|s| s.admits(record.level, &record.message, record.time));
        if is_admitted {
            self.outputs.write(&self.layout.line(record));
        }
    }
}

/// The fields of every record: the initial ones, then the resource.
fn first_fields(config: &Config, resource: &Resource) -> Map<String, Value> {
    let mut fields = config.initial_fields.clone();
    if !config.disable_zap_resource {
        fields.insert("resource".into(), Value::Object(resource.to_json()));
    }
    fields
}
