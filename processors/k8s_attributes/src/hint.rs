//! A word in the log when nothing can be matched: the two usual causes are hard to see otherwise.

use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// How long nothing has matched before a word is said.
pub(crate) const PERIOD: Duration = Duration::from_secs(60);

/// Counts the resources of one minute.
#[derive(Debug, Default)]
pub(crate) struct Hint {
    matched: AtomicU64,
    unknown: AtomicU64,
    unidentified: AtomicU64,
    last_peer: Mutex<Option<IpAddr>>,
    /// Whether it has been said since the last match.
    is_said: AtomicBool,
}

/// What to say.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Words {
    pub(crate) resources: u64,
    pub(crate) without_identifier: u64,
    pub(crate) peer: Option<IpAddr>,
    pub(crate) advice: &'static str,
}

const NO_IDENTIFIER: &str = "nothing identifies their pods: the address of the sender is lost behind batch and other processors \
    that gather telemetry, so put k8s_attributes before them; or let applications send k8s.pod.uid or k8s.pod.ip (downward API) \
    and associate by that";
const UNKNOWN_PEER: &str = "what identifies their pods belongs to no pod that is watched: a service mesh or a proxy may replace the \
    addresses of senders (Istio shows 127.0.0.6), or a filter leaves the pods out; let applications send k8s.pod.uid or k8s.pod.ip \
    (downward API) and associate by that";

impl Hint {
    /// A resource was looked at.
    pub(crate) fn note(&self, identified: bool, found: bool, peer: Option<IpAddr>) {
        if found {
            self.matched.fetch_add(1, Relaxed);
        } else if identified {
            self.unknown.fetch_add(1, Relaxed);
            if let Ok(mut last) = self.last_peer.try_lock() {
                *last = peer;
            }
        } else {
            self.unidentified.fetch_add(1, Relaxed);
        }
    }

    /// A minute is over: what there is to say, if there is something new.
    pub(crate) fn minute(&self) -> Option<Words> {
        let (matched, unknown) = (self.matched.swap(0, Relaxed), self.unknown.swap(0, Relaxed));
        let without_identifier = self.unidentified.swap(0, Relaxed);
        if matched > 0 {
            self.is_said.store(false, Relaxed);
        }
        let resources = unknown + without_identifier;
        if matched > 0 || resources == 0 || self.is_said.swap(true, Relaxed) {
            return None;
        }
        let advice = if without_identifier >= unknown { NO_IDENTIFIER } else { UNKNOWN_PEER };
        let peer = self.last_peer.lock().unwrap_or_else(PoisonError::into_inner).take();
        Some(Words { resources, without_identifier, peer, advice })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_speaks_once_until_something_matches_again() {
        let hint = Hint::default();
        assert_eq!(hint.minute(), None, "nothing came");
        hint.note(false, false, None);
        assert_eq!(hint.minute().map(|words| words.advice), Some(NO_IDENTIFIER));
        hint.note(false, false, None);
        assert_eq!(hint.minute(), None, "said before");
        hint.note(true, true, None);
        hint.note(true, false, None);
        assert_eq!(hint.minute(), None, "something matched");
        let peer = "127.0.0.6".parse().ok();
        hint.note(true, false, peer);
        let words = Words { resources: 1, without_identifier: 0, peer, advice: UNKNOWN_PEER };
        assert_eq!(hint.minute(), Some(words));
    }
}
