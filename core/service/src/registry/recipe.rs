//! A decoded configuration together with the factory that it is for.

use std::fmt;
use std::sync::Arc;

use spanbridge_component::{
    BuildError, Descriptor, Listener, Offers, Permissions, Problems, Reference, Settings, Signal,
    Validate as _,
};

use super::role::{Factory, Role};

/// What a user defined under one id: everything needed to make the component.
///
/// It is one object rather than a factory and a boxed configuration side by side, so that nothing is ever downcast.
pub(crate) trait Recipe<R: Role>: Send + Sync {
    /// The constant facts about the component's type.
    fn descriptor(&self) -> Descriptor;
    /// Whether the connector turns `input` into `output`.
    fn connects(&self, input: Signal, output: Signal) -> bool;
    /// The effective configuration, defaults filled in.
    fn effective(&self) -> Result<serde_json::Value, serde_json::Error>;
    /// The extensions that the configuration names, at paths relative to it.
    fn references(&self) -> Vec<Reference>;
    /// The addresses that the component takes, at paths relative to its configuration.
    fn listeners(&self) -> Vec<Listener>;
    /// What the component does for others.
    fn offers(&self) -> Offers;
    /// What the component needs from the Kubernetes API.
    fn permissions(&self) -> Result<Permissions, BuildError>;
    /// Makes one component.
    fn create(&self, settings: Settings, next: R::Next) -> Result<Arc<R::Component>, BuildError>;
}

/// The [`Recipe`] of a typed factory.
pub(crate) struct TypedRecipe<R: Role, F: Factory<R>> {
    factory: Arc<F>,
    config: F::Config,
}

impl<R: Role, F: Factory<R>> TypedRecipe<R, F> {
    /// Puts a factory and a configuration for it together.
    pub(crate) fn new(factory: Arc<F>, config: F::Config) -> Self {
        Self { factory, config }
    }

    fn validated(&self) -> Problems {
        let mut problems = Problems::new();
        self.config.validate(&mut problems);
        problems
    }
}

impl<R: Role, F: Factory<R>> Recipe<R> for TypedRecipe<R, F> {
    fn descriptor(&self) -> Descriptor {
        self.factory.descriptor()
    }

    fn connects(&self, input: Signal, output: Signal) -> bool {
        self.factory.connects(input, output)
    }

    fn effective(&self) -> Result<serde_json::Value, serde_json::Error> {
        serde_json::to_value(&self.config)
    }

    fn references(&self) -> Vec<Reference> {
        self.validated().references().to_vec()
    }

    fn listeners(&self) -> Vec<Listener> {
        self.validated().listeners().to_vec()
    }

    fn offers(&self) -> Offers {
        self.factory.offers(&self.config)
    }

    fn permissions(&self) -> Result<Permissions, BuildError> {
        self.factory.permissions(&self.config)
    }

    fn create(&self, settings: Settings, next: R::Next) -> Result<Arc<R::Component>, BuildError> {
        self.factory.create(settings, self.config.clone(), next)
    }
}

impl<R: Role> fmt::Debug for dyn Recipe<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.descriptor().type_name, R::KIND)
    }
}
