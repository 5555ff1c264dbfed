//! One hashed password: read from a table, and compared with what a client gives.

use std::fmt;
use std::str::FromStr as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha_crypt::{Params, sha256_crypt, sha512_crypt};
use sha1::{Digest as _, Sha1};
use sha2::Sha256;
use subtle::ConstantTimeEq as _;

use crate::md5_crypt::{SALT_BYTES_MAX as MD5_SALT_BYTES_MAX, md5_crypt};

/// Rounds of SHA-crypt where the value names none (the specification's).
const SHA_ROUNDS_DEFAULT: u32 = 5000;
/// Longest salt of SHA-crypt.
const SHA_SALT_BYTES_MAX: usize = 16;
/// Bytes of an SHA-1 digest.
const SHA1_BYTES: usize = 20;
/// What other tools write between `$` or braces.
const SCHEMES_ELSEWHERE: [&str; 30] = [
    "2",
    "2x",
    "3",
    "7",
    "8",
    "argon2d",
    "argon2i",
    "argon2id",
    "bcrypt-sha256",
    "gy",
    "H",
    "P",
    "pbkdf2-sha256",
    "pbkdf2-sha512",
    "S",
    "scrypt",
    "sha1",
    "y",
    "BLF-CRYPT",
    "CRYPT",
    "MD5",
    "PBKDF2",
    "PBKDF2_SHA256",
    "SHA",
    "SHA256",
    "SHA512",
    "SMD5",
    "SSHA",
    "SSHA256",
    "SSHA512",
];
const BCRYPT_COSTS: std::ops::RangeInclusive<u32> = 4..=31;

/// What decides about the cost of checking a password. The order has no meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Class {
    /// As it is written.
    Plain,
    /// One SHA-1.
    Sha1,
    /// MD5-crypt.
    Md5Crypt,
    /// SHA-256-crypt or SHA-512-crypt with this many rounds.
    ShaCrypt(Sha, u32),
    /// bcrypt with this cost.
    Bcrypt(u32),
}

impl Class {
    /// What a check takes, roughly: classes are compared by it, and the proportions are about these everywhere.
    pub(crate) fn cost_nanoseconds(self) -> u64 {
        match self {
            Self::Plain => 200,
            Self::Sha1 => 300,
            // 1000 rounds of MD5.
            Self::Md5Crypt => 300_000,
            Self::ShaCrypt(_, rounds) => u64::from(rounds) * 600,
            Self::Bcrypt(cost) => 60_000 << cost.min(*BCRYPT_COSTS.end()),
        }
    }
}

/// Which hash function SHA-crypt is built on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Sha {
    /// `$5$`
    Sha256,
    /// `$6$`
    Sha512,
}

/// A password in the form in which a table keeps it.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Hash {
    /// The SHA-256 of a password that is written as it is: equal lengths compare in equal time.
    Plain([u8; 32]),
    /// `{SHA}` without salt, `{SSHA}` with.
    Sha1 { digest: [u8; SHA1_BYTES], salt: Vec<u8> },
    /// `$1$`, `$apr1$`
    Md5Crypt { magic: &'static str, salt: Vec<u8>, digest: [u8; 16] },
    /// `$5$`
    Sha256Crypt { rounds: u32, salt: Vec<u8>, digest: [u8; 32] },
    /// `$6$`
    Sha512Crypt { rounds: u32, salt: Vec<u8>, digest: [u8; 64] },
    /// `$2a$`, `$2b$`, `$2y$`
    Bcrypt { cost: u32, text: String },
}

/// What is remarkable about a value that is accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Remark {
    /// It looks like a hash of DES-crypt and is taken as it is written.
    LooksLikeDes,
}

