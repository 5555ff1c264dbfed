//! The actions, on the headers of one request.

use std::sync::{Arc, OnceLock, PoisonError, RwLock};

use http::{HeaderMap, HeaderName, HeaderValue};
use spanbridge_component::{AuthError, AuthValue, ClientAuthenticator, Context, async_trait};
use spanbridge_config::Opaque;
use spanbridge_transport::auth::credential_header;

use crate::config::{Action, Config, Header};

/// What to do with the headers of every request.
pub(crate) struct HeadersSetter {
    steps: Vec<Step>,
    /// Another authenticator that comes first: `None` if the configuration names none, empty until it was found.
    pub(crate) additional: Option<OnceLock<Arc<dyn ClientAuthenticator>>>,
}

/// One header with the value of its file, which may be swapped.
struct Step {
    header: Header,
    from_file: RwLock<Option<Opaque>>,
}

impl HeadersSetter {
    pub(crate) fn new(config: &Config) -> Self {
        let step = |header: &Header| Step { header: header.clone(), from_file: RwLock::default() };
        Self {
            steps: config.headers.iter().map(step).collect(),
            additional: config.additional_auth.as_ref().map(|_| OnceLock::new()),
        }
    }

    /// Reads every file, and uses what they hold from now on, if all can be used.
    ///
    /// # Errors
    /// The first file that cannot be used.
    pub(crate) fn read_files(&self) -> Result<(), String> {
        let values = self.steps.iter().map(|step| step.header.value_of_file().transpose());
        let values = values.collect::<Result<Vec<_>, String>>()?;
        for (step, value) in self.steps.iter().zip(values) {
            *step.from_file.write().unwrap_or_else(PoisonError::into_inner) = value;
        }
        Ok(())
    }
}

impl Step {
    /// The header for a request with this context; `None` if there is no value for it.
    fn pair(&self, context: &Context) -> Result<Option<(HeaderName, HeaderValue)>, AuthError> {
        let header = &self.header;
        let found = self.found(context)?.filter(|value| !value.is_empty());
        let pair = match (found, &header.default_value) {
            (Some(value), _) if header.is_binary_already() => as_it_is(&header.key, &value),
            (Some(value), _) => credential_header(&header.key, &value),
            (None, Some(value)) => credential_header(&header.key, value.expose()),
            (None, None) => return Ok(None),
        };
        let pair = pair.map_err(|error| {
            AuthError::refused(error, "a value from the client does not fit into a header")
        })?;
        Ok(Some(pair))
    }

    /// What the source of the header has; may be empty.
    fn found(&self, context: &Context) -> Result<Option<String>, AuthError> {
        let header = &self.header;
        Ok(if let Some(value) = &header.value {
            Some(value.expose().to_owned())
        } else if let Some(name) = &header.from_context {
            one(context.metadata.values(name))?
        } else if let Some(name) = &header.from_attribute {
            match context.auth.as_ref().and_then(|auth| auth.attribute(name)) {
                Some(AuthValue::Text(text)) => Some(text),
                Some(AuthValue::List(texts)) => one(&texts)?,
                None => None,
            }
        } else {
            let from_file = self.from_file.read().unwrap_or_else(PoisonError::into_inner);
            from_file.as_ref().map(|value| value.expose().to_owned())
        })
    }

    fn apply(&self, context: &Context, headers: &mut HeaderMap) -> Result<(), AuthError> {
        let action = self.header.action.unwrap_or_default();
        let key = self.header.key.as_str();
        let is_there = headers.contains_key(key);
        match action {
            Action::Delete => {
                headers.remove(key);
                return Ok(());
            }
            Action::Insert if is_there => return Ok(()),
            Action::Update if !is_there => return Ok(()),
            _ => {}
        }
        if let Some((name, value)) = self.pair(context)? {
            headers.insert(name, value);
        }
        Ok(())
    }
}

