//! A table of users: htpasswd text, read line by line.

use std::cmp::Reverse;
use std::collections::{BTreeSet, HashMap};
use std::fmt;

use crate::hash::{Class, Hash, Remark};

/// Classes of hashes that a refusal is made to cost; of a table with more, the dearest.
const CLASSES_MAX: usize = 8;
/// From this cost on, a bcrypt hash takes seconds.
const BCRYPT_COST_SLOW: u32 = 15;
/// From this many rounds on, an SHA-crypt hash takes seconds.
const SHA_ROUNDS_SLOW: u32 = 2_000_000;
/// Lines that a warning names before it only counts.
const LINES_NAMED_MAX: usize = 10;

/// Users and their passwords.
#[derive(Clone, Default)]
pub(crate) struct Table {
    users: HashMap<String, Hash>,
    /// What verifications of this table cost, the dearest first.
    classes: Vec<Class>,
}

/// Where a line stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Source {
    /// The file `htpasswd.file`.
    File,
    /// The text `htpasswd.inline`.
    Inline,
}

/// What is wrong with a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LineError {
    /// Where it stands.
    pub(crate) source: Source,
    /// Its number, from 1.
    pub(crate) line: usize,
    reason: String,
}

/// What is remarkable about a table that can be used.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Remarks {
    plain: Lines,
    like_des: Lines,
    without_colon: Lines,
    slow: Lines,
}

/// Lines in order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Lines(Vec<(Source, usize)>);

/// What came of checking a password.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It is the user's password.
    Right,
    /// The user has another.
    WrongPassword,
    /// There is no such user.
    UnknownUser,
}

impl Table {
    /// Reads the texts in order; a later line of a user replaces an earlier one, so what is inline wins over the file.
    ///
    /// # Errors
    /// Every line that cannot be used.
    pub(crate) fn parse(texts: &[(Source, &str)]) -> Result<(Self, Remarks), Vec<LineError>> {
        let (mut table, mut remarks, mut errors) = (Self::default(), Remarks::default(), Vec::new());
        for (source, text) in texts {
            for (line, text) in (1..).zip(text.lines()) {
                if let Err(reason) = table.read_line(text, (*source, line), &mut remarks) {
                    errors.push(LineError { source: *source, line, reason });
                }
            }
        }
        if !errors.is_empty() {
            return Err(errors);
        }
        let classes: BTreeSet<Class> = table.users.values().map(Hash::class).collect();
        table.classes = classes.into_iter().collect();
        table.classes.sort_by_key(|class| Reverse(class.cost_nanoseconds()));
        table.classes.truncate(CLASSES_MAX);
        Ok((table, remarks))
    }

    fn read_line(&mut self, text: &str, place: (Source, usize), remarks: &mut Remarks) -> Result<(), String> {
        let text = text.trim();
        if text.is_empty() || text.starts_with('#') {
            return Ok(());
        }
        let Some((user, value)) = text.split_once(':') else {
            remarks.without_colon.0.push(place);
            return Ok(());
        };
        let (hash, remark) = Hash::parse(value)?;
        if remark == Some(Remark::LooksLikeDes) {
            remarks.like_des.0.push(place);
        }
        match hash.class() {
            Class::Plain => remarks.plain.0.push(place),
            Class::Bcrypt(cost) if cost >= BCRYPT_COST_SLOW => remarks.slow.0.push(place),
            Class::ShaCrypt(_, rounds) if rounds >= SHA_ROUNDS_SLOW => remarks.slow.0.push(place),
            _ => {}
        }
        self.users.insert(user.to_owned(), hash);
        Ok(())
    }

    /// How many users there are.
    pub(crate) fn users(&self) -> usize {
        self.users.len()
    }

    /// Whether a user has the same line in both tables. Without one there is none.
    pub(crate) fn has_same_user(&self, other: &Self, user: &str) -> bool {
        self.users.get(user).is_some_and(|hash| other.users.get(user) == Some(hash))
    }

