use spanbridge_config::Document;

use super::*;

/// The configuration, or the messages about it; warnings are left out.
fn read(yaml: &str) -> Result<Config, Vec<String>> {
    let document = Document::from_yaml(yaml).unwrap();
    let decoded = document.decode_and_validate::<Config>(document.root(), &[], &UNSUPPORTED);
    let (value, problems) = decoded.into_parts();
    let errors: Vec<_> = problems
        .iter()
        .filter(|problem| problem.severity == spanbridge_config::Severity::Error)
        .map(|problem| format!("{}: {}", problem.path, problem.message))
        .collect();
    value.filter(|_| errors.is_empty()).ok_or(errors)
}

const MINIMAL: &str =
    "{protocol: {otlp: {tls: {insecure: true}}}, resolver: {static: {hostnames: [a, 'b:1']}}}";

#[test]
fn retries_and_a_queue_are_on_at_the_outer_level_and_off_at_the_inner() {
    let config = read(MINIMAL).unwrap();
    assert!(config.helper.retry_on_failure.enabled && config.helper.sending_queue.is_on());
    assert!(config.helper.timeout.is_zero());
    let inner = &config.protocol.otlp;
    assert!(!inner.retry_on_failure.enabled && !inner.sending_queue.is_on());
    assert_eq!(inner.timeout, Duration::from_secs(5));
    assert_eq!(inner.client.compression, spanbridge_otlp::client_config_default().compression);
    assert_eq!(config.failover_after, Duration::from_secs(30));
}

#[test]
fn the_defaults_of_dns_are_the_references() {
    let yaml = "{protocol: {otlp: {tls: {insecure: true}}}, resolver: {dns: {hostname: gateway}}}";
    let config = read(yaml).unwrap();
    let dns = config.resolver.dns.as_ref().unwrap();
    assert_eq!(
        (dns.port, dns.interval, dns.timeout),
        (Port(4317), Duration::from_secs(5), Duration::from_secs(1))
    );
}

#[test]
fn the_defaults_of_k8s_are_the_references() {
    let yaml = "{protocol: {otlp: {tls: {insecure: true}}}, resolver: {k8s: {service: lb}}}";
    let config = read(yaml).unwrap();
    let k8s = config.resolver.k8s.as_ref().unwrap();
    assert_eq!((k8s.ports(), k8s.timeout), (vec![4317], Duration::from_secs(60)));
    assert!(!k8s.return_hostnames && k8s.name_and_namespace() == ("lb", None));
    let yaml =
        "{protocol: {otlp: {tls: {insecure: true}}}, resolver: {k8s: {service: lb.obs, ports: [1, '2']}}}";
    let config = read(yaml).unwrap();
    let k8s = config.resolver.k8s.as_ref().unwrap();
    assert_eq!((k8s.ports(), k8s.name_and_namespace()), (vec![1, 2], ("lb", Some("obs"))));
}

#[test]
fn the_example_with_every_key_is_valid() {
    let config = read(include_str!("../../testdata/all_keys.yaml")).unwrap();
    assert_eq!(config.resolver.dns.as_ref().unwrap().port, Port(4318));
    assert_eq!(config.routing_key, RoutingKey::Attributes);
    assert!(config.helper.sending_queue.as_ref().unwrap().batch.is_on());
    let revealed = spanbridge_config::values::reveal(|| serde_json::to_value(&config).unwrap());
    let printed = spanbridge_config::to_yaml(&revealed);
    assert_eq!(read(&printed).unwrap().helper, config.helper);
}

#[test]
fn a_port_is_added_where_it_is_missing() {
    for (host, endpoint) in [
        ("backend", "backend:4317"),
        ("backend:1", "backend:1"),
        ("10.0.0.1", "10.0.0.1:4317"),
        ("fd00::1", "[fd00::1]:4317"),
        ("[fd00::1]:1", "[fd00::1]:1"),
    ] {
        assert_eq!(with_port(host).as_deref(), Ok(endpoint));
    }
}

#[test]
fn every_signal_has_its_keys() {
    use RoutingKey::{Attributes, Metric, Resource, Service, StreamId, TraceId};
    let of = |signal| {
        let keys = RoutingKey::ALL.into_iter().skip(1);
        keys.filter(|key| key.of(signal).is_some()).collect::<Vec<_>>()
    };
    assert_eq!(of(Signal::Traces), [TraceId, Service, Resource, Attributes]);
    assert_eq!(of(Signal::Logs), [TraceId, Service, Resource, Attributes]);
    assert_eq!(of(Signal::Metrics), [Service, Resource, Attributes, Metric, StreamId]);
    assert_eq!(
        Signal::ALL.map(|signal| RoutingKey::Default.of(signal)),
        [Some(TraceId), Some(Service), Some(Service)]
    );
}

#[test]
fn every_bad_example_gets_its_message() {
    let messages = include_str!("../../testdata/refused.yaml").split("---\n").map(|example| {
        let problems = read(example).expect_err(example);
        format!("{}\n    {}", example.trim(), problems.join("\n    "))
    });
    let messages = messages.collect::<Vec<_>>().join("\n");
    insta::assert_snapshot!(messages);
}
