//! The `health_check` extension: it tells probes whether the pipelines of this process work.

mod answer;
mod config;
mod extension;
mod factory;

pub use config::{CheckCollectorPipeline, Config, ResponseBody};
pub use factory::Factory;
