//! `ec2` and `eks`: the instance, and the cluster that it is a node of.

use serde::Deserialize;
use spanbridge_kubernetes::{Access, Api, Client, Metadata, Resource, get, or_default, server_version};

use super::imds::Imds;
use super::kubernetes::said;
use super::{Detector, missing, patterns};
use crate::config::{AwsConfig, Config, EksConfig};
use crate::found::{Collector, Found, Table};
use crate::world::World;

/// The attributes of `ec2`, and which of them are added by default.
pub(crate) const TABLE: &Table = &[
    ("cloud.provider", true),
    ("cloud.platform", true),
    ("cloud.region", true),
    ("cloud.account.id", true),
    ("cloud.availability_zone", true),
    ("host.id", true),
    ("host.image.id", true),
    ("host.type", true),
    ("host.name", true),
];

/// The same of `eks`. The name of the cluster would come from the API of EC2, which is not asked.
pub(crate) const EKS_TABLE: &Table = TABLE;

/// What keys of tags get in front.
const TAG_PREFIX: &str = "ec2.tag.";
/// Tags that are looked at, at most: an instance has 50.
const TAGS_MAX: usize = 1000;
/// What the version of an EKS cluster has in it.
const EKS_VERSION: &str = "-eks-";

pub(super) async fn detect_ec2(config: &Config, world: &World) -> Result<Found, String> {
    let fails = config.fail_on_missing_metadata || config.ec2.fail_on_missing_metadata;
    let imds = match Imds::reach(&config.ec2, world).await {
        Ok(imds) => imds,
        Err(why) => return missing(Detector::Ec2, fails, &format!("EC2 metadata unavailable: {why}")),
    };
    let mut found = Collector::new(&config.ec2.resource_attributes, TABLE);
    instance(&imds, "aws_ec2", &mut found).await?;
    if config.ec2.tags_from_imds {
        tags(&imds, &config.ec2, &mut found).await?;
    }
    Ok(found.finish())
}

async fn instance(imds: &Imds, platform: &str, found: &mut Collector<'_>) -> Result<(), String> {
    let identity = imds.identity().await?;
    let name = imds.text("latest/meta-data/hostname").await;
    let name = name.map_err(|error| format!("failed getting hostname: {error}"))?;
    found.text("cloud.provider", "aws");
    found.text("cloud.platform", platform);
    found.text("cloud.region", identity.region);
    found.text("cloud.account.id", identity.account_id);
    found.text("cloud.availability_zone", identity.availability_zone);
    found.text("host.id", identity.instance_id);
    found.text("host.image.id", identity.image_id);
    found.text("host.type", identity.instance_type);
    found.text("host.name", name);
    Ok(())
}

async fn tags(imds: &Imds, config: &AwsConfig, found: &mut Collector<'_>) -> Result<(), String> {
    let patterns = patterns(&config.tags);
    if patterns.is_empty() {
        return Ok(());
    }
    let keys = imds.tag_keys().await.map_err(|error| {
        format!("failed fetching ec2 instance tags: {error}; tags must be allowed in the instance's metadata options")
    })?;
    for key in
        keys.into_iter().take(TAGS_MAX).filter(|key| patterns.iter().any(|pattern| pattern.is_match(key)))
    {
        let value = imds.text(&format!("latest/meta-data/tags/instance/{key}")).await;
        let value = value.map_err(|error| format!("failed fetching ec2 instance tags: {error}"))?;
        found.extra(format!("{TAG_PREFIX}{key}"), value);
    }
    Ok(())
}

pub(super) async fn detect_eks(config: &Config, world: &World) -> Result<Found, String> {
    let fails = config.fail_on_missing_metadata;
    if !world.is_in_kubernetes() {
        return missing(Detector::Eks, fails, "this does not run in Kubernetes");
    }
    let access = Access::new(&Api::discovered(), concat!("spanbridge/", env!("CARGO_PKG_VERSION")));
    let client =
        access.client().await.map_err(|error| format!("failed to create K8s API client: {error}"))?;
    in_cluster(config, world, &client).await
}

async fn in_cluster(config: &Config, world: &World, client: &Client) -> Result<Found, String> {
    let fails = config.fail_on_missing_metadata;
    match server_version(client).await {
        Ok(version) if version.contains(EKS_VERSION) => {}
        Ok(version) => {
            return missing(Detector::Eks, fails, &format!("this is no cluster of EKS: {version}"));
        }
        Err(failure) => {
            let why = format!("cannot read the version of the cluster: {failure}");
            return missing(Detector::Eks, fails, &why);
        }
    }
    let mut found = Collector::new(&config.eks.resource_attributes, EKS_TABLE);
    match Imds::reach(&config.ec2, world).await {
        Ok(imds) => instance(&imds, "aws_eks", &mut found).await?,
        Err(why) => {
            found.text("cloud.provider", "aws");
            found.text("cloud.platform", "aws_eks");
            of_node(&config.eks, world, client, &mut found).await.or_else(|error| {
                let why = format!("{why}; and {error}");
                missing(Detector::Eks, fails, &why).map(|_| ())
            })?;
        }
    }
    Ok(found.finish())
}

/// A node, as far as it tells of its instance.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Node {
    #[serde(deserialize_with = "or_default")]
    metadata: Metadata,
    #[serde(deserialize_with = "or_default")]
    spec: NodeSpec,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct NodeSpec {
    #[serde(rename = "providerID")]
    provider_id: String,
}

/// What the node's labels tell, where the metadata service cannot be reached.
async fn of_node(
    config: &EksConfig,
    world: &World,
    client: &Client,
    found: &mut Collector<'_>,
) -> Result<(), String> {
    let variable = &config.node_from_env_var;
    let name = world
        .variable(variable)
        .ok_or_else(|| format!("eks::node_from_env_var {variable:?} names no variable with a node's name"))?;
    let node: Result<Node, _> = get(client, Resource::NODES, &name).await;
    let node = node.map_err(|failure| said(&failure, Resource::NODES, &name))?;
    let label = |key: &str| node.metadata.labels.get(key).cloned().unwrap_or_default();
    found.text("cloud.region", label("topology.kubernetes.io/region"));
    found.text("cloud.availability_zone", label("topology.kubernetes.io/zone"));
    found.text("host.type", label("node.kubernetes.io/instance-type"));
    found.text("host.id", node.spec.provider_id.rsplit('/').next().unwrap_or_default());
    found.text("host.name", node.metadata.name.as_str());
    Ok(())
}

#[cfg(test)]
mod tests;
