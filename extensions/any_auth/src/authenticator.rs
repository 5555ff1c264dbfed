//! Asking one after the other.

use std::fmt;
use std::fmt::Write as _;
use std::sync::Arc;

use prometheus::IntCounter;
use sha2::{Digest as _, Sha256};
use spanbridge_component::{
    AuthAttributes, AuthData, AuthError, AuthRequest, AuthValue, Code, ServerAuthenticator, async_trait,
};

/// The attribute that says who let the client in.
const WHO: &str = "authenticator";
/// What it says of a client that came in by its certificate.
pub(crate) const CLIENT_CERTIFICATE: &str = "client_certificate";

/// One way in.
pub(crate) struct Door {
    /// The authenticator's id.
    pub(crate) name: String,
    /// Who decides; `None` for the client's certificate.
    pub(crate) authenticator: Option<Arc<dyn ServerAuthenticator>>,
    /// Requests that came in this way.
    pub(crate) accepted: IntCounter,
}

/// Every way in, in order.
pub(crate) struct AnyAuth {
    pub(crate) doors: Vec<Door>,
}

/// What the authenticator knows of a client, and which one it was.
struct Chosen {
    name: String,
    data: Arc<dyn AuthData>,
}

impl Door {
    async fn ask(&self, request: &AuthRequest<'_>) -> Result<Arc<dyn AuthData>, AuthError> {
        match &self.authenticator {
            Some(authenticator) => authenticator.authenticate(request).await,
            None => by_certificate(request),
        }
    }
}

/// The transport has verified the certificate, so to have one is enough.
fn by_certificate(request: &AuthRequest<'_>) -> Result<Arc<dyn AuthData>, AuthError> {
    let certificate = request.certificates.first().filter(|_| request.is_secured);
    let certificate = certificate.ok_or_else(|| AuthError::missing("no client certificate"))?;
    let digest = Sha256::digest(certificate).iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    });
    Ok(Arc::new(AuthAttributes::new().with("certificate_sha256", digest)))
}

#[async_trait]
impl ServerAuthenticator for AnyAuth {
    async fn authenticate(&self, request: &AuthRequest<'_>) -> Result<Arc<dyn AuthData>, AuthError> {
        let (mut refusal, mut challenges): (Option<AuthError>, _) = (None, Vec::new());
        for door in &self.doors {
            match door.ask(request).await {
                Ok(data) => {
                    door.accepted.inc();
                    return Ok(Arc::new(Chosen { name: door.name.clone(), data }));
                }
                Err(error) => {
                    challenges.extend_from_slice(error.challenges());
                    if refusal.as_ref().is_none_or(|first| weight(&error) > weight(first)) {
                        refusal = Some(error);
                    }
                }
            }
        }
        let refusal = match refusal {
            Some(error) if !error.is_missing() => error,
            _ => AuthError::missing("no credentials that this server takes"),
        };
        // Every way in is open to the client, whichever says most about this request.
        Err(challenges.into_iter().fold(refusal, AuthError::with_challenge))
    }
}

/// How much a refusal says: who could not decide may let the client in next time, wrong credentials are the client's
/// own, and none of a kind means little.
fn weight(error: &AuthError) -> u8 {
    match error.code() {
        Code::Unauthenticated if error.is_missing() => 0,
        Code::Unauthenticated => 1,
        _ => 2,
    }
}

impl AuthData for Chosen {
    fn attribute(&self, name: &str) -> Option<AuthValue> {
        if name == WHO { Some(AuthValue::Text(self.name.clone())) } else { self.data.attribute(name) }
    }

    fn names(&self) -> Vec<String> {
        let mut names = self.data.names();
        names.push(WHO.to_owned());
        names
    }
}

