//! The tokens, ready to compare and ready to send.

use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderName, HeaderValue};
use sha2::{Digest as _, Sha256};
use spanbridge_component::{
    AuthAttributes, AuthData, AuthError, AuthRequest, ClientAuthenticator, Context, ServerAuthenticator,
    async_trait,
};
use spanbridge_transport::auth::credential_header;
use subtle::{Choice, ConstantTimeEq as _};

/// What to come with (RFC 6750, 3). For other schemes and headers there is no such word.
const CHALLENGE: &str = "Bearer realm=\"spanbridge\"";
const NO_MATCH: &str = "scheme or token does not match";

/// What one reading of the configuration comes to.
pub(crate) struct Tokens {
    name: HeaderName,
    /// The word before a token; may be empty.
    scheme: String,
    /// What a client sends.
    first: HeaderValue,
    /// Digests of whole header values that a server accepts: equal lengths, which compare in equal time.
    accepted: Vec<[u8; 32]>,
}

impl Tokens {
    /// At least one token, under this header.
    pub(crate) fn new(header: &str, scheme: &str, tokens: &[&str]) -> Result<Self, String> {
        if tokens.contains(&"") {
            return Err("a token is empty".to_owned());
        }
        let whole =
            |token: &str| if scheme.is_empty() { token.to_owned() } else { format!("{scheme} {token}") };
        let values = tokens.iter().map(|token| credential_header(header, &whole(token)));
        let values = values.collect::<Result<Vec<_>, _>>()?;
        let accepted = values.iter().map(|(_, value)| Sha256::digest(value).into()).collect();
        let (name, first) = values.into_iter().next().ok_or_else(|| "no bearer token provided".to_owned())?;
        Ok(Self { name, scheme: scheme.to_owned(), first, accepted })
    }

    /// Whether the header holds one of the tokens.
    fn check(&self, headers: &HeaderMap) -> Result<(), AuthError> {
        let Some(value) = headers.get(&self.name).filter(|value| !value.is_empty()) else {
            let name = self.name.as_str();
            return Err(AuthError::missing(format!("missing or empty authorization header: {name}")));
        };
        let given: [u8; 32] = Sha256::digest(value).into();
        let matches = self.accepted.iter().fold(Choice::from(0), |found, known| found | known.ct_eq(&given));
        if bool::from(matches) { Ok(()) } else { Err(self.refusal(value)) }
    }

    /// Whether tokens come as RFC 6750 says.
    fn is_standard(&self) -> bool {
        self.name == AUTHORIZATION && self.scheme.eq_ignore_ascii_case("Bearer")
    }

    /// Why a value that is none of the accepted ones is not good. Credentials of another scheme are somebody else's:
    /// another authenticator may say more about them.
    fn refusal(&self, value: &HeaderValue) -> AuthError {
        let word = value.as_bytes().split(|byte| *byte == b' ').next().unwrap_or_default();
        let has_word = word.len() < value.len();
        if has_word && !self.scheme.is_empty() && !word.eq_ignore_ascii_case(self.scheme.as_bytes()) {
            AuthError::missing(NO_MATCH).with_reason("the request has credentials of another scheme")
        } else {
            AuthError::refused(NO_MATCH, "unknown token")
        }
    }
}

/// Tokens that may be swapped.
#[derive(Default)]
pub(crate) struct Current(RwLock<Option<Arc<Tokens>>>);

impl Current {
    /// From now on these are the tokens.
    pub(crate) fn swap(&self, tokens: Tokens) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(tokens));
    }

    fn get(&self) -> Result<Arc<Tokens>, AuthError> {
        let tokens = self.0.read().unwrap_or_else(PoisonError::into_inner).clone();
        tokens
            .ok_or_else(|| AuthError::undecided("authentication is not ready", "the tokens are not read yet"))
    }
}

/// Tokens are not printed.
impl fmt::Debug for Current {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Current").finish_non_exhaustive()
    }
}

