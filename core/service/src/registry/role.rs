//! The five kinds of components as types, so that one erased entry serves all of them.

use std::sync::Arc;

use spanbridge_component::{
    BuildError, Component, Config, Connector, ConnectorFactory, ConnectorOutputs, Consumer, Descriptor,
    Exporter, ExporterFactory, Extension, ExtensionFactory, Kind, Offers, Outputs, Permissions, Processor,
    ProcessorFactory, Receiver, ReceiverFactory, Settings, Signal,
};

/// What is different from one kind of component to the next.
pub(crate) trait Role: 'static {
    /// The kind.
    const KIND: Kind;
    /// What a component of this kind hands on to.
    type Next;
    /// The component itself.
    type Component: Component + ?Sized;
    /// The component as what all kinds have in common.
    fn upcast(component: Arc<Self::Component>) -> Arc<dyn Component>;
}

/// A factory of components of one kind: the same shape for all five.
pub(crate) trait Factory<R: Role>: Send + Sync + 'static {
    /// What users write.
    type Config: Config;
    /// The constant facts about this type.
    fn descriptor(&self) -> Descriptor;
    /// Makes one component.
    fn create(
        &self,
        settings: Settings,
        config: Self::Config,
        next: R::Next,
    ) -> Result<Arc<R::Component>, BuildError>;
    /// Whether it turns `input` into `output`; only connectors do.
    fn connects(&self, _input: Signal, _output: Signal) -> bool {
        false
    }
    /// What the component does for others; only extensions do.
    fn offers(&self, _config: &Self::Config) -> Offers {
        Offers::default()
    }
    /// What the component needs from the Kubernetes API; only processors and exporters have been seen to need any.
    fn permissions(&self, _config: &Self::Config) -> Result<Permissions, BuildError> {
        Ok(Permissions::default())
    }
}

/// The kind `receiver`.
pub(crate) enum Receivers {}
/// The kind `processor`.
pub(crate) enum Processors {}
/// The kind `exporter`.
pub(crate) enum Exporters {}
/// The kind `connector`.
pub(crate) enum Connectors {}
/// The kind `extension`.
pub(crate) enum Extensions {}

impl Role for Receivers {
    const KIND: Kind = Kind::Receiver;
    type Next = Outputs;
    type Component = dyn Receiver;

    fn upcast(component: Arc<dyn Receiver>) -> Arc<dyn Component> {
        component
    }
}

impl Role for Processors {
    const KIND: Kind = Kind::Processor;
    type Next = Arc<dyn Consumer>;
    type Component = dyn Processor;

    fn upcast(component: Arc<dyn Processor>) -> Arc<dyn Component> {
        component
    }
}

impl Role for Exporters {
    const KIND: Kind = Kind::Exporter;
    type Next = ();
    type Component = dyn Exporter;

    fn upcast(component: Arc<dyn Exporter>) -> Arc<dyn Component> {
        component
    }
}

impl Role for Connectors {
    const KIND: Kind = Kind::Connector;
    type Next = ConnectorOutputs;
    type Component = dyn Connector;

    fn upcast(component: Arc<dyn Connector>) -> Arc<dyn Component> {
        component
    }
}

impl Role for Extensions {
    const KIND: Kind = Kind::Extension;
    type Next = ();
    type Component = dyn Extension;

    fn upcast(component: Arc<dyn Extension>) -> Arc<dyn Component> {
        component
    }
}

impl<F: ReceiverFactory> Factory<Receivers> for F {
    type Config = F::Config;

    fn descriptor(&self) -> Descriptor {
        ReceiverFactory::descriptor(self)
    }

    fn create(
        &self,
        settings: Settings,
        config: F::Config,
        next: Outputs,
    ) -> Result<Arc<dyn Receiver>, BuildError> {
        ReceiverFactory::create(self, settings, config, next)
    }
}

impl<F: ProcessorFactory> Factory<Processors> for F {
    type Config = F::Config;

    fn descriptor(&self) -> Descriptor {
        ProcessorFactory::descriptor(self)
    }

    fn create(
        &self,
        settings: Settings,
        config: F::Config,
        next: Arc<dyn Consumer>,
    ) -> Result<Arc<dyn Processor>, BuildError> {
        ProcessorFactory::create(self, settings, config, next)
    }

    fn permissions(&self, config: &F::Config) -> Result<Permissions, BuildError> {
        ProcessorFactory::permissions(self, config)
    }
}

impl<F: ExporterFactory> Factory<Exporters> for F {
    type Config = F::Config;

    fn descriptor(&self) -> Descriptor {
        ExporterFactory::descriptor(self)
    }

    fn create(&self, settings: Settings, config: F::Config, (): ()) -> Result<Arc<dyn Exporter>, BuildError> {
        ExporterFactory::create(self, settings, config)
    }

    fn permissions(&self, config: &F::Config) -> Result<Permissions, BuildError> {
        ExporterFactory::permissions(self, config)
    }
}

impl<F: ConnectorFactory> Factory<Connectors> for F {
    type Config = F::Config;

    fn descriptor(&self) -> Descriptor {
        ConnectorFactory::descriptor(self)
    }

    fn create(
        &self,
        settings: Settings,
        config: F::Config,
        next: ConnectorOutputs,
    ) -> Result<Arc<dyn Connector>, BuildError> {
        ConnectorFactory::create(self, settings, config, next)
    }

    fn connects(&self, input: Signal, output: Signal) -> bool {
        ConnectorFactory::connects(self, input, output)
    }
}

impl<F: ExtensionFactory> Factory<Extensions> for F {
    type Config = F::Config;

    fn descriptor(&self) -> Descriptor {
        ExtensionFactory::descriptor(self)
    }

    fn offers(&self, config: &F::Config) -> Offers {
        ExtensionFactory::offers(self, config)
    }

    fn create(
        &self,
        settings: Settings,
        config: F::Config,
        (): (),
    ) -> Result<Arc<dyn Extension>, BuildError> {
        ExtensionFactory::create(self, settings, config)
    }
}
