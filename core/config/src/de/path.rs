//! Where the decoder is.

use std::fmt::Write as _;

/// One step from a value to one inside it.
#[derive(Debug, Clone, Copy)]
pub(super) enum Step<'a> {
    /// The value that is decoded.
    Root,
    /// The value of a key.
    Key(&'a str),
    /// An item of a list.
    Index(usize),
}

/// The way from the root to a value, as a list on the stack.
#[derive(Debug, Clone, Copy)]
pub(super) struct Path<'a> {
    parent: Option<&'a Path<'a>>,
    step: Step<'a>,
    /// The identity of the value here.
    node: usize,
}

impl<'a> Path<'a> {
    pub(super) const fn root(node: usize) -> Self {
        Self { parent: None, step: Step::Root, node }
    }

    pub(super) const fn child(&'a self, step: Step<'a>, node: usize) -> Self {
        Self { parent: Some(self), step, node }
    }

    /// The steps from the root, indices as texts.
    pub(super) fn steps(&self) -> Vec<String> {
        let mut steps: Vec<String> = self
            .upwards()
            .filter_map(|path| match path.step {
                Step::Root => None,
                Step::Key(key) => Some(key.to_owned()),
                Step::Index(index) => Some(index.to_string()),
            })
            .collect();
        steps.reverse();
        steps
    }

    /// The steps as users read them, after `base`: `receivers.otlp.protocols`.
    pub(super) fn dotted(&self, base: &[String]) -> String {
        let mut out = base.join(".");
        let mut steps: Vec<Step<'_>> = self.upwards().map(|path| path.step).collect();
        steps.reverse();
        for this in steps {
            match this {
                Step::Root => {}
                Step::Key(key) => out.push_str(&step(key, false, out.is_empty())),
                Step::Index(index) => {
                    let _ = write!(out, "[{index}]");
                }
            }
        }
        out
    }

    /// The identities of the values from here to the root.
    pub(super) fn nodes(&self) -> Vec<usize> {
        self.upwards().map(|path| path.node).collect()
    }

    fn upwards(&self) -> impl Iterator<Item = &Path<'_>> {
        std::iter::successors(Some(self), |path| path.parent)
    }
}

/// One step of a dotted path.
pub(crate) fn step(step: &str, is_index: bool, first: bool) -> String {
    match (is_index, first) {
        (true, _) => format!("[{step}]"),
        (false, true) => step.to_owned(),
        (false, false) => format!(".{step}"),
    }
}
