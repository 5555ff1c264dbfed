//! From the header to the answer.

use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use http::HeaderValue;
use spanbridge_component::{
    AuthAttributes, AuthData, AuthError, AuthRequest, ServerAuthenticator, async_trait,
};

use crate::claims::{self, Mistake};
use crate::provider::{Provider, Undecided};
use crate::remembered::DigestKey;
use crate::token::Token;

/// What to come with (RFC 6750, 3). For another header there is no such word.
const CHALLENGE: &str = "Bearer realm=\"spanbridge\"";
const NOT_SIGNED: &str = "failed to verify token: failed to verify signature";

/// Checks tokens with the keys of the providers.
pub(crate) struct Server {
    header: String,
    key: DigestKey,
    pub(crate) providers: Arc<[Arc<Provider>]>,
}

impl Server {
    /// One whose providers have no keys yet.
    ///
    /// # Errors
    /// If the system has no randomness.
    pub(crate) fn new(header: &str, providers: Vec<Arc<Provider>>) -> Result<Self, getrandom::Error> {
        Ok(Self { header: header.to_owned(), key: DigestKey::new()?, providers: providers.into() })
    }

    /// Who decides about a token.
    fn provider(&self, token: &Token<'_>) -> Result<&Arc<Provider>, AuthError> {
        if let [only] = &*self.providers {
            return Ok(only);
        }
        let issuer = token.issuer();
        self.providers.iter().find(|provider| provider.config.issuer_url == issuer).ok_or_else(|| {
            let reason = "no provider is configured for the issuer of the token";
            AuthError::refused(format!("failed to resolve OIDC provider: {reason}"), reason)
        })
    }

    async fn decide(&self, request: &AuthRequest<'_>) -> Result<Arc<dyn AuthData>, AuthError> {
        let (header, raw) = raw_token(request, &self.header)?;
        let found = self.find(raw).await?;
        Ok(found.with_raw(header, header.len() - raw.len()))
    }

    /// What is known of the client with this token, without the token.
    async fn find(&self, raw: &str) -> Result<Arc<AuthAttributes>, AuthError> {
        let (digest, now) = (self.key.digest(raw), SystemTime::now());
        let known = self.providers.iter().find_map(|provider| provider.keys()?.remembered.get(&digest, now));
        if let Some(data) = known {
            return Ok(data);
        }
        let token = Token::parse(raw)
            .map_err(|reason| AuthError::refused(format!("failed to parse the token: {reason}"), reason))?;
        let provider = self.provider(&token)?;
        let (is_signed, keys) = provider.verify(&token).await.map_err(undecided)?;
        if !is_signed {
            return Err(AuthError::refused(NOT_SIGNED, "no key of the issuer has signed the token"));
        }
        // It may have waited.
        let now = SystemTime::now();
        let until = claims::check(&provider.config, &token.claims, now).map_err(refused)?;
        let data = Arc::new(claims::attributes(&provider.config, &token.claims).map_err(refused)?);
        keys.remembered.insert(digest, data.clone(), until, now);
        Ok(data)
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").field("header", &self.header).finish_non_exhaustive()
    }
}

#[async_trait]
impl ServerAuthenticator for Server {
    async fn authenticate(&self, request: &AuthRequest<'_>) -> Result<Arc<dyn AuthData>, AuthError> {
        self.decide(request).await.map_err(|error| match self.header.as_str() {
            header if header.eq_ignore_ascii_case("authorization") => error.with_challenge(CHALLENGE),
            _ => error,
        })
    }
}

fn undecided(Undecided(reason): Undecided) -> AuthError {
    AuthError::undecided(format!("authentication is not possible now: {reason}"), reason)
}

fn refused(mistake: Mistake) -> AuthError {
    AuthError::refused(mistake.message, mistake.reason)
}

/// The header, and the second of the two words in it. As in the Go collector the first may be any; but who says `Basic`
/// has no token, and is told so that another authenticator may have a look.
fn raw_token<'a>(request: &AuthRequest<'a>, header: &str) -> Result<(&'a HeaderValue, &'a str), AuthError> {
    let Some(value) = request.header(header).filter(|value| !value.is_empty()) else {
        return Err(AuthError::missing("authentication didn't succeed"));
    };
    let invalid =
        || AuthError::refused("invalid authorization header format", "the header is not a word and a token");
    let text = std::str::from_utf8(value.as_bytes()).map_err(|_| invalid())?;
    let (scheme, token) = text.split_once(' ').ok_or_else(invalid)?;
    if scheme.eq_ignore_ascii_case("basic") {
        return Err(AuthError::missing("authentication didn't succeed")
            .with_reason("the request has credentials of the scheme Basic"));
    }
    if scheme.is_empty() || token.is_empty() || token.contains(' ') {
        return Err(invalid());
    }
    Ok((value, token))
}

#[cfg(test)]
mod tests;
