//! `--feature-gates`: the Go collector's gates that have a counterpart here take effect, what changes nothing is accepted,
//! and the rest is refused by name (reference: collector-core, 15; contrib-components, B.1).

use k8s_attributes_processor::Conventions;

/// Gates that are off, and cannot be switched on here.
const OFF: [&str; 12] = [
    "confmap.enableMergeAppendOption",
    "extension.healthcheck.useComponentStatus",
    "pkg.exporterhelper.queueBatchEnabled",
    "processor.k8sattributes.EnableKubeletPodSource",
    "receiverhelper.newReceiverMetrics",
    "service.AllowNoPipelines",
    "service.partialReload",
    "service.profilesSupport",
    "telemetry.disableOldFormatMetrics",
    "telemetry.enableNewFormatMetrics",
    "telemetry.newPipelineTelemetry",
    "pdata.useProtoPooling",
];
/// Gates that change nothing here, on or off: a part of `service.partialReload`, which is off; and what always is so here.
const NO_EFFECT: [&str; 2] =
    ["processor.k8sattributes.ShareProcessorBetweenPipelines", "service.partialReloadReceivers"];
/// The attributes of Kubernetes have their stable names. On.
const EMIT_V1: &str = "processor.k8sattributes.EmitV1K8sConventions";
/// They do not have their old names as well. On.
const NO_V0: &str = "processor.k8sattributes.DontEmitV0K8sConventions";
/// Gates that the Go collector has had: what they switched on is how it works now, here and there.
const REMOVED: [&str; 21] = [
    "component.UseLocalHostAsDefaultHost",
    "confighttp.framedSnappy",
    "configoptional.AddEnabledField",
    "confmap.newExpandedValueSanitizer",
    "confmap.strictlyTypedInput",
    "confmap.unifyEnvVarExpansion",
    "exporter.PersistRequestContext",
    "k8sattr.fieldExtractConfigRegex.disallow",
    "k8sattr.labelsAnnotationsSingular.allow",
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

/// What the gates decide.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Gates {
    /// How `k8s_attributes` names attributes, unless its configuration says it.
    pub(crate) conventions: Conventions,
}

/// Reads the values of `--feature-gates`, each a list parted by commas; a later one wins. Returns what to tell the user as
/// well.
///
/// # Errors
/// The first gate that is unknown, or that would have to change what this version does.
pub(crate) fn read(flags: &[String]) -> Result<(Gates, Vec<String>), String> {
    let (mut emit_v1, mut no_v0) = (true, true);
    let mut notices = Vec::new();
    for flag in flags.iter().filter(|flag| !flag.is_empty()) {
        for (index, gate) in flag.split(',').enumerate() {
            let (id, on) = parse(gate.trim(), index)?;
            match id {
                EMIT_V1 => emit_v1 = on,
                NO_V0 => no_v0 = on,
                _ => notices.extend(check_one(id, on)?),
            }
        }
    }
    let conventions = match (emit_v1, no_v0) {
        (true, true) => Conventions::V1,
        (true, false) => Conventions::Both,
        (false, false) => Conventions::V0,
        (false, true) => {
            return Err(format!("{NO_V0} needs {EMIT_V1}: without both there are no names at all"));
        }
    };
    Ok((Gates { conventions }, notices))
}

fn parse(gate: &str, index: usize) -> Result<(&str, bool), String> {
    let (id, on) = match gate.strip_prefix('-') {
        Some(id) => (id, false),
        None => (gate.strip_prefix('+').unwrap_or(gate), true),
    };
    if id.is_empty() {
        return Err(format!("empty feature gate identifier at index {index}"));
    }
    Ok((id, on))
}

fn check_one(id: &str, on: bool) -> Result<Option<String>, String> {
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
    let mut valid: Vec<_> = OFF.into_iter().chain(NO_EFFECT).chain([EMIT_V1, NO_V0]).collect();
    valid.sort_unstable();
    Err(format!("no such feature gate \"{id}\". valid gates: [{}]", valid.join(" ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(flag: &str) -> Result<Vec<String>, String> {
        read(&[flag.to_owned()]).map(|(_, notices)| notices)
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

    #[test]
    fn the_conventions_of_kubernetes_attributes_follow_their_two_gates() {
        let conventions = |flags: &[&str]| {
            let flags: Vec<String> = flags.iter().map(|flag| (*flag).to_owned()).collect();
            read(&flags).map(|(gates, _)| gates.conventions)
        };
        let (emit, no_old) = (EMIT_V1, NO_V0);
        assert_eq!(conventions(&[]), Ok(Conventions::V1));
        assert_eq!(conventions(&[&format!("{emit},+{no_old}")]), Ok(Conventions::V1));
        assert_eq!(conventions(&[&format!("-{no_old}")]), Ok(Conventions::Both));
        assert_eq!(conventions(&[&format!("-{emit},-{no_old}")]), Ok(Conventions::V0));
        assert_eq!(conventions(&[&format!("-{no_old}"), no_old]), Ok(Conventions::V1));
        assert!(conventions(&[&format!("-{emit}")]).unwrap_err().contains(no_old));
        assert!(conventions(&["processor.k8sattributes.EnableKubeletPodSource"]).is_err());
    }
}
