//! Sets of public keys (JWKS, RFC 7517).

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};

use crate::algorithm::{Algorithm, PublicKey};
use crate::json;

/// Keys of one set.
const KEYS_MAX: usize = 64;
/// Keys that are tried for one token. Anybody can send one that names no key, and each try is a verification.
const TRIED_MAX: usize = 8;

/// The keys of an issuer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct KeySet {
    keys: Vec<Key>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Key {
    id: Option<String>,
    /// The only algorithm that it is for, if the set says so.
    algorithm: Option<Algorithm>,
    public: PublicKey,
}

/// What a set of keys says about a signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// One of the keys has made it.
    Right,
    /// The keys that could have made it have not.
    Wrong,
    /// There is no key of this id.
    UnknownKey,
}

impl KeySet {
    /// Reads a set. Keys of other types, for encryption and such that are malformed are left out.
    ///
    /// # Errors
    /// If it is none, or no key of it can be used.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, String> {
        let set = json::object(bytes).map_err(|error| format!("no key set (JWKS): {error}"))?;
        let Some(Value::Array(list)) = set.get("keys") else {
            return Err("no key set (JWKS): it has no list \"keys\"".to_owned());
        };
        if list.len() > KEYS_MAX {
            return Err(format!("the key set has {} keys, more than {KEYS_MAX}", list.len()));
        }
        let keys: Vec<_> = list.iter().filter_map(|key| Key::read(key.as_object()?)).collect();
        if keys.is_empty() {
            return Err(
                "contains no supported keys (supported types are RSA of 2048 to 8192 bits, ECDSA P-256 and P-384, and \
                 ED25519)"
                    .to_owned(),
            );
        }
        Ok(Self { keys })
    }

    /// How many keys can be used.
    pub(crate) fn len(&self) -> usize {
        self.keys.len()
    }

    /// Judges a signature; `id` is the key that the token names. With `any_id` the others are tried after it, whatever they
    /// are called.
    pub(crate) fn verify(
        &self,
        id: Option<&str>,
        any_id: bool,
        algorithm: Algorithm,
        message: &[u8],
        signature: &[u8],
    ) -> Verdict {
        let is_named = |key: &&Key| id.is_none() || key.id.as_deref() == id;
        let others = self.keys.iter().filter(|key| any_id && !is_named(key));
        let mut candidates = self.keys.iter().filter(is_named).chain(others).peekable();
        if candidates.peek().is_none() {
            return Verdict::UnknownKey;
        }
        let right = candidates
            .filter(|key| key.algorithm.is_none_or(|only| only == algorithm) && key.public.fits(algorithm))
            .take(TRIED_MAX)
            .any(|key| key.public.verify(algorithm, message, signature));
        match (right, id) {
            (true, _) => Verdict::Right,
            // A token that names no key may be of one that is not here yet.
            (false, None) if !any_id => Verdict::UnknownKey,
            (false, _) => Verdict::Wrong,
        }
    }
}

impl Key {
    fn read(key: &Map<String, Value>) -> Option<Self> {
        let text = |name: &str| key.get(name).and_then(Value::as_str);
        if text("use").is_some_and(|purpose| purpose != "sig") {
            return None;
        }
        if let Some(operations) = key.get("key_ops") {
            operations.as_array()?.iter().find(|operation| operation.as_str() == Some("verify"))?;
        }
        let bytes = |name: &str| URL_SAFE_NO_PAD.decode(text(name)?).ok();
        let point = |length: usize| {
            let (x, y) = (bytes("x")?, bytes("y")?);
            (x.len() == length && y.len() == length).then(|| [&[4], &x[..], &y[..]].concat())
        };
        let public = match (text("kty")?, text("crv")) {
            ("RSA", None) => rsa(&bytes("n")?, bytes("e")?)?,
            ("EC", Some("P-256")) => PublicKey::P256(point(32)?),
            ("EC", Some("P-384")) => PublicKey::P384(point(48)?),
            ("OKP", Some("Ed25519")) => PublicKey::Ed25519(bytes("x").filter(|x| x.len() == 32)?),
            _ => return None,
        };
        // One that is for something else, such as encryption, or for an algorithm that does not fit it.
        let algorithm = match text("alg") {
            Some(name) => Some(Algorithm::named(name).filter(|only| public.fits(*only))?),
            None => None,
        };
        Some(Self { id: text("kid").map(str::to_owned), algorithm, public })
    }
}

