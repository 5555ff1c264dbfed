//! `gcp`: the platform of Google's cloud that this runs on, by its variables and its metadata service.

use spanbridge_transport::http::{Client, Request};

use super::{Detector, missing};
use crate::config::Config;
use crate::found::{Collector, Found, Table};
use crate::world::{Failure, World, ask, text};

/// The attributes, and which of them are added by default.
pub(crate) const TABLE: &Table = &[
    ("cloud.provider", true),
    ("cloud.platform", true),
    ("cloud.account.id", true),
    ("cloud.region", true),
    ("cloud.availability_zone", true),
    ("host.id", true),
    ("host.name", true),
    ("host.type", true),
    ("k8s.cluster.name", true),
    ("faas.name", true),
    ("faas.version", true),
    ("faas.instance", true),
    ("gcp.cloud_run.job.execution", true),
    ("gcp.cloud_run.job.task_index", true),
    ("gcp.gce.instance.hostname", false),
    ("gcp.gce.instance.name", false),
];

/// The variable that Google's own libraries know: `host[:port]` of the service.
const HOST: &str = "GCE_METADATA_HOST";
const ADDRESS: &str = "169.254.169.254";
/// What requests have to carry, and answers of the real service carry.
const FLAVOR: (&str, &str) = ("metadata-flavor", "Google");

/// The metadata service.
struct Service {
    client: Client,
    base: String,
}

impl Service {
    /// The service, if it is there.
    async fn reach(world: &World) -> Result<Self, String> {
        let host = world.variable(HOST).unwrap_or_else(|| ADDRESS.to_owned());
        let service = Self { client: world.client(), base: format!("http://{host}/computeMetadata/v1") };
        service.try_get("project/project-id").await?;
        Ok(service)
    }

    async fn try_get(&self, path: &str) -> Result<String, Failure> {
        let wrong = |text: String| Failure { status: None, text };
        let request = Request::get(&format!("{}/{path}", self.base));
        let request = request.and_then(|request| request.header(FLAVOR.0, FLAVOR.1));
        let response = ask(&self.client, request.map_err(|error| wrong(error.to_string()))?).await?;
        if response.headers.get(FLAVOR.0).is_none_or(|value| value != FLAVOR.1) {
            return Err(wrong(format!("{} is not the metadata service of Google", self.base)));
        }
        text(&response).map_err(wrong)
    }

    async fn get(&self, path: &str) -> Result<String, String> {
        self.try_get(path).await.map_err(|failure| failure.text)
    }

    /// The last part of something like `projects/1/zones/europe-west1-b`.
    async fn last(&self, path: &str) -> Result<String, String> {
        let text = self.get(path).await?;
        Ok(text.rsplit('/').next().unwrap_or_default().to_owned())
    }
}

pub(super) async fn detect(config: &Config, world: &World) -> Result<Found, String> {
    let service = match Service::reach(world).await {
        Ok(service) => service,
        Err(why) => {
            let why = format!("GCP metadata unavailable: {why}");
            return missing(Detector::Gcp, config.fail_on_missing_metadata, &why);
        }
    };
    let mut found = Collector::new(&config.gcp.resource_attributes, TABLE);
    found.text("cloud.provider", "gcp");
    found.text("cloud.account.id", service.get("project/project-id").await?);
    let is_set = |name: &str| world.variable(name).is_some();
    if world.is_in_kubernetes() {
        gke(&service, &mut found).await?;
    } else if is_set("FUNCTION_TARGET") {
        serverless(&service, world, "gcp_cloud_functions", &mut found).await?;
    } else if is_set("K_CONFIGURATION") {
        serverless(&service, world, "gcp_cloud_run", &mut found).await?;
    } else if is_set("CLOUD_RUN_JOB") {
        job(&service, world, &mut found).await?;
    } else if is_set("GAE_SERVICE") {
        app_engine(&service, world, &mut found).await?;
    } else {
        gce(&service, &mut found).await?;
    }
    Ok(found.finish())
}

