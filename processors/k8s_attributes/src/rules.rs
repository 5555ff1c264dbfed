//! Rules for labels and annotations (reference: contrib-components, B.4).

use std::collections::BTreeMap;
use std::sync::Arc;

use regex::Regex;

use crate::config::{Config, Conventions, FieldRuleConfig, anchored};
use crate::extract::Found;
use crate::resource::{From, Resource};

/// Prefix of the annotations that name attributes themselves.
const OTEL_ANNOTATION: &str = "resource.opentelemetry.io/";

/// The labels or the annotations of an object.
pub(crate) type Texts = BTreeMap<String, String>;

/// All rules for the objects of one resource.
#[derive(Debug, Default)]
pub(crate) struct ObjectRules {
    pub(crate) labels: Vec<Rule>,
    pub(crate) annotations: Vec<Rule>,
}

impl ObjectRules {
    /// Whether there is no rule at all.
    pub(crate) fn is_empty(&self) -> bool {
        self.labels.is_empty() && self.annotations.is_empty()
    }

    /// Adds what the rules find in these labels.
    pub(crate) fn extract_labels(&self, labels: &Texts, found: &mut Found) {
        self.labels.iter().for_each(|rule| rule.extract(labels, found));
    }

    /// Adds what the rules find in these annotations.
    pub(crate) fn extract_annotations(&self, annotations: &Texts, found: &mut Found) {
        self.annotations.iter().for_each(|rule| rule.extract(annotations, found));
    }
}

/// One rule.
#[derive(Debug)]
pub(crate) enum Rule {
    /// The value of one key, under one name or, in a transition, two.
    Key { key: Box<str>, names: Vec<Arc<str>> },
    /// The values of all keys that match.
    Matching { regex: Regex, names: Vec<Name> },
}

/// How the attribute of a key that matches is called.
#[derive(Debug)]
pub(crate) enum Name {
    /// A prefix and the key.
    Prefix(String),
    /// A template that refers to the groups of the match.
    Template(String),
}

impl Rule {
    fn extract(&self, texts: &Texts, found: &mut Found) {
        match self {
            Self::Key { key, names } => {
                if let Some(value) = texts.get(&**key) {
                    for name in names {
                        found.put(name.clone(), value.as_str());
                    }
                }
            }
            Self::Matching { regex, names } => {
                for (key, value) in texts.iter().filter(|(_, value)| !value.is_empty()) {
                    let Some(groups) = regex.captures(key) else { continue };
                    for name in names {
                        let name = match name {
                            Name::Prefix(prefix) => format!("{prefix}{key}"),
                            Name::Template(template) => {
                                let mut name = String::new();
                                groups.expand(template, &mut name);
                                name
                            }
                        };
                        if !name.is_empty() {
                            found.put(name, value.as_str());
                        }
                    }
                }
            }
        }
    }

    /// Whether the value of this key plays a part.
    pub(crate) fn wants(&self, key: &str) -> bool {
        match self {
            Self::Key { key: wanted, .. } => **wanted == *key,
            Self::Matching { regex, .. } => regex.is_match(key),
        }
    }
}

/// The rules of `config` for the objects of each resource, by [`Resource::index`].
pub(crate) fn compile(config: &Config) -> Result<[ObjectRules; 9], regex::Error> {
    let mut rules: [ObjectRules; 9] = Default::default();
    let conventions = config.conventions();
    for rule in &config.extract.labels {
        let Some(from) = From::parse(&rule.from) else { continue };
        rules[from.0.index()].labels.push(one(rule, from, "label", conventions)?);
    }
    for rule in &config.extract.annotations {
        let Some(from) = From::parse(&rule.from) else { continue };
        rules[from.0.index()].annotations.push(one(rule, from, "annotation", conventions)?);
    }
    if config.extract.otel_annotations {
        let regex = anchored(&format!("{}(.+)", regex::escape(OTEL_ANNOTATION)))?;
        let names = vec![Name::Template("$1".to_owned())];
        rules[Resource::Pod.index()].annotations.push(Rule::Matching { regex, names });
    }
    Ok(rules)
}

