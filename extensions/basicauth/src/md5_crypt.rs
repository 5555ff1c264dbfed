//! MD5-crypt: `$1$` of FreeBSD, and `$apr1$` of Apache, which differs in nothing but its name.
//!
//! Source: the descriptions of the algorithm in FreeBSD's `crypt_md5` and Apache's `apr_md5_encode`. No maintained crate
//! has it. It is weak by today's measure and here for the tables that people have.

use md5::{Digest as _, Md5};

/// Rounds of the algorithm; there is no choice.
const ROUNDS: usize = 1000;
/// Longest salt; what is longer is cut off.
pub(crate) const SALT_BYTES_MAX: usize = 8;

/// The digest of a password. `magic` is `$1$` or `$apr1$`.
pub(crate) fn md5_crypt(password: &[u8], magic: &[u8], salt: &[u8]) -> [u8; 16] {
    let salt = &salt[..salt.len().min(SALT_BYTES_MAX)];
    let alternate: [u8; 16] =
        Md5::new().chain_update(password).chain_update(salt).chain_update(password).finalize().into();
    let mut first = Md5::new().chain_update(password).chain_update(magic).chain_update(salt);
    for left in (1..=password.len()).rev().step_by(16) {
        first.update(&alternate[..left.min(16)]);
    }
    let mut bits = password.len();
    while bits > 0 {
        // The quirk of the original: a zero byte for a set bit, else the first byte of the password.
        first.update(if bits & 1 == 1 { &[0][..] } else { &password[..1] });
        bits >>= 1;
    }
    let mut digest: [u8; 16] = first.finalize().into();
    for round in 0..ROUNDS {
        let mut next = Md5::new();
        next.update(if round % 2 == 1 { password } else { &digest });
        if round % 3 != 0 {
            next.update(salt);
        }
        if round % 7 != 0 {
            next.update(password);
        }
        next.update(if round % 2 == 1 { &digest } else { password });
        digest = next.finalize().into();
    }
    digest
}
