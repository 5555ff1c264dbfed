//! One limit on the memory of the process, shared by the processors of one id.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};

use spanbridge_component::{Host, StartError, Status};
use spanbridge_pdata::memory::{Account, Limit};
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::task::AbortOnDropHandle;
use tracing::Instrument as _;

use crate::Config;
use crate::limits::{Limits, mib};
use crate::system::{resident_bytes, total_memory};

/// The error of what is refused; its text is the Go collector's.
pub(crate) const REFUSED: &str = "data refused due to high memory usage";

/// This part of what the soft limit leaves beside the base is kept for what the allocator wastes and the account does not
/// see: telemetry of a size takes somewhat more in memory.
const SLACK_PART: u64 = 4;
/// However much the allocator wastes, telemetry may use this part of what the soft limit leaves beside the base.
const BUDGET_MIN_PART: u64 = 4;
/// While less than this part of the budget is in use, resident memory says nothing about telemetry: it is what the
/// allocator keeps to use again.
const IDLE_PART: u64 = 4;
/// What was learnt about waste is forgotten by this part a check.
const FORGET_PART: u64 = 16;

/// A limit on the memory of the process.
pub(crate) struct Limiter {
    config: Config,
    account: Account,
    root: PathBuf,
    base: Base,
    refusing: AtomicBool,
    running: Mutex<Running>,
}

/// The least that the process was found to need by itself, when a limiter started.
///
/// It outlives the limiters: one that starts under load, because its configuration has changed, would take what the allocator
/// keeps for what the process needs, and leave the less to telemetry for good.
#[derive(Clone)]
pub(crate) struct Base(Arc<AtomicU64>);

/// What there is while at least one processor runs.
#[derive(Default)]
struct Running {
    hosts: Vec<(u64, Host)>,
    next_id: u64,
    checks: Option<AbortOnDropHandle<()>>,
}

/// Keeps a limiter running; one a processor.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Attachment(u64);

impl Base {
    pub(crate) fn unknown() -> Self {
        Self(Arc::new(AtomicU64::new(u64::MAX)))
    }

    /// That of this process.
    pub(crate) fn process() -> &'static Base {
        static PROCESS: LazyLock<Base> = LazyLock::new(Base::unknown);
        &PROCESS
    }

    /// The least that was found, now that it seems to be `bytes`.
    fn least(&self, bytes: u64) -> u64 {
        self.0.fetch_min(bytes, Ordering::Relaxed).min(bytes)
    }
}

impl Limiter {
    /// `root` is `/` and `base` that of the process outside of tests.
    pub(crate) fn new(config: Config, account: Account, root: PathBuf, base: Base) -> Self {
        let (refusing, running) = (AtomicBool::new(false), Mutex::default());
        Self { config, account, root, base, refusing, running }
    }

    pub(crate) fn config(&self) -> &Config {
        &self.config
    }

    /// Whether telemetry is to be turned away now.
    pub(crate) fn is_refusing(&self) -> bool {
        self.refusing.load(Ordering::Relaxed)
    }

    /// One more processor runs. The first sets the limit and begins to check.
    pub(crate) fn attach(self: &Arc<Self>, host: Host) -> Result<Attachment, StartError> {
        let mut running = self.running();
        if running.checks.is_none() {
            let watch = self.watch()?;
            let limiter = self.clone();
            let checks = async move { watch.run(&limiter).await };
            running.checks = Some(AbortOnDropHandle::new(tokio::spawn(checks.in_current_span())));
        }
        running.next_id += 1;
        let id = running.next_id;
        running.hosts.push((id, host));
        Ok(Attachment(id))
    }

    /// A processor stops. The last one takes the limit away.
    pub(crate) async fn detach(&self, attachment: Attachment) {
        let checks = {
            let mut running = self.running();
            running.hosts.retain(|(id, _)| *id != attachment.0);
            if running.hosts.is_empty() { running.checks.take() } else { None }
        };
        if let Some(checks) = checks {
            checks.abort();
            let _ = checks.await;
            self.refusing.store(false, Ordering::Relaxed);
        }
    }

    /// The limits, resolved and in force.
    fn watch(&self) -> Result<Watch, StartError> {
        let total = || total_memory(&self.root);
        let limits = Limits::new(&self.config, || {
            let total = total()?;
            tracing::info!(
                total_memory_mib = mib(total.bytes),
                limit_percentage = self.config.limit_percentage,
                spike_limit_percentage = self.config.spike_limit_percentage,
                source = total.source,
                "Using percentage memory limiter"
            );
            Ok(total.bytes)
        })
        .map_err(|error: String| StartError(format!("cannot tell how much memory there is: {error}")))?;
        let resident = resident_bytes(&self.root)
            .ok_or_else(|| StartError("cannot read the resident memory from /proc/self/status".into()))?;
        let usage = self.account.usage();
        // What may come is not resident yet.
        let telemetry = usage.used.saturating_sub(usage.standing) as u64;
        let base = self.base.least(resident.saturating_sub(telemetry));
        let watch = Watch::new(limits, base, &self.account);
        tracing::info!(
            limit_mib = mib(limits.hard),
            spike_limit_mib = mib(limits.spike()),
            check_interval = %self.config.check_interval,
            base_mib = mib(base),
            telemetry_limit_mib = mib(watch.budget()),
            "Memory limiter configured"
        );
        if watch.budget() == 0 {
            tracing::error!(
                base_mib = mib(base),
                "The memory limit leaves no room for telemetry: the process needs all of it by itself"
            );
        }
        let keys = self.config.keys_without_effect();
        if !keys.is_empty() {
            tracing::warn!(?keys, "These keys have no effect: there is no garbage collector to tune");
        }
        Ok(watch)
    }

