use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::*;
use crate::document::Value;

/// The configuration as one line, with text forms of expanded values after `|`.
fn shown(node: &Node) -> String {
    let value = match &node.value {
        Value::Null => "null".to_owned(),
        Value::Bool(value) => value.to_string(),
        Value::Int(value) => value.to_string(),
        Value::Float(value) => format!("{value:?}"),
        Value::String(text) => format!("{text:?}"),
        Value::List(items) => format!("[{}]", items.iter().map(shown).collect::<Vec<_>>().join(", ")),
        Value::Map(map) => {
            let entries: Vec<_> =
                map.entries().iter().map(|e| format!("{}: {}", e.key.text, shown(&e.value))).collect();
            format!("{{{}}}", entries.join(", "))
        }
    };
    match (&node.value, node.as_str()) {
        (Value::String(_), _) | (_, None) => value,
        (_, Some(text)) => format!("{value}|{text:?}"),
    }
}

fn environment(variables: &[(&str, &str)]) -> BTreeMap<String, String> {
    variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn loaded(configs: &[&str], sets: &[&str], variables: &[(&str, &str)]) -> Result<Document, String> {
    let sources = Sources {
        configs: configs.iter().map(|&c| c.to_owned()).collect(),
        sets: sets.iter().map(|&s| s.to_owned()).collect(),
    };
    load(&sources, &environment(variables)).map_err(|found| {
        found.iter().fold(String::new(), |mut out, d| {
            let _ = writeln!(out, "{}: {}", d.path, d.message);
            out
        })
    })
}

fn root(configs: &[&str], sets: &[&str], variables: &[(&str, &str)]) -> String {
    loaded(configs, sets, variables).map_or_else(|error| error, |document| shown(document.root()))
}

/// The value of `v` in a configuration that holds this alone.
fn expanded(text: &str, variables: &[(&str, &str)]) -> String {
    let variables = environment(variables);
    let mut loader = Loader::new(&variables);
    let node = loader.text("config.yaml", format!("v: {text}")).unwrap();
    match finish(loader, node) {
        Ok(document) => shown(document.root().get("v").unwrap()),
        Err(found) => {
            format!("error: {}", found.iter().map(|d| d.message.as_str()).collect::<Vec<_>>().join(", "))
        }
    }
}

#[test]
fn later_sources_win_level_by_level() {
    let first = "yaml:a: {x: 1, l: [1, 2]}\nb: 1\nc: {k: 1}\nd: {k: 1}";
    let second = "yaml:a: {y: 2, l: [3]}\nb: {z: 1}\nc:\nd: {}";
    assert_eq!(root(&[first, second], &[], &[]), "{a: {x: 1, l: [3], y: 2}, b: {z: 1}, c: null, d: {k: 1}}");
}

#[test]
fn set_is_yaml_under_a_dotted_key() {
    let base = "yaml:processors: {batch/2: {timeout: 1s, size: 3}}";
    let sets = ["processors.batch/2.timeout=2s", "l = [a, b]", "m={x: 1}", "t=true", "m.y=2"];
    assert_eq!(
        root(&[base], &sets, &[]),
        "{processors: {batch/2: {timeout: \"2s\", size: 3}}, l: [\"a\", \"b\"], m: {x: 1, y: 2}, t: true}"
    );
    assert_eq!(root(&[], &["nonsense"], &[]), ": missing equal sign\n");
    assert_eq!(root(&[], &[], &[]), ": at least one config flag must be provided\n");
}

#[test]
fn files_are_read_and_their_errors_name_them() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("c.yaml");
    std::fs::write(
        &path,
        "a: ${file:DIR/part.yaml}\nt: ${file:DIR/token}\n".replace("DIR", folder.path().to_str().unwrap()),
    )
    .unwrap();
    std::fs::write(folder.path().join("part.yaml"), "x: 1\ny::z: ${env:V}\n").unwrap();
    std::fs::write(folder.path().join("token"), "secret\n").unwrap();
    let document = loaded(&[path.to_str().unwrap()], &[], &[("V", "2")]).unwrap();
    let a = document.root().get("a").unwrap();
    assert_eq!(shown(&Node::new(a.value.clone(), a.span)), "{x: 1, y: {z: 2|\"2\"}}");
    assert_eq!(document.root().get("t").unwrap().as_str(), Some("secret\n"), "the newline at the end stays");
    let place = document.sources().locate(a.get("x").unwrap().span).unwrap();
    assert!(place.source.name().ends_with("part.yaml"), "{}", place.source.name());
    let missing = root(&["/nonexistent/x.yaml"], &[], &[]);
    assert!(missing.starts_with(": unable to read the file file:/nonexistent/x.yaml: "), "{missing}");
}

