//! `azure` and `aks`: the machine, and the cluster that it is a node of.

use serde::Deserialize;
use spanbridge_transport::http::Request;

use super::{Detector, missing, patterns};
use crate::config::Config;
use crate::found::{Collector, Found, Table};
use crate::world::{World, ask, json};

/// The attributes of `azure`, and which of them are added by default.
pub(crate) const TABLE: &Table = &[
    ("cloud.provider", true),
    ("cloud.platform", true),
    ("cloud.region", true),
    ("cloud.account.id", true),
    ("cloud.availability_zone", false),
    ("host.id", true),
    ("host.name", true),
    ("azure.vm.name", true),
    ("azure.vm.size", true),
    ("azure.vm.scaleset.name", true),
    ("azure.resourcegroup.name", true),
];

/// The same of `aks`.
pub(crate) const AKS_TABLE: &Table =
    &[("cloud.provider", true), ("cloud.platform", true), ("k8s.cluster.name", false)];

/// Where the service tells of the machine.
const COMPUTE: &str = "metadata/instance/compute?api-version=2020-09-01&format=json";
/// What keys of tags get in front.
const TAG_PREFIX: &str = "azure.tag.";

/// What the service says of the machine.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Compute {
    location: String,
    name: String,
    vm_id: String,
    vm_size: String,
    subscription_id: String,
    resource_group_name: String,
    vm_scale_set_name: String,
    zone: String,
    os_profile: Profile,
    tags_list: Vec<Tag>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Profile {
    computer_name: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Tag {
    name: String,
    value: String,
}

async fn compute(world: &World) -> Result<Compute, String> {
    let request = Request::get(&format!("{}/{COMPUTE}", world.azure));
    let request =
        request.and_then(|request| request.header("metadata", "True")).map_err(|error| error.to_string())?;
    json(&ask(&world.client(), request).await?)
}

pub(super) async fn detect(config: &Config, world: &World) -> Result<Found, String> {
    let compute = match compute(world).await {
        Ok(compute) => compute,
        Err(why) => {
            let why = format!("Azure metadata unavailable: {why}");
            return missing(Detector::Azure, config.fail_on_missing_metadata, &why);
        }
    };
    let mut found = Collector::new(&config.azure.resource_attributes, TABLE);
    found.text("cloud.provider", "azure");
    found.text("cloud.platform", "azure.vm");
    found.text("cloud.region", compute.location);
    found.text("cloud.account.id", compute.subscription_id);
    found.text("cloud.availability_zone", compute.zone);
    found.text("host.id", compute.vm_id);
    let name = &compute.os_profile.computer_name;
    found.text("host.name", if name.is_empty() { &compute.name } else { name });
    found.text("azure.vm.name", compute.name.as_str());
    found.text("azure.vm.size", compute.vm_size);
    found.text("azure.vm.scaleset.name", compute.vm_scale_set_name);
    found.text("azure.resourcegroup.name", compute.resource_group_name);
    let patterns = patterns(&config.azure.tags);
    let wanted = compute
        .tags_list
        .into_iter()
        .filter(|tag| patterns.iter().any(|pattern| pattern.is_match(&tag.name)));
    for tag in wanted {
        found.extra(format!("{TAG_PREFIX}{}", tag.name), tag.value);
    }
    Ok(found.finish())
}

pub(super) async fn detect_aks(config: &Config, world: &World) -> Result<Found, String> {
    let fails = config.fail_on_missing_metadata;
    if !world.is_in_kubernetes() {
        return missing(Detector::Aks, fails, "this does not run in Kubernetes");
    }
    let compute = match compute(world).await {
        Ok(compute) => compute,
        Err(why) => return missing(Detector::Aks, fails, &format!("Azure metadata unavailable: {why}")),
    };
    let mut found = Collector::new(&config.aks.resource_attributes, AKS_TABLE);
    found.text("cloud.provider", "azure");
    found.text("cloud.platform", "azure.aks");
    found.text("k8s.cluster.name", cluster_name(&compute.resource_group_name));
    Ok(found.finish())
}

/// Out of `MC_<resource group>_<cluster>_<location>`; the whole, which is as unique, where that cannot be told apart.
fn cluster_name(group: &str) -> &str {
    let parts: Vec<&str> = group.split('_').collect();
    match parts.as_slice() {
        [mark, _, cluster, _] if mark.eq_ignore_ascii_case("mc") => cluster,
        _ => group,
    }
}

#[cfg(test)]
mod tests {
    use axum::extract::Request as Asked;
    use axum::http::StatusCode;
    use axum::routing;
    use serde_json::json;
    use spanbridge_pdata::Value;

    use super::*;
    use crate::world::tests::serve;

    async fn world(variables: &[(&str, &str)]) -> World {
        let compute = |request: Asked| async move {
            if request.headers().get("metadata").is_none_or(|value| value != "True")
                || !request.uri().query().unwrap_or_default().contains("api-version=2020-09-01")
            {
                return (StatusCode::BAD_REQUEST, String::new());
            }
            let body = json!({
                "location": "westeurope", "name": "vm-1", "vmId": "id-1", "vmSize": "Standard_D2s_v3", "subscriptionId": "sub",
                "resourceGroupName": "MC_group_shop_westeurope", "vmScaleSetName": "", "zone": "2",
                "osProfile": {"computerName": "vm-1.internal", "adminUsername": "a"},
                "tagsList": [{"name": "team", "value": "shop"}, {"name": "cost", "value": "1"}],
            });
            (StatusCode::OK, body.to_string())
        };
        let base =
            serve(axum::Router::new().route("/metadata/instance/compute", routing::get(compute))).await;
        World::made_up(std::path::Path::new("/nowhere"), variables).with_azure(base)
    }

    fn config(yaml: &str) -> Config {
        spanbridge_config::from_yaml(yaml).unwrap_or_else(|e| panic!("{e}"))
    }

    fn texts(pairs: &[(&str, &str)]) -> Vec<(String, Value)> {
        pairs.iter().map(|(name, text)| ((*name).to_owned(), Value::from(*text))).collect()
    }

    #[tokio::test]
    async fn a_machine_is_found_with_the_tags_that_are_asked_for() {
        let config = config("azure: {tags: [^te], resource_attributes: {azure.vm.size: {enabled: false}}}");
        let found = detect(&config, &world(&[]).await).await.unwrap().0;
        let expected = [
            ("cloud.provider", "azure"),
            ("cloud.platform", "azure.vm"),
            ("cloud.region", "westeurope"),
            ("cloud.account.id", "sub"),
            ("host.id", "id-1"),
            ("host.name", "vm-1.internal"),
            ("azure.vm.name", "vm-1"),
            ("azure.resourcegroup.name", "MC_group_shop_westeurope"),
            ("azure.tag.team", "shop"),
        ];
        assert_eq!(found, texts(&expected));
    }

    #[tokio::test]
    async fn a_node_of_aks_is_found_in_kubernetes_only() {
        let config = config("aks: {resource_attributes: {k8s.cluster.name: {enabled: true}}}");
        let inside = world(&[("KUBERNETES_SERVICE_HOST", "10.0.0.1")]).await;
        let found = detect_aks(&config, &inside).await.unwrap().0;
        let expected =
            [("cloud.provider", "azure"), ("cloud.platform", "azure.aks"), ("k8s.cluster.name", "shop")];
        assert_eq!(found, texts(&expected));
        assert_eq!(detect_aks(&config, &world(&[]).await).await.unwrap().0, []);
    }

    #[tokio::test]
    async fn without_the_service_nothing_is_found_or_that_is_an_error() {
        let world = World::made_up(std::path::Path::new("/nowhere"), &[]);
        assert_eq!(detect(&Config::default(), &world).await.unwrap().0, []);
        let error = detect(&config("fail_on_missing_metadata: true"), &world).await.unwrap_err();
        assert!(error.starts_with("Azure metadata unavailable: "), "{error}");
    }

    #[test]
    fn a_group_with_a_name_of_its_own_stands_for_the_cluster() {
        assert_eq!(cluster_name("MC_group_shop_westeurope"), "shop");
        assert_eq!(cluster_name("MC_my_group_shop_westeurope"), "MC_my_group_shop_westeurope");
        assert_eq!(cluster_name("own"), "own");
    }
}
