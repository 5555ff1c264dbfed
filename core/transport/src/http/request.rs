//! What is asked.

use std::fmt;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use http::{HeaderMap, Method};
use url::{Host, Url};

use super::{Error, Kind};
use crate::grpc::HostPort;

/// A request. `Debug` prints neither its query nor header values nor the body.
#[derive(Clone)]
pub struct Request {
    pub(super) method: Method,
    pub(super) url: Url,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

impl Request {
    /// A request without headers and body.
    ///
    /// # Errors
    /// If `url` is not one with `http` or `https` and a host, or has credentials in it.
    pub fn new(method: Method, url: &str) -> Result<Self, Error> {
        let wrong = |cause: String| Error::new(Kind::Request, format!("{method} {}", shown(url)), cause);
        let url = Url::parse(url).map_err(|error| wrong(format!("not a URL: {error}")))?;
        if let Err(cause) = check(&url) {
            return Err(wrong(cause));
        }
        Ok(Self { method, url, headers: HeaderMap::new(), body: Bytes::new() })
    }

    /// `GET url`.
    ///
    /// # Errors
    /// As [`Request::new`].
    pub fn get(url: &str) -> Result<Self, Error> {
        Self::new(Method::GET, url)
    }

    /// `POST url` with a form; the pairs are encoded here.
    ///
    /// # Errors
    /// As [`Request::new`].
    pub fn post_form<'a>(
        url: &str,
        pairs: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Result<Self, Error> {
        let form = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish();
        let mut request = Self::new(Method::POST, url)?;
        let form_type = HeaderValue::from_static("application/x-www-form-urlencoded");
        request.headers.insert(CONTENT_TYPE, form_type);
        request.body = form.into();
        Ok(request)
    }

    /// With this header, in place of another of the name. Its value counts as a secret: it is not printed, and not sent to
    /// another host after a redirect.
    ///
    /// # Errors
    /// If name or value cannot be a header; the value is not in the text.
    pub fn header(mut self, name: &str, value: &str) -> Result<Self, Error> {
        let wrong = |cause: String| Error::new(Kind::Request, self.shown(), cause);
        let parsed =
            HeaderName::try_from(name).map_err(|_| wrong(format!("\"{name}\" is no header name")))?;
        let value = HeaderValue::try_from(value)
            .map_err(|_| wrong(format!("the value of {name} has characters that no header may hold")))?;
        self.headers.insert(parsed, value);
        Ok(self)
    }

    /// With this body.
    #[must_use]
    pub fn body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self
    }

    /// Method and URL for errors and logs.
    pub(super) fn shown(&self) -> String {
        format!("{} {}", self.method, shown(self.url.as_str()))
    }

    /// Where to connect to.
    pub(super) fn target(&self) -> HostPort {
        let host = match self.url.host() {
            // Without the brackets.
            Some(Host::Ipv6(address)) => address.to_string(),
            Some(host) => host.to_string(),
            None => String::new(),
        };
        HostPort { host, port: self.url.port_or_known_default().unwrap_or(0) }
    }

    pub(super) fn is_secure(&self) -> bool {
        self.url.scheme() == "https"
    }
}

impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Request")
            .field("request", &self.shown())
            .field("headers", &self.headers.keys().collect::<Vec<_>>())
            .field("body_bytes", &self.body.len())
            .finish_non_exhaustive()
    }
}

fn check(url: &Url) -> Result<(), String> {
    match url.scheme() {
        "http" | "https" => {}
        other => return Err(format!("unsupported scheme \"{other}\"; write http:// or https://")),
    }
    if url.host_str().is_none_or(str::is_empty) {
        return Err("the URL has no host".to_owned());
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("credentials in the URL are not supported".to_owned());
    }
    Ok(())
}

/// A URL for errors and logs: without userinfo, query and fragment, any of which may be secret. Of a text that is no URL,
/// what stands before a `?` and after an `@`.
pub fn shown(url: &str) -> String {
    let Some(mut parsed) = Url::parse(url).ok().filter(Url::has_host) else {
        let text = url.split(['?', '#']).next().unwrap_or_default();
        return text.rsplit('@').next().unwrap_or_default().to_owned();
    };
    parsed.set_query(None);
    parsed.set_fragment(None);
    // Both fail only for URLs that cannot have these.
    let _ = parsed.set_username("");
    let _ = parsed.set_password(None);
    parsed.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_be_secret_in_a_url_is_not_shown() {
        assert_eq!(shown("https://me:hunter2@host:1/p?token=hunter2#hunter2"), "https://host:1/p");
        assert_eq!(shown("me:hunter2@host/path?x"), "host/path");
        assert_eq!(shown("not a url me:hunter2@host?hunter2"), "host");
        let request = Request::get("http://host/p?key=hunter2").unwrap().header("x-key", "hunter2").unwrap();
        let request = request.body("hunter2");
        let printed = format!("{request:?}");
        assert!(printed.contains("GET http://host/p") && printed.contains("x-key"), "{printed}");
        assert!(!printed.contains("hunter2"), "{printed}");
    }

    #[test]
    fn requests_that_cannot_be_sent_are_refused_with_their_reason() {
        for (url, cause) in [
            ("host/path", "not a URL"),
            ("ftp://host/", "unsupported scheme \"ftp\""),
            ("http://me:hunter2@host/", "credentials in the URL"),
            ("unix:///run/x.sock", "unsupported scheme"),
            ("http://", "not a URL"),
        ] {
            let error = Request::get(url).unwrap_err();
            assert!(error.to_string().contains(cause), "{url}: {error}");
            assert!(error.kind() == Kind::Request && !error.to_string().contains("hunter2"), "{error}");
        }
        let error = Request::get("http://host/").unwrap().header("x", "hunter2\n").unwrap_err();
        assert!(error.to_string().contains("the value of x has") && !error.to_string().contains("hunter2"));
    }

    #[test]
    fn forms_are_encoded_and_targets_have_the_default_ports() {
        let request = Request::post_form("https://[::1]/token", [("a", "b c&d"), ("e", "ü")]).unwrap();
        assert_eq!(&request.body[..], b"a=b+c%26d&e=%C3%BC");
        assert_eq!(request.target(), HostPort { host: "::1".into(), port: 443 });
        assert_eq!(Request::get("http://host:81/").unwrap().target().port, 81);
    }
}
