//! What is known about the request that brought a batch.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

/// What is known about the request that brought a batch. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Context {
    /// Address of the peer, unless it came over a unix socket or from inside the process.
    pub client_address: Option<SocketAddr>,
    /// Request metadata; empty unless the receiver has `include_metadata: true`.
    pub metadata: Metadata,
    /// What the receiver's authenticator found out, if there is one.
    pub auth: Option<Arc<dyn AuthData>>,
    /// When the client stops waiting, if it said so.
    pub deadline: Option<Instant>,
}

/// Request metadata (gRPC metadata, HTTP headers): names in lower case, several values a name, in order of arrival.
///
/// Values may be credentials, so `Debug` prints names only.
#[derive(Clone, Default)]
pub struct Metadata(Option<Arc<[Entry]>>);

/// A name in lower case with its values in order of arrival.
type Entry = (String, Vec<String>);

impl Metadata {
    /// Builds from pairs; names are lower-cased, values of equal names are kept together in order.
    pub fn from_pairs<N: AsRef<str>, V: Into<String>>(pairs: impl IntoIterator<Item = (N, V)>) -> Self {
        let mut entries: Vec<Entry> = Vec::new();
        for (name, value) in pairs {
            let name = name.as_ref().to_ascii_lowercase();
            match entries.iter_mut().find(|(n, _)| *n == name) {
                Some((_, values)) => values.push(value.into()),
                None => entries.push((name, vec![value.into()])),
            }
        }
        if entries.is_empty() { Self(None) } else { Self(Some(entries.into())) }
    }

    /// All values of `name`, looked up without regard to case; empty when there is none.
    pub fn values(&self, name: &str) -> &[String] {
        self.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map_or(&[], |(_, v)| v)
    }

    /// Every name with its values.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &[String])> {
        self.0.iter().flat_map(|e| e.iter()).map(|(n, v)| (n.as_str(), v.as_slice()))
    }

    /// Whether there is no metadata at all.
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }
}

impl fmt::Debug for Metadata {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter().map(|(n, _)| n)).finish()
    }
}

/// One attribute that an authenticator yields.
#[derive(Clone, PartialEq, Eq)]
pub enum AuthValue {
    /// A single text.
    Text(String),
    /// Several texts, such as groups.
    List(Vec<String>),
}

/// What an authenticator found out about a client: attributes such as `username`, readable as `auth.<name>` in
/// `from_context`.
pub trait AuthData: Send + Sync + fmt::Debug {
    /// The attribute of this name.
    fn attribute(&self, name: &str) -> Option<AuthValue>;
    /// The names of all attributes.
    fn names(&self) -> Vec<String>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metadata_names_ignore_case_and_keep_every_value() {
        let metadata = Metadata::from_pairs([("X-Tenant", "a"), ("other", "b"), ("x-tenant", "c")]);
        assert_eq!(metadata.values("X-TENANT"), ["a", "c"]);
        assert!(metadata.values("absent").is_empty());
    }

    #[test]
    fn debug_output_hides_metadata_values() {
        let metadata = Metadata::from_pairs([("authorization", "Basic c2VjcmV0")]);
        assert_eq!(format!("{metadata:?}"), "[\"authorization\"]");
    }
}
