//! The extensions that configurations name: they are defined, they run, and they are fit for what they are named for.

use std::collections::BTreeSet;

use spanbridge_component::{ComponentId, Kind, Problems, Reference, Role};

use super::check::{Definitions, KINDS};
use super::{Components, ServiceSection};

/// Checks the references of every component that is used.
pub(super) fn check(definitions: &Definitions<'_>, service: &ServiceSection, problems: &mut Problems) {
    for kind in KINDS {
        let used = definitions.components.ids(kind).into_iter().filter(|id| service.uses(kind, id));
        for id in used {
            for reference in definitions.components.references(kind, id) {
                let Some((key, above)) = reference.path.split_last() else { continue };
                let mut path = vec![kind.section().to_owned(), id.to_string()];
                path.extend_from_slice(above);
                at_path(problems, &path, &mut |problems| {
                    if definitions.runs(problems, key, &reference, service) {
                        fits(definitions.components, problems, key, &reference);
                    }
                    if kind == Kind::Extension {
                        is_no_circle(definitions.components, problems, key, id, &reference.id);
                    }
                });
            }
        }
    }
}

/// Runs `check` at a place several levels deeper.
pub(super) fn at_path(problems: &mut Problems, path: &[String], check: &mut dyn FnMut(&mut Problems)) {
    match path {
        [] => check(problems),
        [step, below @ ..] => problems.at(step, |problems| at_path(problems, below, check)),
    }
}

/// The extension does what the reference needs it for.
fn fits(components: &Components, problems: &mut Problems, key: &str, reference: &Reference) {
    let Some(offers) = components.extensions.get(&reference.id).map(|recipe| recipe.offers()) else { return };
    let id = &reference.id;
    match reference.role {
        Role::ServerAuthenticator { .. } if !offers.server_authenticator => {
            let problem = problems
                .error_at(key, format!("\"{id}\": requested authenticator is not a server authenticator"));
            if offers.client_authenticator {
                problem.help(format!("\"{id}\" gives credentials to clients, and does not check them"));
            }
        }
        Role::ServerAuthenticator { asks_for_certificates: false } if offers.takes_client_certificates => {
            let text =
                format!("\"{id}\" lets clients in by their certificates, and this server asks for none");
            problems.warn_at(key, text).help("name the authority of the clients: tls: {client_ca_file: ...}");
        }
        Role::ClientAuthenticator { .. } if !offers.client_authenticator => {
            let text = format!("\"{id}\": requested authenticator is not a gRPC client authenticator");
            let problem = problems.error_at(key, text);
            if offers.server_authenticator {
                problem.help(format!("\"{id}\" checks the credentials of clients, and has none itself"));
            }
        }
        Role::ClientAuthenticator { in_the_clear: true }
            if requires_transport_security(components, id, &mut BTreeSet::new()) =>
        {
            let text = format!(
                "the credentials of \"{id}\" require transport level security, and this connection has none: whoever \
                 can read it would have them"
            );
            problems.error_at(key, text).help(
                "encrypt the connection: remove tls::insecure; or, where a service mesh encrypts it, say so with \
                 auth: {allow_plaintext: true}",
            );
        }
        _ => {}
    }
}

/// Whether the credentials of an extension, or of one that it asks in turn, may not go over a plaintext connection.
fn requires_transport_security<'a>(
    components: &'a Components,
    id: &'a ComponentId,
    seen: &mut BTreeSet<ComponentId>,
) -> bool {
    if !seen.insert(id.clone()) {
        return false;
    }
    let Some(recipe) = components.extensions.get(id) else { return false };
    let is_client = |reference: &Reference| matches!(reference.role, Role::ClientAuthenticator { .. });
    recipe.offers().requires_transport_security
        || recipe
            .references()
            .iter()
            .filter(|reference| is_client(reference))
            .any(|reference| requires_transport_security(components, &reference.id, seen))
}

/// An extension does not name itself, over whichever others.
fn is_no_circle(
    components: &Components,
    problems: &mut Problems,
    key: &str,
    id: &ComponentId,
    next: &ComponentId,
) {
    let mut way = vec![id.clone()];
    if leads_to(components, next, id, &mut way) {
        let way: Vec<_> = way.iter().map(ComponentId::as_str).collect();
        let way = way.join(" -> ");
        problems.error_at(key, format!("unable to order extensions by dependencies, cycle found [{way}]"));
    }
}

/// Whether `from` is `to` or names it, over whichever others; `way` then holds the steps.
fn leads_to(
    components: &Components,
    from: &ComponentId,
    to: &ComponentId,
    way: &mut Vec<ComponentId>,
) -> bool {
    if from != to && way.contains(from) {
        return false;
    }
    way.push(from.clone());
    let found = from == to
        || components
            .references(Kind::Extension, from)
            .iter()
            .any(|reference| leads_to(components, &reference.id, to, way));
    if !found {
        way.pop();
    }
    found
}
