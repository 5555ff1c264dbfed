//! How the API is reached.

use std::net::IpAddr;

use http::header::{HeaderValue, USER_AGENT};
use kube::Client;
use kube::config::{KubeConfigOptions, Kubeconfig};
use spanbridge_component::Problems;
use spanbridge_config::nearest;

/// Where and as whom, as users write it: the keys of these names.
#[derive(Debug, Clone, Default)]
pub struct Api {
    /// `serviceAccount`, `kubeConfig` or `none`.
    pub auth_type: String,
    /// The context of the kubeconfig file; empty for its current one.
    pub context: String,
    /// The kubeconfig file; empty for the usual one.
    pub kube_config_path: String,
}

/// The ways to reach the API.
const AUTH_TYPES: [&str; 3] = ["serviceAccount", "kubeConfig", "none"];

/// How the API is reached.
#[derive(Debug, Clone)]
pub struct Access {
    auth_type: String,
    context: Option<String>,
    kube_config_path: Option<String>,
    user_agent: HeaderValue,
}

/// Where a pod finds the name of its namespace.
const NAMESPACE_FILE: &str = "/var/run/secrets/kubernetes.io/serviceaccount/namespace";

/// The namespace of the pod that this runs in.
///
/// # Errors
/// If this runs in no pod, or in one without a service account.
pub fn own_namespace() -> std::io::Result<String> {
    Ok(std::fs::read_to_string(NAMESPACE_FILE)?.trim().to_owned())
}

const HOST: &str = "KUBERNETES_SERVICE_HOST";
const PORT: &str = "KUBERNETES_SERVICE_PORT";

impl Api {
    /// The account of the pod that this runs in.
    pub fn of_service_account() -> Self {
        Self { auth_type: "serviceAccount".to_owned(), ..Self::default() }
    }

    /// What a program finds that has no keys for it, as those with client-go do: the file that `KUBECONFIG` names, else the
    /// account of the pod that this runs in, else `.kube/config` in the home folder.
    pub fn discovered() -> Self {
        let named = std::env::var_os("KUBECONFIG").is_some_and(|path| !path.is_empty());
        if !named && environment().is_ok() {
            return Self::of_service_account();
        }
        Self { auth_type: "kubeConfig".to_owned(), ..Self::default() }
    }

    /// Reports what is wrong with the keys. `is_used` says whether the API is asked at all.
    pub fn validate(&self, is_used: bool, problems: &mut Problems) {
        let auth_type = self.auth_type.as_str();
        if auth_type == "tls" {
            problems
                .error_at("auth_type", "invalid authType for kubernetes: tls")
                .help("client certificates come from a kubeconfig file: auth_type: kubeConfig");
        } else if !AUTH_TYPES.contains(&auth_type) {
            let help = match nearest(auth_type, AUTH_TYPES) {
                Some(near) => format!("did you mean \"{near}\"?"),
                None => format!("one of {}", AUTH_TYPES.join(", ")),
            };
            problems
                .error_at("auth_type", format!("invalid authType for kubernetes: {auth_type}"))
                .help(help);
        } else if auth_type == "none" && is_used {
            let warning =
                "with auth_type \"none\" the certificate of the Kubernetes API server is not checked";
            problems.warn_at("auth_type", warning);
        }
        if auth_type != "kubeConfig" {
            for (key, value) in [("context", &self.context), ("kube_config_path", &self.kube_config_path)] {
                if !value.is_empty() {
                    problems.error_at(key, format!("{key} is only for auth_type \"kubeConfig\""));
                }
            }
        }
    }
}

impl Access {
    /// Access as `api` says it, by a program of this name.
    pub fn new(api: &Api, user_agent: &str) -> Self {
        let given = |text: &String| (!text.is_empty()).then(|| text.clone());
        Self {
            auth_type: api.auth_type.clone(),
            context: given(&api.context),
            kube_config_path: given(&api.kube_config_path),
            user_agent: HeaderValue::from_str(user_agent).unwrap_or(HeaderValue::from_static("spanbridge")),
        }
    }

