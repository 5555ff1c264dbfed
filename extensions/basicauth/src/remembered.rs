//! Credentials that were checked already.
//!
//! Kept by a digest with a random key of the process, and without `raw`, so that nothing here leads back to a password. A
//! digest is kept for as long as it is used, and no longer than the line of the table it was checked against.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use sha2::{Digest as _, Sha256};
use spanbridge_component::AuthAttributes;
use tokio::time::Instant;

/// Credentials remembered at a time, right and wrong ones each.
const CREDENTIALS_MAX: usize = 4096;
/// Right ones are forgotten when they were not used for this long.
const RIGHT_IDLE_MAX: Duration = Duration::from_secs(15 * 60);
/// Wrong ones are forgotten after this long.
const WRONG_AGE_MAX: Duration = Duration::from_secs(60);

/// Stands for credentials.
pub(crate) type CredentialDigest = [u8; 32];

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

    /// The digest of credentials as they stand in a header.
    pub(crate) fn digest(&self, credentials: &[u8]) -> CredentialDigest {
        // The digest never leaves the process, so a key in front is as good as HMAC here.
        Sha256::new().chain_update(self.0).chain_update(credentials).finalize().into()
    }
}

/// What is known of credentials.
pub(crate) enum Known {
    /// They are right.
    Right(Arc<AuthAttributes>),
    /// They are wrong, for this reason.
    Wrong(&'static str),
}

/// Credentials that were checked against one table.
pub(crate) struct Remembered {
    epoch: Instant,
    right: RwLock<HashMap<CredentialDigest, Right>>,
    wrong: RwLock<HashMap<CredentialDigest, (Instant, &'static str)>>,
}

#[derive(Clone)]
struct Right {
    user: Arc<str>,
    data: Arc<AuthAttributes>,
    /// Seconds after `epoch`.
    used: Arc<AtomicU64>,
}

impl Remembered {
    pub(crate) fn new() -> Self {
        Self { epoch: Instant::now(), right: RwLock::default(), wrong: RwLock::default() }
    }

    /// Of what is known the right credentials of users of whom `is_unchanged` holds: what a new table begins with, so that
    /// a change of one user does not make all the others pay for verifications again, at the same moment.
    pub(crate) fn of_users(&self, is_unchanged: impl Fn(&str) -> bool) -> Self {
        let right = self.right.read().unwrap_or_else(PoisonError::into_inner);
        let kept = right.iter().filter(|(_, right)| is_unchanged(&right.user));
        let kept = kept.map(|(digest, right)| (*digest, right.clone())).collect();
        Self { epoch: self.epoch, right: RwLock::new(kept), wrong: RwLock::default() }
    }

    /// What is known of credentials, if they were checked.
    pub(crate) fn get(&self, digest: &CredentialDigest) -> Option<Known> {
        let now = self.now();
        if let Some(right) = self.right.read().unwrap_or_else(PoisonError::into_inner).get(digest) {
            // Forgotten at the latest here.
            if now.saturating_sub(right.used.load(Ordering::Relaxed)) > RIGHT_IDLE_MAX.as_secs() {
                return None;
            }
            right.used.store(now, Ordering::Relaxed);
            return Some(Known::Right(right.data.clone()));
        }
        let wrong = self.wrong.read().unwrap_or_else(PoisonError::into_inner);
        let (since, reason) = wrong.get(digest)?;
        (since.elapsed() <= WRONG_AGE_MAX).then_some(Known::Wrong(reason))
    }

    pub(crate) fn insert_right(&self, digest: CredentialDigest, user: &str, data: Arc<AuthAttributes>) {
        let now = self.now();
        let mut right = self.right.write().unwrap_or_else(PoisonError::into_inner);
        if right.len() >= CREDENTIALS_MAX {
            right.retain(|_, kept| {
                now.saturating_sub(kept.used.load(Ordering::Relaxed)) <= RIGHT_IDLE_MAX.as_secs()
            });
        }
        if right.len() >= CREDENTIALS_MAX
            && let Some(oldest) =
                right.iter().min_by_key(|(_, kept)| kept.used.load(Ordering::Relaxed)).map(|(d, _)| *d)
        {
            right.remove(&oldest);
        }
        right.insert(digest, Right { user: user.into(), data, used: Arc::new(AtomicU64::new(now)) });
    }

    pub(crate) fn insert_wrong(&self, digest: CredentialDigest, reason: &'static str) {
        let mut wrong = self.wrong.write().unwrap_or_else(PoisonError::into_inner);
        if wrong.len() >= CREDENTIALS_MAX {
            wrong.retain(|_, (since, _)| since.elapsed() <= WRONG_AGE_MAX);
        }
        // Checking is so limited that this many do not come in this time; if they do, they are checked again.
        if wrong.len() < CREDENTIALS_MAX {
            wrong.insert(digest, (Instant::now(), reason));
        }
    }

    fn now(&self) -> u64 {
        self.epoch.elapsed().as_secs()
    }
}

impl fmt::Debug for Remembered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Remembered").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_right(remembered: &Remembered, digest: CredentialDigest) -> bool {
        matches!(remembered.get(&digest), Some(Known::Right(_)))
    }

    fn digest(number: usize) -> CredentialDigest {
        let mut digest = [0; 32];
        digest[..8].copy_from_slice(&number.to_be_bytes());
        digest
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_used_stays_and_what_is_not_used_is_forgotten() {
        let remembered = Remembered::new();
        remembered.insert_right(digest(1), "user", Arc::new(AuthAttributes::new()));
        remembered.insert_right(digest(2), "user", Arc::new(AuthAttributes::new()));
        remembered.insert_wrong(digest(3), "wrong");
        assert!(matches!(remembered.get(&digest(3)), Some(Known::Wrong("wrong"))));
        for _ in 0..3 {
            tokio::time::advance(RIGHT_IDLE_MAX / 2 + Duration::from_secs(1)).await;
            assert!(is_right(&remembered, digest(1)));
        }
        assert!(remembered.get(&digest(2)).is_none());
        assert!(remembered.get(&digest(3)).is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn the_number_of_credentials_is_bounded() {
        let remembered = Remembered::new();
        for number in 0..CREDENTIALS_MAX + 10 {
            remembered.insert_right(digest(number), "user", Arc::new(AuthAttributes::new()));
            remembered.insert_wrong(digest(number), "wrong");
            if number == 0 {
                tokio::time::advance(Duration::from_secs(2)).await;
            }
        }
        assert_eq!(remembered.right.read().unwrap().len(), CREDENTIALS_MAX);
        assert_eq!(remembered.wrong.read().unwrap().len(), CREDENTIALS_MAX);
        assert!(!is_right(&remembered, digest(0)), "the one used least recently goes");
    }

    #[test]
    fn digests_of_two_processes_have_nothing_in_common() {
        let (one, other) = (DigestKey::new().unwrap(), DigestKey::new().unwrap());
        assert_eq!(one.digest(b"dTpw"), one.digest(b"dTpw"));
        assert_ne!(one.digest(b"dTpw"), one.digest(b"dTpx"));
        assert_ne!(one.digest(b"dTpw"), other.digest(b"dTpw"));
    }
}
