//! What identifies a pod: the values of up to four sources (reference: contrib-components, B.5). No I/O.
//!
//! An identifier is one run of bytes, so that looking one up needs neither an allocation nor a comparison of lists.

use std::fmt::Write as _;
use std::net::IpAddr;

use smallvec::SmallVec;
use spanbridge_pdata::{Attributes, ValueRef};

use crate::config::AssociationConfig;
use crate::containers;
use crate::extract::Found;
use crate::fields::{Field, FieldSet};
use crate::object::Pod;
use crate::resource::Resource;
use crate::rules::ObjectRules;

const NAMESPACE: &str = "k8s.namespace.name";
const POD_NAME: &str = "k8s.pod.name";
const POD_UID: &str = "k8s.pod.uid";
pub(crate) const POD_IP: &str = "k8s.pod.ip";
const HOST_NAME: &str = "host.name";
const CONTAINER_ID: &str = "container.id";
/// The attribute that carries an address without rules, beside [`POD_IP`].
const IP: &str = "ip";
/// Identifiers of one pod at most: addresses times containers, for each rule.
const MOST_IDENTIFIERS: usize = 512;

/// The bytes of an identifier.
pub(crate) type Key = SmallVec<[u8; 96]>;

/// An address as text, on the stack.
#[derive(Debug, Clone, Default)]
pub(crate) struct IpText(SmallVec<[u8; 40]>);

impl IpText {
    /// The canonical text: IPv4 also when it came over a socket of both families.
    pub(crate) fn new(address: IpAddr) -> Self {
        let mut text = Self::default();
        // Writing to it does not fail.
        let _ = write!(text, "{}", address.to_canonical());
        text
    }

    /// The text.
    pub(crate) fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl std::fmt::Write for IpText {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        self.0.extend_from_slice(text.as_bytes());
        Ok(())
    }
}

/// Where a part of an identifier comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Source {
    Connection,
    Attribute(Box<str>),
}

/// One rule.
#[derive(Debug)]
struct Association {
    /// Numbers of [`Associations::sources`].
    sources: SmallVec<[usize; 4]>,
}

/// All rules.
#[derive(Debug)]
pub(crate) struct Associations {
    /// Every source once; equal sources have equal numbers, so identifiers of different rules can be equal.
    sources: Vec<Source>,
    rules: Vec<Association>,
    /// What each rule is called in metrics.
    labels: Vec<String>,
}

/// The sources that every pod is indexed by.
const BY_CONNECTION: usize = 0;
const BY_UID: usize = 1;
const BY_IP: usize = 2;

/// What is tried without rules, in this order.
const DEFAULT_LABELS: [&str; 4] = [POD_IP, IP, "connection", HOST_NAME];

/// What was found to identify the pod of a resource.
#[derive(Debug)]
pub(crate) struct Identified {
    pub(crate) key: Key,
    /// Place of the rule in [`Associations::labels`].
    pub(crate) rule: usize,
    /// The value of a connection source, which becomes `k8s.pod.ip`.
    pub(crate) address: Option<Address>,
}

/// The value of a connection source.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Address {
    /// The address of the peer.
    Peer,
    /// An attribute that stands for it.
    Attribute(String),
}

impl Associations {
    pub(crate) fn new(config: &[AssociationConfig]) -> Self {
        let mut sources =
            vec![Source::Connection, Source::Attribute(POD_UID.into()), Source::Attribute(POD_IP.into())];
        let mut rules = Vec::new();
        let mut labels = Vec::new();
        for association in config {
            let mut numbers = SmallVec::new();
            let mut names = Vec::new();
            for source in &association.sources {
                let source = match source.from.as_str() {
                    "connection" => Source::Connection,
                    _ => Source::Attribute(source.name.as_str().into()),
                };
                names.push(match &source {
                    Source::Connection => "connection".to_owned(),
                    Source::Attribute(name) => name.to_string(),
                });
                let number = sources.iter().position(|known| *known == source).unwrap_or_else(|| {
                    sources.push(source);
                    sources.len() - 1
                });
                numbers.push(number);
            }
            rules.push(Association { sources: numbers });
            labels.push(names.join(","));
        }
        if rules.is_empty() {
            labels = DEFAULT_LABELS.map(str::to_owned).to_vec();
        }
        Self { sources, rules, labels }
    }

    /// What each rule is called in metrics.
    pub(crate) fn labels(&self) -> &[String] {
        &self.labels
    }

    /// Whether some rule asks for the address of the peer.
    pub(crate) fn use_connection(&self) -> bool {
        self.rules.is_empty() || self.rules.iter().any(|rule| rule.sources.contains(&BY_CONNECTION))
    }

