//! The client's side: one header value, made of keys or files.

use std::fmt;
use std::path::Path;
use std::sync::{PoisonError, RwLock};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderValue};
use spanbridge_component::{AuthError, ClientAuthenticator, Context, async_trait};
use spanbridge_config::Opaque;
use spanbridge_transport::file_watch::read_text;

use crate::ClientAuth;

/// Gives the credentials that it was given last.
#[derive(Default)]
pub(crate) struct Client {
    /// `None` until the files were read.
    value: RwLock<Option<HeaderValue>>,
}

impl Client {
    /// From now on these are the credentials.
    pub(crate) fn swap(&self, value: HeaderValue) {
        *self.value.write().unwrap_or_else(PoisonError::into_inner) = Some(value);
    }
}

/// Credentials are not printed.
impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").finish_non_exhaustive()
    }
}

#[async_trait]
impl ClientAuthenticator for Client {
    async fn authorize(&self, _: &Context, headers: &mut HeaderMap) -> Result<(), AuthError> {
        let value = self.value.read().unwrap_or_else(PoisonError::into_inner).clone();
        let value =
            value.ok_or_else(|| AuthError::undecided("credentials are not read yet", "not started"))?;
        headers.insert(AUTHORIZATION, value);
        Ok(())
    }

    fn requires_transport_security(&self) -> bool {
        true
    }

    fn depends_on_request(&self) -> bool {
        false
    }
}

/// The value of the header, read from files where there are some.
///
/// # Errors
/// The file that cannot be used, or a user name that no server could tell from the password.
pub(crate) fn header_value(config: &ClientAuth) -> Result<HeaderValue, String> {
    let username = match &config.username_file {
        Some(path) => Opaque::new(read(path)?),
        None => Opaque::new(config.username.clone()),
    };
    let password = match &config.password_file {
        Some(path) => Opaque::new(read(path)?),
        None => config.password.clone(),
    };
    if username.expose().contains(':') {
        return Err("invalid authorization format: a user name has no colon".to_owned());
    }
    let encoded = STANDARD.encode(format!("{}:{}", username.expose(), password.expose()));
    let value = HeaderValue::try_from(format!("Basic {encoded}"));
    let mut value = value.map_err(|_| "the credentials do not fit into a header".to_owned())?;
    value.set_sensitive(true);
    Ok(value)
}

/// What a file holds, without the space around it.
fn read(path: &Path) -> Result<String, String> {
    let shown = path.display();
    let text =
        read_text(path).map_err(|error| format!("failed to read credentials file \"{shown}\": {error}"))?;
    match text.trim() {
        "" => Err(format!("credentials file \"{shown}\" is empty")),
        text => Ok(text.to_owned()),
    }
}