#[async_trait]
impl ServerAuthenticator for Current {
    async fn authenticate(&self, request: &AuthRequest<'_>) -> Result<Arc<dyn AuthData>, AuthError> {
        let tokens = self.get()?;
        match tokens.check(request.headers) {
            Ok(()) => Ok(Arc::new(AuthAttributes::new())),
            Err(error) if tokens.is_standard() => Err(error.with_challenge(CHALLENGE)),
            Err(error) => Err(error),
        }
    }
}

#[async_trait]
impl ClientAuthenticator for Current {
    async fn authorize(&self, _: &Context, headers: &mut HeaderMap) -> Result<(), AuthError> {
        let tokens = self.get()?;
        headers.insert(tokens.name.clone(), tokens.first.clone());
        Ok(())
    }

    fn requires_transport_security(&self) -> bool {
        true
    }

    fn depends_on_request(&self) -> bool {
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn current(header: &str, scheme: &str, tokens: &[&str]) -> Current {
        let current = Current::default();
        current.swap(Tokens::new(header, scheme, tokens).unwrap());
        current
    }

    async fn ask(current: &Current, name: &'static str, value: &'static str) -> Result<(), String> {
        let mut headers = HeaderMap::new();
        headers.insert(name, HeaderValue::from_static(value));
        let request = AuthRequest { headers: &headers, peer: None, certificates: &[], is_secured: false };
        current.authenticate(&request).await.map(drop).map_err(|error| error.to_string())
    }

    #[tokio::test]
    async fn every_token_comes_in_and_nothing_else() {
        let tokens = current("Authorization", "Bearer", &["one", "two"]);
        assert_eq!(ask(&tokens, "authorization", "Bearer one").await, Ok(()));
        assert_eq!(ask(&tokens, "authorization", "Bearer two").await, Ok(()));
        for value in ["Bearer three", "bearer one", "Bearer  one", "one", "Bearer", "Bearer one "] {
            let error = ask(&tokens, "authorization", value).await.unwrap_err();
            assert_eq!(error, "scheme or token does not match", "{value}");
        }
        for (name, value) in [("authorization", ""), ("x-other", "Bearer one")] {
            let error = ask(&tokens, name, value).await.unwrap_err();
            assert_eq!(error, "missing or empty authorization header: authorization");
        }
    }

    #[tokio::test]
    async fn credentials_of_another_scheme_are_none_of_this_kind() {
        for (scheme, value, is_missing) in [
            ("Bearer", "Basic dXNlcjpwdw==", true),
            ("Bearer", "Bearer x", false),
            ("Bearer", "bearer one", false),
            ("Bearer", "one", false),
            ("", "Basic dXNlcjpwdw==", false),
        ] {
            let tokens = current("Authorization", scheme, &["one"]);
            let headers = HeaderMap::from_iter([(AUTHORIZATION, HeaderValue::from_static(value))]);
            let request = AuthRequest { headers: &headers, peer: None, certificates: &[], is_secured: false };
            let error = tokens.authenticate(&request).await.unwrap_err();
            assert_eq!((error.message(), error.is_missing()), (NO_MATCH, is_missing), "{scheme} {value}");
            let challenges: &[_] = if scheme == "Bearer" { &[CHALLENGE] } else { &[] };
            assert_eq!(error.challenges(), challenges);
        }
    }

    #[tokio::test]
    async fn a_client_sends_the_first_token_under_the_configured_name() {
        let tokens = current("X-Api-Key", "", &["one", "two"]);
        let mut headers = HeaderMap::new();
        tokens.authorize(&Context::default(), &mut headers).await.unwrap();
        assert_eq!(headers["x-api-key"], "one");
        assert!(headers["x-api-key"].is_sensitive() && tokens.requires_transport_security());
        assert_eq!(ask(&tokens, "x-api-key", "two").await, Ok(()));
    }

    #[tokio::test]
    async fn before_the_tokens_were_read_nobody_comes_in() {
        assert!(ask(&Current::default(), "authorization", "Bearer ").await.is_err());
    }
}
