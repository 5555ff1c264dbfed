//! `env`: attributes that a variable of the environment holds.

use spanbridge_pdata::Value;

use crate::config::EnvConfig;
use crate::found::Found;
use crate::world::World;

/// The variable, and its former name.
const VARIABLES: [&str; 2] = ["OTEL_RESOURCE_ATTRIBUTES", "OTEL_RESOURCE"];
/// Longest key and value.
const LENGTH_MAX: usize = 256;

pub(super) fn detect(config: &EnvConfig, world: &World) -> Result<Found, String> {
    let text = VARIABLES.iter().filter_map(|name| world.variable(name)).find(|text| !text.trim().is_empty());
    let Some(text) = text else { return Ok(Found::default()) };
    let mut found: Vec<(String, Value)> = Vec::new();
    for (key, value) in parse(text.trim())? {
        if config.allowlist.as_ref().is_some_and(|allowed| !allowed.contains(&key)) {
            continue;
        }
        match found.iter_mut().find(|(known, _)| *known == key) {
            Some(known) => known.1 = Value::Str(value),
            None => found.push((key, Value::Str(value))),
        }
    }
    Ok(Found(found))
}

/// `key=value` pairs with commas between them; values are percent-encoded.
fn parse(text: &str) -> Result<Vec<(String, String)>, String> {
    let text = text.strip_suffix(',').unwrap_or(text);
    text.split(',').map(|pair| parse_pair(text, pair)).collect()
}

fn parse_pair(text: &str, pair: &str) -> Result<(String, String), String> {
    let Some((key, value)) = pair.split_once('=') else {
        return Err(if text.contains('=') {
            format!("invalid resource format, invalid text: {pair:?}")
        } else {
            format!("invalid resource format: {text:?}")
        });
    };
    let (key, value) = (key.trim(), value.trim());
    let fits = |text: &str| text.is_ascii() && text.len() <= LENGTH_MAX;
    if key.is_empty() || !fits(key) || !fits(value) {
        return Err(format!("invalid resource format, invalid text: {pair:?}"));
    }
    let value = decode(value)
        .ok_or_else(|| format!("invalid resource format in attribute: {pair:?}, err: invalid URL escape"))?;
    Ok((key.to_owned(), value))
}

/// Undoes what forms do to values: `+` and `%20`.
fn decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes().iter();
    while let Some(byte) = rest.next() {
        match byte {
            b'+' => bytes.push(b' '),
            b'%' => {
                let digit = |byte: &u8| char::from(*byte).to_digit(16);
                let value = digit(rest.next()?)? * 16 + digit(rest.next()?)?;
                bytes.push(u8::try_from(value).ok()?);
            }
            byte => bytes.push(*byte),
        }
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn found(text: &str, allowlist: Option<&[&str]>) -> Result<Vec<(String, String)>, String> {
        let world = World::made_up(std::path::Path::new("/nowhere"), &[(VARIABLES[0], text)]);
        let allowlist = allowlist.map(|keys| keys.iter().map(ToString::to_string).collect());
        let pairs = detect(&EnvConfig { allowlist }, &world)?.0.into_iter();
        Ok(pairs
            .map(|(key, value)| (key, if let Value::Str(text) = value { text } else { String::new() }))
            .collect())
    }

    fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn pairs_are_read_with_their_spaces_gone_and_their_values_decoded() {
        let text = " k8s.pod.uid = abc , path=a%2Fb+c, empty=, equals=a=b,twice=1,twice=2,";
        let expected =
            [("k8s.pod.uid", "abc"), ("path", "a/b c"), ("empty", ""), ("equals", "a=b"), ("twice", "2")];
        assert_eq!(found(text, None).unwrap(), pairs(&expected));
        assert_eq!(found("a=1,b=2", Some(&["b"])).unwrap(), pairs(&[("b", "2")]));
        assert_eq!(found("a=1,b=2", Some(&[])).unwrap(), []);
        assert_eq!(found(" ", None).unwrap(), []);
    }

    #[test]
    fn what_is_no_pair_is_refused_with_the_references_words() {
        for (text, error) in [
            ("nonsense", "invalid resource format: \"nonsense\""),
            ("a=1,b", "invalid resource format, invalid text: \"b\""),
            ("=1", "invalid resource format, invalid text: \"=1\""),
            ("a=%zz", "invalid resource format in attribute: \"a=%zz\", err: invalid URL escape"),
            ("a=%2", "invalid resource format in attribute: \"a=%2\", err: invalid URL escape"),
        ] {
            assert_eq!(found(text, None).unwrap_err(), error);
        }
        assert!(found(&format!("a={}", "x".repeat(300)), None).is_err());
    }

    #[test]
    fn the_former_variable_counts_when_the_other_one_is_not_set() {
        let world = World::made_up(std::path::Path::new("/nowhere"), &[("OTEL_RESOURCE", "a=1")]);
        assert_eq!(detect(&EnvConfig::default(), &world).unwrap().0.len(), 1);
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "\\PC{0,40}") {
            let _ = parse(&text);
        }

        #[test]
        fn what_is_encoded_comes_back(value in "[ -~é]{0,80}") {
            let encoded: Vec<String> = value.bytes().map(|byte| format!("%{byte:02X}")).collect();
            let encoded = encoded.concat();
            let read = parse(&format!("key={encoded}"));
            if encoded.len() <= LENGTH_MAX {
                prop_assert_eq!(read.unwrap(), vec![("key".to_owned(), value)]);
            } else {
                prop_assert!(read.is_err());
            }
        }
    }
}
