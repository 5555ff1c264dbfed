//! The processor itself.

use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwapOption;
use async_trait::async_trait;
use spanbridge_component::telemetry::ProcessorMetrics;
use spanbridge_component::{
    Batch, BuildError, Capabilities, Component, ConsumeError, Consumer, Host, Processor, Settings,
    ShutdownError, StartError,
};
use spanbridge_pdata::{Attribute, Attributes};
use tokio::time::Instant;
use tracing::Instrument as _;

use crate::Config;
use crate::shared::{Current, Share};
use crate::world::World;

/// Adds what was detected to the resources of each batch, and hands it on.
pub(crate) struct ResourceDetectionProcessor {
    settings: Settings,
    config: Config,
    metrics: ProcessorMetrics,
    next: Arc<dyn Consumer>,
    world: World,
    /// Empty before the start and after the end.
    found: ArcSwapOption<Handle>,
    share: Mutex<Option<Share>>,
}

/// A handle that can be swapped.
struct Handle(Current);

impl ResourceDetectionProcessor {
    pub(crate) fn new(
        settings: Settings,
        config: Config,
        next: Arc<dyn Consumer>,
    ) -> Result<Self, BuildError> {
        let world = World::of_process(config.timeout.get());
        Self::in_world(settings, config, next, world)
    }

    pub(crate) fn in_world(
        settings: Settings,
        config: Config,
        next: Arc<dyn Consumer>,
        world: World,
    ) -> Result<Self, BuildError> {
        config.check_variables(&world).map_err(BuildError)?;
        let metrics = ProcessorMetrics::new(&settings.telemetry, &settings.id)?;
        Ok(Self {
            settings,
            config,
            metrics,
            next,
            world,
            found: ArcSwapOption::empty(),
            share: Mutex::default(),
        })
    }

    fn edit(&self, batch: Batch) -> Batch {
        let found = self.found.load();
        let Some(found) = found.as_ref().and_then(|current| current.0.load_full()) else { return batch };
        if found.is_empty() {
            return batch;
        }
        let payload =
            batch.payload.edit_resources(|attributes| write(attributes, &found, self.config.r#override));
        Batch { payload, context: batch.context }
    }
}

fn write(attributes: &mut Attributes<'_>, found: &[Attribute], overrides: bool) {
    for attribute in found {
        if overrides {
            attributes.upsert(attribute);
        } else {
            attributes.insert(attribute);
        }
    }
}

#[async_trait]
impl Component for ResourceDetectionProcessor {
    async fn start(&self, _host: Host) -> Result<(), StartError> {
        let share = Share::join(self.settings.id.as_str(), &self.config, self.world.clone());
        let share = share.instrument(self.settings.span()).await;
        let share =
            share.map_err(|error| StartError(format!("failed to detect resource information: {error}")))?;
        self.found.store(Some(Arc::new(Handle(share.current()))));
        *self.share.lock().unwrap_or_else(PoisonError::into_inner) = Some(share);
        Ok(())
    }

    async fn shutdown(&self, deadline: Instant) -> Result<(), ShutdownError> {
        let share = self.share.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(share) = share {
            share.leave(deadline).await;
        }
        self.found.store(None);
        Ok(())
    }
}

impl Processor for ResourceDetectionProcessor {}

#[async_trait]
impl Consumer for ResourceDetectionProcessor {
    async fn consume(&self, batch: Batch) -> Result<(), ConsumeError> {
        let (signal, items) = (batch.signal(), batch.items());
        self.metrics.incoming(signal, items);
        let batch = self.edit(batch);
        self.metrics.outgoing(signal, items);
        self.next.consume(batch).await
    }

    fn capabilities(&self) -> Capabilities {
        self.next.capabilities()
    }
}

#[cfg(test)]
mod tests {
    use spanbridge_component::Signal;
    use spanbridge_testkit::{Payloads, Sink, host};

    use super::*;

    async fn processed(keys: &str, variables: &[(&str, &str)]) -> Vec<(String, Option<String>)> {
        let config = spanbridge_config::from_yaml(keys).unwrap_or_else(|e| panic!("{e}"));
        // Each has a name of its own: what runs is known to the whole process, other tests included.
        let settings = spanbridge_testkit::settings("resource_detection/processed");
        let (sink, world) = (Sink::new(), World::made_up(std::path::Path::new("/nowhere"), variables));
        let processor =
            ResourceDetectionProcessor::in_world(settings.clone(), config, sink.clone(), world).unwrap();
        processor.start(host(&settings).0).await.unwrap();
        let payload = Payloads::rich().request(Signal::Logs, 3).edit_resources(|attributes| {
            attributes.upsert(&Attribute::new("host.name", "of-the-sender"));
        });
        processor.consume(Batch::new(payload)).await.unwrap();
        processor.shutdown(Instant::now() + std::time::Duration::from_secs(10)).await.unwrap();
        let mut seen = Vec::new();
        let _ = sink.batches()[0].payload.edit_resources(|attributes| {
            seen = attributes
                .iter()
                .map(|(key, value)| (key.to_owned(), value.as_str().map(str::to_owned)))
                .collect();
        });
        seen
    }

    fn of(seen: &[(String, Option<String>)], key: &str) -> Vec<String> {
        seen.iter().filter(|(name, _)| name == key).filter_map(|(_, value)| value.clone()).collect()
    }

    #[tokio::test]
    async fn what_is_found_takes_the_place_of_what_is_there_unless_that_is_to_stay() {
        let variables = [("OTEL_RESOURCE_ATTRIBUTES", "host.name=found,team=a%20b")];
        let seen = processed("{refresh_interval: 1h}", &variables).await;
        assert_eq!((of(&seen, "host.name"), of(&seen, "team")), (vec!["found".into()], vec!["a b".into()]));
        let seen = processed("{override: false}", &variables).await;
        assert_eq!(
            (of(&seen, "host.name"), of(&seen, "team")),
            (vec!["of-the-sender".into()], vec!["a b".into()])
        );
    }

    #[tokio::test]
    async fn when_nothing_is_found_the_very_same_bytes_are_handed_on() {
        let settings = spanbridge_testkit::settings("resource_detection/nothing");
        let (sink, world) = (Sink::new(), World::made_up(std::path::Path::new("/nowhere"), &[]));
        let processor =
            ResourceDetectionProcessor::in_world(settings.clone(), Config::default(), sink.clone(), world)
                .unwrap();
        processor.start(host(&settings).0).await.unwrap();
        let payload = Payloads::rich().request(Signal::Traces, 3);
        processor.consume(Batch::new(payload.clone())).await.unwrap();
        let out = &sink.batches()[0];
        assert_eq!(out.payload.segments()[0].as_ptr(), payload.segments()[0].as_ptr());
    }

    #[tokio::test]
    async fn a_start_whose_detector_fails_says_which_and_why() {
        let settings = spanbridge_testkit::settings("resource_detection/failing");
        let variables = [("OTEL_RESOURCE_ATTRIBUTES", "nonsense")];
        let world = World::made_up(std::path::Path::new("/nowhere"), &variables);
        let config = spanbridge_config::from_yaml("retry: {enabled: false}").unwrap();
        let processor =
            ResourceDetectionProcessor::in_world(settings.clone(), config, Sink::new(), world).unwrap();
        let error = processor.start(host(&settings).0).await.unwrap_err().to_string();
        assert!(error.contains("detector env: invalid resource format: \"nonsense\""), "{error}");
    }
}
