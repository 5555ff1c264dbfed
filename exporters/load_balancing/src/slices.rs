//! The endpoint slices of a service, and the backends they make.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use serde::Deserialize;
use spanbridge_kubernetes::{HasMetadata, Metadata, or_default};
use spanbridge_transport::grpc::HostPort;

/// A slice, as far as it is needed.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct EndpointSlice {
    #[serde(deserialize_with = "or_default")]
    metadata: Metadata,
    #[serde(deserialize_with = "or_default")]
    endpoints: Vec<Endpoint>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct Endpoint {
    #[serde(deserialize_with = "or_default")]
    addresses: Vec<String>,
    #[serde(deserialize_with = "or_default")]
    conditions: Conditions,
    #[serde(deserialize_with = "or_default")]
    hostname: String,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct Conditions {
    ready: Option<bool>,
}

impl HasMetadata for EndpointSlice {
    fn metadata(&self) -> &Metadata {
        &self.metadata
    }
}

/// What makes backends of endpoints.
#[derive(Debug, Clone)]
pub(crate) struct Naming {
    /// What follows the name of a pod, if it is that and not its address that is wanted: `.service.namespace`.
    pub(crate) domain: Option<String>,
    pub(crate) ports: Vec<u16>,
}

/// The slices there are, by name, with the listing that had them last.
#[derive(Debug, Default)]
pub(crate) struct Slices {
    known: BTreeMap<String, (u64, EndpointSlice)>,
    /// The last listing that has ended; before the first one nothing is complete.
    listed: u64,
}

impl Slices {
    /// A slice is there. Says whether what is known is complete: while a listing goes on it is not.
    pub(crate) fn put(&mut self, listing: u64, slice: EndpointSlice) -> bool {
        self.known.insert(slice.metadata.name.clone(), (listing, slice));
        listing <= self.listed
    }

    /// A slice is gone.
    pub(crate) fn remove(&mut self, slice: &EndpointSlice) {
        self.known.remove(&slice.metadata.name);
    }

    /// A listing has ended: slices that it did not have are gone.
    pub(crate) fn end_listing(&mut self, listing: u64) {
        self.known.retain(|_, (seen, _)| *seen >= listing);
        self.listed = listing;
    }

    /// The backends, in order.
    ///
    /// # Errors
    /// A ready endpoint that has no name, where names are wanted.
    pub(crate) fn backends(&self, naming: &Naming) -> Result<Vec<String>, String> {
        let mut found = BTreeSet::new();
        for (_, slice) in self.known.values() {
            // Nothing said about it means that it is ready.
            let ready = slice.endpoints.iter().filter(|endpoint| endpoint.conditions.ready.unwrap_or(true));
            for endpoint in ready {
                let hosts = naming.hosts(endpoint).map_err(|address| {
                    format!("the endpoint {address} of {} has no hostname", slice.metadata.name)
                })?;
                for host in hosts {
                    let with_port = |port: &u16| HostPort { host: host.clone(), port: *port }.to_string();
                    found.extend(naming.ports.iter().map(with_port));
                }
            }
        }
        Ok(found.into_iter().collect())
    }
}

impl Naming {
    fn hosts(&self, endpoint: &Endpoint) -> Result<Vec<String>, String> {
        let Some(domain) = &self.domain else {
            let canonical =
                |address: &String| address.parse::<IpAddr>().map_or(address.clone(), |ip| ip.to_string());
            return Ok(endpoint.addresses.iter().map(canonical).collect());
        };
        if endpoint.hostname.is_empty() {
            return Err(endpoint.addresses.join(", "));
        }
        Ok(vec![format!("{}{domain}", endpoint.hostname)])
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value as Json, json};

    use super::*;

    fn slice(name: &str, endpoints: &Json) -> EndpointSlice {
        let object = json!({"metadata": {"name": name}, "addressType": "IPv4", "endpoints": endpoints});
        serde_json::from_value(object).unwrap()
    }

    fn addresses(ports: &[u16]) -> Naming {
        Naming { domain: None, ports: ports.to_vec() }
    }

    #[test]
    fn endpoints_that_are_ready_are_backends_at_each_port() {
        let mut slices = Slices::default();
        let endpoints = json!([
            {"addresses": ["10.0.0.2"], "conditions": {"ready": true}},
            {"addresses": ["10.0.0.1"], "conditions": {}},
            {"addresses": ["10.0.0.3"], "conditions": {"ready": false, "serving": true, "terminating": true}},
            {"addresses": ["fd00::0001"], "conditions": null, "hostname": null},
        ]);
        slices.put(1, slice("a", &endpoints));
        slices.put(1, slice("b", &json!([{"addresses": ["10.0.0.1"]}])));
        slices.put(1, slice("c", &Json::Null));
        let backends = slices.backends(&addresses(&[4317])).unwrap();
        assert_eq!(backends, ["10.0.0.1:4317", "10.0.0.2:4317", "[fd00::1]:4317"]);
        assert_eq!(slices.backends(&addresses(&[1, 2])).unwrap().len(), 6);
    }

    #[test]
    fn what_a_listing_does_not_have_is_gone_when_it_has_ended() {
        let mut slices = Slices::default();
        let one = |address: &str| json!([{"addresses": [address]}]);
        assert!(!slices.put(1, slice("a", &one("10.0.0.1"))), "the listing goes on");
        assert!(!slices.put(1, slice("b", &one("10.0.0.2"))));
        slices.end_listing(1);
        assert!(slices.put(1, slice("b", &one("10.0.0.3"))), "a change");
        assert_eq!(slices.backends(&addresses(&[1])).unwrap(), ["10.0.0.1:1", "10.0.0.3:1"]);
        assert!(!slices.put(2, slice("b", &one("10.0.0.4"))));
        assert_eq!(slices.backends(&addresses(&[1])).unwrap().len(), 2, "nothing is gone before the end");
        slices.end_listing(2);
        assert_eq!(slices.backends(&addresses(&[1])).unwrap(), ["10.0.0.4:1"]);
        slices.remove(&slice("b", &Json::Null));
        assert!(slices.backends(&addresses(&[1])).unwrap().is_empty());
    }

    #[test]
    fn hostnames_are_those_of_the_headless_service_and_a_missing_one_is_named() {
        let naming = Naming { domain: Some(".collectors.obs".into()), ports: vec![4317] };
        let mut slices = Slices::default();
        slices.put(1, slice("a", &json!([{"addresses": ["10.0.0.1"], "hostname": "collector-0"}])));
        assert_eq!(slices.backends(&naming).unwrap(), ["collector-0.collectors.obs:4317"]);
        slices.put(1, slice("b", &json!([{"addresses": ["10.0.0.2"]}])));
        assert_eq!(slices.backends(&naming).unwrap_err(), "the endpoint 10.0.0.2 of b has no hostname");
    }
}
