//! From what users write to actions. What is wrong is refused with the reference's texts (contrib-components, C.1).

use regex::Regex;
use spanbridge_component::{BuildError, Problems};
use spanbridge_config::{AnyValue, nearest};
use spanbridge_pdata::{Attribute, Value};

use crate::action::{Action, Keys, Mode, Source};
use crate::config::ActionConfig;
use crate::context::ContextKey;
use crate::convert::Target;

/// Why an action is refused.
#[derive(Debug)]
pub struct Fault {
    /// The key that is at fault; `None` for the action as a whole.
    key: Option<&'static str>,
    message: String,
    help: Option<String>,
}

impl Fault {
    /// Reports it to `problems`, at the place of the action.
    pub fn report(self, problems: &mut Problems) {
        match self.key {
            Some(key) => problems.error_at(key, self.message),
            None => problems.error(self.message),
        };
        if let Some(help) = self.help {
            problems.help(help);
        }
    }

    fn whole(message: String) -> Self {
        Self { key: None, message, help: None }
    }

    fn at(key: &'static str, message: String) -> Self {
        Self { key: Some(key), message, help: None }
    }

    fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
}

impl From<Fault> for BuildError {
    fn from(fault: Fault) -> Self {
        Self(fault.message)
    }
}

/// Every action, as users write it.
const ACTIONS: [&str; 7] = ["insert", "update", "upsert", "delete", "hash", "extract", "convert"];
/// Every target of `convert`.
const TARGETS: [&str; 3] = ["int", "double", "string"];

/// The action `config`, the `index`-th of the list. `from_context` counts what is taken from the context so far.
pub(crate) fn compile(
    index: usize,
    config: &ActionConfig,
    from_context: &mut usize,
) -> Result<Action, Fault> {
    let name = config.action.to_lowercase();
    let check = Check { index, name: &name, config };
    match name.as_str() {
        "insert" => check.put(Mode::Insert, from_context),
        "update" => check.put(Mode::Update, from_context),
        "upsert" => check.put(Mode::Upsert, from_context),
        "delete" => check.keys().map(Action::Delete),
        "hash" => check.keys().map(Action::Hash),
        "extract" => check.extract(),
        "convert" => check.convert(),
        _ => Err(check.unsupported()),
    }
}

struct Check<'a> {
    index: usize,
    name: &'a str,
    config: &'a ActionConfig,
}