    /// A client. It reads files, and connects to nothing yet. The token of a service account is read again every minute,
    /// as it rotates; whoever is refused all the same makes a new client.
    ///
    /// # Errors
    /// What is missing, in the reference's words where it has some.
    pub async fn client(&self) -> Result<Client, String> {
        let mut config = match self.auth_type.as_str() {
            "kubeConfig" => self.read_file().await?,
            "none" => without_credentials()?,
            _ => {
                environment()?;
                kube::Config::incluster_env()
                    .map_err(|error| format!("unable to load k8s config: {}", chain(&error)))?
            }
        };
        // Retries are up to whoever watches: only there it is known what the server asked for.
        config.default_retry = false;
        config.headers.push((USER_AGENT, self.user_agent.clone()));
        Client::try_from(config)
            .map_err(|error| format!("cannot set up the Kubernetes client: {}", chain(&error)))
    }

    async fn read_file(&self) -> Result<kube::Config, String> {
        let options = KubeConfigOptions { context: self.context.clone(), ..KubeConfigOptions::default() };
        let loaded = match &self.kube_config_path {
            Some(path) => match Kubeconfig::read_from(path) {
                Ok(file) => kube::Config::from_custom_kubeconfig(file, &options).await,
                Err(error) => Err(error),
            },
            None => kube::Config::from_kubeconfig(&options).await,
        };
        loaded
            .map_err(|error| format!("error connecting to k8s with auth_type=kubeConfig: {}", chain(&error)))
    }
}

fn environment() -> Result<(String, String), String> {
    let variable = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
    variable(HOST)
        .zip(variable(PORT))
        .ok_or_else(|| format!("unable to load k8s config, {HOST} and {PORT} must be defined"))
}

fn without_credentials() -> Result<kube::Config, String> {
    let (host, port) = environment()?;
    let bracketed = host.parse::<IpAddr>().is_ok_and(|ip| ip.is_ipv6());
    let authority = if bracketed { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
    let uri = format!("https://{authority}").parse();
    let uri = uri.map_err(|error| format!("{HOST} and {PORT} are no address: {authority}: {error}"))?;
    let mut config = kube::Config::new(uri);
    config.accept_invalid_certs = true;
    Ok(config)
}

/// An error with its sources.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        let inner_text = inner.to_string();
        if !text.contains(&inner_text) {
            text = format!("{text}: {inner_text}");
        }
        source = inner.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn client(kubeconfig: &str, context: &str) -> Result<Client, String> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("kubeconfig");
        std::fs::write(&path, kubeconfig).unwrap();
        let kube_config_path = path.display().to_string();
        let api = Api { auth_type: "kubeConfig".into(), context: context.into(), kube_config_path };
        Access::new(&api, "spanbridge/0").client().await
    }

    const TWO_CONTEXTS: &str = "
apiVersion: v1
kind: Config
current-context: a
contexts:
  - {name: a, context: {cluster: a, user: u}}
  - {name: b, context: {cluster: absent, user: u}}
clusters:
  - {name: a, cluster: {server: 'https://192.0.2.1:6443', insecure-skip-tls-verify: true}}
users:
  - {name: u, user: {token: secret-token}}
";

    #[tokio::test]
    async fn a_kubeconfig_file_leads_to_a_client_over_tls() {
        assert!(client(TWO_CONTEXTS, "").await.is_ok());
    }

    #[tokio::test]
    async fn what_is_wrong_with_a_kubeconfig_file_is_said_without_its_secrets() {
        for (file, context) in [(TWO_CONTEXTS, "b"), (TWO_CONTEXTS, "c"), ("kind: [", "")] {
            let error = client(file, context).await.err().expect("it is wrong");
            assert!(error.starts_with("error connecting to k8s with auth_type=kubeConfig: "), "{error}");
            assert!(!error.contains("secret-token"), "{error}");
        }
    }

    #[test]
    fn outside_a_cluster_the_reason_is_the_references() {
        // No test sets these, and none may: the environment belongs to the process.
        if std::env::var_os(HOST).is_none() {
            let expected = "unable to load k8s config, KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT must be defined";
            assert_eq!(environment().unwrap_err(), expected);
            assert_eq!(without_credentials().err().as_deref(), Some(expected));
        }
    }
}