    fn set_refusing(&self, refusing: bool, resident: u64) {
        if self.refusing.swap(refusing, Ordering::Relaxed) == refusing {
            return;
        }
        let cur_mem_mib = mib(resident);
        let status = if refusing {
            tracing::warn!(cur_mem_mib, "Memory usage is above soft limit. Refusing data.");
            Status::RecoverableError(REFUSED.to_owned())
        } else {
            tracing::info!(cur_mem_mib, "Memory usage back within limits. Resuming normal operation.");
            Status::Ok
        };
        for (_, host) in &self.running().hosts {
            host.report(status.clone());
        }
    }

    fn running(&self) -> MutexGuard<'_, Running> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The limit in force, and what is known about the process.
struct Watch {
    limits: Limits,
    /// What the process needs by itself.
    base: u64,
    /// By how much the budget is smaller than planned, because resident memory went beyond the soft limit with it.
    waste: u64,
    refusing: bool,
    limit: Limit,
}

impl Watch {
    fn new(limits: Limits, base: u64, account: &Account) -> Self {
        let limit = account.limit_to(bytes(planned(limits, base)));
        Self { limits, base, waste: 0, refusing: false, limit }
    }

    async fn run(mut self, limiter: &Limiter) {
        let mut ticks = interval(limiter.config.check_interval.get());
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        ticks.tick().await;
        loop {
            ticks.tick().await;
            // A file system that fails now and then must not end the limit.
            if let Some(resident) = resident_bytes(&limiter.root) {
                let usage = limiter.account.usage();
                let refuse = self.check(resident, usage.used.saturating_sub(usage.standing) as u64);
                limiter.set_refusing(refuse, resident);
            }
        }
    }

    /// Learns from what is resident while there are `used` bytes of telemetry; whether it is too much.
    ///
    /// While it is, nothing new is admitted either: it would be received only to be refused.
    fn check(&mut self, resident: u64, used: u64) -> bool {
        let excess = resident.saturating_sub(self.limits.soft);
        let is_idle = used < self.budget() / IDLE_PART;
        self.refusing = resident >= self.limits.soft && !is_idle;
        self.waste = if self.refusing {
            self.waste.saturating_add(excess).min(self.planned() - self.planned() / BUDGET_MIN_PART)
        } else {
            self.waste - self.waste.div_ceil(FORGET_PART)
        };
        self.apply();
        self.refusing
    }

    fn planned(&self) -> u64 {
        planned(self.limits, self.base)
    }

    fn budget(&self) -> u64 {
        self.planned() - self.waste
    }

    fn apply(&self) {
        let budget = if self.refusing { 0 } else { self.budget() };
        self.limit.set(bytes(budget));
    }
}

/// The budget as long as nothing is known about waste.
fn planned(limits: Limits, base: u64) -> u64 {
    let beside = limits.soft.saturating_sub(base);
    beside - beside / SLACK_PART
}

fn bytes(budget: u64) -> usize {
    usize::try_from(budget).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1024 * 1024;

    fn watch(account: &Account) -> Watch {
        let limits = Limits { hard: 100 * MIB, soft: 80 * MIB };
        Watch::new(limits, 20 * MIB, account)
    }

    #[test]
    fn the_budget_is_what_the_soft_limit_leaves_less_slack() {
        let account = Account::new();
        let watch = watch(&account);
        assert_eq!(account.limit() as u64, 45 * MIB);
        drop(watch);
        assert_eq!(account.limit(), usize::MAX);
    }

    #[test]
    fn telemetry_is_refused_from_the_soft_limit_on_and_none_is_admitted() {
        let account = Account::new();
        let mut watch = watch(&account);
        assert!(!watch.check(80 * MIB - 1, 40 * MIB));
        assert!(watch.check(80 * MIB, 40 * MIB));
        assert_eq!(account.limit(), 0);
        assert!(!watch.check(79 * MIB, 40 * MIB));
        assert!(account.limit() > 0);
    }

    #[test]
    fn waste_makes_the_budget_smaller_and_is_forgotten() {
        let account = Account::new();
        let mut watch = watch(&account);
        assert!(watch.check(84 * MIB, 40 * MIB));
        assert_eq!(watch.budget(), 41 * MIB);
        for _ in 0..400 {
            assert!(!watch.check(75 * MIB, 40 * MIB));
        }
        assert_eq!(account.limit() as u64, 45 * MIB);
    }

    #[test]
    fn what_the_allocator_keeps_does_not_refuse_telemetry_for_ever() {
        let account = Account::new();
        let mut watch = watch(&account);
        assert!(watch.check(90 * MIB, 40 * MIB));
        assert!(!watch.check(90 * MIB, MIB));
        assert!(account.limit() as u64 > 30 * MIB);
    }

    #[test]
    fn however_much_is_resident_some_budget_is_left() {
        let account = Account::new();
        let mut watch = watch(&account);
        for _ in 0..10 {
            assert!(watch.check(500 * MIB, 40 * MIB));
        }
        assert_eq!(watch.budget(), 45 * MIB / BUDGET_MIN_PART);
    }

    #[test]
    fn a_limit_below_what_the_process_needs_leaves_nothing() {
        let account = Account::new();
        let mut watch = watch(&account);
        watch.base = 90 * MIB;
        assert_eq!(watch.budget(), 0);
        assert!(watch.check(90 * MIB, MIB));
    }
}