async fn gke(service: &Service, found: &mut Collector<'_>) -> Result<(), String> {
    found.text("cloud.platform", "gcp_kubernetes_engine");
    let location = service.get("instance/attributes/cluster-location").await?;
    place(&location, found);
    found.text("k8s.cluster.name", service.get("instance/attributes/cluster-name").await?);
    found.text("host.id", service.get("instance/id").await?);
    // Workload identity may hide it.
    match service.get("instance/name").await {
        Ok(name) => found.text("host.name", name),
        Err(error) => tracing::info!(error, "host.name is left out"),
    }
    Ok(())
}

async fn gce(service: &Service, found: &mut Collector<'_>) -> Result<(), String> {
    found.text("cloud.platform", "gcp_compute_engine");
    place(&service.last("instance/zone").await?, found);
    found.text("host.type", service.last("instance/machine-type").await?);
    found.text("host.id", service.get("instance/id").await?);
    let name = service.get("instance/name").await?;
    found.text("host.name", name.as_str());
    if found.wants("gcp.gce.instance.hostname") {
        found.text("gcp.gce.instance.hostname", service.get("instance/hostname").await?);
    }
    found.text("gcp.gce.instance.name", name);
    Ok(())
}

async fn serverless(
    service: &Service,
    world: &World,
    platform: &str,
    found: &mut Collector<'_>,
) -> Result<(), String> {
    found.text("cloud.platform", platform);
    found.text("cloud.region", service.last("instance/region").await?);
    found.text("faas.name", world.variable("K_SERVICE").unwrap_or_default());
    found.text("faas.version", world.variable("K_REVISION").unwrap_or_default());
    found.text("faas.instance", service.get("instance/id").await?);
    Ok(())
}

async fn job(service: &Service, world: &World, found: &mut Collector<'_>) -> Result<(), String> {
    found.text("cloud.platform", "gcp_cloud_run");
    found.text("cloud.region", service.last("instance/region").await?);
    found.text("faas.name", world.variable("CLOUD_RUN_JOB").unwrap_or_default());
    found.text("faas.instance", service.get("instance/id").await?);
    let execution = world.variable("CLOUD_RUN_EXECUTION").unwrap_or_default();
    found.text("gcp.cloud_run.job.execution", execution);
    let index = world.variable("CLOUD_RUN_TASK_INDEX").unwrap_or_default();
    found.text("gcp.cloud_run.job.task_index", index);
    Ok(())
}

async fn app_engine(service: &Service, world: &World, found: &mut Collector<'_>) -> Result<(), String> {
    found.text("cloud.platform", "gcp_app_engine");
    place(&service.last("instance/zone").await?, found);
    for (name, variable) in
        [("faas.name", "GAE_SERVICE"), ("faas.version", "GAE_VERSION"), ("faas.instance", "GAE_INSTANCE")]
    {
        found.text(name, world.variable(variable).unwrap_or_default());
    }
    Ok(())
}

/// A zone (`europe-west1-b`), which is in a region, or a region.
fn place(location: &str, found: &mut Collector<'_>) {
    match location.rsplit_once('-') {
        Some((region, _)) if region.contains('-') => {
            found.text("cloud.region", region);
            found.text("cloud.availability_zone", location);
        }
        _ => found.text("cloud.region", location),
    }
}

#[cfg(test)]
mod tests {
    use axum::extract::Request as Asked;
    use axum::http::StatusCode;
    use spanbridge_pdata::Value;

    use super::*;
    use crate::world::tests::serve;

