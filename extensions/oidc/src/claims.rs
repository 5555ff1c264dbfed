//! What a token says, once its signature is right: whether it is for us and for now, and who it is about.

use std::time::{Duration, SystemTime};

use serde_json::{Map, Value};
use spanbridge_component::{AuthAttributes, AuthValue};

use crate::ProviderConfig;

/// How far the issuer's clock may be ahead, as in the Go collector.
const LEEWAY_SECONDS: f64 = 300.0;
/// Longest piece of a token in an error.
const SHOWN_MAX: usize = 200;
/// Groups that are kept of a token.
const GROUPS_MAX: usize = 1000;

/// Why a token is not good, in words for the client and in sorts for the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mistake {
    pub(crate) message: String,
    pub(crate) reason: &'static str,
}

impl Mistake {
    fn new(reason: &'static str) -> Self {
        Self { message: format!("failed to verify token: {reason}"), reason }
    }

    fn with(reason: &'static str, more: &str) -> Self {
        let more: String = more.chars().filter(|c| !c.is_control()).take(SHOWN_MAX).collect();
        Self { message: format!("failed to verify token: {reason}: {more}"), reason }
    }
}

/// When a token is good no longer.
///
/// # Errors
/// If it is not good now, or not for us.
pub(crate) fn check(
    config: &ProviderConfig,
    claims: &Map<String, Value>,
    now: SystemTime,
) -> Result<SystemTime, Mistake> {
    let issuer = claims.get("iss").and_then(Value::as_str).unwrap_or_default();
    if issuer != config.issuer_url && !config.ignore_issuer {
        let more = format!("expected \"{}\", got \"{issuer}\"", config.issuer_url);
        return Err(Mistake::with("the token is of another issuer", &more));
    }
    if !config.ignore_audience && !is_for(&config.audience, claims.get("aud")) {
        let got = claims.get("aud").map(Value::to_string).unwrap_or_default();
        let more = format!("expected \"{}\", got {got}", config.audience);
        return Err(Mistake::with("the token is for another audience", &more));
    }
    let seconds = now.duration_since(SystemTime::UNIX_EPOCH).map_or(0.0, |passed| passed.as_secs_f64());
    let time = |name: &str| match claims.get(name) {
        None => Ok(None),
        Some(Value::Number(number)) => Ok(number.as_f64()),
        Some(_) => Err(Mistake::new("a time in the token is not a number")),
    };
    let Some(end) = time("exp")? else { return Err(Mistake::new("the token does not say when it ends")) };
    if end <= seconds {
        return Err(Mistake::new("the token has expired"));
    }
    if time("nbf")?.is_some_and(|begin| begin > seconds + LEEWAY_SECONDS) {
        return Err(Mistake::new("the token is not valid yet; are the clocks right?"));
    }
    if time("iat")?.is_some_and(|issued| issued > seconds + LEEWAY_SECONDS) {
        return Err(Mistake::new("the token was issued in the future; are the clocks right?"));
    }
    // Far ahead is as good as any day.
    let left = Duration::try_from_secs_f64(end - seconds).unwrap_or(LIFE_SHOWN_MAX).min(LIFE_SHOWN_MAX);
    Ok(now + left)
}

/// A token that lives longer is looked at again after this long.
const LIFE_SHOWN_MAX: Duration = Duration::from_secs(24 * 3600);

fn is_for(audience: &str, claim: Option<&Value>) -> bool {
    match claim {
        Some(Value::String(one)) => one == audience,
        Some(Value::Array(several)) => several.iter().any(|one| one.as_str() == Some(audience)),
        _ => false,
    }
}

/// What later components see of a client, but for the token.
///
/// # Errors
/// If a claim is missing that the configuration names.
pub(crate) fn attributes(
    config: &ProviderConfig,
    claims: &Map<String, Value>,
) -> Result<AuthAttributes, Mistake> {
    let subject = subject(config, claims)?;
    let groups = groups(config, claims)?;
    let mut attributes =
        AuthAttributes::new().with("subject", subject).with_value("membership", AuthValue::List(groups));
    for (name, value) in claims {
        attributes = attributes.with_value(format!("claims.{name}"), attribute(value));
    }
    Ok(attributes)
}

fn subject(config: &ProviderConfig, claims: &Map<String, Value>) -> Result<String, Mistake> {
    let failed = |reason| Mistake {
        message: format!("failed to get subject from claims in the token: {reason}"),
        reason,
    };
    if config.username_claim.is_empty() {
        return Ok(claims.get("sub").and_then(Value::as_str).unwrap_or_default().to_owned());
    }
    match claims.get(&config.username_claim) {
        Some(Value::String(name)) => Ok(name.clone()),
        Some(_) => Err(failed("the username returned by the OIDC provider isn't a regular string")),
        None => Err(failed(
            "username claim from the OIDC configuration not found on the token returned by the OIDC provider",
        )),
    }
}

