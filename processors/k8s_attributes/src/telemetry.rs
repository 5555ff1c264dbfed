//! The metrics of this processor (reference: contrib-components, B.11).

use prometheus::{Histogram, IntCounter, IntCounterVec, IntGauge, IntGaugeVec};
use spanbridge_component::telemetry::{ProcessorMetrics, Telemetry};
use spanbridge_component::{ComponentId, Settings, Signal};

use crate::identifier::Associations;
use crate::plan::Plan;
use crate::resource::Resource;

/// Bucket bounds of the watch lag, in seconds: objects tell the second in which they were made.
const LAG_BUCKETS: [f64; 8] = [1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 300.0, 3600.0];

/// What a cache counts. Without a plan to watch a resource, that resource has no metrics.
#[derive(Debug)]
pub(crate) struct CacheMetrics {
    by_resource: [Option<ResourceMetrics>; 9],
    pod_table: IntGauge,
    bytes: IntGauge,
}

#[derive(Debug)]
struct ResourceMetrics {
    added: IntCounter,
    updated: IntCounter,
    deleted: IntCounter,
    entries: IntGauge,
    synced: IntGauge,
    failures: IntCounterVec,
    lag: Histogram,
}

impl CacheMetrics {
    /// The metrics of the cache that `processor` was the first to use.
    ///
    /// # Errors
    /// As [`Telemetry::counter`].
    pub(crate) fn new(
        telemetry: &Telemetry,
        processor: &ComponentId,
        plan: &Plan,
    ) -> Result<Self, prometheus::Error> {
        let mut by_resource: [Option<ResourceMetrics>; 9] = Default::default();
        for resource in Resource::ALL.into_iter().filter(|resource| plan.is_watched(*resource)) {
            by_resource[resource.index()] = Some(ResourceMetrics::new(telemetry, processor, resource)?);
        }
        let gauge = |name, help| {
            let family: IntGaugeVec = telemetry.gauge(name, help, &["processor"])?;
            Ok::<_, prometheus::Error>(family.with_label_values(&[processor.as_str()]))
        };
        Ok(Self {
            by_resource,
            pod_table: gauge(
                "otelcol_otelsvc_k8s_pod_table_size",
                "Size of table containing pod info: identifiers by which pods can be found. [Development]",
            )?,
            bytes: gauge(
                "otelcol_k8s_cache_bytes",
                "Bytes that what is known of the cluster takes, roughly. [Development]",
            )?,
        })
    }

    fn of(&self, resource: Resource) -> Option<&ResourceMetrics> {
        self.by_resource[resource.index()].as_ref()
    }

    /// An object came, or changed.
    pub(crate) fn changed(&self, resource: Resource, is_new: bool) {
        if let Some(metrics) = self.of(resource) {
            if is_new { metrics.added.inc() } else { metrics.updated.inc() }
        }
    }

    /// An object went.
    pub(crate) fn deleted(&self, resource: Resource) {
        if let Some(metrics) = self.of(resource) {
            metrics.deleted.inc();
        }
    }

    /// Objects that are known.
    pub(crate) fn entries(&self, resource: Resource, entries: usize) {
        if let Some(metrics) = self.of(resource) {
            metrics.entries.set(number(entries));
        }
    }

    /// Identifiers by which pods can be found.
    pub(crate) fn pod_table(&self, identifiers: usize) {
        self.pod_table.set(number(identifiers));
    }

    /// Bytes of everything.
    pub(crate) fn bytes(&self, bytes: usize) {
        self.bytes.set(number(bytes));
    }

    /// How many watches of `resource` are up to date rose or fell by one.
    pub(crate) fn synced(&self, resource: Resource, up: bool) {
        if let Some(metrics) = self.of(resource) {
            if up { metrics.synced.inc() } else { metrics.synced.dec() }
        }
    }

    /// A request to the API failed for this reason.
    pub(crate) fn failed(&self, resource: Resource, reason: &str) {
        if let Some(metrics) = self.of(resource) {
            metrics.failures.with_label_values(&[resource.plural(), reason]).inc();
        }
    }

