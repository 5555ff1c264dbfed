//! The server's side: from the header to the answer.

use std::collections::HashMap;
use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Instant;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, Shared};
use http::HeaderValue;
use spanbridge_component::{
    AuthAttributes, AuthData, AuthError, AuthRequest, ServerAuthenticator, async_trait,
};
use tracing::Instrument as _;

use crate::background;
use crate::htpasswd::{Table, Verdict};
use crate::limits::{Limits, Ticket};
use crate::remembered::{CredentialDigest, DigestKey, Known, Remembered};

const HEADER: &str = "authorization";
const SCHEME: &[u8] = b"Basic ";
/// For browsers: without it they ask nobody for a password. User names and passwords are UTF-8 (RFC 7617, 2.1).
const CHALLENGE: &str = "Basic realm=\"spanbridge\", charset=\"UTF-8\"";
/// Longest password that is looked at: some hashes take time in proportion to it.
const PASSWORD_BYTES_MAX: usize = 1024;

const INVALID: &str = "invalid credentials";
const UNKNOWN_USER: &str = "unknown user";
const WRONG_PASSWORD: &str = "wrong password";
const TRAILING_NEWLINE: &str = "the password ends with a newline: encode the credentials with `printf` or `echo -n`, \
                                not with `echo`, which adds one";

type Decision = Result<Arc<dyn AuthData>, AuthError>;
/// What is known of a client whose credentials are right, without them.
type Found = Result<Arc<AuthAttributes>, AuthError>;
type Pending = Shared<BoxFuture<'static, Found>>;

/// Checks credentials against a table that may be swapped.
pub(crate) struct Server {
    inner: Arc<Inner>,
}

struct Inner {
    key: DigestKey,
    limits: Arc<Limits>,
    /// `None` until the table was read: then nobody comes in.
    checked: RwLock<Option<Arc<Checked>>>,
}

/// A table, with everything that was found out with it.
struct Checked {
    table: Arc<Table>,
    remembered: Remembered,
    /// Verifications that are under way, so that equal credentials are verified once at a time.
    pending: Mutex<HashMap<CredentialDigest, Pending>>,
}

/// What a client says.
#[derive(Clone)]
struct Credentials {
    user: String,
    password: Vec<u8>,
}

impl Server {
    /// One without a table.
    ///
    /// # Errors
    /// If the system has no randomness.
    pub(crate) fn new() -> Result<Self, getrandom::Error> {
        let inner = Inner { key: DigestKey::new()?, limits: Limits::new(), checked: RwLock::new(None) };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// From now on this table decides. What was found out before holds for the users whose line is the same.
    pub(crate) fn swap(&self, table: Table) {
        let mut checked = self.inner.checked.write().unwrap_or_else(PoisonError::into_inner);
        let remembered = checked.as_ref().map_or_else(Remembered::new, |old| {
            old.remembered.of_users(|user| table.has_same_user(&old.table, user))
        });
        *checked = Some(Arc::new(Checked { table: Arc::new(table), remembered, pending: Mutex::default() }));
    }

    async fn decide(&self, request: &AuthRequest<'_>) -> Decision {
        let value = basic_value(request)?;
        let found = self.find(&value.as_bytes()[SCHEME.len()..], request.peer).await?;
        Ok(found.with_raw(value, SCHEME.len()))
    }

    /// What is known of the client with these credentials, without them.
    async fn find(&self, encoded: &[u8], peer: Option<SocketAddr>) -> Found {
        let checked = self.inner.checked.read().unwrap_or_else(PoisonError::into_inner).clone();
        let Some(checked) = checked else {
            return Err(AuthError::undecided(
                "authentication is not ready",
                "the table of users is not read yet",
            ));
        };
        let digest = self.inner.key.digest(encoded);
        match checked.remembered.get(&digest) {
            Some(Known::Right(data)) => return Ok(data),
            Some(Known::Wrong(reason)) => return Err(AuthError::refused(INVALID, reason)),
            None => {}
        }
        let credentials = decode(encoded)?;
        let pending = Checked::pending(&checked, &self.inner.limits, digest, credentials, peer)?;
        pending.await
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").finish_non_exhaustive()
    }
}

#[async_trait]
impl ServerAuthenticator for Server {
    async fn authenticate(&self, request: &AuthRequest<'_>) -> Decision {
        self.decide(request).await.map_err(|error| error.with_challenge(CHALLENGE))
    }
}

impl Checked {
    /// The verification of these credentials: the one that is under way, or a new one.
    ///
    /// It runs in a task of its own: who else waits for it does not depend on the first caller, and what a client has
    /// caused is put on its account even if it goes away.
    fn pending(
        checked: &Arc<Self>,
        limits: &Arc<Limits>,
        digest: CredentialDigest,
        credentials: Credentials,
        peer: Option<SocketAddr>,
    ) -> Result<Pending, AuthError> {
        let mut pending = checked.pending.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = pending.get(&digest) {
            return Ok(known.clone());
        }
        let ticket = limits.enter(peer, &credentials.user)?;
        let this = checked.clone();
        let task = tokio::spawn(
            async move {
                let decision = this.verify(ticket, digest, credentials).await;
                this.pending.lock().unwrap_or_else(PoisonError::into_inner).remove(&digest);
                decision
            }
            .in_current_span(),
        );
        let decision = async move {
            task.await
                .unwrap_or_else(|_| Err(AuthError::undecided("internal error", "the verification panicked")))
        };
        let decision = decision.boxed().shared();
        pending.insert(digest, decision.clone());
        Ok(decision)
    }

