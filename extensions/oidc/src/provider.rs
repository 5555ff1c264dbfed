//! The keys of one issuer: fetched in the background and again when a token names one that is not here, or read from a
//! file.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use spanbridge_component::{Host, Status};
use spanbridge_transport::file_watch::Files;
use tokio::sync::{Notify, Semaphore, watch};
use tokio::time::{sleep, timeout};
use tokio_util::task::AbortOnDropHandle;
use tracing::Instrument as _;

use crate::ProviderConfig;
use crate::issuer::Issuer;
use crate::keys::{KeySet, Verdict};
use crate::remembered::Remembered;
use crate::token::Token;

/// Shortest time between two requests for the keys.
const PAUSE_MIN: Duration = Duration::from_secs(5);
/// Pause after the first failure while there are no keys; each further one doubles it.
const RETRY_MIN: Duration = Duration::from_secs(1);
/// Longest pause after failures.
const RETRY_MAX: Duration = Duration::from_secs(30);
/// Keys are fetched anew after this long: what the issuer has withdrawn is not to be believed for ever.
const KEYS_AGE: Duration = Duration::from_secs(600);
/// Longest wait of a request for keys that its token needs.
const WAIT_MAX: Duration = Duration::from_secs(20);
/// Requests that wait for keys at a time.
const WAITING_MAX: usize = 256;

/// An issuer, and what is known of its keys.
pub(crate) struct Provider {
    pub(crate) config: ProviderConfig,
    /// `None` if the keys are in a file.
    issuer: Option<Issuer>,
    state: Mutex<State>,
    /// Fetches that were begun and that have ended.
    progress: watch::Sender<Progress>,
    wanted: Notify,
    waiting: Semaphore,
}

#[derive(Default)]
struct State {
    /// `None` until there are some: then nobody comes in.
    keys: Option<Arc<Keys>>,
    /// Why the last fetch has failed, if it has.
    failure: Option<String>,
}

/// Keys, with everything that was found out with them.
#[derive(Debug, Default)]
pub(crate) struct Keys {
    set: KeySet,
    pub(crate) remembered: Remembered,
}

#[derive(Debug, Clone, Copy, Default)]
struct Progress {
    begun: u64,
    ended: u64,
}

/// Why a signature cannot be judged now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Undecided(pub(crate) &'static str);

