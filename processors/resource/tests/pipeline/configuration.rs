//! What is refused, where, and with which text.

use resource_processor::Factory;
use spanbridge_component::{Problems, ProcessorFactory, Validate};
use spanbridge_testkit::Sink;

use crate::harness::config;

/// Each wrong action, by itself.
const WRONG: &str = "\
- {key: k, action: isnert, value: 1}
- {key: k, value: 1}
- {action: insert, value: 1}
- {key: k, action: insert}
- {key: k, action: update, value: 1, from_attribute: a}
- {key: k, action: update, from_context: c, from_attribute: a}
- {key: k, action: upsert, value: 1, pattern: p}
- {key: k, action: upsert, value: 1, converted_type: int}
- {action: delete}
- {key: k, action: delete, value: 1}
- {key: k, action: delete, from_context: c}
- {key: k, action: delete, default_value: 1}
- {key: k, action: delete, converted_type: int}
- {action: hash, pattern: '('}
- {key: k, action: hash, from_attribute: a}
- {key: k, action: extract}
- {action: extract, pattern: '(?P<a>x)'}
- {key: k, action: extract, pattern: '(?P<a>x)', value: 1}
- {key: k, action: extract, pattern: '(?P<a>x)', converted_type: int}
- {key: k, action: extract, pattern: x}
- {key: k, action: extract, pattern: '(?P<a>x)(y)'}
- {key: k, action: extract, pattern: '(?P<a>x'}
- {key: k, action: convert}
- {key: k, action: convert, converted_type: integer}
- {key: k, action: convert, converted_type: int, value: 1}
- {key: k, action: convert, converted_type: int, pattern: p}
";

fn problems(yaml: &str) -> String {
    let mut problems = Problems::new();
    config(yaml).validate(&mut problems);
    let line = |problem: spanbridge_component::Problem| {
        let help = problem.help.map(|help| format!("\n    help: {}", help.replace('\n', "\n    ")));
        format!("{}: {}{}", problem.path.join("."), problem.message, help.unwrap_or_default())
    };
    problems.into_found().into_iter().map(line).collect::<Vec<_>>().join("\n")
}

#[test]
fn every_wrong_action_is_reported_where_it_stands() {
    insta::assert_snapshot!(problems(&format!("attributes:\n{WRONG}")));
}

#[test]
fn no_action_at_all_is_refused() {
    assert_eq!(problems("attributes: []"), "attributes: missing required field \"attributes\"");
    assert_eq!(problems("{}"), "attributes: missing required field \"attributes\"");
}

#[test]
fn what_validation_refuses_is_not_created_either() {
    let created = Factory.create(
        spanbridge_testkit::settings("resource"),
        config("attributes: [{key: k, action: none}]"),
        Sink::new(),
    );
    let error = created.err().map(|error| error.to_string());
    let expected = "error creating AttrProc due to unsupported action \"none\" at the 0-th actions";
    assert_eq!(error.as_deref(), Some(expected));
}

#[test]
fn the_examples_are_valid() {
    for yaml in
        [include_str!("../../testdata/every_action.yaml"), include_str!("../../testdata/minimal.yaml")]
    {
        assert_eq!(problems(yaml), "");
    }
}