    async fn verify(&self, ticket: Ticket, digest: CredentialDigest, credentials: Credentials) -> Found {
        let turn = ticket.turn().await?;
        let table = self.table.clone();
        let Credentials { user, password } = credentials;
        let checked = background::run(move || {
            let start = Instant::now();
            let verdict = table.verify(&user, &password);
            (verdict, start.elapsed(), user)
        });
        let checked = checked.await;
        drop(turn);
        let Some((verdict, spent, user)) = checked else {
            return Err(AuthError::undecided(
                "internal error",
                "the verification panicked or found no thread",
            ));
        };
        let reason = match verdict {
            Verdict::Right => {
                let data = Arc::new(AuthAttributes::new().with("username", user.clone()));
                self.remembered.insert_right(digest, &user, data.clone());
                return Ok(data);
            }
            Verdict::WrongPassword => WRONG_PASSWORD,
            Verdict::UnknownUser => UNKNOWN_USER,
        };
        ticket.failed(spent);
        self.remembered.insert_wrong(digest, reason);
        Err(AuthError::refused(INVALID, reason))
    }
}

/// The first `authorization` header, if it is the scheme with something after it.
fn basic_value<'a>(request: &AuthRequest<'a>) -> Result<&'a HeaderValue, AuthError> {
    let Some(value) = request.header(HEADER).filter(|value| !value.is_empty()) else {
        return Err(AuthError::missing("no basic auth provided"));
    };
    match value.as_bytes().split_at_checked(SCHEME.len()) {
        Some((scheme, encoded)) if scheme.eq_ignore_ascii_case(SCHEME) && !encoded.is_empty() => Ok(value),
        _ => Err(AuthError::missing("invalid authorization scheme prefix")
            .with_reason("the request has credentials of another scheme than Basic")),
    }
}

fn decode(encoded: &[u8]) -> Result<Credentials, AuthError> {
    let invalid = |reason| AuthError::refused("invalid authorization format", reason);
    let decoded = STANDARD.decode(encoded).map_err(|_| invalid("the credentials are not base64"))?;
    let colon = decoded.iter().position(|byte| *byte == b':');
    let colon = colon.ok_or_else(|| invalid("the credentials have no colon between user and password"))?;
    let (user, password) = (&decoded[..colon], &decoded[colon + 1..]);
    // No table can have such a user, so it is as unknown as any other, without the time of a verification: that tells
    // nothing about the users there are.
    let user = std::str::from_utf8(user).map_err(|_| AuthError::refused(INVALID, UNKNOWN_USER))?;
    if password.last() == Some(&b'\n') {
        return Err(AuthError::refused(INVALID, TRAILING_NEWLINE));
    }
    if password.len() > PASSWORD_BYTES_MAX {
        return Err(AuthError::refused(INVALID, "the password is longer than 1024 bytes"));
    }
    Ok(Credentials { user: user.to_owned(), password: password.to_vec() })
}

#[cfg(test)]
mod tests;