fn groups(config: &ProviderConfig, claims: &Map<String, Value>) -> Result<Vec<String>, Mistake> {
    if config.groups_claim.is_empty() {
        return Ok(Vec::new());
    }
    let reason =
        "groups claim from the OIDC configuration not found on the token returned by the OIDC provider";
    match claims.get(&config.groups_claim) {
        None => Err(Mistake {
            message: format!("failed to get groups from claims in the token: {reason}"),
            reason,
        }),
        Some(Value::String(one)) => Ok(vec![one.clone()]),
        Some(Value::Array(several)) => Ok(several.iter().take(GROUPS_MAX).map(text).collect()),
        Some(_) => Ok(Vec::new()),
    }
}

fn attribute(value: &Value) -> AuthValue {
    match value {
        Value::Array(list) => AuthValue::List(list.iter().take(GROUPS_MAX).map(text).collect()),
        other => AuthValue::Text(text(other)),
    }
}

fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;
    use spanbridge_component::AuthData as _;

    use super::*;

    const NOW: u64 = 1_800_000_000;

    fn config() -> ProviderConfig {
        ProviderConfig {
            issuer_url: "https://issuer.example".to_owned(),
            audience: "spans".to_owned(),
            ..ProviderConfig::default()
        }
    }

    fn now() -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(NOW)
    }

    fn checked(config: &ProviderConfig, change: &Value) -> Result<SystemTime, &'static str> {
        let mut claims = json!({"iss": "https://issuer.example", "aud": "spans", "exp": NOW + 60});
        for (name, value) in change.as_object().unwrap() {
            claims[name] = value.clone();
        }
        check(config, claims.as_object().unwrap(), now()).map_err(|mistake| mistake.reason)
    }

    #[test]
    fn a_token_is_good_for_its_audience_in_its_time() {
        for change in [
            json!({}),
            json!({"aud": ["other", "spans"]}),
            json!({"nbf": NOW + 299, "iat": NOW + 299}),
            json!({"exp": 1_800_000_000.5}),
        ] {
            assert!(checked(&config(), &change).is_ok(), "{change}");
        }
        assert_eq!(checked(&config(), &json!({})), Ok(now() + Duration::from_secs(60)));
        assert_eq!(checked(&config(), &json!({"exp": 1e300})), Ok(now() + LIFE_SHOWN_MAX));
    }

    #[test]
    fn everything_else_is_refused_with_its_reason() {
        for (change, reason) in [
            (json!({"iss": "https://issuer.example/"}), "the token is of another issuer"),
            (json!({"iss": 1}), "the token is of another issuer"),
            (json!({"aud": "other"}), "the token is for another audience"),
            (json!({"aud": []}), "the token is for another audience"),
            (json!({"aud": {"spans": 1}}), "the token is for another audience"),
            (json!({"aud": null}), "the token is for another audience"),
            (json!({"exp": NOW}), "the token has expired"),
            (json!({"exp": -1}), "the token has expired"),
            (json!({"exp": "4000000000"}), "a time in the token is not a number"),
            (json!({"exp": null}), "a time in the token is not a number"),
            (json!({"nbf": NOW + 301}), "the token is not valid yet; are the clocks right?"),
            (json!({"nbf": "0"}), "a time in the token is not a number"),
            (json!({"iat": NOW + 301}), "the token was issued in the future; are the clocks right?"),
        ] {
            assert_eq!(checked(&config(), &change), Err(reason), "{change}");
        }
        let claims = json!({"iss": "https://issuer.example", "aud": "spans"});
        let mistake = check(&config(), claims.as_object().unwrap(), now()).unwrap_err();
        assert_eq!(mistake.message, "failed to verify token: the token does not say when it ends");
    }

    #[test]
    fn what_is_to_be_ignored_is_ignored() {
        let config = ProviderConfig { ignore_audience: true, ignore_issuer: true, ..config() };
        assert!(checked(&config, &json!({"aud": "other", "iss": "other"})).is_ok());
        assert!(checked(&config, &json!({"exp": NOW})).is_err());
    }

    #[test]
    fn later_components_see_who_it_is() {
        let config = ProviderConfig {
            username_claim: "email".to_owned(),
            groups_claim: "roles".to_owned(),
            ..config()
        };
        let claims = json!({"sub": "1", "email": "a@b", "roles": ["x", 7], "n": 1, "tenant": "acme"});
        let data = attributes(&config, claims.as_object().unwrap()).unwrap();
        let text = |text: &str| Some(AuthValue::Text(text.to_owned()));
        assert!(data.attribute("subject") == text("a@b"));
        assert!(data.attribute("membership") == Some(AuthValue::List(vec!["x".into(), "7".into()])));
        assert!(data.attribute("claims.tenant") == text("acme") && data.attribute("claims.n") == text("1"));
        for (missing, message) in [("email", "username claim"), ("roles", "groups claim")] {
            let mut claims = claims.as_object().unwrap().clone();
            claims.remove(missing);
            let mistake = attributes(&config, &claims).unwrap_err();
            assert!(mistake.message.contains(message), "{}", mistake.message);
        }
    }

    proptest! {
        #[test]
        fn times_of_any_kind_are_judged_without_panic(exp in any::<f64>(), nbf in any::<f64>()) {
            let claims = json!({"iss": "https://issuer.example", "aud": "spans", "exp": exp, "nbf": nbf});
            if let Ok(until) = check(&config(), claims.as_object().unwrap(), now()) {
                prop_assert!(until > now() || exp - 1_800_000_000.0 < 1e-6);
            }
        }
    }
}