#[test]
fn a_source_must_be_a_map() {
    assert_eq!(root(&["yaml:a"], &[], &[]), ": the configuration must be a map, found a string\n");
    assert_eq!(root(&["yaml:", "env:UNSET"], &[], &[]), "{}");
}

#[test]
fn the_whole_value_keeps_its_type_and_its_text() {
    for (value, want) in [
        ("0123", "83|\"0123\""),
        ("\"0123\"", "\"\\\"0123\\\"\""),
        ("true", "true|\"true\""),
        ("[a, b]", "[\"a\", \"b\"]|\"[a, b]\""),
        ("{x: 1}", "{x: 1}|\"{x: 1}\""),
        ("", "null|\"\""),
        ("a: b: c", "\"a: b: c\""),
        ("x # ${env:NOPE", "\"x # ${env:NOPE\""),
        ("1.5", "1.5|\"1.5\""),
    ] {
        assert_eq!(expanded("${env:X}", &[("X", value)]), want, "{value}");
    }
    assert_eq!(expanded("${X}", &[("X", "5")]), "5|\"5\"");
    assert_eq!(expanded("${env:X}", &[]), "null|\"\"");
    assert_eq!(expanded("${env:X:-}", &[]), "\"\"");
    assert_eq!(expanded("${env:X:-a:-b}", &[]), "\"a:-b\"");
    assert_eq!(expanded("${env:X:-7}", &[("X", "")]), "null|\"\"", "empty is not unset");
    assert_eq!(expanded("${yaml:[1, 2]}", &[]), "[1, 2]|\"[1, 2]\"");
}

#[test]
fn a_reference_inside_a_text_makes_a_text() {
    let variables = [("N", "0123"), ("S", "\"q\""), ("E", "")];
    assert_eq!(expanded("a${env:N}b${env:N}", &variables), "\"a0123b0123\"");
    assert_eq!(expanded("x${env:S}${env:E}${env:UNSET}", &variables), "\"x\\\"q\\\"\"");
    assert_eq!(expanded("[\"${env:N}\", \"x ${N}\"]", &variables), "[83|\"0123\", \"x 0123\"]");
}

#[test]
fn dollars_escape() {
    let variables = [("A", "va"), ("B", "vb")];
    for (text, want) in [
        ("$$FOO", "$FOO"),
        ("$${A}", "${A}"),
        ("$$${A}", "$va"),
        ("$$$$X", "$$X"),
        ("text$$", "text$"),
        ("$$$", "$$"),
        ("$X", "$X"),
        ("$", "$"),
        ("$${A} ${B}", "${A} ${B}"),
        ("${A} $${B}", "va ${B}"),
        ("$${env:${A}}", "${env:va}"),
    ] {
        assert_eq!(expanded(text, &variables), format!("{want:?}"), "{text}");
    }
    assert_eq!(expanded("${A}", &[("A", "x$$y")]), "\"x$y\"", "values from providers too");
}