impl Provider {
    pub(crate) fn new(config: ProviderConfig) -> Arc<Self> {
        let issuer = config.public_keys_file.is_none().then(|| Issuer::new(&config));
        Arc::new(Self {
            config,
            issuer,
            state: Mutex::default(),
            progress: watch::Sender::new(Progress::default()),
            wanted: Notify::new(),
            waiting: Semaphore::new(WAITING_MAX),
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The keys of the moment.
    pub(crate) fn keys(&self) -> Option<Arc<Keys>> {
        self.state().keys.clone()
    }

    /// Begins to follow the keys, in the current span. `all` are the providers whose health the extension's status is.
    ///
    /// # Errors
    /// If the keys are in a file that cannot be used.
    pub(crate) fn start(
        self: &Arc<Self>,
        host: &Host,
        all: &Arc<[Arc<Provider>]>,
    ) -> Result<Option<AbortOnDropHandle<()>>, String> {
        let this = self.clone();
        let Some(path) = self.config.public_keys_file.clone() else {
            let run = this.run(host.clone(), Arc::downgrade(all));
            return Ok(Some(AbortOnDropHandle::new(tokio::spawn(run.in_current_span()))));
        };
        let files = Files::new(vec![path]);
        if let Some(keys) = self.config.keys_of_file() {
            self.swap(keys?);
        }
        Ok(files.watch(move || match this.config.keys_of_file() {
            Some(Ok(keys)) => this.swap(keys),
            Some(Err(error)) => tracing::error!(
                error,
                "The public keys have changed and cannot be used; the last good ones stay in use"
            ),
            None => {}
        }))
    }

    /// Fetches, for as long as it is polled.
    async fn run(self: Arc<Self>, host: Host, all: std::sync::Weak<[Arc<Provider>]>) {
        let Some(issuer) = &self.issuer else { return };
        let mut retry = RETRY_MIN;
        loop {
            self.progress.send_modify(|progress| progress.begun += 1);
            let fetched = issuer.keys().await;
            let failed = fetched.is_err();
            self.settle(fetched, retry);
            self.progress.send_modify(|progress| progress.ended = progress.begun);
            if let Some(all) = all.upgrade() {
                report(&host, &all);
            }
            if failed {
                sleep(retry).await;
                retry = (retry * 2).min(RETRY_MAX);
                continue;
            }
            retry = RETRY_MIN;
            sleep(PAUSE_MIN).await;
            // Whoever asked during the pause is answered at once.
            let _ = timeout(KEYS_AGE, self.wanted.notified()).await;
        }
    }

    fn settle(&self, fetched: Result<KeySet, String>, retry: Duration) {
        match fetched {
            Ok(keys) => {
                self.state().failure = None;
                self.swap(keys);
            }
            Err(error) => {
                let mut state = self.state();
                tracing::warn!(
                    issuer = self.config.issuer_url,
                    error,
                    retry_in_seconds = retry.as_secs(),
                    tokens_are_refused = state.keys.is_none(),
                    "The issuer's keys cannot be fetched"
                );
                state.failure = Some(error);
            }
        }
    }

    /// From now on these keys decide; what was found out with others is forgotten.
    fn swap(&self, set: KeySet) {
        let mut state = self.state();
        if state.keys.as_ref().is_some_and(|keys| keys.set == set) {
            return;
        }
        tracing::info!(issuer = self.config.issuer_url, keys = set.len(), "The issuer's keys are in use");
        state.keys = Some(Arc::new(Keys { set, remembered: Remembered::default() }));
    }

    /// Whether the issuer has signed a token; with it the keys that say so. Waits for newer keys if the token needs one
    /// that is not here.
    ///
    /// # Errors
    /// If that cannot be said now.
    pub(crate) async fn verify(&self, token: &Token<'_>) -> Result<(bool, Arc<Keys>), Undecided> {
        let keys = self.keys().ok_or(NOT_READY)?;
        match self.judge(&keys, token) {
            Verdict::Right => return Ok((true, keys)),
            Verdict::Wrong => return Ok((false, keys)),
            Verdict::UnknownKey if self.issuer.is_none() => return Ok((false, keys)),
            Verdict::UnknownKey => {}
        }
        self.newer_keys().await?;
        let keys = self.keys().ok_or(NOT_READY)?;
        Ok((self.judge(&keys, token) == Verdict::Right, keys))
    }

    fn judge(&self, keys: &Keys, token: &Token<'_>) -> Verdict {
        let any_id = self.issuer.is_none();
        keys.set.verify(token.key_id.as_deref(), any_id, token.algorithm, token.message, &token.signature)
    }

    /// Waits for a fetch that begins after this.
    async fn newer_keys(&self) -> Result<(), Undecided> {
        let _place = self
            .waiting
            .try_acquire()
            .map_err(|_| Undecided("too many requests wait for the issuer's keys"))?;
        let mut progress = self.progress.subscribe();
        let needed = progress.borrow_and_update().begun + 1;
        self.wanted.notify_one();
        let waited = timeout(WAIT_MAX, progress.wait_for(|progress| progress.ended >= needed)).await;
        match waited {
            Ok(Ok(_)) if self.state().failure.is_none() => Ok(()),
            _ => Err(Undecided(
                "the token names an unknown key, and the issuer cannot be asked for newer ones",
            )),
        }
    }

    /// Ends what it does in the background, with the task of [`Provider::start`].
    pub(crate) fn release(&self) {
        if let Some(issuer) = &self.issuer {
            issuer.release();
        }
    }
}

const NOT_READY: Undecided = Undecided("the issuer's keys are not known yet");

fn report(host: &Host, all: &[Arc<Provider>]) {
    let failures: Vec<String> = all.iter().filter_map(|provider| provider.state().failure.clone()).collect();
    if failures.is_empty() {
        host.report(Status::Ok);
    } else {
        host.report(Status::RecoverableError(failures.join("; ")));
    }
}