    /// An object became known so long after it was made.
    pub(crate) fn lag(&self, resource: Resource, seconds: f64) {
        if let Some(metrics) = self.of(resource) {
            metrics.lag.observe(seconds);
        }
    }
}

impl ResourceMetrics {
    fn new(
        telemetry: &Telemetry,
        processor: &ComponentId,
        resource: Resource,
    ) -> Result<Self, prometheus::Error> {
        let noun = resource.name();
        let counter = |verb: &str| {
            let name = format!("otelcol_otelsvc_k8s_{noun}_{verb}");
            let help = format!("Number of {noun} {verb} events received. [Development]");
            Ok::<_, prometheus::Error>(telemetry.counter(&name, &help, &[])?.with_label_values::<&str>(&[]))
        };
        let gauge = |name: &str, help: &str| {
            let family = telemetry.gauge(name, help, &["processor", "resource"])?;
            Ok::<_, prometheus::Error>(family.with_label_values(&[processor.as_str(), resource.plural()]))
        };
        Ok(Self {
            added: counter("added")?,
            updated: counter("updated")?,
            deleted: counter("deleted")?,
            entries: gauge("otelcol_k8s_cache_entries", "Number of objects that are known. [Development]")?,
            synced: gauge(
                "otelcol_k8s_watches_synced",
                "Number of watches that have listed what there is and receive changes. [Development]",
            )?,
            failures: telemetry.counter(
                "otelcol_k8s_watch_failures",
                "Number of requests to the Kubernetes API that failed, by reason. [Development]",
                &["resource", "reason"],
            )?,
            lag: telemetry
                .histogram(
                    "otelcol_k8s_watch_lag_seconds",
                    "Time from the creation of an object to its arrival here. [Development]",
                    &LAG_BUCKETS,
                    &["resource"],
                )?
                .with_label_values(&[resource.plural()]),
        })
    }
}

/// What one processor counts on the data path.
#[derive(Debug)]
pub(crate) struct PathMetrics {
    pub(crate) items: ProcessorMetrics,
    ip_lookup_miss: IntCounter,
    /// Hits and misses by rule and signal; the last one is for resources that no rule identifies.
    by_rule: Vec<[[IntCounter; 2]; 3]>,
}

impl PathMetrics {
    /// The metrics of the processor with these settings.
    ///
    /// # Errors
    /// As [`Telemetry::counter`].
    pub(crate) fn new(settings: &Settings, associations: &Associations) -> Result<Self, prometheus::Error> {
        let telemetry = &settings.telemetry;
        let family = telemetry.counter(
            "otelcol_k8s_pod_association",
            "Number of resources whose pod was looked for, by outcome and rule. [Development]",
            &["status", "pod_identifier", "otelcol_signal"],
        )?;
        let series = |rule: &str| {
            Signal::ALL.map(|signal| {
                ["success", "error"].map(|status| family.with_label_values(&[status, rule, signal.name()]))
            })
        };
        let rules = associations.labels().iter().map(String::as_str).chain([""]);
        Ok(Self {
            items: ProcessorMetrics::new(telemetry, &settings.id)?,
            ip_lookup_miss: telemetry
                .counter(
                    "otelcol_otelsvc_k8s_ip_lookup_miss",
                    "Number of times pod by IP lookup failed. [Development]",
                    &[],
                )?
                .with_label_values::<&str>(&[]),
            by_rule: rules.map(series).collect(),
        })
    }

    /// A resource was looked at: by which rule, if any, and whether its pod is known.
    pub(crate) fn looked_up(&self, signal: Signal, rule: Option<usize>, found: bool) {
        let series = rule.and_then(|rule| self.by_rule.get(rule)).or(self.by_rule.last());
        if let Some(series) = series {
            series[signal.index()][usize::from(!found)].inc();
        }
        if rule.is_some() && !found {
            self.ip_lookup_miss.inc();
        }
    }
}

fn number(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
