//! The metadata service of EC2, asked as its second version wants it: with a token.

use std::time::Duration;

use http::{Method, StatusCode};
use serde::Deserialize;
use spanbridge_transport::http::{Client, Request};
use tokio::time::sleep;

use crate::config::AwsConfig;
use crate::world::{Failure, World, ask, json, text};

/// Variables that AWS's own programs know.
const ENDPOINT: &str = "AWS_EC2_METADATA_SERVICE_ENDPOINT";
const ENDPOINT_MODE: &str = "AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE";
const DISABLED: &str = "AWS_EC2_METADATA_DISABLED";

const IPV4: &str = "http://169.254.169.254";
const IPV6: &str = "http://[fd00:ec2::254]";

/// How long a token holds: for all requests of one detection.
const TOKEN_SECONDS: &str = "300";
/// The first pause between attempts.
const FIRST_PAUSE: Duration = Duration::from_millis(100);

/// What the service says of the instance.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Identity {
    pub(super) account_id: String,
    pub(super) availability_zone: String,
    pub(super) region: String,
    pub(super) instance_id: String,
    pub(super) image_id: String,
    pub(super) instance_type: String,
}

/// The service, with a token if it gives any.
pub(super) struct Imds {
    client: Client,
    base: String,
    token: Option<String>,
    attempts: u32,
    pause_max: Duration,
}

impl Imds {
    /// The service, if it is there.
    ///
    /// # Errors
    /// Why it is not.
    pub(super) async fn reach(config: &AwsConfig, world: &World) -> Result<Self, String> {
        if world.variable(DISABLED).is_some_and(|value| value.eq_ignore_ascii_case("true")) {
            return Err(format!("{DISABLED} is set"));
        }
        let is_ipv6 = world.variable(ENDPOINT_MODE).is_some_and(|mode| mode.eq_ignore_ascii_case("ipv6"));
        let base = world.variable(ENDPOINT).unwrap_or_else(|| if is_ipv6 { IPV6 } else { IPV4 }.to_owned());
        let mut imds = Self {
            client: world.client(),
            base: base.trim_end_matches('/').to_owned(),
            token: None,
            attempts: config.max_attempts.max(1),
            pause_max: config.max_backoff.get(),
        };
        imds.token = imds.fetch_token().await?;
        // The id of the instance is there if anything is.
        imds.text("latest/meta-data/instance-id").await?;
        Ok(imds)
    }

    /// A token; `None` from a service that only knows its first version.
    async fn fetch_token(&self) -> Result<Option<String>, String> {
        let request = Request::new(Method::PUT, &format!("{}/latest/api/token", self.base));
        let request = request.and_then(|r| r.header("x-aws-ec2-metadata-token-ttl-seconds", TOKEN_SECONDS));
        let request = request.map_err(|error| error.to_string())?;
        match self.patiently(request).await {
            Ok(response) => text(&response).map(Some),
            Err(Failure {
                status: Some(StatusCode::FORBIDDEN | StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED),
                ..
            }) => Ok(None),
            Err(failure) => Err(failure.text),
        }
    }

    async fn get(&self, path: &str) -> Result<spanbridge_transport::http::Response, String> {
        let mut request =
            Request::get(&format!("{}/{path}", self.base)).map_err(|error| error.to_string())?;
        if let Some(token) = &self.token {
            request = request.header("x-aws-ec2-metadata-token", token).map_err(|error| error.to_string())?;
        }
        Ok(self.patiently(request).await?)
    }

    /// Asks again, after a pause, what could not be reached or failed at the service.
    async fn patiently(&self, request: Request) -> Result<spanbridge_transport::http::Response, Failure> {
        let mut pause = FIRST_PAUSE;
        let mut left = self.attempts;
        loop {
            left = left.saturating_sub(1);
            let failure = match ask(&self.client, request.clone()).await {
                Ok(response) => return Ok(response),
                Err(failure) => failure,
            };
            let may_pass = failure
                .status
                .is_none_or(|status| status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS);
            if left == 0 || !may_pass {
                return Err(failure);
            }
            sleep(pause.min(self.pause_max)).await;
            pause = pause.saturating_mul(2);
        }
    }

    /// A text below the base.
    pub(super) async fn text(&self, path: &str) -> Result<String, String> {
        text(&self.get(path).await?)
    }

    /// The identity of the instance.
    pub(super) async fn identity(&self) -> Result<Identity, String> {
        let document = self.get("latest/dynamic/instance-identity/document").await?;
        json(&document).map_err(|error| format!("failed getting identity document: {error}"))
    }

    /// The keys of the instance's tags.
    pub(super) async fn tag_keys(&self) -> Result<Vec<String>, String> {
        let keys = self.text("latest/meta-data/tags/instance").await?;
        Ok(keys.lines().map(str::trim).filter(|key| !key.is_empty()).map(str::to_owned).collect())
    }
}
