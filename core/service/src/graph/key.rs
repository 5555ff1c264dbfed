//! Names of components in the graph.

use std::fmt;

use spanbridge_component::{ComponentId, Kind, PipelineId};

/// Which component it is: one id may stand for a component of each kind, and a processor has an instance in each of
/// its pipelines.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Key {
    /// Its kind.
    pub(crate) kind: Kind,
    /// Its id as written.
    pub(crate) id: ComponentId,
    /// The pipeline of a processor; `None` for every other kind.
    pub(crate) pipeline: Option<PipelineId>,
}

impl Key {
    /// The component `id` of a kind of which there is one instance for all pipelines.
    pub(crate) fn of(kind: Kind, id: &ComponentId) -> Self {
        Self { kind, id: id.clone(), pipeline: None }
    }

    /// The processor `id` of `pipeline`.
    pub(crate) fn processor(id: &ComponentId, pipeline: &PipelineId) -> Self {
        Self { kind: Kind::Processor, id: id.clone(), pipeline: Some(pipeline.clone()) }
    }
}

/// As in errors: `"otlp" receiver`, or `"batch" processor in pipeline "traces"`.
impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\" {}", self.id, self.kind)?;
        self.pipeline.iter().try_for_each(|pipeline| write!(f, " in pipeline \"{pipeline}\""))
    }
}
