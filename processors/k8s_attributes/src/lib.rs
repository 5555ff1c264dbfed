//! The `k8s_attributes` processor: it adds to resources what Kubernetes knows of their pods.
//!
//! One cache serves every pipeline with the same configuration. It is fed by watches that ask for no more than the
//! configuration needs. A pod's attributes are serialized once, when the pod changes; enriching is a look-up and a splice.

mod cache;
mod config;
mod containers;
mod enrich;
mod extract;
mod factory;
mod feed;
mod fields;
mod hint;
mod identifier;
mod image;
mod object;
mod plan;
mod processor;
pub mod rbac;
mod resource;
mod rules;
mod shared;
mod telemetry;
mod write;

pub use config::{
    AssociationConfig, AssociationSourceConfig, Config, Conventions, ExcludeConfig, ExcludedPodConfig,
    ExtractConfig, FieldRuleConfig, FilterConfig, FilterTermConfig, Namespaces,
};
pub use factory::Factory;