    async fn service(flavor: &'static str) -> String {
        let answer = move |request: Asked| async move {
            let known = match request.uri().path().trim_start_matches("/computeMetadata/v1/") {
                "project/project-id" => "my-project",
                "instance/zone" => "projects/1/zones/europe-west1-b",
                "instance/region" => "projects/1/regions/europe-west1",
                "instance/machine-type" => "projects/1/machineTypes/n1-standard-1",
                "instance/id" => "42",
                "instance/name" => "vm-1",
                "instance/hostname" => "vm-1.internal",
                "instance/attributes/cluster-name" => "edge",
                "instance/attributes/cluster-location" => "europe-west1",
                _ => "",
            };
            let asks = request.headers().get("metadata-flavor").is_some_and(|value| value == "Google");
            let status = if asks && !known.is_empty() { StatusCode::OK } else { StatusCode::FORBIDDEN };
            (status, [("metadata-flavor", flavor)], known)
        };
        serve(axum::Router::new().fallback(answer)).await
    }

    async fn found(variables: &[(&str, &str)], yaml: &str) -> Vec<(String, String)> {
        let base = service("Google").await;
        let host = base.trim_start_matches("http://");
        let variables = [&[(HOST, host)], variables].concat();
        let world = World::made_up(std::path::Path::new("/nowhere"), &variables);
        let config = spanbridge_config::from_yaml(yaml).unwrap_or_else(|e| panic!("{e}"));
        let found = detect(&config, &world).await.unwrap().0.into_iter();
        found
            .map(|(name, value)| (name, if let Value::Str(text) = value { text } else { String::new() }))
            .collect()
    }

    fn texts(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect()
    }

    #[tokio::test]
    async fn a_machine_is_found() {
        let expected = [
            ("cloud.provider", "gcp"),
            ("cloud.account.id", "my-project"),
            ("cloud.platform", "gcp_compute_engine"),
            ("cloud.region", "europe-west1"),
            ("cloud.availability_zone", "europe-west1-b"),
            ("host.type", "n1-standard-1"),
            ("host.id", "42"),
            ("host.name", "vm-1"),
            ("gcp.gce.instance.hostname", "vm-1.internal"),
        ];
        let yaml = "gcp: {resource_attributes: {gcp.gce.instance.hostname: {enabled: true}}}";
        assert_eq!(found(&[], yaml).await, texts(&expected));
    }

    #[tokio::test]
    async fn other_platforms_are_told_by_their_variables() {
        let expected = [
            ("cloud.provider", "gcp"),
            ("cloud.account.id", "my-project"),
            ("cloud.platform", "gcp_kubernetes_engine"),
            ("cloud.region", "europe-west1"),
            ("k8s.cluster.name", "edge"),
            ("host.id", "42"),
            ("host.name", "vm-1"),
        ];
        assert_eq!(found(&[("KUBERNETES_SERVICE_HOST", "10.0.0.1")], "{}").await, texts(&expected));
        let run = [("K_CONFIGURATION", "c"), ("K_SERVICE", "shop"), ("K_REVISION", "shop-1")];
        let expected = [
            ("cloud.provider", "gcp"),
            ("cloud.account.id", "my-project"),
            ("cloud.platform", "gcp_cloud_run"),
            ("cloud.region", "europe-west1"),
            ("faas.name", "shop"),
            ("faas.version", "shop-1"),
            ("faas.instance", "42"),
        ];
        assert_eq!(found(&run, "{}").await, texts(&expected));
        for (variables, platform) in [
            (&[("FUNCTION_TARGET", "f")][..], "gcp_cloud_functions"),
            (&[("CLOUD_RUN_JOB", "j"), ("CLOUD_RUN_TASK_INDEX", "0")], "gcp_cloud_run"),
            (&[("GAE_SERVICE", "s")], "gcp_app_engine"),
        ] {
            assert_eq!(found(variables, "{}").await[2].1, platform);
        }
    }

    #[tokio::test]
    async fn what_is_not_googles_service_is_not_believed() {
        let base = service("Other").await;
        let variables = [(HOST, base.trim_start_matches("http://"))];
        let world = World::made_up(std::path::Path::new("/nowhere"), &variables);
        assert_eq!(detect(&Config::default(), &world).await.unwrap().0, []);
        let config = Config { fail_on_missing_metadata: true, ..Config::default() };
        let error = detect(&config, &world).await.unwrap_err();
        assert!(error.contains("is not the metadata service of Google"), "{error}");
    }
}