impl Hash {
    /// Reads a value of a table. The error says what is wrong and holds nothing of the value.
    pub(crate) fn parse(value: &str) -> Result<(Self, Option<Remark>), String> {
        if let Some(password) = value.strip_prefix("{PLAIN}") {
            return Ok((Self::plain(password), None));
        }
        let hash = if let Some(encoded) = value.strip_prefix("{SHA}") {
            sha1(encoded, false)?
        } else if let Some(encoded) = value.strip_prefix("{SSHA}") {
            sha1(encoded, true)?
        } else if let Some((scheme, rest)) = scheme(value) {
            by_scheme(value, scheme, rest)?
        } else if let Some(scheme) = braced_scheme(value) {
            return Err(unknown(scheme, '{', '}'));
        } else if value.is_empty() {
            return Err("the password is empty; write {PLAIN} if it is meant to be".to_owned());
        } else {
            let remark = looks_like_des(value).then_some(Remark::LooksLikeDes);
            return Ok((Self::plain(value), remark));
        };
        Ok((hash, None))
    }

    fn plain(password: &str) -> Self {
        Self::Plain(Sha256::digest(password).into())
    }

    /// A hash of this class that no password has, for spending the time of a verification.
    pub(crate) fn dummy(class: Class) -> Self {
        match class {
            Class::Plain => Self::Plain([0; 32]),
            Class::Sha1 => Self::Sha1 { digest: [0; SHA1_BYTES], salt: Vec::new() },
            Class::Md5Crypt => Self::Md5Crypt { magic: "$apr1$", salt: vec![b'.'; 8], digest: [0; 16] },
            Class::ShaCrypt(Sha::Sha256, rounds) => {
                Self::Sha256Crypt { rounds, salt: vec![b'.'; SHA_SALT_BYTES_MAX], digest: [0; 32] }
            }
            Class::ShaCrypt(Sha::Sha512, rounds) => {
                Self::Sha512Crypt { rounds, salt: vec![b'.'; SHA_SALT_BYTES_MAX], digest: [0; 64] }
            }
            Class::Bcrypt(cost) => Self::Bcrypt { cost, text: format!("$2b${cost:02}${}", ".".repeat(53)) },
        }
    }

    /// What it costs to check.
    pub(crate) fn class(&self) -> Class {
        match self {
            Self::Plain(_) => Class::Plain,
            Self::Sha1 { .. } => Class::Sha1,
            Self::Md5Crypt { .. } => Class::Md5Crypt,
            Self::Sha256Crypt { rounds, .. } => Class::ShaCrypt(Sha::Sha256, *rounds),
            Self::Sha512Crypt { rounds, .. } => Class::ShaCrypt(Sha::Sha512, *rounds),
            Self::Bcrypt { cost, .. } => Class::Bcrypt(*cost),
        }
    }

    /// Whether it is the hash of `password`. Digests are compared in constant time. bcrypt looks at the first 72 bytes
    /// only, as everywhere.
    pub(crate) fn verify(&self, password: &[u8]) -> bool {
        match self {
            Self::Plain(digest) => Sha256::digest(password).as_slice().ct_eq(digest).into(),
            Self::Sha1 { digest, salt } => {
                let given = Sha1::new().chain_update(password).chain_update(salt).finalize();
                given.as_slice().ct_eq(digest).into()
            }
            Self::Md5Crypt { magic, salt, digest } => {
                md5_crypt(password, magic.as_bytes(), salt).ct_eq(digest).into()
            }
            Self::Sha256Crypt { rounds, salt, digest } => Params::new(*rounds)
                .is_ok_and(|params| sha256_crypt(password, salt, params).ct_eq(digest).into()),
            Self::Sha512Crypt { rounds, salt, digest } => Params::new(*rounds)
                .is_ok_and(|params| sha512_crypt(password, salt, params).ct_eq(digest).into()),
            Self::Bcrypt { text, .. } => bcrypt::verify(password, text).unwrap_or(false),
        }
    }
}

/// Hashes are as good as passwords to whoever has time.
impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Hash").field(&self.class()).finish()
    }
}