/// Some writers put a zero in front, which `ring` does not take.
fn rsa(n: &[u8], e: Vec<u8>) -> Option<PublicKey> {
    let n: Vec<u8> = n.iter().copied().skip_while(|byte| *byte == 0).collect();
    let bits = n.len() * 8 - n.first()?.leading_zeros() as usize;
    (2048..=8192).contains(&bits).then_some(PublicKey::Rsa { n, e })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::signing::{Signer, jwks};

    #[test]
    fn keys_that_cannot_sign_here_are_left_out() {
        let x = URL_SAFE_NO_PAD.encode([7; 32]);
        let good = format!(r#"{{"kty":"OKP","crv":"Ed25519","x":"{x}","kid":"a"}}"#);
        for bad in [
            format!(r#"{{"kty":"OKP","crv":"Ed25519","x":"{x}","use":"enc"}}"#),
            format!(r#"{{"kty":"OKP","crv":"Ed25519","x":"{x}","key_ops":["sign"]}}"#),
            format!(r#"{{"kty":"OKP","crv":"Ed25519","x":"{x}","alg":"HS256"}}"#),
            format!(r#"{{"kty":"OKP","crv":"Ed25519","x":"{x}","alg":"RS256"}}"#),
            format!(r#"{{"kty":"OKP","crv":"X25519","x":"{x}"}}"#),
            format!(r#"{{"kty":"OKP","crv":"Ed25519","x":"{x}AA"}}"#),
            format!(r#"{{"kty":"EC","crv":"P-256","x":"{x}"}}"#),
            format!(r#"{{"kty":"oct","k":"{x}"}}"#),
            format!(r#"{{"kty":"RSA","n":"{x}","e":"AQAB"}}"#),
            r#"{"kty":"RSA","n":"","e":"AQAB"}"#.to_owned(),
            "{}".to_owned(),
            "1".to_owned(),
        ] {
            let both = format!(r#"{{"keys":[{bad},{good}]}}"#);
            assert_eq!(KeySet::parse(both.as_bytes()).unwrap().len(), 1, "{bad}");
            let alone = format!(r#"{{"keys":[{bad}]}}"#);
            assert!(KeySet::parse(alone.as_bytes()).unwrap_err().contains("no supported keys"), "{bad}");
        }
    }

    #[test]
    fn few_keys_are_tried_for_a_token_and_the_one_it_names_is_the_first() {
        let names: Vec<_> = (0..=TRIED_MAX).map(|number| number.to_string()).collect();
        let signers: Vec<_> = names.iter().map(|name| Signer::new(name)).collect();
        let keys = KeySet::parse(jwks(&signers.iter().collect::<Vec<_>>()).as_bytes()).unwrap();
        for (by, id, any_id, expected) in [
            (TRIED_MAX - 1, None, true, Verdict::Right),
            (TRIED_MAX, None, true, Verdict::Wrong),
            (TRIED_MAX, None, false, Verdict::UnknownKey),
            (TRIED_MAX, Some("8"), true, Verdict::Right),
            (TRIED_MAX, Some("8"), false, Verdict::Right),
            (TRIED_MAX, Some("absent"), true, Verdict::Wrong),
            (0, Some("absent"), true, Verdict::Right),
            (0, Some("absent"), false, Verdict::UnknownKey),
        ] {
            let token = signers[by].token_of(r#"{"alg":"ES256"}"#, "{}");
            let (message, signature) = token.rsplit_once('.').unwrap();
            let signature = URL_SAFE_NO_PAD.decode(signature).unwrap();
            let verdict = keys.verify(id, any_id, Algorithm::Es256, message.as_bytes(), &signature);
            assert_eq!(verdict, expected, "{by} {id:?} {any_id}");
        }
    }

    #[test]
    fn what_is_no_set_is_refused_with_its_reason() {
        assert!(KeySet::parse(b"<html>").unwrap_err().contains("not JSON"));
        assert!(KeySet::parse(b"{}").unwrap_err().contains("no list \"keys\""));
        let many = format!(r#"{{"keys":[{}1]}}"#, "1,".repeat(KEYS_MAX));
        assert!(KeySet::parse(many.as_bytes()).unwrap_err().contains("65 keys, more than 64"));
    }

    proptest! {
        #[test]
        fn no_set_makes_it_panic(n in "[A-Za-z0-9_=-]{0,400}", e in "[A-Za-z0-9_-]{0,8}", kty in "RSA|EC|OKP|oct") {
            let set = format!(r#"{{"keys":[{{"kty":"{kty}","n":"{n}","e":"{e}","x":"{n}","y":"{e}"}}]}}"#);
            if let Ok(keys) = KeySet::parse(set.as_bytes()) {
                prop_assert_ne!(keys.verify(None, true, Algorithm::Rs256, b"message", b"signature"), Verdict::Right);
            }
        }
    }
}
