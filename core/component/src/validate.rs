//! Checks of a decoded configuration, with all problems collected.

use std::fmt;

use crate::{ComponentId, Listen};

/// A configuration that can check the relations between its values.
///
/// `validate` does no I/O but for reading files that the configuration names, and reports every problem it finds, not
/// the first. Value types refuse what is wrong by itself (a bad duration) while decoding.
pub trait Validate {
    /// Reports what is wrong to `problems`, at paths relative to this configuration.
    fn validate(&self, problems: &mut Problems) {
        let _ = problems;
    }
}

/// How bad a problem is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// The configuration is refused.
    Error,
    /// It is accepted, and the user is told.
    Warning,
}

/// Something wrong with a value, at a path relative to the component's own configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Keys and list indices from the component's configuration to the value: `["protocols", "grpc", "endpoint"]`.
    pub path: Vec<String>,
    /// What is wrong.
    pub message: String,
    /// What to do about it, if there is more to say.
    pub help: Option<String>,
    /// Whether it refuses the configuration.
    pub severity: Severity,
}

/// An extension that a configuration names: `sending_queue::storage: file_storage`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reference {
    /// Keys and list indices from the component's configuration to the id.
    pub path: Vec<String>,
    /// The extension's id.
    pub id: ComponentId,
    /// What it is needed for.
    pub role: Role,
}

/// An address that a configuration takes: `protocols::grpc::endpoint: localhost:4317`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listener {
    /// Keys and list indices from the component's configuration to the address.
    pub path: Vec<String>,
    /// The address.
    pub address: Listen,
}

/// What a configuration needs an extension for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Role {
    /// Something that the component itself checks when it starts.
    #[default]
    Any,
    /// To let requests into a server.
    ServerAuthenticator {
        /// Whether the server asks its clients for certificates, or another authenticator stands before this one.
        asks_for_certificates: bool,
    },
    /// To give credentials to a client.
    ClientAuthenticator {
        /// Whether the credentials go over a transport that nobody encrypts.
        in_the_clear: bool,
    },
}

/// Collects problems, the extensions that a configuration names, and the addresses that it takes.
#[derive(Debug, Default)]
pub struct Problems {
    path: Vec<String>,
    found: Vec<Problem>,
    references: Vec<Reference>,
    listeners: Vec<Listener>,
}

impl Problems {
    /// Nothing found yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Runs `check` one level deeper: at the key or list index `step`.
    pub fn at<R>(&mut self, step: impl fmt::Display, check: impl FnOnce(&mut Self) -> R) -> R {
        self.path.push(step.to_string());
        let result = check(self);
        self.path.pop();
        result
    }

    /// Validates `config`, which is the value of `key`.
    pub fn nested(&mut self, key: &str, config: &impl Validate) {
        self.at(key, |problems| config.validate(problems));
    }

    /// An error at the current place.
    pub fn error(&mut self, message: impl Into<String>) -> &mut Self {
        self.push(Severity::Error, message.into())
    }

    /// An error at the value of `key`.
    pub fn error_at(&mut self, key: &str, message: impl Into<String>) -> &mut Self {
        self.path.push(key.to_owned());
        self.push(Severity::Error, message.into());
        self.path.pop();
        self
    }

    /// A warning at the value of `key`.
    pub fn warn_at(&mut self, key: &str, message: impl Into<String>) -> &mut Self {
        self.path.push(key.to_owned());
        self.push(Severity::Warning, message.into());
        self.path.pop();
        self
    }

    /// Adds what to do about it to the problem reported last.
    pub fn help(&mut self, help: impl Into<String>) -> &mut Self {
        if let Some(problem) = self.found.last_mut() {
            problem.help = Some(help.into());
        }
        self
    }

    /// The value of `key` names an extension. Whether it is there is for the service to find out.
    pub fn refer_at(&mut self, key: &str, id: &ComponentId) {
        self.refer_as(key, id, Role::Any);
    }

    /// The value of `key` names an extension that is needed for `role`. Whether it is there, and is fit for that, is for
    /// the service to find out.
    pub fn refer_as(&mut self, key: &str, id: &ComponentId, role: Role) {
        let path = self.path.iter().cloned().chain([key.to_owned()]).collect();
        self.references.push(Reference { path, id: id.clone(), role });
    }

    /// The extensions that the configuration names.
    pub fn references(&self) -> &[Reference] {
        &self.references
    }

    /// The value of `key` is where a server listens. Whether another one listens there is for the service to find out.
    pub fn listen_at(&mut self, key: &str, address: Listen) {
        let path = self.path.iter().cloned().chain([key.to_owned()]).collect();
        self.listeners.push(Listener { path, address });
    }

    /// The addresses that the configuration takes.
    pub fn listeners(&self) -> &[Listener] {
        &self.listeners
    }

    /// Everything found, in order of discovery.
    pub fn into_found(self) -> Vec<Problem> {
        self.found
    }

    fn push(&mut self, severity: Severity, message: String) -> &mut Self {
        self.found.push(Problem { path: self.path.clone(), message, help: None, severity });
        self
    }
}
