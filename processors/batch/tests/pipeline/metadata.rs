//! Batches kept apart by metadata.

use batch_processor::Config;
use spanbridge_component::{Context, Metadata};
use spanbridge_testkit::{Gate, Sink, metric};

use crate::harness::{Fixture, config, tenant_context};

fn by_tenant(limit: u32) -> Config {
    Config { metadata_keys: vec!["x-TENANT".into()], metadata_cardinality_limit: limit, ..config() }
}

fn cardinality(batch: &Fixture) -> Option<f64> {
    metric(&batch.telemetry, "otelcol_processor_batch_metadata_cardinality", &[("processor", "batch")])
}

#[tokio::test(start_paused = true)]
async fn combinations_are_kept_apart_and_carry_their_listed_metadata_on() {
    let sink = Sink::new();
    let mut batch = Fixture::new(by_tenant(10), sink.clone());
    let other = |tenant: &str| Context {
        metadata: Metadata::from_pairs([("other", "x"), ("x-tenant", tenant)]),
        ..Context::default()
    };
    let callers = [
        batch.send_as("a", 4),
        batch.send_with(4, other("b")),
        batch.send_with(6, other("a")),
        batch.send_as("b", 6),
    ];
    for caller in callers {
        caller.await.unwrap().unwrap();
    }
    assert_eq!(sink.batch_sizes(), [10, 10]);
    let metadata = |i: usize| sink.batches()[i].context.metadata.clone();
    let names_and_values: Vec<_> = metadata(0).iter().map(|(n, v)| (n.to_owned(), v.to_vec())).collect();
    assert_eq!(names_and_values, [("x-tenant".to_owned(), vec!["a".to_owned()])]);
    assert_eq!(metadata(1).values("x-tenant"), ["b"]);
}

#[tokio::test(start_paused = true)]
async fn absent_empty_and_several_values_are_different_combinations() {
    let sink = Sink::new();
    let mut batch = Fixture::new(by_tenant(10), sink.clone());
    let two = Context {
        metadata: Metadata::from_pairs([("x-tenant", "a"), ("x-tenant", "b")]),
        ..Context::default()
    };
    let callers = [
        batch.send(1),
        batch.send_as("", 1),
        batch.send_as("ab", 1),
        batch.send_as("a", 1),
        batch.send_with(1, two),
    ];
    for caller in callers {
        caller.await.unwrap().unwrap();
    }
    assert_eq!(sink.batch_sizes(), [1, 1, 1, 1, 1]);
}

#[tokio::test(start_paused = true)]
async fn one_combination_too_many_is_refused_for_good() {
    let gate = Gate::closed(Sink::new());
    let mut batch = Fixture::new(by_tenant(2), gate.clone());
    let callers = [batch.send_as("a", 10), batch.send_as("b", 10)];
    gate.wait_for_waiting(2).await;
    assert_eq!(cardinality(&batch), Some(2.0));
    let error = batch.send_as("c", 1).await.unwrap().unwrap_err();
    assert!(error.is_permanent());
    assert_eq!(error.message(), "too many batcher metadata-value combinations");
    let known = batch.send_as("a", 1);
    gate.open();
    for caller in callers.into_iter().chain([known]) {
        caller.await.unwrap().unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_combination_that_is_not_in_use_any_more_makes_place_for_another() {
    let mut batch = Fixture::new(by_tenant(1), Sink::new());
    for tenant in ["a", "b", "c"] {
        batch.send_as(tenant, 3).await.unwrap().unwrap();
        assert_eq!(cardinality(&batch), Some(0.0), "{tenant} is still there");
    }
}

#[tokio::test(start_paused = true)]
async fn no_limit_is_no_limit() {
    let sink = Sink::new();
    let mut batch = Fixture::new(by_tenant(0), sink.clone());
    let callers: Vec<_> = (0..2000).map(|n| batch.send_with(1, tenant_context(&n.to_string()))).collect();
    for caller in callers {
        caller.await.unwrap().unwrap();
    }
    assert_eq!(sink.batch_sizes().len(), 2000);
}
