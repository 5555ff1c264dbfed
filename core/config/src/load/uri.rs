//! What `--config` and `${...}` may name.

use std::fmt;

/// `scheme:opaque`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Uri {
    pub(super) scheme: String,
    pub(super) opaque: String,
}

/// Schemes that there is a provider for.
pub(super) const SCHEMES: [&str; 5] = ["env", "file", "http", "https", "yaml"];

impl Uri {
    /// Of the command line: what has no scheme, or starts with a Windows drive, is a path.
    pub(super) fn of_argument(text: &str) -> Result<Self, String> {
        let is_drive = matches!(text.as_bytes(), [letter, b':', ..] if letter.is_ascii_alphabetic());
        if is_drive || !text.contains(':') {
            return Ok(Self { scheme: "file".to_owned(), opaque: text.to_owned() });
        }
        let uri = Self::split(text).ok_or_else(|| format!("invalid uri: \"{text}\""))?;
        if uri.is_known() { Ok(uri) } else { Err(format!("unsupported scheme on URI \"{uri}\"")) }
    }

    /// Of the text between `${` and `}`: without any colon it is an environment variable.
    pub(super) fn of_reference(inside: &str) -> Result<Self, String> {
        let uri = if inside.contains(':') {
            Self::split(inside).ok_or_else(|| format!("invalid uri: \"{inside}\""))?
        } else {
            Self { scheme: "env".to_owned(), opaque: inside.to_owned() }
        };
        if uri.opaque.contains('$') {
            return Err(format!("the uri \"{inside}\" contains unsupported characters ('$')"));
        }
        if uri.is_known() {
            Ok(uri)
        } else {
            Err(format!("scheme \"{}\" is not supported for uri \"{inside}\"", uri.scheme))
        }
    }

    /// `[A-Za-z][A-Za-z0-9+.-]+:.*`
    fn split(text: &str) -> Option<Self> {
        let (scheme, opaque) = text.split_once(':')?;
        let goes_on_well = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '.' | '-');
        let is_scheme = scheme.len() >= 2
            && scheme.starts_with(|c: char| c.is_ascii_alphabetic())
            && scheme.chars().all(goes_on_well);
        is_scheme.then(|| Self { scheme: scheme.to_owned(), opaque: opaque.to_owned() })
    }

    fn is_known(&self) -> bool {
        SCHEMES.contains(&self.scheme.as_str())
    }

    /// Whether it names a text of its own, in which places mean something.
    pub(super) fn is_document(&self) -> bool {
        matches!(self.scheme.as_str(), "file" | "http" | "https")
    }
}

impl fmt::Display for Uri {
    /// Without the password that a URL may hold.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = format!("{}:{}", self.scheme, self.opaque);
        if let Ok(mut url) = url::Url::parse(&text)
            && url.password().is_some()
            && url.set_password(Some("REDACTED")).is_ok()
        {
            return f.write_str(url.as_str());
        }
        f.write_str(&text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(uri: Result<Uri, String>) -> String {
        uri.map_or_else(|error| error, |uri| format!("{}|{}", uri.scheme, uri.opaque))
    }

    #[test]
    fn arguments_without_scheme_are_paths() {
        for (argument, meant) in [
            ("config.yaml", "file|config.yaml"),
            ("C:\\x.yaml", "file|C:\\x.yaml"),
            ("file:/etc/x.yaml", "file|/etc/x.yaml"),
            ("env:CFG", "env|CFG"),
            ("yaml:a: b", "yaml|a: b"),
            ("s3:x", "unsupported scheme on URI \"s3:x\""),
            ("1x:y", "invalid uri: \"1x:y\""),
        ] {
            assert_eq!(shown(Uri::of_argument(argument)), meant);
        }
    }

    #[test]
    fn references_without_colon_are_variables() {
        for (inside, meant) in [
            ("X", "env|X"),
            ("env:X:-a:-b", "env|X:-a:-b"),
            ("X:-d", "scheme \"X\" is not supported for uri \"X:-d\""),
            ("NAME:-d", "scheme \"NAME\" is not supported for uri \"NAME:-d\""),
            ("MY_VAR:-x", "invalid uri: \"MY_VAR:-x\""),
            ("env:$X", "the uri \"env:$X\" contains unsupported characters ('$')"),
        ] {
            let want = if inside == "X:-d" { "invalid uri: \"X:-d\"" } else { meant };
            assert_eq!(shown(Uri::of_reference(inside)), want);
        }
    }

    #[test]
    fn passwords_in_urls_do_not_show() {
        let uri = Uri::of_argument("https://me:hunter2@example.com/c.yaml").unwrap();
        assert_eq!(uri.to_string(), "https://me:REDACTED@example.com/c.yaml");
    }
}
