//! Counters, context and errors.

use resource_processor::Factory;
use spanbridge_component::{Acknowledges, Batch, ConsumeError, Context, ProcessorFactory, Signal};
use spanbridge_testkit::{Failing, Payloads, Sink, metric};

use crate::harness::{config, processor};

const INSERT: &str = "attributes: [{key: z, action: insert, value: 1}]";

#[tokio::test]
async fn items_are_counted_by_signal_on_their_way_in_and_out() {
    let settings = spanbridge_testkit::settings("resource/2");
    let telemetry = settings.telemetry.clone();
    let next = Failing::first([ConsumeError::retryable("down")], Sink::new());
    let processor = Factory.create(settings, config(INSERT), next).unwrap();
    for (signal, items) in [(Signal::Traces, 3), (Signal::Logs, 4), (Signal::Traces, 5)] {
        let _ = processor.consume(Batch::new(Payloads::small().request(signal, items))).await;
    }
    let count = |direction: &str, signal| {
        let name = format!("otelcol_processor_{direction}_items");
        metric(&telemetry, &name, &[("processor", "resource/2"), ("otel_signal", signal)])
    };
    // What went out counts as such whatever downstream says of it.
    assert_eq!((count("incoming", "traces"), count("outgoing", "traces")), (Some(8.0), Some(8.0)));
    assert_eq!((count("incoming", "logs"), count("outgoing", "logs")), (Some(4.0), Some(4.0)));
}

#[tokio::test]
async fn the_context_is_handed_on() {
    let (processor, sink) = processor(INSERT);
    let address = "192.0.2.1:1".parse().unwrap();
    let context = Context { client_address: Some(address), ..Context::default() };
    let payload = Payloads::small().request(Signal::Metrics, 3);
    processor.consume(Batch { payload, context }).await.unwrap();
    assert_eq!(sink.batches()[0].context.client_address, Some(address));
}

#[test]
fn success_means_what_it_means_behind_it() {
    for acknowledges in [Acknowledges::Accepted, Acknowledges::Delivered] {
        let settings = spanbridge_testkit::settings("resource");
        let processor = Factory.create(settings, config(INSERT), Sink::acknowledging(acknowledges)).unwrap();
        assert_eq!(processor.capabilities().acknowledges, acknowledges);
    }
}