#[test]
fn references_nest_and_expand_again() {
    let variables =
        [("NAME", "DEEP"), ("DEEP", "${env:LAST}"), ("LAST", "9"), ("MAP", "{x: \"${env:LAST}\"}")];
    assert_eq!(expanded("${env:${env:NAME}}", &variables), "9|\"9\"");
    assert_eq!(expanded("${env:MAP}", &variables), "{x: 9|\"9\"}|\"{x: \\\"9\\\"}\"");
    assert_eq!(expanded("${env:T}", &[("T", "true # ${bad:x}")]), "true", "the text form fails alone");
}

#[test]
fn what_cannot_be_expanded_is_an_error() {
    for (text, want) in [
        ("${NAME:-x}", "scheme \"NAME\" is not supported for uri \"NAME:-x\""),
        ("${MY_VAR:-x}", "invalid uri: \"MY_VAR:-x\""),
        ("${env:A$B}", "the uri \"env:A$B\" contains unsupported characters ('$')"),
        (
            "${env:1A}",
            "environment variable \"1A\" has invalid name: must match regex ^[a-zA-Z_][a-zA-Z0-9_]*$",
        ),
        ("${}", "environment variable \"\" has invalid name: must match regex ^[a-zA-Z_][a-zA-Z0-9_]*$"),
    ] {
        assert_eq!(expanded(text, &[]), format!("error: {want}"));
    }
}

#[test]
fn expansion_ends() {
    let again = "too many recursive expansions: the last was ${env:A}";
    assert_eq!(expanded("${env:A}", &[("A", "${env:A}")]), format!("error: {again}"));
    assert_eq!(expanded("x${env:A}", &[("A", "${env:A}")]), format!("error: {again}"));
    let doubles = expanded("x${env:A}", &[("A", "${env:A}${env:A}")]);
    assert!(doubles.contains("expand to more than"), "{doubles}");
    let deep = expanded("${env:A}", &[("A", "{x: \"${env:A}\"}")]);
    assert!(deep.contains("deeper than"), "{}", &deep[..deep.len().min(200)]);
    let wide = expanded("${env:A}", &[("A", "[\"${env:A}\", \"${env:A}\"]")]);
    assert!(wide.starts_with("error"), "{}", &wide[..wide.len().min(200)]);
}

#[test]
fn variables_without_value_are_told_once() {
    let document = loaded(&["yaml:a: ${U}\nb: ${U}\nc: x${E}\nd: ${U:-}"], &[], &[("E", "")]);
    assert!(document.is_err(), "a default needs its scheme");
    let document = loaded(&["yaml:a: ${U}\nb: ${U}\nc: x${E}\nd: ${env:D:-}"], &[], &[("E", "")]).unwrap();
    let warnings: Vec<_> =
        document.warnings().iter().map(|w| (w.path.as_str(), w.message.as_str())).collect();
    assert_eq!(
        warnings,
        [
            ("a", "Configuration references unset environment variable \"U\""),
            ("c", "Configuration references empty environment variable \"E\"")
        ]
    );
}

#[test]
fn an_overridden_reference_is_never_resolved() {
    assert_eq!(root(&["yaml:a: ${nope:x}", "yaml:a: 1"], &[], &[]), "{a: 1}");
}

proptest::proptest! {
    // Some of these expand up to the bound, which takes a while.
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(64))]

    #[test]
    fn expansion_of_anything_ends(
        text in "([a$]|\\$\\{(env:)?[AB](:-b)?\\}|\\$\\{env:\\$\\{A\\}\\}|[\\[\\],{}: ]){0,12}",
        a in "([AB1$]|\\$\\{(env:)?[AB]\\}|[\\[\\],]|\\{x: ){0,6}",
        b in "([AB1$]|\\$\\{(env:)?[AB]\\}|[\\[\\],]|: ){0,6}",
    ) {
        let _ = root(&[&format!("yaml:v: {text}")], &[], &[("A", &a), ("B", &b)]);
    }

    #[test]
    fn no_arguments_panic(config in "\\PC{0,40}", set in "\\PC{0,40}") {
        let _ = root(&[&format!("yaml:{config}")], &[&set], &[]);
    }
}
