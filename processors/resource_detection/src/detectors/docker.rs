//! `docker`: the host, and the container that this runs in, by asking the Docker daemon.

use serde::Deserialize;
use spanbridge_transport::http::{Client, Request};

use super::{Detector, missing};
use crate::config::Config;
use crate::found::{Collector, Found, Table};
use crate::world::{World, ask, json};

/// The attributes, and which of them are added by default.
pub(crate) const TABLE: &Table = &[
    ("host.name", true),
    ("os.type", true),
    ("container.name", false),
    ("container.image.id", false),
    ("container.image.name", false),
    ("container.image.tags", false),
];

/// Where the daemon listens when `DOCKER_HOST` does not say.
const SOCKET: &str = "unix:///var/run/docker.sock";

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct Info {
    name: String,
    #[serde(rename = "OSType")]
    os_type: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct Container {
    name: String,
    /// The id of the image.
    image: String,
    config: ContainerConfig,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct ContainerConfig {
    /// The image as it was asked for.
    image: String,
}

pub(super) async fn detect(config: &Config, world: &World) -> Result<Found, String> {
    match ask_daemon(config, world).await {
        Ok(found) => Ok(found),
        Err(problem) => {
            if !config.fail_on_missing_metadata {
                tracing::warn!(error = problem, "the docker detector finds nothing");
            }
            missing(Detector::Docker, config.fail_on_missing_metadata, &problem)
        }
    }
}

async fn ask_daemon(config: &Config, world: &World) -> Result<Found, String> {
    let (client, base) = daemon(world)?;
    let request = |path: &str| Request::get(&format!("{base}{path}")).map_err(|error| error.to_string());
    let info: Info = json(&ask(&client, request("/info")?).await?)?;
    let mut found = Collector::new(&config.docker.resource_attributes, TABLE);
    found.text("host.name", info.name);
    found.text("os.type", info.os_type.to_lowercase());
    if TABLE.iter().any(|(name, _)| name.starts_with("container.") && found.wants(name)) {
        let own = world.text("proc/sys/kernel/hostname")?;
        let container = ask(&client, request(&format!("/containers/{own}/json"))?).await;
        let container: Container = json(
            &container
                .map_err(|failure| format!("failed to fetch container information: {}", failure.text))?,
        )?;
        let (image, tag) = split(&container.config.image);
        found.text("container.name", container.name.trim_start_matches('/'));
        found.text("container.image.id", container.image);
        found.text("container.image.name", image);
        found.list("container.image.tags", tag.into_iter().map(str::to_owned).collect());
    }
    Ok(found.finish())
}

/// How the daemon is reached: a client, and what paths follow.
fn daemon(world: &World) -> Result<(Client, String), String> {
    let host = world.variable("DOCKER_HOST").unwrap_or_else(|| SOCKET.to_owned());
    match host.split_once("://") {
        Some(("unix", path)) => Ok((Client::unix(world.limits(), path), "http://docker".to_owned())),
        Some(("tcp" | "http", authority)) => {
            Ok((world.client(), format!("http://{}", authority.trim_end_matches('/'))))
        }
        _ => Err(format!("DOCKER_HOST {host:?} is not supported: write unix:// or tcp://")),
    }
}

/// An image and its tag.
fn split(image: &str) -> (&str, Option<&str>) {
    let named = image.split('@').next().unwrap_or_default();
    match named.rsplit_once(':') {
        // Before a path it is a port.
        Some((name, tag)) if !tag.contains('/') => (name, Some(tag)),
        _ => (named, None),
    }
}

#[cfg(test)]
mod tests {
    use axum::extract::Path as Place;
    use axum::routing;
    use spanbridge_pdata::Value;

    use super::*;
    use crate::config::Toggles;

    fn router() -> axum::Router {
        axum::Router::new()
            .route("/info", routing::get(|| async { r#"{"Name": "host-1", "OSType": "linux", "Containers": 3}"# }))
            .route(
                "/containers/{id}/json",
                routing::get(|Place(id): Place<String>| async move {
                    format!(r#"{{"Id": "{id}", "Name": "/shop", "Image": "sha256:ab", "Config": {{"Image": "registry:5000/shop:1.2"}}}}"#)
                }),
            )
    }

    #[tokio::test]
    async fn the_daemon_behind_the_socket_is_asked() {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("docker.sock");
        let listener = tokio::net::UnixListener::bind(&socket).unwrap();
        tokio::spawn(async move { axum::serve(listener, router()).await });
        std::fs::create_dir_all(dir.path().join("proc/sys/kernel")).unwrap();
        std::fs::write(dir.path().join("proc/sys/kernel/hostname"), "abc\n").unwrap();
        let host = format!("unix://{}", socket.display());
        let world = World::made_up(dir.path(), &[("DOCKER_HOST", &host)]);
        let found = detect(&Config::default(), &world).await.unwrap().0;
        let expected = [("host.name", "host-1"), ("os.type", "linux")];
        assert_eq!(found, expected.map(|(name, text)| (name.to_owned(), Value::from(text))));
        let on =
            TABLE.iter().map(|(name, _)| format!("{name}: {{enabled: true}}")).collect::<Vec<_>>().join(", ");
        let toggles: Toggles = spanbridge_config::from_yaml(&format!("{{{on}}}")).unwrap();
        let mut config = Config::default();
        config.docker.resource_attributes = toggles;
        let found = detect(&config, &world).await.unwrap().0;
        let of = |name: &str| found.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone());
        assert_eq!(of("container.name"), Some("shop".into()));
        assert_eq!(of("container.image.name"), Some("registry:5000/shop".into()));
        assert_eq!(of("container.image.id"), Some("sha256:ab".into()));
        assert_eq!(of("container.image.tags"), Some(Value::List(vec!["1.2".into()])));
    }

    #[tokio::test]
    async fn a_daemon_that_is_not_there_is_an_error_only_if_it_has_to_be() {
        let world = World::made_up(
            std::path::Path::new("/nowhere"),
            &[("DOCKER_HOST", "unix:///nowhere/docker.sock")],
        );
        assert_eq!(detect(&Config::default(), &world).await.unwrap().0, []);
        let config = Config { fail_on_missing_metadata: true, ..Config::default() };
        let error = detect(&config, &world).await.unwrap_err();
        assert!(error.contains("/nowhere/docker.sock"), "{error}");
    }

    #[test]
    fn tags_are_told_from_ports_and_digests() {
        assert_eq!(split("registry:5000/shop"), ("registry:5000/shop", None));
        assert_eq!(split("shop:1@sha256:ab"), ("shop", Some("1")));
    }
}
