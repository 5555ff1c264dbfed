//! One request and its answer.

use std::time::Duration;

use kube::Client;
use kube::client::Body;
use kube::core::Request;
use kube::core::params::GetParams;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::time::timeout;

use crate::failure::Failure;
use crate::query::Resource;
use crate::stream::whole;

/// Longest time until a request is answered with its headers.
const ANSWER_MAX: Duration = Duration::from_secs(30);

/// Sends a request, and returns the body of a success.
pub(crate) async fn send(
    client: &Client,
    request: Result<http::Request<Vec<u8>>, kube::core::request::Error>,
) -> Result<Body, Failure> {
    let request = request.map_err(|error| Failure::Server(error.to_string()))?;
    let answer = timeout(ANSWER_MAX, client.send(request.map(Body::from))).await;
    let Ok(answer) = answer else {
        return Err(Failure::Connection(format!("no answer within {ANSWER_MAX:?}")));
    };
    let answer = answer.map_err(|error| Failure::of_error(&error))?;
    let (parts, body) = answer.into_parts();
    if parts.status.is_success() {
        return Ok(body);
    }
    let body = whole(body).await.unwrap_or_default();
    Err(Failure::of_answer(parts.status, &parts.headers, &body))
}

/// The version of the API server: `v1.33.1`.
///
/// # Errors
/// Whatever keeps it from being read.
pub async fn server_version(client: &Client) -> Result<String, Failure> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Version {
        git_version: String,
    }
    let request = http::Request::get("/version").body(Vec::new());
    let request = request.map_err(kube::core::request::Error::BuildRequest);
    let body = whole(send(client, request).await?).await?;
    let version: Version = serde_json::from_slice(&body)
        .map_err(|error| Failure::Server(format!("the answer cannot be read: {error}")))?;
    Ok(version.git_version)
}

/// Reads the object of this name that is in no namespace.
///
/// # Errors
/// Whatever keeps it from being read; [`Failure::NotFound`] if there is none.
pub async fn get<T: DeserializeOwned>(client: &Client, resource: Resource, name: &str) -> Result<T, Failure> {
    let request = Request::new(resource.path(None)).get(name, &GetParams::default());
    let body = whole(send(client, request).await?).await?;
    serde_json::from_slice(&body)
        .map_err(|error| Failure::Server(format!("the answer cannot be read: {error}")))
}
