//! Tokens that were verified already, by a digest with a random key of the process, until they end. The tokens themselves
//! are not kept.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::SystemTime;

use sha2::{Digest as _, Sha256};
use spanbridge_component::AuthAttributes;

/// Tokens remembered at a time.
const TOKENS_MAX: usize = 4096;

/// Stands for a token.
pub(crate) type TokenDigest = [u8; 32];

/// The key of the digests: random, made anew by every process.
pub(crate) struct DigestKey([u8; 32]);

impl DigestKey {
    /// A new one.
    ///
    /// # Errors
    /// If the system has no randomness.
    pub(crate) fn new() -> Result<Self, getrandom::Error> {
        let mut key = [0; 32];
        getrandom::fill(&mut key)?;
        Ok(Self(key))
    }

    /// The digest of a token.
    pub(crate) fn digest(&self, token: &str) -> TokenDigest {
        // The digest never leaves the process, so a key in front is as good as HMAC here.
        Sha256::new().chain_update(self.0).chain_update(token).finalize().into()
    }
}

/// Tokens that one set of keys has verified.
#[derive(Default)]
pub(crate) struct Remembered(RwLock<HashMap<TokenDigest, Entry>>);

struct Entry {
    data: Arc<AuthAttributes>,
    until: SystemTime,
}

impl Remembered {
    /// What is known of a token that is still good.
    pub(crate) fn get(&self, digest: &TokenDigest, now: SystemTime) -> Option<Arc<AuthAttributes>> {
        let known = self.0.read().unwrap_or_else(PoisonError::into_inner);
        known.get(digest).filter(|entry| now < entry.until).map(|entry| entry.data.clone())
    }

    /// Remembers a token until it ends; the one that ends first makes room.
    pub(crate) fn insert(
        &self,
        digest: TokenDigest,
        data: Arc<AuthAttributes>,
        until: SystemTime,
        now: SystemTime,
    ) {
        let mut known = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= TOKENS_MAX {
            known.retain(|_, entry| now < entry.until);
        }
        if known.len() >= TOKENS_MAX
            && let Some(first) = known.iter().min_by_key(|(_, entry)| entry.until).map(|(digest, _)| *digest)
        {
            known.remove(&first);
        }
        known.insert(digest, Entry { data, until });
    }
}

impl fmt::Debug for Remembered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Remembered").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn digest(number: usize) -> TokenDigest {
        let mut digest = [0; 32];
        digest[..8].copy_from_slice(&number.to_be_bytes());
        digest
    }

    #[test]
    fn a_token_is_remembered_until_it_ends_and_their_number_is_bounded() {
        let (remembered, now) = (Remembered::default(), SystemTime::UNIX_EPOCH);
        let data = Arc::new(AuthAttributes::new());
        for number in 0..=TOKENS_MAX {
            let until = now + Duration::from_secs(10 + number as u64);
            remembered.insert(digest(number), data.clone(), until, now);
        }
        assert_eq!(remembered.0.read().unwrap().len(), TOKENS_MAX);
        assert!(remembered.get(&digest(0), now).is_none(), "the one that ends first goes");
        assert!(remembered.get(&digest(1), now + Duration::from_secs(10)).is_some());
        assert!(remembered.get(&digest(1), now + Duration::from_secs(11)).is_none());
    }
}
