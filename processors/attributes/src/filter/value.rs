//! Values, compared with those of a configuration.

use std::fmt::Write as _;

use spanbridge_pdata::{Value, ValueRef};

/// Whether a value is `expected`: of the same type and equal. The order of a map's pairs does not matter.
///
/// Recursion is bounded by the depth of the value in the configuration.
pub(crate) fn same(expected: &Value, value: &ValueRef<'_>) -> bool {
    match (expected, value) {
        (Value::Empty, ValueRef::Empty) => true,
        (Value::Str(a), ValueRef::Str(b)) => a == b,
        (Value::Bool(a), ValueRef::Bool(b)) => a == b,
        (Value::Int(a), ValueRef::Int(b)) => a == b,
        #[expect(clippy::float_cmp, reason = "a value is meant exactly as it is written")]
        (Value::Double(a), ValueRef::Double(b)) => a == b,
        (Value::Bytes(a), ValueRef::Bytes(b)) => a == b,
        (Value::List(a), ValueRef::List(b)) => {
            b.iter().count() == a.len() && a.iter().zip(b.iter()).all(|(a, b)| same(a, &b))
        }
        (Value::Map(a), ValueRef::Map(b)) => {
            b.iter().count() == a.len() && a.iter().all(|(key, a)| b.get(key).is_some_and(|b| same(a, &b)))
        }
        _ => false,
    }
}

/// Puts a bool or number as a text into `text`; says whether the value is one. Numbers have no exponent.
pub(crate) fn put_text(value: &ValueRef<'_>, text: &mut String) -> bool {
    text.clear();
    // Writing to a text does not fail.
    let written = match value {
        ValueRef::Bool(value) => write!(text, "{value}"),
        ValueRef::Int(number) => write!(text, "{number}"),
        ValueRef::Double(number) if number.is_infinite() => {
            write!(text, "{}", if *number > 0.0 { "+Inf" } else { "-Inf" })
        }
        ValueRef::Double(number) => write!(text, "{number}"),
        _ => return false,
    };
    written.is_ok()
}

#[cfg(test)]
mod tests {
    use spanbridge_pdata::Attribute;

    use super::*;

    fn is_same(a: &Value, b: Value) -> bool {
        same(a, &Attribute::new("k", b).value())
    }

    #[test]
    fn values_are_the_same_when_their_types_are_too() {
        let values = || {
            [
                Value::Empty,
                Value::Str("1".into()),
                Value::Str(String::new()),
                Value::Bool(true),
                Value::Int(1),
                Value::Double(1.0),
                Value::Bytes(vec![1]),
                Value::List(vec![Value::Int(1)]),
                Value::List(vec![]),
                Value::Map(vec![("a".into(), Value::Int(1))]),
            ]
        };
        for (i, a) in values().iter().enumerate() {
            for (j, b) in values().into_iter().enumerate() {
                assert_eq!(is_same(a, b.clone()), i == j, "{a:?} {b:?}");
            }
        }
    }

    #[test]
    fn maps_are_the_same_in_any_order_and_lists_are_not() {
        let pair = |key: &str, number| (key.to_owned(), Value::Int(number));
        let map = |pairs: &[(String, Value)]| Value::Map(pairs.to_vec());
        let ab = map(&[pair("a", 1), pair("b", 2)]);
        assert!(is_same(&ab, map(&[pair("b", 2), pair("a", 1)])));
        assert!(!is_same(&ab, map(&[pair("a", 1)])));
        assert!(!is_same(&map(&[pair("a", 1)]), ab));
        let list = |numbers: [i64; 2]| Value::List(numbers.map(Value::Int).to_vec());
        assert!(!is_same(&list([1, 2]), list([2, 1])));
    }

    #[test]
    fn numbers_are_written_without_an_exponent() {
        for (value, expected) in [
            (ValueRef::Bool(false), "false"),
            (ValueRef::Int(-7), "-7"),
            (ValueRef::Double(200.0), "200"),
            (ValueRef::Double(1e21), "1000000000000000000000"),
            (ValueRef::Double(1.5e-7), "0.00000015"),
            (ValueRef::Double(f64::NAN), "NaN"),
            (ValueRef::Double(f64::INFINITY), "+Inf"),
            (ValueRef::Double(f64::NEG_INFINITY), "-Inf"),
        ] {
            let mut text = "what was there".to_owned();
            assert!(put_text(&value, &mut text));
            assert_eq!(text, expected);
        }
        assert!(!put_text(&ValueRef::Bytes(b"a"), &mut String::new()));
        assert!(!put_text(&ValueRef::Empty, &mut String::new()));
    }
}