/// A header with a value that is encoded already.
fn as_it_is(name: &str, value: &str) -> Result<(HeaderName, HeaderValue), String> {
    let (name, _) = credential_header(name, "")?;
    let mut value = HeaderValue::from_str(value)
        .map_err(|_| format!("value of header \"{name}\" has characters that no header may hold"))?;
    value.set_sensitive(true);
    Ok((name, value))
}

/// The only value; which of several is meant cannot be known.
fn one(values: &[String]) -> Result<Option<String>, AuthError> {
    match values {
        [] => Ok(None),
        [value] => Ok(Some(value.clone())),
        _ => {
            let count = values.len();
            let text = format!("{count} source keys found in the context, can't determine which one to use");
            Err(AuthError::refused(text, "several values"))
        }
    }
}

#[async_trait]
impl ClientAuthenticator for HeadersSetter {
    async fn authorize(&self, context: &Context, headers: &mut HeaderMap) -> Result<(), AuthError> {
        if let Some(additional) = &self.additional {
            let additional = additional.get();
            let additional = additional
                .ok_or_else(|| AuthError::undecided("headers_setter has not started", "not started"))?;
            additional.authorize(context, headers).await?;
        }
        self.steps.iter().try_for_each(|step| step.apply(context, headers))
    }

    fn requires_transport_security(&self) -> bool {
        match &self.additional {
            Some(additional) => {
                additional.get().is_none_or(|additional| additional.requires_transport_security())
            }
            None => false,
        }
    }

    fn depends_on_request(&self) -> bool {
        let additional = self.additional.as_ref().and_then(OnceLock::get);
        self.steps.iter().any(|step| step.header.is_of_request())
            || additional.is_some_and(|additional| additional.depends_on_request())
    }

    fn refused(&self, sent: &HeaderMap) {
        if let Some(additional) = self.additional.as_ref().and_then(OnceLock::get) {
            additional.refused(sent);
        }
    }
}

#[cfg(test)]
mod tests {
    use spanbridge_component::{AuthAttributes, Code, Metadata};

    use super::*;

    fn header(key: &str, action: Action) -> Header {
        Header { key: key.into(), action: Some(action), ..Header::default() }
    }

    fn setter(headers: Vec<Header>) -> HeadersSetter {
        HeadersSetter::new(&Config { headers, additional_auth: None })
    }

    fn context() -> Context {
        Context {
            metadata: Metadata::from_pairs([
                ("Tenant", "acme"),
                ("two", "1"),
                ("two", "2"),
                ("bad", "a\nb"),
                ("id-bin", "AAH/"),
            ]),
            auth: Some(Arc::new(
                AuthAttributes::new()
                    .with("username", "me")
                    .with_value("membership", AuthValue::List(vec!["a".into(), "b".into()])),
            )),
            ..Context::default()
        }
    }

    async fn run(setter: &HeadersSetter, headers: &mut HeaderMap) -> Result<(), AuthError> {
        setter.authorize(&context(), headers).await
    }

    #[tokio::test]
    async fn values_come_from_where_the_configuration_says() {
        let from_context = |name: &str, key: &str| Header {
            from_context: Some(name.into()),
            default_value: Some(Opaque::new("nobody")),
            ..header(key, Action::Upsert)
        };
        let setter = setter(vec![
            Header { value: Some(Opaque::new("fixed")), ..header("x-fixed", Action::Upsert) },
            from_context("tenant", "x-tenant"),
            from_context("absent", "x-absent"),
            Header { from_attribute: Some("username".into()), ..header("x-user", Action::Upsert) },
            Header { from_attribute: Some("absent".into()), ..header("x-nothing", Action::Upsert) },
        ]);
        let mut headers = HeaderMap::new();
        run(&setter, &mut headers).await.unwrap();
        let pairs: Vec<_> = headers.iter().map(|(n, v)| format!("{n}={}", v.to_str().unwrap())).collect();
        assert_eq!(pairs, ["x-fixed=fixed", "x-tenant=acme", "x-absent=nobody", "x-user=me"]);
        assert!(!setter.requires_transport_security());
    }