    /// Checks a password.
    ///
    /// A refusal always costs the same, whoever the user is and whether there is one: a verification of every kind that
    /// the table has.
    pub(crate) fn verify(&self, user: &str, password: &[u8]) -> Verdict {
        self.verify_with(user, |hash| hash.verify(password))
    }

    /// As [`Table::verify`]; `matches` compares with one hash, and is all that takes time.
    pub(crate) fn verify_with(&self, user: &str, mut matches: impl FnMut(&Hash) -> bool) -> Verdict {
        let hash = self.users.get(user);
        if hash.is_some_and(&mut matches) {
            return Verdict::Right;
        }
        let paid = hash.map(Hash::class);
        for class in self.classes.iter().filter(|class| Some(**class) != paid) {
            std::hint::black_box(matches(&Hash::dummy(*class)));
        }
        if hash.is_some() { Verdict::WrongPassword } else { Verdict::UnknownUser }
    }
}

/// Hashes stay out of it.
impl fmt::Debug for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Table").field("users", &self.users.len()).field("classes", &self.classes).finish()
    }
}

impl Source {
    /// The key of the configuration.
    pub(crate) fn key(self) -> &'static str {
        match self {
            Source::File => "file",
            Source::Inline => "inline",
        }
    }
}

impl fmt::Display for LineError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {} of htpasswd.{}: {}", self.line, self.source.key(), self.reason)
    }
}

impl Remarks {
    /// What users should know, one sentence each.
    pub(crate) fn sentences(&self) -> Vec<String> {
        let mut sentences = Vec::new();
        let mut say = |lines: &Lines, what: &str| {
            if !lines.0.is_empty() {
                sentences.push(format!("{lines} {what}"));
            }
        };
        say(&self.plain, "with a password in plain text: hash it, with `htpasswd -B` for example");
        say(
            &self.like_des,
            "with what looks like a DES-crypt hash, which is not supported: it is taken as the password itself",
        );
        say(&self.without_colon, "without a colon: left out");
        say(&self.slow, "with a hash that takes seconds to check");
        sentences
    }
}

impl fmt::Display for Lines {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.0.len();
        write!(f, "{count} line{} of the htpasswd table (", if count == 1 { "" } else { "s" })?;
        for (index, (source, line)) in self.0.iter().take(LINES_NAMED_MAX).enumerate() {
            write!(f, "{}{}:{line}", if index == 0 { "" } else { ", " }, source.key())?;
        }
        write!(f, "{})", if count > LINES_NAMED_MAX { ", ..." } else { "" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hash::Sha;

    #[test]
    fn of_many_classes_the_dearest_are_paid_for_whatever_they_are_called() {
        let digest = ".".repeat(43);
        let sha = |rounds: u32| format!("sha-{rounds}:$5$rounds={rounds}$salt${digest}\n");
        let bcrypt = |cost: u32| format!("bcrypt-{cost}:{}\n", bcrypt::hash("x", cost).unwrap());
        let text: String = (4..9).map(bcrypt).chain([1_000_000, 5_000, 1_000, 100_000].map(sha)).collect();
        let (table, _) = Table::parse(&[(Source::Inline, &text)]).unwrap();
        let sha = |rounds| Class::ShaCrypt(Sha::Sha256, rounds);
        let expected = [
            sha(1_000_000),
            sha(100_000),
            Class::Bcrypt(8),
            Class::Bcrypt(7),
            Class::Bcrypt(6),
            sha(5_000),
            Class::Bcrypt(5),
            Class::Bcrypt(4),
        ];
        assert_eq!(table.classes, expected);
    }

    #[test]
    fn the_cost_of_no_class_overflows() {
        assert!(Class::Bcrypt(31).cost_nanoseconds() > Class::Bcrypt(30).cost_nanoseconds());
        assert!(Class::ShaCrypt(Sha::Sha512, u32::MAX).cost_nanoseconds() > 1 << 40);
    }
}
