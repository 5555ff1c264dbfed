//! What an action can take from the request that brought a batch.

use spanbridge_component::{AuthValue, Context};

/// Joins several values of one name.
const SEPARATOR: &str = ";";

/// Where in the context to look.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ContextKey {
    /// Request metadata of this name.
    Metadata(Box<str>),
    /// What the authenticator yields under this name.
    Auth(Box<str>),
    /// The address of the peer, without its port.
    ClientAddress,
}

impl ContextKey {
    /// Reads `metadata.<key>`, `auth.<name>` and `client.address`; anything else is the name of metadata.
    pub(crate) fn parse(text: &str) -> Self {
        if text == "client.address" {
            Self::ClientAddress
        } else if let Some(name) = text.strip_prefix("auth.") {
            Self::Auth(name.into())
        } else {
            Self::Metadata(text.strip_prefix("metadata.").unwrap_or(text).into())
        }
    }

    /// What `context` has there.
    pub(crate) fn value(&self, context: &Context) -> Option<String> {
        match self {
            Self::Metadata(name) => joined(context.metadata.values(name)),
            Self::Auth(name) => match context.auth.as_ref()?.attribute(name)? {
                AuthValue::Text(text) => Some(text),
                AuthValue::List(texts) => joined(&texts),
            },
            // A peer that came over IPv4 is written as one, also when the socket is of both families.
            Self::ClientAddress => {
                context.client_address.map(|address| address.ip().to_canonical().to_string())
            }
        }
    }
}

fn joined(values: &[String]) -> Option<String> {
    (!values.is_empty()).then(|| values.join(SEPARATOR))
}