/// `scheme` and what follows of `$scheme$...`.
fn scheme(value: &str) -> Option<(&str, &str)> {
    value.strip_prefix('$')?.split_once('$').filter(|(scheme, _)| is_scheme(scheme))
}

/// `SCHEME` of `{SCHEME}...`, as LDAP and Dovecot write it.
fn braced_scheme(value: &str) -> Option<&str> {
    let (scheme, _) = value.strip_prefix('{')?.split_once('}')?;
    is_scheme(scheme).then_some(scheme)
}

/// Whether some tool may call a scheme so, in either way to write it: `P`, `md5,rounds=904`, `PBKDF2_SHA256`.
fn is_scheme(name: &str) -> bool {
    let is_part = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b',' | b'=' | b'_' | b'.' | b'-');
    !name.is_empty() && name.bytes().all(is_part)
}

/// The error for a scheme, which is named only if it is one of other tools: any other may be a piece of a password.
fn unknown(name: &str, before: char, after: char) -> String {
    let tail = "is not supported (bcrypt, {SHA}, {SSHA}, $apr1$, $1$, $5$ and $6$ are); if it is a password, write \
                {PLAIN} before it";
    if SCHEMES_ELSEWHERE.iter().any(|known| known.eq_ignore_ascii_case(name)) {
        format!("the scheme {before}{name}{after} {tail}")
    } else {
        format!("the scheme between {before} and {after} {tail}")
    }
}

fn by_scheme(value: &str, scheme: &str, rest: &str) -> Result<Hash, String> {
    match scheme {
        "apr1" => md5(rest, "$apr1$"),
        "1" => md5(rest, "$1$"),
        "2a" | "2b" | "2y" => bcrypt_hash(value),
        "5" => {
            let (rounds, salt, digest) = sha_parts(rest, "$5$")?;
            let digest = crypt_base64(digest).filter(|_| digest.len() == 43);
            let digest =
                digest.and_then(|bytes| permuted(&bytes, &SHA256_ORDER)).ok_or_else(|| malformed("$5$"))?;
            Ok(Hash::Sha256Crypt { rounds, salt, digest })
        }
        "6" => {
            let (rounds, salt, digest) = sha_parts(rest, "$6$")?;
            let digest = crypt_base64(digest).filter(|_| digest.len() == 86);
            let digest =
                digest.and_then(|bytes| permuted(&bytes, &SHA512_ORDER)).ok_or_else(|| malformed("$6$"))?;
            Ok(Hash::Sha512Crypt { rounds, salt, digest })
        }
        _ => Err(unknown(scheme, '$', '$')),
    }
}

fn malformed(scheme: &str) -> String {
    format!("malformed {scheme} hash")
}

fn sha1(encoded: &str, is_salted: bool) -> Result<Hash, String> {
    let name = if is_salted { "{SSHA}" } else { "{SHA}" };
    let bytes = STANDARD.decode(encoded).map_err(|_| malformed(name))?;
    let (digest, salt) = bytes.split_first_chunk().ok_or_else(|| malformed(name))?;
    if !is_salted && !salt.is_empty() {
        return Err(malformed(name));
    }
    Ok(Hash::Sha1 { digest: *digest, salt: salt.to_vec() })
}

fn bcrypt_hash(text: &str) -> Result<Hash, String> {
    let parts = bcrypt::HashParts::from_str(text).map_err(|_| malformed("bcrypt"))?;
    let cost = parts.get_cost();
    if !BCRYPT_COSTS.contains(&cost) {
        return Err(format!("bcrypt has costs from 4 to 31, not {cost}"));
    }
    Ok(Hash::Bcrypt { cost, text: text.to_owned() })
}

fn md5(rest: &str, magic: &'static str) -> Result<Hash, String> {
    let (salt, digest) = rest.split_once('$').ok_or_else(|| malformed(magic))?;
    let bytes = crypt_base64(digest).filter(|_| digest.len() == 22).ok_or_else(|| malformed(magic))?;
    let digest = permuted(&bytes, &MD5_ORDER).ok_or_else(|| malformed(magic))?;
    if salt.len() > MD5_SALT_BYTES_MAX {
        return Err(format!("the salt of a {magic} hash has at most {MD5_SALT_BYTES_MAX} characters"));
    }
    Ok(Hash::Md5Crypt { magic, salt: salt.as_bytes().to_vec(), digest })
}

