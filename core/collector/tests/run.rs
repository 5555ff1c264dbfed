//! One run in this process, with components that misbehave.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail the test")]

use std::sync::Arc;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use spanbridge::{Control, Error, Options, registry, run};
use spanbridge_component::{
    BuildError, Component, Descriptor, Host, Outputs, Receiver, ReceiverFactory, Settings, ShutdownError,
    Signal, Stability, StartError, Status, Validate, async_trait,
};
use spanbridge_config::Sources;
use spanbridge_service::{Logging, ServiceError};
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

const BOUND: Duration = Duration::from_secs(30);

/// What goes wrong.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
struct Config {
    fails_to_start: bool,
    fails_to_stop: bool,
    cannot_go_on: bool,
}

impl Validate for Config {}

struct Factory {
    started: CancellationToken,
}

struct Troubled {
    config: Config,
    started: CancellationToken,
}

impl ReceiverFactory for Factory {
    type Config = Config;

    fn descriptor(&self) -> Descriptor {
        Descriptor {
            type_name: "troubled",
            aliases: &[],
            signals: &[(Signal::Traces, Stability::Development)],
            unsupported: &[],
        }
    }

    fn create(&self, _: Settings, config: Config, _: Outputs) -> Result<Arc<dyn Receiver>, BuildError> {
        Ok(Arc::new(Troubled { config, started: self.started.clone() }))
    }
}

#[async_trait]
impl Component for Troubled {
    async fn start(&self, host: Host) -> Result<(), StartError> {
        if self.config.fails_to_start {
            return Err(StartError("listen: address in use".into()));
        }
        if self.config.cannot_go_on {
            host.report(Status::FatalError("the listener died".into()));
        }
        self.started.cancel();
        Ok(())
    }

    async fn shutdown(&self, _: Instant) -> Result<(), ShutdownError> {
        if self.config.fails_to_stop {
            return Err(ShutdownError { message: "lost some".into(), undelivered_items: 3 });
        }
        Ok(())
    }
}

impl Receiver for Troubled {}

/// Runs with one troubled receiver, and asks to stop once it has started.
async fn run_with(trouble: &str) -> Result<(), Error> {
    let yaml = format!(
        "{{receivers: {{troubled: {{{trouble}}}}}, exporters: {{nop: }}, service: {{telemetry: {{metrics: {{level: \
         none}}}}, pipelines: {{traces: {{receivers: [troubled], exporters: [nop]}}}}}}}}"
    );
    let started = CancellationToken::new();
    let registry = registry().receiver(Factory { started: started.clone() });
    let options = Options {
        sources: Sources { configs: vec![format!("yaml:{yaml}")], sets: vec![] },
        shutdown_timeout: BOUND,
        watch: false,
    };
    let control = Control::new();
    let (logging, _layer) = Logging::new();
    let stop = async {
        // Leaves the fatal status time to be seen first.
        if !trouble.contains("cannot_go_on") {
            started.cancelled().await;
            control.shut_down();
        }
        std::future::pending::<()>().await;
    };
    tokio::select! {
        outcome = run(&registry, options, &logging, control.clone()) => outcome,
        () = stop => Ok(()),
    }
}

async fn outcome(trouble: &str) -> Result<(), Error> {
    timeout(BOUND, run_with(trouble)).await.unwrap()
}

#[tokio::test]
async fn a_run_that_is_told_to_stop_ends_well() {
    outcome("").await.unwrap();
}

#[tokio::test]
async fn a_component_that_cannot_go_on_ends_the_run_with_an_error() {
    let error = outcome("cannot_go_on: true").await.unwrap_err();
    assert_eq!(error.to_string(), "Error: \"troubled\" receiver: the listener died\n");
}

#[tokio::test]
async fn a_component_that_does_not_start_ends_the_run_with_its_reason() {
    let error = outcome("fails_to_start: true").await.unwrap_err();
    assert!(matches!(error, Error::Service(ServiceError::Start(_))), "{error}");
    assert_eq!(
        error.to_string(),
        "Error: cannot start pipelines: failed to start \"troubled\" receiver: listen: address in use\n"
    );
}

#[tokio::test]
async fn a_component_that_does_not_stop_well_is_an_error_at_the_end() {
    let error = outcome("fails_to_stop: true").await.unwrap_err();
    assert!(matches!(error, Error::Shutdown(1)), "{error}");
}
