//! How a configuration becomes a `memory_limiter` processor.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use spanbridge_component::{
    BuildError, ComponentId, Consumer, Descriptor, Processor, ProcessorFactory, Settings, Signal, Stability,
};
use spanbridge_pdata::memory::Account;

use crate::Config;
use crate::limiter::{Base, Limiter};
use crate::processor::MemoryLimiter;
use crate::telemetry::register_account;

/// Makes `memory_limiter` processors. Those of one id and configuration share one limiter, in whatever pipelines they are.
#[derive(Default)]
pub struct Factory {
    limiters: Mutex<Vec<(ComponentId, Weak<Limiter>)>>,
}

impl Factory {
    fn limiter(&self, id: &ComponentId, config: Config) -> Arc<Limiter> {
        let mut limiters = self.limiters.lock().unwrap_or_else(PoisonError::into_inner);
        limiters.retain(|(_, limiter)| limiter.strong_count() > 0);
        let shared = limiters.iter().filter(|(other, _)| other == id).find_map(|(_, limiter)| {
            let limiter = limiter.upgrade()?;
            (*limiter.config() == config).then_some(limiter)
        });
        shared.unwrap_or_else(|| {
            let limiter = Arc::new(Limiter::new(
                config,
                Account::process().clone(),
                PathBuf::from("/"),
                Base::process().clone(),
            ));
            limiters.push((id.clone(), Arc::downgrade(&limiter)));
            limiter
        })
    }
}

impl ProcessorFactory for Factory {
    type Config = Config;

    fn descriptor(&self) -> Descriptor {
        Descriptor {
            type_name: "memory_limiter",
            aliases: &[],
            signals: &[
                (Signal::Traces, Stability::Beta),
                (Signal::Metrics, Stability::Beta),
                (Signal::Logs, Stability::Beta),
            ],
            unsupported: &[],
        }
    }

    fn create(
        &self,
        settings: Settings,
        config: Config,
        next: Arc<dyn Consumer>,
    ) -> Result<Arc<dyn Processor>, BuildError> {
        register_account(&settings.telemetry, Account::process())?;
        let limiter = self.limiter(&settings.id, config);
        Ok(Arc::new(MemoryLimiter::new(&settings, limiter, next)?))
    }
}

#[cfg(test)]
mod tests {
    use spanbridge_config::Duration;
    use spanbridge_testkit::conformance::{Delivery, Subject};

    use super::*;

    fn config() -> Config {
        Config { check_interval: Duration::from_secs(1), limit_mib: 4096, ..Config::default() }
    }

    spanbridge_testkit::component_conformance!(Config, Subject::processor(Factory::default(), config()));
    spanbridge_testkit::processor_conformance!(Factory::default(), config(), Delivery::Exact);

    #[test]
    fn one_id_has_one_limiter_and_a_changed_configuration_another() {
        let factory = Factory::default();
        let id: ComponentId = "memory_limiter".parse().unwrap();
        let first = factory.limiter(&id, config());
        assert!(Arc::ptr_eq(&first, &factory.limiter(&id, config())));
        let changed = factory.limiter(&id, Config { limit_mib: 2048, ..config() });
        assert!(!Arc::ptr_eq(&first, &changed));
        assert!(!Arc::ptr_eq(&first, &factory.limiter(&"memory_limiter/2".parse().unwrap(), config())));
        drop((first, changed));
        assert_eq!(factory.limiters.lock().unwrap().iter().filter(|(_, l)| l.strong_count() > 0).count(), 0);
    }
}
