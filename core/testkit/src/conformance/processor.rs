//! What a processor owes on the data path, for batches that it has no reason to drop or refuse.

use std::sync::Arc;
use std::time::Duration;

use spanbridge_component::{
    Batch, Code, ConsumeError, Consumer, ErrorClass, Host, Kind, Processor, ProcessorFactory, Signal,
};
use tokio::time::{Instant, timeout};

use super::{Contract, Delivery};
use crate::settings::{block_on_paused, host, settings_of};
use crate::{Failing, Payloads, Sink, WAIT_MAX};

/// Items of each request fed.
const ITEMS: usize = 10;
/// Runs of the contract checker for each signal.
const SEEDS: u64 = 4;

/// A batch of each supported signal comes out with all its items, and with its answer.
pub fn hands_on_every_signal<F: ProcessorFactory>(factory: &F, config: &F::Config) {
    for (signal, _) in factory.descriptor().signals {
        block_on_paused(async {
            let sink = Sink::new();
            let processor = started(factory, config, sink.clone()).await;
            let answer = feed(&*processor, *signal).await;
            assert_eq!(answer, Ok(()), "{signal} are not handed on");
            assert_eq!(sink.item_ids(), (0..ITEMS as u64).collect::<Vec<_>>(), "{signal} differ");
            stop(&*processor).await;
        });
    }
}

/// What downstream answers reaches the caller: the class, which decides whether a client retries, and the code.
pub fn hands_on_errors<F: ProcessorFactory>(factory: &F, config: &F::Config) {
    for (signal, _) in factory.descriptor().signals {
        hands_on_error(factory, config, *signal, ConsumeError::permanent("no"), Code::Internal);
        hands_on_error(factory, config, *signal, ConsumeError::retryable("later"), Code::Unavailable);
        let exhausted = ConsumeError::retryable("full").with_code(Code::ResourceExhausted);
        hands_on_error(factory, config, *signal, exhausted, Code::ResourceExhausted);
    }
}

/// Nothing is lost or doubled while downstream fails at random and clients go away: [`Contract`] with several seeds.
pub fn delivers_what_it_acknowledges<F: ProcessorFactory>(
    factory: &F,
    config: &F::Config,
    delivery: Delivery,
) {
    for (signal, _) in factory.descriptor().signals {
        for seed in 0..SEEDS {
            let contract = Contract { seed, signal: *signal, delivery, ..Contract::default() };
            contract.check(|next| created(factory, config, next).0);
        }
    }
}

fn hands_on_error<F: ProcessorFactory>(
    factory: &F,
    config: &F::Config,
    signal: Signal,
    error: ConsumeError,
    code: Code,
) {
    block_on_paused(async {
        let class: ErrorClass = error.class();
        let processor = started(factory, config, Failing::always(error)).await;
        let answer = feed(&*processor, signal).await.expect_err("an error downstream was swallowed");
        assert_eq!((answer.class(), answer.code()), (class, code), "the error changed: {answer}");
        stop(&*processor).await;
    });
}

async fn started<F: ProcessorFactory>(
    factory: &F,
    config: &F::Config,
    next: Arc<dyn Consumer>,
) -> Arc<dyn Processor> {
    let (processor, host) = created(factory, config, next);
    processor.start(host).await.unwrap_or_else(|error| panic!("cannot start: {error}"));
    processor
}

fn created<F: ProcessorFactory>(
    factory: &F,
    config: &F::Config,
    next: Arc<dyn Consumer>,
) -> (Arc<dyn Processor>, Host) {
    let settings = settings_of(Kind::Processor, factory.descriptor().type_name);
    let (host, _) = host(&settings);
    let processor = factory.create(settings, config.clone(), next);
    (processor.unwrap_or_else(|error| panic!("cannot be created: {error}")), host)
}

async fn feed(processor: &dyn Processor, signal: Signal) -> Result<(), ConsumeError> {
    let batch = Batch::new(Payloads::rich().request(signal, ITEMS));
    timeout(WAIT_MAX, processor.consume(batch)).await.expect("an answer in bounded time")
}

async fn stop(processor: &dyn Processor) {
    let deadline = Instant::now() + Duration::from_secs(10);
    processor.shutdown(deadline).await.unwrap_or_else(|error| panic!("shutdown: {error}"));
}
