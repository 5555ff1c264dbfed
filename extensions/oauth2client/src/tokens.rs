//! The token in use: when it is good, when it is fetched, and how often a failing endpoint is asked.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, Shared};
use http::{HeaderMap, HeaderName, HeaderValue};
use spanbridge_component::{AuthError, ClientAuthenticator, Context, Host, Status, async_trait};
use spanbridge_transport::auth::credential_header;
use tokio::task::AbortHandle;
use tokio::time::Instant;
use tracing::{Instrument as _, Span};

use crate::answer::Grant;

/// Pause after the first failure of the endpoint; each further one doubles it.
const PAUSE_MIN: Duration = Duration::from_secs(1);
/// Longest pause.
const PAUSE_MAX: Duration = Duration::from_secs(60);
/// A token is not used in the last moments of its life: it has to arrive while it is good.
const LAST_MOMENTS: Duration = Duration::from_secs(10);
/// How long a token is used whose endpoint does not say how long it is good.
const LIFETIME_UNKNOWN: Duration = Duration::from_secs(3600);
/// A token that is refused when it is younger is not replaced for that.
const REFUSED_AGE_MIN: Duration = Duration::from_secs(30);
/// Longest life that is believed.
const LIFETIME_MAX: Duration = Duration::from_secs(30 * 24 * 3600);

const NO_TOKEN: &str = "no token";

type Fetched = Result<(), String>;

/// Where tokens come from.
#[async_trait]
pub(crate) trait Source: Send + Sync + 'static {
    /// A new token.
    ///
    /// # Errors
    /// Why there is none, for the user.
    async fn fetch(&self) -> Result<Grant, String>;

    /// Ends what it does in the background.
    fn close(&self);
}

/// Gives the token of the moment to requests.
pub(crate) struct Tokens {
    source: Arc<dyn Source>,
    expiry_buffer: Duration,
    span: Span,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    host: Option<Host>,
    /// After the shutdown nothing is fetched.
    is_closed: bool,
    /// How often the credentials have changed.
    generation: u64,
    token: Option<Token>,
    fetch: Option<Fetch>,
    failure: Option<Failure>,
}

struct Token {
    name: HeaderName,
    value: HeaderValue,
    fetched_at: Instant,
    /// From here on it is fetched anew.
    refresh_at: Instant,
    /// From here on it is not used.
    ends_at: Instant,
}

struct Fetch {
    done: Shared<BoxFuture<'static, Fetched>>,
    abort: AbortHandle,
}

struct Failure {
    text: String,
    pause: Duration,
    retry_at: Instant,
}