impl Check<'_> {
    fn put(&self, mode: Mode, from_context: &mut usize) -> Result<Action, Fault> {
        let (config, index) = (self.config, self.index);
        let key = self.key()?;
        self.no_pattern()?;
        self.no_converted_type()?;
        if self.sources() > 1 {
            let message = format!(
                "error creating AttrProc due to multiple value sources being set at the {index}-th actions"
            );
            return Err(Fault::whole(message));
        }
        let constant = |value: &AnyValue| Attribute::new(key, typed(value));
        let default = (config.default_value != AnyValue::Null).then(|| constant(&config.default_value));
        let source = if config.value != AnyValue::Null {
            Source::Constant(constant(&config.value))
        } else if !config.from_attribute.is_empty() {
            Source::Attribute { key: config.from_attribute.as_str().into(), default }
        } else if !config.from_context.is_empty() {
            *from_context += 1;
            Source::Context {
                key: ContextKey::parse(&config.from_context),
                place: *from_context - 1,
                default,
            }
        } else if let Some(default) = default {
            Source::Constant(default)
        } else {
            let message = format!(
                "error creating AttrProc. Either field \"value\", \"from_attribute\" or \"from_context\" setting must be \
                 specified for {index}-th action"
            );
            return Err(Fault::whole(message));
        };
        Ok(Action::Put { mode, key: key.into(), source })
    }

    fn keys(&self) -> Result<Keys, Fault> {
        let (config, index, name) = (self.config, self.index, self.name);
        if config.key.is_empty() && config.pattern.is_empty() {
            let message = format!(
                "error creating AttrProc due to missing required field (at least one of \"key\" and \"pattern\" have to be \
                 used) at the {index}-th actions"
            );
            return Err(Fault::whole(message));
        }
        if config.value != AnyValue::Null || !config.from_attribute.is_empty() {
            let message = format!(
                "error creating AttrProc. Action \"{name}\" does not use \"value\" or \"from_attribute\" field. These must \
                 not be specified for {index}-th action"
            );
            return Err(Fault::whole(message));
        }
        self.unused("from_context", !config.from_context.is_empty())?;
        self.unused("default_value", config.default_value != AnyValue::Null)?;
        self.no_converted_type()?;
        let pattern = if config.pattern.is_empty() { None } else { Some(self.pattern()?) };
        let key = (!config.key.is_empty()).then(|| config.key.as_str().into());
        Ok(Keys { key, pattern })
    }

    fn extract(&self) -> Result<Action, Fault> {
        let (config, index, name) = (self.config, self.index, self.name);
        let key = self.key()?.into();
        if self.sources() > 0 || config.default_value != AnyValue::Null {
            let message = format!(
                "error creating AttrProc. Action \"{name}\" does not use a value source field. These must not be specified \
                 for {index}-th action"
            );
            return Err(Fault::whole(message));
        }
        if config.pattern.is_empty() {
            return Err(self.missing("pattern"));
        }
        self.no_converted_type()?;
        let pattern = self.pattern()?;
        if pattern.captures_len() < 2 {
            let message = format!(
                "error creating AttrProc. Field \"pattern\" contains no named matcher groups at the {index}-th actions"
            );
            return Err(Fault::at("pattern", message).help("name a group: (?P<attribute>...)"));
        }
        let names: Option<Vec<_>> = pattern.capture_names().skip(1).map(|name| name.map(Box::from)).collect();
        let Some(names) = names else {
            let message = format!(
                "error creating AttrProc. Field \"pattern\" contains at least one unnamed matcher group at the {index}-th \
                 actions"
            );
            return Err(Fault::at("pattern", message).help("a group that is not to be extracted: (?:...)"));
        };
        Ok(Action::Extract { key, pattern, names })
    }

    fn convert(&self) -> Result<Action, Fault> {
        let (config, index, name) = (self.config, self.index, self.name);
        let key = self.key()?.into();
        let sources = self.sources() > 0 || config.default_value != AnyValue::Null;
        if sources || !config.pattern.is_empty() {
            let message = format!(
                "error creating AttrProc. Action \"{name}\" does not use value sources or \"pattern\" field. These must not \
                 be specified for {index}-th action"
            );
            return Err(Fault::whole(message));
        }
        let to = match config.converted_type.as_str() {
            "int" => Target::Int,
            "double" => Target::Double,
            "string" => Target::Text,
            "" => return Err(self.missing("converted_type")),
            other => {
                let message = format!(
                    "error creating AttrProc due to invalid value \"{other}\" in field \"converted_type\" for action \
                     \"{name}\" at the {index}-th action"
                );
                return Err(Fault::at("converted_type", message).help(suggestion(other, &TARGETS)));
            }
        };
        Ok(Action::Convert { key, to })
    }

    fn unsupported(&self) -> Fault {
        let (index, name) = (self.index, self.name);
        let message =
            format!("error creating AttrProc due to unsupported action {name:?} at the {index}-th actions");
        Fault::at("action", message).help(suggestion(name, &ACTIONS))
    }

    fn key(&self) -> Result<&str, Fault> {
        if !self.config.key.is_empty() {
            return Ok(&self.config.key);
        }
        let index = self.index;
        let message = format!(
            "error creating AttrProc due to missing required field \"key\" at the {index}-th actions"
        );
        Err(Fault::whole(message))
    }

    fn sources(&self) -> usize {
        let config = self.config;
        let given = [
            config.value != AnyValue::Null,
            !config.from_attribute.is_empty(),
            !config.from_context.is_empty(),
        ];
        given.into_iter().filter(|given| *given).count()
    }

    fn pattern(&self) -> Result<Regex, Fault> {
        let (pattern, index) = (&self.config.pattern, self.index);
        Regex::new(pattern).map_err(|error| {
            let message = format!(
                "error creating AttrProc. Field \"pattern\" has invalid pattern: \"{pattern}\" to be set at the {index}-th \
                 actions"
            );
            Fault::at("pattern", message).help(error.to_string())
        })
    }

    fn no_pattern(&self) -> Result<(), Fault> {
        self.unused("pattern", !self.config.pattern.is_empty())
    }

    fn no_converted_type(&self) -> Result<(), Fault> {
        self.unused("converted_type", !self.config.converted_type.is_empty())
    }

    fn unused(&self, field: &'static str, given: bool) -> Result<(), Fault> {
        if !given {
            return Ok(());
        }
        let (index, name) = (self.index, self.name);
        let message = format!(
            "error creating AttrProc. Action \"{name}\" does not use the \"{field}\" field. This must not be specified for \
             {index}-th action"
        );
        Err(Fault::at(field, message))
    }

    fn missing(&self, field: &str) -> Fault {
        let (index, name) = (self.index, self.name);
        let message = format!(
            "error creating AttrProc due to missing required field \"{field}\" for action \"{name}\" at the {index}-th action"
        );
        Fault::whole(message)
    }
}

/// What to write instead of `name`: the one that is near, or all.
pub fn suggestion(name: &str, valid: &[&'static str]) -> String {
    match nearest(name, valid.iter().copied()) {
        Some(near) => format!("did you mean \"{near}\"?"),
        None => format!("one of {}", valid.join(", ")),
    }
}

/// The value with the type it has in YAML.
pub fn typed(value: &AnyValue) -> Value {
    match value {
        AnyValue::Null => Value::Empty,
        AnyValue::Bool(value) => Value::Bool(*value),
        AnyValue::Int(number) => Value::Int(*number),
        AnyValue::Float(number) => Value::Double(*number),
        AnyValue::String(text) => Value::Str(text.clone()),
        AnyValue::List(values) => Value::List(values.iter().map(typed).collect()),
        AnyValue::Map(pairs) => {
            Value::Map(pairs.iter().map(|(key, value)| (key.clone(), typed(value))).collect())
        }
    }
}
