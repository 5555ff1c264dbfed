//! A signed token (JWS in compact form, RFC 7515), before it is known whether to believe it.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};

use crate::algorithm::Algorithm;
use crate::json;

/// Longest token that is looked at.
pub(crate) const TOKEN_BYTES_MAX: usize = 16 * 1024;

/// A token of the right form. Nothing of it is verified.
#[derive(Debug)]
pub(crate) struct Token<'a> {
    pub(crate) algorithm: Algorithm,
    /// The key that it names.
    pub(crate) key_id: Option<String>,
    pub(crate) claims: Map<String, Value>,
    /// What the signature is of.
    pub(crate) message: &'a [u8],
    pub(crate) signature: Vec<u8>,
}

impl<'a> Token<'a> {
    /// Takes a token apart.
    ///
    /// # Errors
    /// Why it is none, or none that could be believed.
    pub(crate) fn parse(raw: &'a str) -> Result<Self, &'static str> {
        if raw.len() > TOKEN_BYTES_MAX {
            return Err("the token is longer than 16384 bytes");
        }
        let mut parts = raw.split('.');
        let (Some(header), Some(payload), Some(signature), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err("the token is no signed JWT: it does not have three parts");
        };
        let message = &raw.as_bytes()[..header.len() + 1 + payload.len()];
        // The decoder takes no padding and no stray bits: a token has one form.
        let decode = |part: &str| {
            URL_SAFE_NO_PAD.decode(part).map_err(|_| "the token is no signed JWT: a part is not base64url")
        };
        let header = json::object(&decode(header)?).map_err(|_| "the header of the token is malformed")?;
        let algorithm = header.get("alg").and_then(Value::as_str).unwrap_or_default();
        let algorithm = Algorithm::named(algorithm).ok_or(match algorithm {
            "none" => "the token is not signed",
            "HS256" | "HS384" | "HS512" => {
                "the token is signed with a shared secret (HMAC), not with a key of the issuer"
            }
            _ => "the token is signed with an algorithm that is not supported",
        })?;
        // Extensions that have to be understood (RFC 7515, 4.1.11); there are none here.
        if header.contains_key("crit") {
            return Err("the token has critical extensions, which are not supported");
        }
        let key_id = match header.get("kid") {
            None => None,
            Some(Value::String(id)) => Some(id.clone()),
            Some(_) => return Err("the header of the token is malformed"),
        };
        let claims = json::object(&decode(payload)?).map_err(|_| "the claims of the token are malformed")?;
        Ok(Self { algorithm, key_id, claims, message, signature: decode(signature)? })
    }

    /// Who says to have issued it.
    pub(crate) fn issuer(&self) -> &str {
        self.claims.get("iss").and_then(Value::as_str).unwrap_or_default()
    }
}
