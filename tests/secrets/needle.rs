//! What a secret looks like in a text that gives it away: as it is, inside of base64, in hex, as a list of bytes.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};

use crate::harness::say;

/// Letters and digits only: URL encoding, quoting and escaping leave such a text as it is.
const LETTERS: usize = 24;
/// Shorter pieces could be there by chance.
const PIECE_BYTES_MIN: usize = 12;

/// A random text that stands nowhere else.
pub(crate) fn secret() -> String {
    std::iter::repeat_with(fastrand::alphanumeric).take(LETTERS).collect()
}

/// Every form of every secret, with its name.
#[derive(Default)]
pub(crate) struct Needles(Vec<(String, Vec<String>)>);

impl Needles {
    /// Looks for `secret` from now on.
    pub(crate) fn add(&mut self, name: &str, secret: &str) {
        self.0.push((name.to_owned(), forms(secret)));
    }

    /// Looks for each line of a PEM file's body: that is what a key consists of.
    pub(crate) fn add_pem(&mut self, name: &str, pem: &str) {
        for line in pem.lines().filter(|line| !line.starts_with("-----") && line.len() >= PIECE_BYTES_MIN) {
            self.0.push((name.to_owned(), vec![line.to_owned()]));
        }
    }

    /// Every secret that `text` gives away.
    pub(crate) fn found_in(&self, text: &str) -> Vec<&str> {
        let gives_away = |forms: &[String]| forms.iter().any(|form| text.contains(form));
        self.0.iter().filter(|(_, forms)| gives_away(forms)).map(|(name, _)| name.as_str()).collect()
    }

    /// Fails if one of these texts gives a secret away, and says which and where.
    pub(crate) fn assert_absent(&self, texts: &[(String, String)]) {
        let mut leaks = Vec::new();
        for (place, text) in texts {
            for line in text.lines() {
                let found = self.found_in(line);
                if !found.is_empty() {
                    leaks.push(format!("{place} gives away {found:?}: {line}"));
                }
            }
            // A text without its line breaks: forms that were wrapped.
            let joined: String = text.lines().map(str::trim).collect();
            let found = self.found_in(&joined);
            if !found.is_empty() && leaks.is_empty() {
                leaks.push(format!("{place} gives away {found:?} across lines"));
            }
        }
        let bytes: usize = texts.iter().map(|(_, text)| text.len()).sum();
        say(&format!("secrets: {} looked for in {} texts of {bytes} bytes", self.0.len(), texts.len()));
        assert!(leaks.is_empty(), "{}", leaks.join("\n"));
    }
}

fn forms(secret: &str) -> Vec<String> {
    let mut forms = vec![secret.to_owned()];
    for shift in 0..3 {
        let shifted = [vec![b'x'; shift], secret.as_bytes().to_vec()].concat();
        for engine in [STANDARD, URL_SAFE] {
            let encoded = engine.encode(&shifted);
            // The ends depend on what stands around the secret.
            let start = if shift == 0 { 0 } else { 4 };
            forms.push(encoded[start..shifted.len() / 3 * 4].to_owned());
        }
    }
    forms.push(secret.bytes().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().concat());
    forms.push(secret.bytes().map(|byte| format!("{byte:02X}")).collect::<Vec<_>>().concat());
    forms.push(secret.bytes().map(|byte| byte.to_string()).collect::<Vec<_>>().join(", "));
    forms
}

#[test]
fn a_secret_is_found_in_each_form_in_which_it_could_be_given_away() {
    let (secret, mut needles) = (secret(), Needles::default());
    needles.add("it", &secret);
    for around in ["", "u", "us", "user", "user:", "user-1:"] {
        for text in [
            STANDARD.encode(format!("{around}{secret}{around}")),
            URL_SAFE.encode(format!("{around}{secret}:")),
            format!("password%3D{secret}%0A"),
            format!("{:?}", format!("{around}{secret}").as_bytes()),
            format!("\\\"{around}{secret}\\\""),
        ] {
            assert_eq!(needles.found_in(&text), ["it"], "{text}");
        }
    }
    assert!(needles.found_in(&STANDARD.encode("user-1:something else that is long")).is_empty());
}