impl fmt::Debug for Chosen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Chosen").field("name", &self.name).field("data", &self.data).finish()
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderValue};

    use super::*;

    /// Lets in who has a header of its name, with the value `yes`.
    struct Named(&'static str);

    #[async_trait]
    impl ServerAuthenticator for Named {
        async fn authenticate(&self, request: &AuthRequest<'_>) -> Result<Arc<dyn AuthData>, AuthError> {
            let decision: Result<Arc<dyn AuthData>, _> =
                match request.header(self.0).map(HeaderValue::as_bytes) {
                    Some(b"yes") => Ok(Arc::new(AuthAttributes::new().with("username", self.0))),
                    Some(b"busy") => Err(AuthError::undecided("busy", "busy")),
                    Some(b"another scheme") => Err(AuthError::missing("wrong").with_reason("another scheme")),
                    Some(_) => Err(AuthError::refused("wrong", self.0)),
                    None => Err(AuthError::missing("none")),
                };
            decision.map_err(|error| error.with_challenge(self.0))
        }
    }

    fn any() -> AnyAuth {
        let door = |name: &str, authenticator| Door {
            name: name.to_owned(),
            authenticator,
            accepted: IntCounter::new("accepted", "accepted").unwrap(),
        };
        let named = |name: &'static str| {
            let authenticator: Arc<dyn ServerAuthenticator> = Arc::new(Named(name));
            door(name, Some(authenticator))
        };
        AnyAuth { doors: vec![door(CLIENT_CERTIFICATE, None), named("bearer"), named("basic")] }
    }

    async fn ask(
        any: &AnyAuth,
        pairs: &[(&'static str, &'static str)],
    ) -> Result<Arc<dyn AuthData>, AuthError> {
        let headers: HeaderMap = pairs
            .iter()
            .map(|(name, value)| (name.parse().unwrap(), HeaderValue::from_static(value)))
            .collect();
        let request = AuthRequest { headers: &headers, peer: None, certificates: &[], is_secured: true };
        any.authenticate(&request).await
    }

    fn text(data: &dyn AuthData, name: &str) -> String {
        match data.attribute(name) {
            Some(AuthValue::Text(text)) => text,
            _ => String::new(),
        }
    }

    #[tokio::test]
    async fn whoever_one_of_them_lets_in_comes_in_and_it_is_known_which() {
        let any = any();
        for (pairs, who) in [
            ([("bearer", "yes"), ("basic", "yes")].as_slice(), "bearer"),
            (&[("bearer", "no"), ("basic", "yes")], "basic"),
            (&[("bearer", "busy"), ("basic", "yes")], "basic"),
            (&[("basic", "yes")], "basic"),
        ] {
            let data = ask(&any, pairs).await.unwrap();
            assert_eq!(
                (text(&*data, "authenticator"), text(&*data, "username")),
                (who.to_owned(), who.to_owned())
            );
        }
        assert_eq!(any.doors[2].accepted.get(), 3);
    }

    #[tokio::test]
    async fn a_verified_certificate_is_enough_and_one_without_tls_is_none() {
        let any = any();
        let headers = HeaderMap::new();
        let certificates = ["certificate".as_bytes().to_vec().into()];
        let mut request =
            AuthRequest { headers: &headers, peer: None, certificates: &certificates, is_secured: true };
        let data = any.authenticate(&request).await.unwrap();
        assert_eq!(text(&*data, "authenticator"), CLIENT_CERTIFICATE);
        assert_eq!(text(&*data, "certificate_sha256").len(), 64);
        request.is_secured = false;
        assert!(any.authenticate(&request).await.is_err());
    }

    #[tokio::test]
    async fn when_all_refuse_the_client_hears_what_says_most() {
        let any = any();
        for (pairs, message) in [
            ([].as_slice(), "no credentials that this server takes"),
            (&[("basic", "no")], "wrong"),
            (&[("bearer", "no")], "wrong"),
            (&[("bearer", "busy"), ("basic", "no")], "busy"),
        ] {
            let error = ask(&any, pairs).await.unwrap_err();
            assert_eq!(error.to_string(), message, "{pairs:?}");
            let mut challenges = error.challenges().to_vec();
            challenges.sort_unstable();
            assert_eq!(challenges, ["basic", "bearer"], "{pairs:?}");
        }
    }

    #[tokio::test]
    async fn the_reason_is_of_who_knows_the_scheme_wherever_it_stands() {
        let any = any();
        for (pairs, reason) in [
            ([("bearer", "another scheme"), ("basic", "no")].as_slice(), "basic"),
            (&[("bearer", "no"), ("basic", "another scheme")], "bearer"),
        ] {
            assert_eq!(ask(&any, pairs).await.unwrap_err().reason(), reason, "{pairs:?}");
        }
    }
}