impl Tokens {
    pub(crate) fn new(source: impl Source, expiry_buffer: Duration, span: Span) -> Arc<Self> {
        Arc::new(Self { source: Arc::new(source), expiry_buffer, span, state: Mutex::default() })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on tokens are given.
    pub(crate) fn open(&self, host: Host) {
        self.state().host = Some(host);
    }

    /// Ends a fetch that is under way.
    pub(crate) async fn close(&self) {
        let fetch = {
            let mut state = self.state();
            state.is_closed = true;
            state.fetch.take()
        };
        if let Some(fetch) = fetch {
            fetch.abort.abort();
            let _ = fetch.done.await;
        }
        self.source.close();
    }

    /// The credentials have changed: neither the token nor a failure of before counts, nor what a fetch comes to that is
    /// under way.
    pub(crate) fn forget(&self) {
        let mut state = self.state();
        state.generation += 1;
        state.failure = None;
        if let Some(token) = &mut state.token {
            token.refresh_at = Instant::now();
        }
    }

    /// A server does not take the token in `sent`, although it has not expired: the next request waits for another. A token
    /// of the last seconds stays, so that a server that takes none does not make the endpoint be asked without end.
    fn refused(&self, sent: &HeaderMap) {
        let mut state = self.state();
        let is_old = |token: &mut Token| {
            sent.get(&token.name) == Some(&token.value) && token.fetched_at.elapsed() >= REFUSED_AGE_MIN
        };
        if let Some(token) = state.token.take_if(is_old) {
            let age_seconds = token.fetched_at.elapsed().as_secs();
            tracing::warn!(parent: &self.span, age_seconds, "The token was refused before it expired: another is fetched");
        }
    }

    /// The header, or whom to wait for. Starts a fetch if one is due.
    fn ask(self: &Arc<Self>) -> Result<(HeaderName, HeaderValue), Waiting> {
        let mut state = self.state();
        let now = Instant::now();
        if state.host.is_none() || state.is_closed {
            return Err(Waiting::ForNothing("the extension does not run".to_owned()));
        }
        let is_due = state.token.as_ref().is_none_or(|token| now >= token.refresh_at);
        let may_ask = state.failure.as_ref().is_none_or(|failure| now >= failure.retry_at);
        // One that has panicked has not settled anything.
        let none_runs = state.fetch.as_ref().is_none_or(|fetch| fetch.abort.is_finished());
        if is_due && may_ask && none_runs {
            state.fetch = Some(self.fetch());
        }
        if let Some(token) = state.token.as_ref().filter(|token| now < token.ends_at) {
            return Ok((token.name.clone(), token.value.clone()));
        }
        match (&state.fetch, &state.failure) {
            (Some(fetch), _) => Err(Waiting::For(fetch.done.clone())),
            (None, Some(failure)) => {
                let seconds = failure.retry_at.saturating_duration_since(now).as_secs() + 1;
                Err(Waiting::ForNothing(format!("{}; it is asked again in {seconds}s", failure.text)))
            }
            // A fetch is due, and nothing keeps it.
            (None, None) => Err(Waiting::ForNothing(NO_TOKEN.to_owned())),
        }
    }

    /// One fetch, in a task of its own: whoever waits may go away. It begins again when it has failed with credentials
    /// that have changed since.
    fn fetch(self: &Arc<Self>) -> Fetch {
        let this = self.clone();
        let task = tokio::spawn(
            async move {
                loop {
                    let generation = this.state().generation;
                    let fetched = this.source.fetch().await.and_then(|grant| this.token(&grant));
                    if let Some(fetched) = this.settle(fetched, generation) {
                        return fetched;
                    }
                }
            }
            .instrument(self.span.clone()),
        );
        let abort = task.abort_handle();
        let done =
            async move { task.await.unwrap_or_else(|_| Err("the fetch of a token was ended".to_owned())) };
        Fetch { done: done.boxed().shared(), abort }
    }

    fn token(&self, grant: &Grant) -> Result<Token, String> {
        let (name, value) = credential_header("authorization", grant.credentials.expose())
            .map_err(|error| format!("the token endpoint gave a token that cannot be sent: {error}"))?;
        let lifetime = grant.lifetime.unwrap_or(LIFETIME_UNKNOWN).min(LIFETIME_MAX);
        let now = Instant::now();
        let (buffer, last) = (self.expiry_buffer.min(lifetime / 2), LAST_MOMENTS.min(lifetime / 4));
        Ok(Token {
            name,
            value,
            fetched_at: now,
            refresh_at: now + lifetime.saturating_sub(buffer),
            ends_at: now + lifetime.saturating_sub(last),
        })
    }

    /// Takes what a fetch has come to, with the credentials of this generation; `None` if it says nothing any more.
    fn settle(&self, fetched: Result<Token, String>, generation: u64) -> Option<Fetched> {
        let mut state = self.state();
        let is_outdated = state.generation != generation;
        if is_outdated && fetched.is_err() {
            return None;
        }
        state.fetch = None;
        Some(match fetched {
            Ok(mut token) => {
                if is_outdated {
                    // Good enough for those who wait; the next request fetches one with the new credentials.
                    token.refresh_at = Instant::now();
                }
                let seconds = token.ends_at.saturating_duration_since(Instant::now()).as_secs();
                tracing::info!(good_for_seconds = seconds, "A new token is in use");
                state.token = Some(token);
                if state.failure.take().is_some() {
                    report(&state, Status::Ok);
                }
                Ok(())
            }
            Err(text) => {
                let pause = state.failure.as_ref().map_or(PAUSE_MIN, |last| (last.pause * 2).min(PAUSE_MAX));
                let still_good = state.token.as_ref().is_some_and(|token| Instant::now() < token.ends_at);
                tracing::warn!(
                    error = text,
                    retry_in_seconds = pause.as_secs(),
                    the_last_token_is_still_good = still_good,
                    "No new token"
                );
                report(&state, Status::RecoverableError(text.clone()));
                state.failure = Some(Failure { text: text.clone(), pause, retry_at: Instant::now() + pause });
                Err(text)
            }
        })
    }
}

enum Waiting {
    For(Shared<BoxFuture<'static, Fetched>>),
    ForNothing(String),
}

fn report(state: &State, status: Status) {
    if let Some(host) = &state.host {
        host.report(status);
    }
}

fn unavailable(text: String) -> AuthError {
    AuthError::undecided(text, NO_TOKEN)
}

/// What requests ask; a handle, so that the fetch can hold the tokens.
#[derive(Clone)]
pub(crate) struct Authenticator(pub(crate) Arc<Tokens>);

#[async_trait]
impl ClientAuthenticator for Authenticator {
    async fn authorize(&self, _: &Context, headers: &mut HeaderMap) -> Result<(), AuthError> {
        let (name, value) = match self.0.ask() {
            Ok(header) => header,
            Err(Waiting::ForNothing(text)) => return Err(unavailable(text)),
            Err(Waiting::For(fetch)) => {
                fetch.await.map_err(unavailable)?;
                match self.0.ask() {
                    Ok(header) => header,
                    Err(_) => return Err(unavailable("the new token has expired already".to_owned())),
                }
            }
        };
        headers.insert(name, value);
        Ok(())
    }

    fn requires_transport_security(&self) -> bool {
        true
    }

    fn depends_on_request(&self) -> bool {
        false
    }

    fn refused(&self, sent: &HeaderMap) {
        self.0.refused(sent);
    }
}

/// Tokens are not printed.
impl fmt::Debug for Authenticator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authenticator").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
