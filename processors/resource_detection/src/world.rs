//! What detectors look at: variables, files and metadata services. Tests make a world of their own.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use spanbridge_transport::grpc::ClientTls;
use spanbridge_transport::http::{Client, Limits, Request, Response};

/// What is read of a metadata service's answer at most.
const BODY_BYTES_MAX: usize = 1 << 20;
/// Metadata services are on the link: who does not answer by then is not there.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// How a variable of the environment is looked up; `None` for what is not set or empty.
type Variables = Arc<dyn Fn(&str) -> Option<String> + Send + Sync>;

/// What detectors look at.
#[derive(Clone)]
pub(crate) struct World {
    variables: Variables,
    /// The root of the file system.
    pub(crate) root: PathBuf,
    /// The base of the metadata service of Azure, which has a fixed address.
    pub(crate) azure: String,
    /// How long one request may take.
    pub(crate) timeout: Duration,
}

impl World {
    /// The one that this process is in.
    pub(crate) fn of_process(timeout: Duration) -> Self {
        Self {
            variables: Arc::new(|name| std::env::var(name).ok()),
            root: PathBuf::from("/"),
            azure: "http://169.254.169.254".to_owned(),
            timeout: if timeout.is_zero() { Limits::default().timeout } else { timeout },
        }
    }

    /// A variable of the environment; `None` for what is not set or empty.
    pub(crate) fn variable(&self, name: &str) -> Option<String> {
        (self.variables)(name).filter(|value| !value.is_empty())
    }

    /// Whether this runs in a pod.
    pub(crate) fn is_in_kubernetes(&self) -> bool {
        self.variable("KUBERNETES_SERVICE_HOST").is_some()
    }

    /// A file's text, trimmed.
    pub(crate) fn text(&self, path: &str) -> Result<String, String> {
        let path = self.root.join(path.trim_start_matches('/'));
        let text = std::fs::read_to_string(&path);
        text.map(|text| text.trim().to_owned())
            .map_err(|error| format!("cannot read {}: {error}", path.display()))
    }

    pub(crate) fn limits(&self) -> Limits {
        Limits {
            connect_timeout: CONNECT_TIMEOUT.min(self.timeout),
            timeout: self.timeout,
            body_bytes_max: BODY_BYTES_MAX,
            redirects_max: 0,
        }
    }

    /// A client for metadata services.
    pub(crate) fn client(&self) -> Client {
        Client::new(self.limits(), ClientTls::default())
    }
}

/// Asks, and says what is wrong with an answer that is no success.
pub(crate) async fn ask(client: &Client, request: Request) -> Result<Response, Failure> {
    let asked = format!("{request:?}");
    let response =
        client.send(request).await.map_err(|error| Failure { status: None, text: error.to_string() })?;
    if response.status.is_success() {
        return Ok(response);
    }
    let text = format!("{} answers with {}", shown(&asked), response.status);
    Err(Failure { status: Some(response.status), text })
}

/// The method and URL out of a request's `Debug`, which is the only place that has them without secrets.
fn shown(debug: &str) -> &str {
    let inner = debug.split_once('"').map_or(debug, |(_, rest)| rest);
    inner.split('"').next().unwrap_or(inner)
}

/// Why there is no answer that can be used.
#[derive(Debug)]
pub(crate) struct Failure {
    /// The status, if there was an answer.
    pub(crate) status: Option<StatusCode>,
    pub(crate) text: String,
}

impl From<Failure> for String {
    fn from(failure: Failure) -> Self {
        failure.text
    }
}

/// A body as a text, trimmed.
pub(crate) fn text(response: &Response) -> Result<String, String> {
    let text = std::str::from_utf8(&response.body).map_err(|_| "the answer is no text".to_owned())?;
    Ok(text.trim().to_owned())
}

/// A body as JSON.
pub(crate) fn json<T: serde::de::DeserializeOwned>(response: &Response) -> Result<T, String> {
    serde_json::from_slice(&response.body).map_err(|error| format!("the answer cannot be read: {error}"))
}

#[cfg(test)]
pub(crate) mod tests {
    use std::collections::HashMap;

    use super::*;

    impl World {
        /// A world with these variables and the files below `root`.
        pub(crate) fn made_up(root: &std::path::Path, variables: &[(&str, &str)]) -> Self {
            let variables: HashMap<String, String> =
                variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
            Self {
                variables: Arc::new(move |name| variables.get(name).cloned()),
                root: root.to_owned(),
                azure: "http://127.0.0.1:1".to_owned(),
                timeout: Duration::from_secs(20),
            }
        }
    }

    impl World {
        /// The same with another metadata service of Azure.
        pub(crate) fn with_azure(self, base: String) -> Self {
            Self { azure: base, ..self }
        }

        /// A world with variables that may change.
        pub(crate) fn with_variables(
            variables: impl Fn(&str) -> Option<String> + Send + Sync + 'static,
        ) -> Self {
            Self { variables: Arc::new(variables), ..Self::made_up(std::path::Path::new("/nowhere"), &[]) }
        }
    }

    /// A metadata service at a loopback address; returns its base.
    pub(crate) async fn serve(router: axum::Router) -> String {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move { axum::serve(listener, router).await });
        format!("http://{address}")
    }
}
