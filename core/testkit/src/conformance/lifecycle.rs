//! What the two lifecycle calls owe.

use std::sync::Arc;
use std::time::Duration;

use spanbridge_component::{
    BuildError, Component, ConnectorFactory, ConnectorOutputs, Consumer, Descriptor, ExporterFactory,
    ExtensionFactory, Kind, Outputs, PipelineId, ProcessorFactory, ReceiverFactory, Settings, Signal,
};
use tokio::time::{Instant, timeout};

use crate::settings::{block_on, host, settings_of};
use crate::{Sink, WAIT_MAX};

/// How long the component under test has to stop. It holds nothing, so far less should do.
const SHUTDOWN_MAX: Duration = Duration::from_secs(10);

/// How often other tasks get a turn before one that is still alive counts as leaked: a task that has been told its
/// end and needs only to return is none.
const LAST_TURNS: usize = 16;

/// A component under test: what it is and how to make one.
pub struct Subject {
    /// Its kind.
    pub kind: Kind,
    /// What its factory says about it.
    pub descriptor: Descriptor,
    create: Create,
}

/// The kinds differ in what `create` takes; the lifecycle is the same for all.
type Create = Box<dyn Fn(Settings) -> Result<Arc<dyn Component>, BuildError>>;

impl Subject {
    /// A receiver with a [`Sink`] for each of its signals.
    pub fn receiver<F: ReceiverFactory>(factory: F, config: F::Config) -> Self {
        let descriptor = factory.descriptor();
        let create = move |settings| {
            let supported = Signal::ALL.into_iter().filter(|signal| descriptor.supports(*signal));
            let next = supported.fold(Outputs::new(), |next, signal| next.with(signal, Sink::new()));
            Ok(factory.create(settings, config.clone(), next)? as Arc<dyn Component>)
        };
        Self { kind: Kind::Receiver, descriptor, create: Box::new(create) }
    }

    /// A processor in front of a [`Sink`].
    pub fn processor<F: ProcessorFactory>(factory: F, config: F::Config) -> Self {
        let descriptor = factory.descriptor();
        let create =
            move |settings| Ok(factory.create(settings, config.clone(), Sink::new())? as Arc<dyn Component>);
        Self { kind: Kind::Processor, descriptor, create: Box::new(create) }
    }

    /// An exporter.
    pub fn exporter<F: ExporterFactory>(factory: F, config: F::Config) -> Self {
        let descriptor = factory.descriptor();
        let create = move |settings| Ok(factory.create(settings, config.clone())? as Arc<dyn Component>);
        Self { kind: Kind::Exporter, descriptor, create: Box::new(create) }
    }

    /// A connector that feeds one pipeline of each signal it can make.
    pub fn connector<F: ConnectorFactory>(factory: F, config: F::Config) -> Self {
        let descriptor = factory.descriptor();
        let create = move |settings| {
            let inputs = || Signal::ALL.into_iter().filter(|signal| descriptor.supports(*signal));
            let made =
                Signal::ALL.into_iter().filter(|out| inputs().any(|input| factory.connects(input, *out)));
            let target = |signal: Signal| {
                let id = signal.name().parse::<PipelineId>().expect("a signal is a pipeline id");
                (id, Sink::new() as Arc<dyn Consumer>)
            };
            let next = ConnectorOutputs { pipelines: made.map(target).collect() };
            Ok(factory.create(settings, config.clone(), next)? as Arc<dyn Component>)
        };
        Self { kind: Kind::Connector, descriptor, create: Box::new(create) }
    }

    /// An extension.
    pub fn extension<F: ExtensionFactory>(factory: F, config: F::Config) -> Self {
        let descriptor = factory.descriptor();
        let create = move |settings| Ok(factory.create(settings, config.clone())? as Arc<dyn Component>);
        Self { kind: Kind::Extension, descriptor, create: Box::new(create) }
    }

    fn settings(&self) -> Settings {
        settings_of(self.kind, self.descriptor.type_name)
    }

    fn create(&self, settings: Settings) -> Arc<dyn Component> {
        (self.create)(settings).unwrap_or_else(|error| panic!("cannot be created: {error}"))
    }
}

/// A component that never started can be shut down: another one may have failed to start before it.
pub fn shuts_down_without_a_start(subject: &Subject) {
    block_on(async {
        let component = subject.create(subject.settings());
        shut_down(&*component).await;
    });
}

/// A component starts though nothing of the outside world answers, stops in time, and leaves no task behind.
pub fn shuts_down_after_a_start(subject: &Subject) {
    block_on(async {
        let settings = subject.settings();
        let component = subject.create(settings.clone());
        start(&*component, &settings).await;
        shut_down(&*component).await;
    });
}

/// Two components of one type live in one process: they share metric families and nothing else.
pub fn two_instances_live_side_by_side(subject: &Subject) {
    block_on(async {
        let first = subject.settings();
        let id = format!("{}/second", subject.descriptor.type_name);
        let second = Settings { telemetry: first.telemetry.clone(), ..settings_of(subject.kind, &id) };
        let components = [&first, &second].map(|settings| subject.create(settings.clone()));
        start(&*components[0], &first).await;
        start(&*components[1], &second).await;
        for component in &components {
            stop(&**component).await;
        }
        no_task_is_left().await;
    });
}

async fn start(component: &dyn Component, settings: &Settings) {
    let (host, _) = host(settings);
    let started = timeout(WAIT_MAX, component.start(host)).await;
    started.expect("start waits for the outside world").unwrap_or_else(|error| panic!("start: {error}"));
}

async fn shut_down(component: &dyn Component) {
    stop(component).await;
    no_task_is_left().await;
}

async fn stop(component: &dyn Component) {
    let stopped = timeout(WAIT_MAX, component.shutdown(Instant::now() + SHUTDOWN_MAX)).await;
    stopped.expect("shutdown passes its deadline").unwrap_or_else(|error| panic!("shutdown: {error}"));
}

async fn no_task_is_left() {
    let alive = || tokio::runtime::Handle::current().metrics().num_alive_tasks();
    for _ in 0..LAST_TURNS {
        tokio::task::yield_now().await;
    }
    assert_eq!(alive(), 0, "tasks are alive after shutdown has returned");
}
