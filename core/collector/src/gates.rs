//! `--feature-gates`: none of the Go collector's gates has a counterpart here, so what is left is to accept what
//! changes nothing and to refuse the rest by name (reference: collector-core, 15).

/// Gates that are off, and cannot be switched on here.
const OFF: [&str; 8] = [
    "confmap.enableMergeAppendOption",
    "pkg.exporterhelper.queueBatchEnabled",
    "receiverhelper.newReceiverMetrics",
    "service.AllowNoPipelines",
    "service.partialReload",
    "service.profilesSupport",
    "telemetry.newPipelineTelemetry",
    "pdata.useProtoPooling",
];
/// Gates that change nothing here, on or off: a part of `service.partialReload`, which is off.
const NO_EFFECT: [&str; 1] = ["service.partialReloadReceivers"];
/// Gates that the Go collector has had: what they switched on is how it works now, here and there.
const REMOVED: [&str; 19] = [
    "component.UseLocalHostAsDefaultHost",
    "confighttp.framedSnappy",
    "configoptional.AddEnabledField",
    "confmap.newExpandedValueSanitizer",
    "confmap.strictlyTypedInput",
    "confmap.unifyEnvVarExpansion",
    "exporter.PersistRequestContext",
    "otelcol.printInitialConfig",
    "pdata.enableRefCounting",
    "pdata.useCustomProtoEncoding",
    "service.connectors",
    "service.disableOpenCensusBridge",
    "service.graph",
    "service.noopTracerProvider",
    "telemetry.UseLocalHostAsDefaultMetricsAddress",
    "telemetry.disableAddressFieldForInternalTelemetry",
    "telemetry.disableHighCardinalityMetrics",
    "telemetry.useOtelForInternalMetrics",
    "telemetry.useOtelWithSDKConfigurationForInternalTelemetry",
];

/// Checks the values of `--feature-gates`, each a list parted by commas. Returns what to tell the user.
///
/// # Errors
/// The first gate that is unknown, or that would have to change what this version does.
pub(crate) fn check(flags: &[String]) -> Result<Vec<String>, String> {
    let mut notices = Vec::new();
    for flag in flags.iter().filter(|flag| !flag.is_empty()) {
        for (index, gate) in flag.split(',').enumerate() {
            notices.extend(check_one(gate.trim(), index)?);
        }
    }
    Ok(notices)
}

fn check_one(gate: &str, index: usize) -> Result<Option<String>, String> {
    let (id, on) = match gate.strip_prefix('-') {
        Some(id) => (id, false),
        None => (gate.strip_prefix('+').unwrap_or(gate), true),
    };
    if id.is_empty() {
        return Err(format!("empty feature gate identifier at index {index}"));
    }
    if OFF.contains(&id) {
        return if on {
            Err(format!("feature gate \"{id}\" is not supported by this version"))
        } else {
            Ok(None)
        };
    }
    if NO_EFFECT.contains(&id) {
        return Ok(Some(format!("feature gate \"{id}\" has no effect")));
    }
    if REMOVED.contains(&id) {
        return if on {
            Ok(Some(format!("feature gate \"{id}\" has been removed and has no effect")))
        } else {
            Err(format!("feature gate \"{id}\" is stable, can not be disabled"))
        };
    }
    let mut valid: Vec<_> = OFF.into_iter().chain(NO_EFFECT).collect();
    valid.sort_unstable();
    Err(format!("no such feature gate \"{id}\". valid gates: [{}]", valid.join(" ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(flag: &str) -> Result<Vec<String>, String> {
        check(&[flag.to_owned()])
    }

    #[test]
    fn gates_that_change_nothing_are_accepted() {
        assert_eq!(checked(""), Ok(vec![]));
        assert_eq!(checked("-service.AllowNoPipelines"), Ok(vec![]));
        let notices = checked("service.graph,+service.connectors").unwrap();
        assert_eq!(notices.len(), 2);
    }

    #[test]
    fn gates_that_would_change_something_are_refused_by_name() {
        assert_eq!(
            checked("service.AllowNoPipelines").unwrap_err(),
            "feature gate \"service.AllowNoPipelines\" is not supported by this version"
        );
        assert_eq!(
            checked("-service.graph").unwrap_err(),
            "feature gate \"service.graph\" is stable, can not be disabled"
        );
        assert!(
            checked("nope").unwrap_err().starts_with("no such feature gate \"nope\". valid gates: [confmap.")
        );
        assert_eq!(checked("service.graph,").unwrap_err(), "empty feature gate identifier at index 1");
    }
}
