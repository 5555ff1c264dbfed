//! The addresses that servers take: each goes to one of them.

use spanbridge_component::{Listener, Problems, Validate as _};

use super::check::KINDS;
use super::references::at_path;
use super::{Components, ServiceSection};

/// Reports every address that a server before it takes already.
pub(super) fn check(components: &Components, service: &ServiceSection, problems: &mut Problems) {
    let mut taken: Vec<Listener> = Vec::new();
    for listener in all(components, service) {
        let owner = taken.iter().find(|other| other.address.clashes_with(&listener.address));
        let Some((owner, (key, above))) = owner.zip(listener.path.split_last()) else {
            taken.push(listener);
            continue;
        };
        // Nobody may have written that address.
        let whose = if listener.path.first().is_some_and(|step| step == "service") {
            "the collector's own metrics: "
        } else {
            ""
        };
        let message = format!(
            "{whose}\"{}\" is taken: {} has \"{}\"",
            listener.address,
            owner.path.join("::"),
            owner.address
        );
        at_path(problems, above, &mut |problems| {
            problems.error_at(key, message.clone()).help("give one of the two another port");
        });
    }
}

/// What everything that runs listens on, at paths from the root.
fn all(components: &Components, service: &ServiceSection) -> Vec<Listener> {
    let mut listeners = Vec::new();
    for kind in KINDS {
        for id in components.ids(kind).into_iter().filter(|id| service.uses(kind, id)) {
            listeners.extend(
                components
                    .listeners(kind, id)
                    .into_iter()
                    .map(|listener| below(&[kind.section(), id.as_str()], listener)),
            );
        }
    }
    let mut telemetry = Problems::new();
    service.telemetry.validate(&mut telemetry);
    listeners.extend(
        telemetry.listeners().iter().map(|listener| below(&["service", "telemetry"], listener.clone())),
    );
    listeners
}

fn below(path: &[&str], listener: Listener) -> Listener {
    let path = path.iter().map(|step| (*step).to_owned()).chain(listener.path).collect();
    Listener { path, ..listener }
}