    /// What identifies the pod of a resource: the first rule whose sources all have values. `peer` is the address of
    /// the connection.
    pub(crate) fn identify(
        &self,
        attributes: &mut Attributes<'_>,
        peer: Option<&IpText>,
    ) -> Option<Identified> {
        if self.rules.is_empty() {
            return by_default(attributes, peer);
        }
        let mut key = Key::new();
        'rules: for (rule, association) in self.rules.iter().enumerate() {
            key.clear();
            let mut address = None;
            for number in &association.sources {
                let found = match self.sources.get(*number) {
                    Some(Source::Connection) => peer.map(|peer| {
                        address = Some(Address::Peer);
                        push(&mut key, *number, peer.as_str());
                    }),
                    Some(Source::Attribute(name)) => {
                        let value = attributes.get(name);
                        let text = value.as_ref().and_then(ValueRef::as_str).filter(|t| !t.is_empty());
                        let text = text.filter(|text| **name != *HOST_NAME || is_address(text));
                        text.map(|text| push(&mut key, *number, text))
                    }
                    None => None,
                };
                if found.is_none() {
                    continue 'rules;
                }
            }
            return Some(Identified { key, rule, address });
        }
        None
    }

    /// Every identifier of a pod.
    pub(crate) fn identifiers(&self, pod: &Pod, found: &Found) -> Vec<Key> {
        let mut keys = Vec::new();
        let values = PodValues::of(pod, found);
        for association in &self.rules {
            let mut partial = vec![Key::new()];
            for number in &association.sources {
                let Some(source) = self.sources.get(*number) else { continue };
                let texts = values.of_source(source);
                partial = partial
                    .iter()
                    .flat_map(|key| {
                        texts.iter().map(move |text| {
                            let mut key = key.clone();
                            push(&mut key, *number, text);
                            key
                        })
                    })
                    .take(MOST_IDENTIFIERS)
                    .collect();
            }
            keys.extend(partial);
        }
        keys.push(single(BY_UID, &pod.metadata.uid));
        for address in values.of_source(&Source::Connection) {
            keys.push(single(BY_CONNECTION, &address));
            keys.push(single(BY_IP, &address));
        }
        keys.retain(|key| !key.is_empty());
        keys.sort_unstable();
        keys.dedup();
        keys.truncate(MOST_IDENTIFIERS);
        keys
    }
}

/// Without rules everything is an address, and stands for that of the connection.
fn by_default(attributes: &mut Attributes<'_>, peer: Option<&IpText>) -> Option<Identified> {
    for (rule, name) in DEFAULT_LABELS.into_iter().enumerate() {
        if name == "connection" {
            let Some(peer) = peer else { continue };
            return Some(Identified {
                key: single(BY_CONNECTION, peer.as_str()),
                rule,
                address: Some(Address::Peer),
            });
        }
        let value = attributes.get(name);
        let text = value.as_ref().and_then(ValueRef::as_str).filter(|text| !text.is_empty());
        let Some(text) = text.filter(|text| name != HOST_NAME || is_address(text)) else { continue };
        let key = single(BY_CONNECTION, text);
        // That attribute has a value already; it is not written.
        let address = (name != POD_IP).then(|| Address::Attribute(text.to_owned()));
        return Some(Identified { key, rule, address });
    }
    None
}

fn is_address(text: &str) -> bool {
    text.parse::<IpAddr>().is_ok()
}

/// Adds a part: its source, its length, its bytes. No two lists of parts give the same bytes.
fn push(key: &mut Key, source: usize, value: &str) {
    key.extend_from_slice(&source.to_le_bytes());
    key.extend_from_slice(&value.len().to_le_bytes());
    key.extend_from_slice(value.as_bytes());
}

fn single(source: usize, value: &str) -> Key {
    let mut key = Key::new();
    push(&mut key, source, value);
    key
}

/// What a pod has for each source.
struct PodValues<'a> {
    pod: &'a Pod,
    found: &'a Found,
    addresses: SmallVec<[String; 2]>,
}

impl<'a> PodValues<'a> {
    fn of(pod: &'a Pod, found: &'a Found) -> Self {
        let status = &pod.status;
        let mut addresses: SmallVec<[String; 2]> = SmallVec::new();
        let all =
            std::iter::once(status.pod_ip.as_str()).chain(status.pod_ips.iter().map(|ip| ip.ip.as_str()));
        for text in all.filter(|text| !text.is_empty()) {
            let text =
                text.parse().map_or_else(|_| text.to_owned(), |ip| IpText::new(ip).as_str().to_owned());
            if !addresses.contains(&text) {
                addresses.push(text);
            }
        }
        Self { pod, found, addresses }
    }

    fn of_source(&self, source: &Source) -> SmallVec<[String; 2]> {
        let one = |text: &str| {
            if text.is_empty() { SmallVec::new() } else { SmallVec::from_iter([text.to_owned()]) }
        };
        let metadata = &self.pod.metadata;
        match source {
            // The address of such a pod is that of its node, and of every other such pod there.
            Source::Connection if self.pod.spec.host_network => SmallVec::new(),
            Source::Connection => self.addresses.clone(),
            Source::Attribute(name) => match &**name {
                NAMESPACE => one(&metadata.namespace),
                POD_NAME => one(&metadata.name),
                POD_UID => one(&metadata.uid),
                HOST_NAME | POD_IP => self.addresses.clone(),
                CONTAINER_ID => containers::ids(self.pod).map(str::to_owned).collect(),
                name => one(self.found.get(name).unwrap_or_default()),
            },
        }
    }
}

/// What a configuration needs of pods.
pub(crate) struct Needs<'a> {
    pub(crate) fields: FieldSet,
    pub(crate) rules: &'a [ObjectRules; 9],
    pub(crate) associations: &'a Associations,
}

impl Needs<'_> {
    /// Whether more than the metadata of pods is needed.
    pub(crate) fn more_than_metadata(&self, containers: bool) -> bool {
        let of_spec = [Field::PodHostname, Field::PodIp, Field::NodeName, Field::NodeUid];
        let by_spec = |rule: &Association| {
            rule.sources.iter().any(|number| match self.associations.sources.get(*number) {
                Some(Source::Attribute(name)) => matches!(&**name, HOST_NAME | POD_IP | CONTAINER_ID),
                _ => true,
            })
        };
        containers
            || self.fields.has_any(&of_spec)
            || !self.rules[Resource::Node.index()].is_empty()
            || self.associations.rules.is_empty()
            || self.associations.rules.iter().any(by_spec)
    }
}
