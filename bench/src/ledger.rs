//! Which spans came, how often, and whether they came as they were sent.

use std::fmt;
use std::rc::Rc;

use bytes::Bytes;
use prost::Message;

use crate::request::Template;

/// The attributes that the pipelines under test insert.
pub(crate) const INSERTED: [(&str, &str); 2] =
    [("cloud.availability_zone", "eu-central-1a"), ("k8s.cluster.name", "edge-7")];

/// A request read only as far as the accounting needs: spans stay bytes.
#[derive(Clone, PartialEq, Message)]
struct Request {
    #[prost(message, repeated, tag = "1")]
    resource_spans: Vec<ResourceSpans>,
}

#[derive(Clone, PartialEq, Message)]
struct ResourceSpans {
    #[prost(bytes = "bytes", tag = "1")]
    resource: Bytes,
    #[prost(message, repeated, tag = "2")]
    scope_spans: Vec<ScopeSpans>,
}

#[derive(Clone, PartialEq, Message)]
struct ScopeSpans {
    #[prost(bytes = "bytes", repeated, tag = "2")]
    spans: Vec<Bytes>,
}

/// What came. Read it with its `Display`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Account {
    /// Different spans that came, of those that were to come.
    pub(crate) arrived: u64,
    /// Spans that never came.
    pub(crate) missing: u64,
    /// Further copies of spans that had come before.
    pub(crate) doubled: u64,
    /// Spans that came with a byte changed.
    pub(crate) changed: u64,
    /// Things that were never sent, and requests that could not be read.
    pub(crate) foreign: u64,
    /// Resources that carry the attributes that they should get on the way.
    pub(crate) enriched: u64,
    /// Resources that lack one.
    pub(crate) plain: u64,
    /// Requests.
    pub(crate) requests: u64,
}

impl Account {
    /// Whether each span came once and unchanged.
    pub(crate) fn is_exact(&self) -> bool {
        (self.missing, self.doubled, self.changed, self.foreign) == (0, 0, 0, 0)
    }
}

impl fmt::Display for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { arrived, missing, doubled, changed, foreign, requests, .. } = self;
        write!(
            f,
            "{arrived} spans in {requests} requests, {missing} missing, {doubled} doubled, {changed} changed, \
             {foreign} foreign"
        )
    }
}

/// Takes requests and keeps the account.
pub(crate) struct Ledger {
    template: Rc<Template>,
    added: &'static [(&'static str, &'static str)],
    seen: Vec<bool>,
    account: Account,
}

impl Ledger {
    /// An empty account of `expected` spans.
    pub(crate) fn new(template: Rc<Template>, expected: u64) -> Self {
        let seen = vec![false; usize::try_from(expected).unwrap_or(usize::MAX)];
        let account = Account { missing: expected, ..Account::default() };
        Self { template, added: &INSERTED, seen, account }
    }

    /// The same, where a resource counts as enriched by these attributes.
    pub(crate) fn enriched_by(self, added: &'static [(&'static str, &'static str)]) -> Self {
        Self { added, ..self }
    }

    /// How things stand.
    pub(crate) fn account(&self) -> Account {
        self.account
    }

    /// Enters a request.
    pub(crate) fn enter(&mut self, request: Bytes) {
        self.account.requests += 1;
        let Ok(request) = Request::decode(request) else {
            self.account.foreign += 1;
            return;
        };
        for resource in &request.resource_spans {
            let enriched = self.added.iter().all(|(key, value)| holds(&resource.resource, key, value));
            *(if enriched { &mut self.account.enriched } else { &mut self.account.plain }) += 1;
            for span in resource.scope_spans.iter().flat_map(|scope| &scope.spans) {
                self.enter_span(span);
            }
        }
    }

    fn enter_span(&mut self, span: &[u8]) {
        let recognised = self.template.recognise(span);
        let place = recognised.and_then(|(index, _)| self.seen.get_mut(usize::try_from(index).ok()?));
        let (Some((_, unchanged)), Some(seen)) = (recognised, place) else {
            self.account.foreign += 1;
            return;
        };
        self.account.changed += u64::from(!unchanged);
        if std::mem::replace(seen, true) {
            self.account.doubled += 1;
        } else {
            self.account.arrived += 1;
            self.account.missing -= 1;
        }
    }
}

/// Whether an encoded resource holds a string attribute: key, then value, each with its tag and length before it.
fn holds(resource: &[u8], key: &str, value: &str) -> bool {
    let short = |text: &str| u8::try_from(text.len()).unwrap_or(u8::MAX);
    let mut encoded = vec![0x0a, short(key)];
    encoded.extend(key.as_bytes());
    encoded.extend([0x12, short(value).saturating_add(2), 0x0a, short(value)]);
    encoded.extend(value.as_bytes());
    resource.windows(encoded.len()).any(|window| window == encoded)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::SPANS_PER_REQUEST;

    fn request(template: &Template, number: u64) -> Bytes {
        let mut buffer = Vec::new();
        template.write(number, &mut buffer);
        buffer.into()
    }

    #[test]
    fn an_exact_delivery_is_exact() {
        let template = Rc::new(Template::rich());
        let mut ledger = Ledger::new(template.clone(), 2 * SPANS_PER_REQUEST);
        ledger.enter([request(&template, 1), request(&template, 0)].concat().into());
        assert!(ledger.account().is_exact(), "{}", ledger.account());
        assert_eq!((ledger.account().arrived, ledger.account().plain), (200, 2));
    }

    #[test]
    fn loss_doubling_change_and_strangers_are_seen() {
        let template = Rc::new(Template::rich());
        let mut ledger = Ledger::new(template.clone(), 2 * SPANS_PER_REQUEST);
        ledger.enter(request(&template, 0));
        ledger.enter(request(&template, 0));
        ledger.enter(request(&template, 9));
        let account = ledger.account();
        assert_eq!((account.missing, account.doubled, account.foreign), (100, 100, 100));
        let mut changed = request(&template, 1).to_vec();
        let last = changed.len() - 1;
        changed[last] ^= 1;
        ledger.enter(changed.into());
        assert_eq!(ledger.account().changed, 1);
        ledger.enter(Bytes::from_static(b"\xff"));
        assert_eq!(ledger.account().foreign, 101);
    }
}
