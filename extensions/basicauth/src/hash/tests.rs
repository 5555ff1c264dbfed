//! Hashes made by the tools that people use, verified in and out.

use std::process::Command;

use super::*;

/// Made by `testdata/make_vectors.py`: tool, password in base64, hash.
const VECTORS: &str = include_str!("../../testdata/vectors.tsv");

struct Vector {
    tool: &'static str,
    password: Vec<u8>,
    value: &'static str,
}

fn vectors() -> Vec<Vector> {
    let vector = |line: &'static str| {
        let [tool, password, value] = line.split('\t').collect::<Vec<_>>().try_into().unwrap();
        Vector { tool, password: STANDARD.decode(password).unwrap(), value }
    };
    VECTORS.lines().map(vector).collect()
}

fn hash(value: &str) -> Hash {
    let (hash, remark) = Hash::parse(value).unwrap_or_else(|error| panic!("{value}: {error}"));
    assert_eq!(remark, None);
    hash
}

#[test]
fn every_hash_of_every_tool_is_matched_by_its_password_and_by_no_other() {
    let vectors = vectors();
    assert!(vectors.len() > 600);
    for Vector { tool, password, value } in &vectors {
        let shown = String::from_utf8_lossy(password);
        let hash = hash(value);
        assert_ne!(hash.class(), Class::Plain, "{tool}");
        assert!(hash.verify(password), "{tool}: {shown:?} does not match {value}");
        let mut longer = password.clone();
        longer.push(b'!');
        // bcrypt ends at 72 bytes, whatever comes after them.
        let is_cut = matches!(hash, Hash::Bcrypt { .. }) && password.len() >= 72;
        assert_eq!(hash.verify(&longer), is_cut, "{tool}: {shown:?} and one byte more");
        if let Some((_, shorter)) = password.split_last() {
            let is_cut = matches!(hash, Hash::Bcrypt { .. }) && password.len() > 72;
            assert_eq!(
                hash.verify(&password[..shorter.len()]),
                is_cut,
                "{tool}: {shown:?} and one byte less"
            );
        }
        // The hash is not the password: nothing has fallen through to plain text.
        assert!(!hash.verify(value.as_bytes()), "{tool}: {value}");
    }
}

#[test]
fn a_hash_that_lacks_a_character_or_has_another_is_malformed_and_never_plain() {
    for Vector { value, .. } in vectors().iter().step_by(7) {
        let cut = &value[..value.len() - 1];
        assert!(Hash::parse(cut).is_err(), "{cut}");
        let longer = format!("{value}A");
        let is_salt = value.starts_with("{SSHA}");
        assert!(Hash::parse(&longer).is_err() || is_salt, "{longer}");
        let odd = format!("{}!", &value[..value.len() - 1]);
        assert!(Hash::parse(&odd).is_err(), "{odd}");
    }
}

#[test]
fn the_tools_of_this_machine_agree() {
    let run = |program: &str, arguments: &[&str]| {
        let output = Command::new(program).args(arguments).output().ok()?;
        let text = String::from_utf8(output.stdout).unwrap();
        output.status.success().then(|| text.trim().to_owned())
    };
    if run("htpasswd", &["-nbs", "u", "p"]).is_none() || run("openssl", &["passwd", "-6", "p"]).is_none() {
        assert!(std::env::var_os("CI").is_none(), "htpasswd (apache2-utils) and openssl are needed");
        eprintln!("skipped: no htpasswd (apache2-utils) or no openssl on this machine");
        return;
    }
    for password in ["1234", "p:ss wörd", "x".repeat(80).as_str()] {
        for scheme in ["-B", "-m", "-s", "-p"] {
            let line = run("htpasswd", &["-nb", scheme, "user", password]).unwrap();
            let (_, value) = line.split_once(':').unwrap();
            assert!(hash(value).verify(password.as_bytes()), "htpasswd {scheme}: {value}");
        }
        for scheme in ["-1", "-apr1", "-5", "-6"] {
            let value = run("openssl", &["passwd", scheme, password]).unwrap();
            assert!(hash(&value).verify(password.as_bytes()), "openssl passwd {scheme}: {value}");
        }
    }
}

#[test]
fn what_is_no_scheme_is_the_password_itself() {
    for (value, password) in [
        ("1234", "1234"),
        ("{PLAIN}", ""),
        ("{PLAIN}$6$x", "$6$x"),
        ("$money", "$money"),
        ("{PLAIN}{ssha}x", "{ssha}x"),
        ("{not a name}x", "{not a name}x"),
        ("{}x", "{}x"),
        ("$", "$"),
        ("$$", "$$"),
        ("$x", "$x"),
    ] {
        let hash = hash(value);
        assert_eq!(hash.class(), Class::Plain);
        assert!(hash.verify(password.as_bytes()) && !hash.verify(b"x"), "{value}");
    }
    let (hash, remark) = Hash::parse("rqXexS6ZhobKA").unwrap();
    assert!(hash.verify(b"rqXexS6ZhobKA") && remark == Some(Remark::LooksLikeDes));
}

#[test]
fn a_scheme_of_another_tool_is_an_error_and_never_plain() {
    for (value, shown) in [
        ("$P$BDnW9lBgmZTnoIb0HPoFEW0lTeV3Rw.", "the scheme $P$ is"),
        ("$H$9IQRaTwmfeRo7ud9Fh4E2PdI0S3r.L0", "the scheme $H$ is"),
        ("$S$DkIkdKLIvRK0iVHm99X7B/M8QC17E1Tp/kMOd1Ie8V/PgWjtAZld", "the scheme $S$ is"),
        ("$md5,rounds=904$iPPKEBnEkp3JV8uX$0m6m7s", "the scheme between $ and $ is"),
        ("$argon2id$v=19$m=65536,t=3,p=4$c2FsdA$aGFzaA", "the scheme $argon2id$ is"),
        ("{PBKDF2_SHA256}AAAgAGhhc2g=", "the scheme {PBKDF2_SHA256} is"),
        ("{ssha}aGFzaA==", "the scheme {ssha} is"),
        ("{sha}cRDtpNCeBiql5KOQsKVyrA0sAiA=", "the scheme {sha} is"),
        ("{plain}1234", "the scheme between { and } is"),
        // A password that only looks like it is not shown.
        ("$Hunter2$", "the scheme between $ and $ is"),
        ("{hunter2}x", "the scheme between { and } is"),
    ] {
        let error = Hash::parse(value).map(|_| ()).unwrap_err();
        assert!(error.starts_with(shown) && error.contains("write {PLAIN} before it"), "{value}: {error}");
        assert!(!error.to_lowercase().contains("hunter2"), "{error}");
    }
}

#[test]
fn a_dummy_is_of_its_class_and_matches_nothing() {
    for class in [
        Class::Plain,
        Class::Sha1,
        Class::Md5Crypt,
        Class::ShaCrypt(Sha::Sha256, 1000),
        Class::ShaCrypt(Sha::Sha512, 1000),
        Class::Bcrypt(4),
    ] {
        let dummy = Hash::dummy(class);
        assert_eq!(dummy.class(), class);
        for password in [b"".as_slice(), b"1234"] {
            assert!(!dummy.verify(password), "{class:?}");
        }
        if let Hash::Bcrypt { text, .. } = &dummy {
            // Else it would cost nothing.
            assert!(bcrypt::verify(b"x", text).is_ok());
        }
    }
}