    #[tokio::test]
    async fn binary_metadata_is_encoded_once() {
        let from_context = |name: &str, key: &str| Header {
            from_context: Some(name.into()),
            default_value: Some(Opaque::new("default")),
            ..header(key, Action::Upsert)
        };
        let setter = setter(vec![
            from_context("id-bin", "x-id-Bin"),
            from_context("id-bin", "x-id"),
            from_context("tenant", "x-tenant-bin"),
            from_context("absent-bin", "x-absent-bin"),
        ]);
        let mut headers = HeaderMap::new();
        run(&setter, &mut headers).await.unwrap();
        let pairs: Vec<_> = headers.iter().map(|(n, v)| format!("{n}={}", v.to_str().unwrap())).collect();
        // `acme` and `default` are no base64 yet.
        assert_eq!(pairs, ["x-id-bin=AAH/", "x-id=AAH/", "x-tenant-bin=YWNtZQ", "x-absent-bin=ZGVmYXVsdA"]);
        assert!(headers.values().all(HeaderValue::is_sensitive));
    }

    #[tokio::test]
    async fn each_action_does_what_its_name_says() {
        let step = |key: &str, action| Header { value: Some(Opaque::new("new")), ..header(key, action) };
        let setter = setter(vec![
            step("there", Action::Insert),
            step("absent", Action::Insert),
            step("also-there", Action::Update),
            step("also-absent", Action::Update),
            header("gone", Action::Delete),
        ]);
        let mut headers = HeaderMap::new();
        for name in ["there", "also-there", "gone"] {
            headers.insert(name, HeaderValue::from_static("old"));
        }
        run(&setter, &mut headers).await.unwrap();
        assert!(headers["there"] == "old" && headers["absent"] == "new");
        assert!(headers["also-there"] == "new" && !headers.contains_key("also-absent"));
        assert!(headers.get("gone").is_none());
    }

    #[tokio::test]
    async fn what_cannot_be_decided_or_sent_is_an_error() {
        for source in ["two", "bad"] {
            let setter =
                setter(vec![Header { from_context: Some(source.into()), ..header("x", Action::Upsert) }]);
            let error = run(&setter, &mut HeaderMap::new()).await.unwrap_err();
            assert_eq!(error.code(), Code::Unauthenticated, "{source}: {error}");
        }
        let setter =
            setter(vec![Header { from_attribute: Some("membership".into()), ..header("x", Action::Upsert) }]);
        assert!(run(&setter, &mut HeaderMap::new()).await.unwrap_err().to_string().contains("2 source keys"));
    }

    #[test]
    fn what_comes_from_clients_is_theirs() {
        let of = |header| setter(vec![Header { value: Some(Opaque::new("v")), ..Header::default() }, header]);
        assert!(!of(Header { value_file: Some("/f".into()), ..Header::default() }).depends_on_request());
        assert!(of(Header { from_context: Some("tenant".into()), ..Header::default() }).depends_on_request());
        assert!(of(Header { from_attribute: Some("raw".into()), ..Header::default() }).depends_on_request());
    }

    #[tokio::test]
    async fn a_file_is_read_without_the_space_around_its_value() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("token");
        std::fs::write(&path, "  secret\n").unwrap();
        let setter = setter(vec![Header { value_file: Some(path.clone()), ..header("x", Action::Upsert) }]);
        setter.read_files().unwrap();
        let mut headers = HeaderMap::new();
        run(&setter, &mut headers).await.unwrap();
        assert_eq!(headers["x"], "secret");
        std::fs::remove_file(&path).unwrap();
        assert!(setter.read_files().is_err());
        run(&setter, &mut headers).await.unwrap();
        assert_eq!(headers["x"], "secret", "the last good value stays");
    }
}
