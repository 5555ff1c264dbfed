//! A factory without its type.

use std::sync::Arc;

use schemars::{Schema, SchemaGenerator};
use spanbridge_component::{Descriptor, Signal};
use spanbridge_config::{Diagnostic, Document, Node};

use super::recipe::{Recipe, TypedRecipe};
use super::role::{Factory, Role};

/// How far a configuration is checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Checks {
    /// Keys and types only.
    Types,
    /// What must hold between values, too.
    All,
}

/// What decoding comes to.
pub(crate) type Outcome<R> = (Option<Arc<dyn Recipe<R>>>, Vec<Diagnostic>);

/// One component type of the registry.
pub(crate) trait Entry<R: Role>: Send + Sync {
    /// The constant facts about it.
    fn descriptor(&self) -> Descriptor;
    /// Whether it turns `input` into `output`; only connectors do.
    fn connects(&self, input: Signal, output: Signal) -> bool;
    /// The crate that it comes from.
    fn module(&self) -> &'static str;
    /// Decodes what a user wrote at `path`. A recipe comes only without errors.
    fn decode(&self, document: &Document, node: &Node, path: &[&str], checks: Checks) -> Outcome<R>;
    /// The JSON schema of its configuration.
    fn schema(&self, generator: &mut SchemaGenerator) -> Schema;
}

/// The [`Entry`] of a typed factory.
pub(super) struct TypedEntry<F>(pub(super) Arc<F>);

impl<R: Role, F: Factory<R>> Entry<R> for TypedEntry<F> {
    fn descriptor(&self) -> Descriptor {
        self.0.descriptor()
    }

    fn connects(&self, input: Signal, output: Signal) -> bool {
        self.0.connects(input, output)
    }

    fn module(&self) -> &'static str {
        let path = std::any::type_name::<F>();
        path.split("::").next().unwrap_or(path)
    }

    fn decode(&self, document: &Document, node: &Node, path: &[&str], checks: Checks) -> Outcome<R> {
        let unsupported = self.0.descriptor().unsupported;
        let decoded = match checks {
            Checks::All => document.decode_and_validate::<F::Config>(node, path, unsupported),
            Checks::Types => document.decode::<F::Config>(node, path, unsupported),
        };
        let (config, found) = decoded.into_parts();
        let recipe = config.map(|config| {
            let recipe: Arc<dyn Recipe<R>> = Arc::new(TypedRecipe::new(self.0.clone(), config));
            recipe
        });
        (recipe, found)
    }

    fn schema(&self, generator: &mut SchemaGenerator) -> Schema {
        generator.subschema_for::<F::Config>()
    }
}
