//! Where `${env:X}` looks.

use std::collections::{BTreeMap, HashMap};

/// The environment variables that a configuration may refer to. Injected, so that tests need not change the process's.
pub trait Environment {
    /// The value of a variable; `None` when it is unset.
    fn var(&self, name: &str) -> Option<String>;
}

/// The environment of this process. Bytes that are not UTF-8 become replacement characters.
#[derive(Debug, Clone, Copy, Default)]
pub struct ProcessEnvironment;

/// No variables at all.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoEnvironment;

impl Environment for ProcessEnvironment {
    fn var(&self, name: &str) -> Option<String> {
        std::env::var_os(name).map(|value| value.to_string_lossy().into_owned())
    }
}

impl Environment for NoEnvironment {
    fn var(&self, _: &str) -> Option<String> {
        None
    }
}

impl Environment for BTreeMap<String, String> {
    fn var(&self, name: &str) -> Option<String> {
        self.get(name).cloned()
    }
}

impl<S: std::hash::BuildHasher> Environment for HashMap<String, String, S> {
    fn var(&self, name: &str) -> Option<String> {
        self.get(name).cloned()
    }
}