fn one(
    rule: &FieldRuleConfig,
    from: From,
    noun: &str,
    conventions: Conventions,
) -> Result<Rule, regex::Error> {
    let prefixes = prefixes(from, noun, conventions);
    if rule.key_regex.is_empty() {
        let names = if rule.tag_name.is_empty() {
            prefixes.iter().map(|prefix| format!("{prefix}{}", rule.key).into()).collect()
        } else {
            vec![rule.tag_name.as_str().into()]
        };
        return Ok(Rule::Key { key: rule.key.as_str().into(), names });
    }
    let regex = anchored(&rule.key_regex)?;
    let has_groups = regex.captures_len() > 1;
    let names = if has_groups && !rule.tag_name.is_empty() {
        vec![Name::Template(rule.tag_name.clone())]
    } else {
        prefixes.into_iter().map(Name::Prefix).collect()
    };
    Ok(Rule::Matching { regex, names })
}

/// What default names begin with. Only for pods, namespaces and nodes they were ever in the plural.
fn prefixes(from: From, noun: &str, conventions: Conventions) -> Vec<String> {
    let name = from.name();
    let singular = format!("k8s.{name}.{noun}.");
    if !matches!(from.0, Resource::Pod | Resource::Namespace | Resource::Node) {
        return vec![singular];
    }
    let plural = conventions.old().then(|| format!("k8s.{name}.{noun}s."));
    plural.into_iter().chain(conventions.stable().then_some(singular)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(yaml: &str, texts: &[(&str, &str)]) -> Vec<(String, String)> {
        let config: Config = spanbridge_config::from_yaml(yaml).unwrap_or_else(|e| panic!("{e}"));
        let rules = compile(&config).unwrap();
        let texts = texts.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        let mut found = Found::default();
        for rules in &rules {
            rules.extract_labels(&texts, &mut found);
            rules.extract_annotations(&texts, &mut found);
        }
        found.iter().map(|(k, v)| (k.to_owned(), v.to_owned())).collect()
    }

    fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
    }

    #[test]
    fn a_key_copies_empty_values_and_a_pattern_does_not() {
        let texts = [("app", ""), ("tier", "web")];
        assert_eq!(found("extract: {labels: [{key: app}]}", &texts), pairs(&[("k8s.pod.label.app", "")]));
        assert_eq!(
            found("extract: {labels: [{key_regex: .*}]}", &texts),
            pairs(&[("k8s.pod.label.tier", "web")])
        );
    }

    #[test]
    fn default_names_follow_the_conventions_for_pods_namespaces_and_nodes_only() {
        let yaml = |generation: &str, from: &str| {
            format!(
                "{{semantic_conventions: {generation}, extract: {{annotations: [{{key: a, from: {from}}}]}}}}"
            )
        };
        let texts = [("a", "1")];
        for (generation, from, names) in [
            ("v0", "node", vec!["k8s.node.annotations.a"]),
            ("v1", "node", vec!["k8s.node.annotation.a"]),
            ("both", "namespace", vec!["k8s.namespace.annotations.a", "k8s.namespace.annotation.a"]),
            ("v0", "deployment", vec!["k8s.deployment.annotation.a"]),
            ("both", "cronjob", vec!["k8s.cronjob.annotation.a"]),
        ] {
            let expected: Vec<_> = names.into_iter().map(|name| (name, "1")).collect();
            assert_eq!(found(&yaml(generation, from), &texts), pairs(&expected), "{generation} {from}");
        }
    }

    #[test]
    fn a_template_needs_groups_and_patterns_match_whole_keys() {
        let texts = [("app.kubernetes.io/component", "mysql"), ("x.app.kubernetes.io/y", "no")];
        assert_eq!(
            found("extract: {labels: [{tag_name: '$1', key_regex: 'app.kubernetes.io/(.*)'}]}", &texts),
            pairs(&[("component", "mysql")])
        );
        assert_eq!(
            found(
                "extract: {labels: [{tag_name: 'l.$${n}', key_regex: 'app.kubernetes.io/(?P<n>.*)'}]}",
                &texts
            ),
            pairs(&[("l.component", "mysql")])
        );
        assert_eq!(
            found("extract: {labels: [{tag_name: ignored, key_regex: 'app.kubernetes.io/.*'}]}", &texts),
            pairs(&[("k8s.pod.label.app.kubernetes.io/component", "mysql")])
        );
    }

    #[test]
    fn otel_annotations_name_attributes_and_come_last() {
        let texts =
            [("resource.opentelemetry.io/service.name", "mine"), ("resource.opentelemetry.io/", "no")];
        let yaml = "extract: {otel_annotations: true, labels: [{key: resource.opentelemetry.io/, tag_name: service.name}]}";
        assert_eq!(found(yaml, &texts), pairs(&[("service.name", "mine")]));
    }
}
