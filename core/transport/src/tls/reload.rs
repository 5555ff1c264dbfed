//! What is built from files, and built anew when they change.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use tokio::time::sleep;
use tokio_util::task::AbortOnDropHandle;
use tracing::Instrument as _;

use super::TlsError;
use super::certificate::Facts;
use super::pem::{Sources, Texts};

/// A change is only judged when the files have stayed the same for this long: certificate and key are written one after
/// the other.
const SETTLE: Duration = Duration::from_millis(200);
/// Looks at files that do not settle; then they are judged as they are.
const SETTLE_LOOKS_MAX: usize = 10;

/// What was built, with the own certificate for the log.
pub(super) struct Built<T> {
    pub(super) config: Arc<T>,
    pub(super) own: Option<Facts>,
}

type Build<T> = dyn Fn(&Texts) -> Result<Built<T>, TlsError> + Send + Sync;

/// The latest state of files that could be used. Dropping it ends the watch.
pub(super) struct Reloading<T> {
    current: Arc<RwLock<Arc<T>>>,
    _watch: Option<AbortOnDropHandle<()>>,
}

/// What files looked like.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Look {
    Read([u8; 32]),
    Unreadable(String),
}

impl<T: Send + Sync + 'static> Reloading<T> {
    /// Builds from what there is now, and again whenever a look every `interval` shows a change. Call it in a runtime; the
    /// watch runs in the current span.
    ///
    /// Connections keep the configuration that they began with. A state that cannot be used is logged once and leaves the
    /// last good one in place.
    ///
    /// # Errors
    /// If the first state cannot be used.
    pub(super) fn start(
        mut sources: Sources,
        pin_client_ca: bool,
        interval: Duration,
        build: impl Fn(&Texts) -> Result<Built<T>, TlsError> + Send + Sync + 'static,
    ) -> Result<Self, TlsError> {
        let texts = sources.read()?;
        let built = build(&texts)?;
        log_own("TLS certificate loaded", built.own.as_ref());
        let current = Arc::new(RwLock::new(built.config));
        if pin_client_ca && let Some(client_ca) = &texts.client_ca {
            sources.pin_client_ca(client_ca);
        }
        let watch = sources.has_files().then(|| {
            let seen = Look::Read(texts.digest());
            let watch = Watch { sources, build: Arc::new(build), current: current.clone(), interval };
            AbortOnDropHandle::new(tokio::spawn(watch.run(seen).in_current_span()))
        });
        Ok(Self { current, _watch: watch })
    }

    /// The latest good state.
    pub(super) fn current(&self) -> Arc<T> {
        self.current.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

struct Watch<T> {
    sources: Sources,
    build: Arc<Build<T>>,
    current: Arc<RwLock<Arc<T>>>,
    interval: Duration,
}

impl<T: Send + Sync + 'static> Watch<T> {
    async fn run(self, mut seen: Look) {
        loop {
            sleep(self.interval).await;
            let Some((mut look, mut texts)) = self.look().await else { continue };
            if look == seen {
                continue;
            }
            for _ in 0..SETTLE_LOOKS_MAX {
                sleep(SETTLE).await;
                let Some(again) = self.look().await else { break };
                if again.0 == look {
                    break;
                }
                (look, texts) = again;
            }
            if look == seen {
                continue;
            }
            seen = look;
            self.judge(texts);
        }
    }

    /// Reads the files off the async threads.
    async fn look(&self) -> Option<(Look, Result<Texts, TlsError>)> {
        let sources = self.sources.clone();
        let look = tokio::task::spawn_blocking(move || match sources.read() {
            Ok(texts) => (Look::Read(texts.digest()), Ok(texts)),
            Err(error) => (Look::Unreadable(error.to_string()), Err(error)),
        });
        look.await.ok()
    }

    fn judge(&self, texts: Result<Texts, TlsError>) {
        match texts.and_then(|texts| (self.build)(&texts)) {
            Ok(built) => {
                *self.current.write().unwrap_or_else(PoisonError::into_inner) = built.config;
                tracing::info!("TLS files changed; new connections use them");
                log_own("TLS certificate reloaded", built.own.as_ref());
            }
            Err(error) => tracing::error!(
                %error,
                help = error.help.as_deref().unwrap_or_default(),
                "TLS files changed and cannot be used; the last good ones stay in use"
            ),
        }
    }
}

fn log_own(message: &str, own: Option<&Facts>) {
    if let Some(own) = own {
        let names = own.names.join(", ");
        let expires = own.expiry_text();
        tracing::info!(subject = own.subject, issuer = own.issuer, names, expires, "{message}");
    }
}
