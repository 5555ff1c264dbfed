//! A list of actions, ready to be taken.

use spanbridge_component::Context;
use spanbridge_pdata::Attributes;

use crate::ActionConfig;
use crate::action::{Action, FromContext};
use crate::compile::{Fault, compile};

/// Compiled actions, in the order in which they are taken; each sees what the ones before it did.
#[derive(Debug)]
pub struct Actions(Box<[Action]>);

impl Actions {
    /// Compiles what users wrote.
    ///
    /// # Errors
    /// The first action that is wrong, with the Go collector's text.
    pub fn compile(configs: &[ActionConfig]) -> Result<Self, Fault> {
        let mut from_context = 0;
        let actions = configs.iter().enumerate();
        actions
            .map(|(index, config)| compile(index, config, &mut from_context))
            .collect::<Result<_, _>>()
            .map(Self)
    }

    /// What the actions take from the context of a batch; looked up once for all its resources or items. Allocates nothing
    /// when that is nothing.
    pub fn look_up(&self, context: &Context) -> FromContext {
        FromContext::look_up(&self.0, context)
    }

    /// Takes every action on the attributes of one resource or item.
    pub fn apply(&self, attributes: &mut Attributes<'_>, from_context: &FromContext) {
        for action in &self.0 {
            action.apply(attributes, from_context);
        }
    }
}