/// Rounds, salt and digest of `[rounds=N$]salt$digest`.
fn sha_parts<'a>(rest: &'a str, scheme: &str) -> Result<(u32, Vec<u8>, &'a str), String> {
    let (rounds, rest) = match rest.strip_prefix("rounds=") {
        Some(rest) => {
            let (rounds, rest) = rest.split_once('$').ok_or_else(|| malformed(scheme))?;
            let rounds = rounds.parse().ok().filter(|rounds| Params::new(*rounds).is_ok());
            let range = format!("{} to {}", Params::ROUNDS_MIN, Params::ROUNDS_MAX);
            (rounds.ok_or_else(|| format!("rounds of a {scheme} hash are {range}"))?, rest)
        }
        None => (SHA_ROUNDS_DEFAULT, rest),
    };
    let (salt, digest) = rest.split_once('$').ok_or_else(|| malformed(scheme))?;
    let salt = salt.as_bytes();
    Ok((rounds, salt[..salt.len().min(SHA_SALT_BYTES_MAX)].to_vec(), digest))
}

/// Whether it may be what DES-crypt makes: two characters of salt and eleven of digest.
fn looks_like_des(value: &str) -> bool {
    value.len() == 13 && value.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'/'))
}

// === the base64 of crypt(3): its own alphabet, low bits first, and bytes in an order of its own ===

/// Places of the digest's bytes in the encoded text, three to a group of four characters, the first the lowest.
const MD5_ORDER: [usize; 16] = [12, 6, 0, 13, 7, 1, 14, 8, 2, 15, 9, 3, 5, 10, 4, 11];
const SHA256_ORDER: [usize; 32] = [
    20, 10, 0, 11, 1, 21, 2, 22, 12, 23, 13, 3, 14, 4, 24, 5, 25, 15, 26, 16, 6, 17, 7, 27, 8, 28, 18, 29,
    19, 9, 30, 31,
];
const SHA512_ORDER: [usize; 64] = [
    42, 21, 0, 1, 43, 22, 23, 2, 44, 45, 24, 3, 4, 46, 25, 26, 5, 47, 48, 27, 6, 7, 49, 28, 29, 8, 50, 51,
    30, 9, 10, 52, 31, 32, 11, 53, 54, 33, 12, 13, 55, 34, 35, 14, 56, 57, 36, 15, 16, 58, 37, 38, 17, 59,
    60, 39, 18, 19, 61, 40, 41, 20, 62, 63,
];

/// The bytes behind a text of crypt's base64; `None` if a character or the last bits are wrong.
fn crypt_base64(text: &str) -> Option<Vec<u8>> {
    const ALPHABET: &[u8; 64] = b"./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    let mut bytes = Vec::with_capacity(text.len() * 3 / 4);
    let (mut bits, mut count) = (0_u32, 0);
    for character in text.bytes() {
        let value = ALPHABET.iter().position(|known| *known == character)?;
        bits |= u32::try_from(value).ok()? << count;
        count += 6;
        if count >= 8 {
            bytes.push((bits & 0xff) as u8);
            bits >>= 8;
            count -= 8;
        }
    }
    (bits == 0).then_some(bytes)
}

/// Puts the bytes of an encoded digest into their places.
fn permuted<const N: usize>(bytes: &[u8], order: &[usize; N]) -> Option<[u8; N]> {
    let bytes: &[u8; N] = bytes.try_into().ok()?;
    let mut digest = [0; N];
    for (byte, place) in bytes.iter().zip(order) {
        digest[*place] = *byte;
    }
    Some(digest)
}

#[cfg(test)]
mod tests;
