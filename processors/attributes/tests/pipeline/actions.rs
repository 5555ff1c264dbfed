//! Every action on the items of every signal. What each action does to attributes in every case is tested where they are
//! resources' (`processors/resource/tests`): the actions are the same.

use std::sync::Arc;

use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use opentelemetry_proto::tonic::metrics::v1::{self as metrics, metric::Data};
use spanbridge_component::{AuthData, AuthValue, Batch, Context, Metadata, Payload, Signal};
use spanbridge_pdata::Decoded;

use crate::harness::{Pairs, Row, created, item_attributes, processed, request, text};

const EVERY_ACTION: &str = "\
actions:
  - {key: inserted, action: insert, value: 1}
  - {key: env, action: update, value: production}
  - {key: copy, action: upsert, from_attribute: env}
  - {key: tenant, action: insert, from_context: metadata.x-tenant}
  - {key: user, action: insert, from_context: auth.username}
  - {key: client, action: insert, from_context: client.address}
  - {key: password, action: delete}
  - {pattern: ^internal\\., action: delete}
  - {key: email, action: hash}
  - {key: url, action: extract, pattern: '^https?://(?P<host>[^/]+)'}
  - {key: code, action: convert, converted_type: int}
";

#[derive(Debug)]
struct User;

impl AuthData for User {
    fn attribute(&self, name: &str) -> Option<AuthValue> {
        (name == "username").then(|| AuthValue::Text("alice".into()))
    }

    fn names(&self) -> Vec<String> {
        vec!["username".into()]
    }
}

fn context() -> Context {
    Context {
        client_address: Some("192.0.2.7:4711".parse().unwrap()),
        metadata: Metadata::from_pairs([("x-tenant", "blue")]),
        auth: Some(Arc::new(User)),
        deadline: None,
    }
}

fn before() -> Pairs {
    vec![
        ("env", text("test")),
        ("password", text("hunter2")),
        ("internal.id", Any::IntValue(7)),
        ("email", text("abc")),
        ("url", text("https://shop.example/cart")),
        ("code", text("200")),
    ]
}

fn after() -> Vec<(String, Any)> {
    let digest = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    let pairs = [
        ("env", text("production")),
        ("email", text(digest)),
        ("url", text("https://shop.example/cart")),
        ("code", Any::IntValue(200)),
        ("inserted", Any::IntValue(1)),
        ("copy", text("production")),
        ("tenant", text("blue")),
        ("user", text("alice")),
        ("client", text("192.0.2.7")),
        ("host", text("shop.example")),
    ];
    pairs.map(|(key, value)| (key.to_owned(), value)).to_vec()
}

/// The request without the attributes of its items: what no action may touch.
fn rest(decoded: Decoded) -> Decoded {
    let mut decoded = decoded;
    let none: fn(&mut Vec<KeyValue>) = Vec::clear;
    match &mut decoded {
        Decoded::Traces(request) => {
            let scopes = request.resource_spans.iter_mut().flat_map(|node| &mut node.scope_spans);
            scopes.flat_map(|scope| &mut scope.spans).for_each(|span| none(&mut span.attributes));
        }
        Decoded::Logs(request) => {
            let scopes = request.resource_logs.iter_mut().flat_map(|node| &mut node.scope_logs);
            scopes.flat_map(|scope| &mut scope.log_records).for_each(|record| none(&mut record.attributes));
        }
        Decoded::Metrics(request) => {
            let scopes = request.resource_metrics.iter_mut().flat_map(|node| &mut node.scope_metrics);
            for metric in scopes.flat_map(|scope| &mut scope.metrics) {
                if let Some(Data::Gauge(gauge)) = &mut metric.data {
                    gauge.data_points.iter_mut().for_each(|point| none(&mut point.attributes));
                }
            }
        }
    }
    decoded
}

#[tokio::test]
async fn every_action_edits_the_items_of_every_signal_and_nothing_else() {
    for signal in Signal::ALL {
        let resource = vec![("env", text("of the resource"))];
        let row = Row { resource, name: "item", attributes: before(), ..Row::default() };
        let sent = request(signal, &[row.clone(), Row { attributes: vec![], ..row.clone() }, row]);
        let out = processed(signal, EVERY_ACTION, sent.clone(), context()).await;
        let found = item_attributes(out.clone());
        assert_eq!((&found[0], &found[2]), (&after(), &after()), "{signal}");
        let keys: Vec<_> = found[1].iter().map(|(key, _)| key.as_str()).collect();
        assert_eq!(keys, ["inserted", "tenant", "user", "client"], "{signal}");
        let (out, sent) = (rest(out), rest(sent.decode().unwrap()));
        assert_eq!(
            format!("{out:?}"),
            format!("{sent:?}"),
            "resources, scopes, events and links stay as they were"
        );
    }
}

#[tokio::test]
async fn points_of_every_type_of_metric_are_edited() {
    let data = [
        Data::Gauge(metrics::Gauge { data_points: vec![metrics::NumberDataPoint::default(); 2] }),
        Data::Sum(metrics::Sum {
            data_points: vec![metrics::NumberDataPoint::default(); 2],
            ..metrics::Sum::default()
        }),
        Data::Histogram(metrics::Histogram {
            data_points: vec![metrics::HistogramDataPoint::default(); 2],
            ..metrics::Histogram::default()
        }),
        Data::ExponentialHistogram(metrics::ExponentialHistogram {
            data_points: vec![metrics::ExponentialHistogramDataPoint::default(); 2],
            ..metrics::ExponentialHistogram::default()
        }),
        Data::Summary(metrics::Summary { data_points: vec![metrics::SummaryDataPoint::default(); 2] }),
    ];
    let resource_metrics = data.map(|data| Row::default().metric_of(data)).to_vec();
    let sent = Payload::encode(&Decoded::Metrics(ExportMetricsServiceRequest { resource_metrics })).unwrap();
    let yaml = "actions: [{key: a, action: insert, value: x}]";
    let out = processed(Signal::Metrics, yaml, sent, Context::default()).await;
    let found = item_attributes(out);
    assert_eq!(found, vec![vec![("a".to_owned(), text("x"))]; 10]);
}

#[tokio::test]
async fn a_request_in_which_nothing_changes_is_passed_on_without_a_copy() {
    let actions = "actions: [{key: none, action: delete}, {key: env, action: upsert, value: test}, \
        {key: env, action: insert, from_attribute: url}, {key: none, action: update, from_attribute: env}, \
        {key: url, action: extract, pattern: '^ftp://(?P<host>.+)'}, \
        {key: env, action: convert, converted_type: string}]";
    for signal in Signal::ALL {
        let row = Row { attributes: before(), ..Row::default() };
        let sent = request(signal, &[row.clone(), row]);
        let (processor, sink) = created(signal, actions);
        processor.unwrap().consume(Batch::new(sent.clone())).await.unwrap();
        let out = sink.batches().remove(0).payload;
        assert_eq!(out.segments()[0].as_ptr(), sent.segments()[0].as_ptr(), "{signal}");
    }
}
