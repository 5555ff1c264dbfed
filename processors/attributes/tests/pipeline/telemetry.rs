//! Counters, context and errors.

use attributes_processor::Factory;
use spanbridge_component::{Acknowledges, Batch, ConsumeError, Context, ProcessorFactory, Signal};
use spanbridge_testkit::{Failing, Payloads, Sink, metric};

use crate::harness::config;

const INSERT: &str = "actions: [{key: z, action: insert, value: 1}]";

#[tokio::test]
async fn items_are_counted_on_their_way_in_and_out_whatever_downstream_says() {
    let settings = spanbridge_testkit::settings("attributes/2");
    let telemetry = settings.telemetry.clone();
    let next = Failing::first([ConsumeError::retryable("down")], Sink::new());
    let processor = Factory.create(settings, config(INSERT), next).unwrap();
    for items in [3, 5] {
        let _ = processor.consume(Batch::new(Payloads::small().request(Signal::Traces, items))).await;
    }
    for direction in ["incoming", "outgoing"] {
        let name = format!("otelcol_processor_{direction}_items");
        let labels = [("processor", "attributes/2"), ("otel_signal", "traces")];
        assert_eq!(metric(&telemetry, &name, &labels), Some(8.0), "{direction}");
    }
}

#[tokio::test]
async fn the_context_and_the_errors_of_downstream_are_handed_on() {
    let sink = Sink::new();
    let next = Failing::first([ConsumeError::permanent("bad")], sink.clone());
    let settings = spanbridge_testkit::settings("attributes");
    let processor = Factory.create(settings, config(INSERT), next).unwrap();
    let batch = || {
        let context = Context { client_address: "192.0.2.1:1".parse().ok(), ..Context::default() };
        Batch { payload: Payloads::small().request(Signal::Traces, 3), context }
    };
    let error = processor.consume(batch()).await.unwrap_err();
    assert!(error.is_permanent() && error.to_string().contains("bad"), "{error}");
    processor.consume(batch()).await.unwrap();
    assert_eq!(sink.batches()[0].context.client_address, "192.0.2.1:1".parse().ok());
}

#[test]
fn success_means_what_it_means_behind_it() {
    for acknowledges in [Acknowledges::Accepted, Acknowledges::Delivered] {
        let settings = spanbridge_testkit::settings("attributes");
        let processor = Factory.create(settings, config(INSERT), Sink::acknowledging(acknowledges)).unwrap();
        assert_eq!(processor.capabilities().acknowledges, acknowledges);
    }
}
