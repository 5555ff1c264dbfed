//! What users write under `extensions::basicauth`.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use spanbridge_component::{Problems, Validate};
use spanbridge_config::{Opaque, Optional};
use spanbridge_transport::file_watch::read_text;

use crate::client::header_value;
use crate::htpasswd::{LineError, Remarks, Source, Table};

/// Configuration of the `basicauth` extension (reference: contrib-components, A.1): a table of users, for servers, or
/// credentials, for clients.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Who may come into servers that name this extension.
    pub htpasswd: Optional<Htpasswd>,
    /// The credentials of clients that name this extension.
    pub client_auth: Optional<ClientAuth>,
}

/// A table of users in the format of Apache's htpasswd: one `user:hash` a line. Hashes are bcrypt (`$2a$`, `$2b$`,
/// `$2y$`), `{SHA}`, `{SSHA}`, `$apr1$`, `$1$`, `$5$` and `$6$`; anything else is the password itself, also after
/// `{PLAIN}`. Empty lines and those that begin with `#` are left out. The last line of a user counts.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Htpasswd {
    /// Path of a table. It is watched: a new one is used within two seconds, one with an error is reported and leaves the
    /// old one in use.
    pub file: Option<PathBuf>,
    /// A table as text. Its users win over those of the file.
    pub inline: Opaque,
}

/// What clients say.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ClientAuth {
    /// The user name, without a colon.
    pub username: String,
    /// File with the user name; wins over `username`. Space around it is left out. It is watched.
    pub username_file: Option<PathBuf>,
    /// The password.
    pub password: Opaque,
    /// File with the password; wins over `password`. Space around it is left out. It is watched.
    pub password_file: Option<PathBuf>,
}

/// Why a table cannot be used.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum TableError {
    /// The file cannot be read.
    File(String),
    /// Lines are wrong.
    Lines(Vec<LineError>),
}

impl std::fmt::Display for TableError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            TableError::File(error) => f.write_str(error),
            TableError::Lines(errors) => {
                let errors: Vec<_> = errors.iter().map(ToString::to_string).collect();
                f.write_str(&errors.join("; "))
            }
        }
    }
}

impl Htpasswd {
    /// Reads the file, if there is one, and the text after it.
    pub(crate) fn table(&self) -> Result<(Table, Remarks), TableError> {
        let file = match &self.file {
            Some(path) => Some(read_text(path).map_err(|error| {
                TableError::File(format!("open htpasswd file: {}: {error}", path.display()))
            })?),
            None => None,
        };
        let file = file.as_deref().map(|text| (Source::File, text));
        let texts: Vec<_> = file.into_iter().chain([(Source::Inline, self.inline.expose())]).collect();
        Table::parse(&texts).map_err(TableError::Lines)
    }
}

impl Validate for Config {
    fn validate(&self, problems: &mut Problems) {
        match (self.htpasswd.is_on(), self.client_auth.is_on()) {
            (true, true) => {
                problems.error("only one of `htpasswd` or `client_auth` can be specified").help(
                    "write two extensions: one with htpasswd for servers, one with client_auth for clients",
                );
            }
            (false, false) => no_source(problems),
            _ => {}
        }
        problems.nested("htpasswd", &self.htpasswd);
        problems.nested("client_auth", &self.client_auth);
    }
}

fn no_source(problems: &mut Problems) {
    problems
        .error("no credential source provided")
        .help("servers need htpasswd: {file: ...} or {inline: ...}, clients need client_auth");
}

impl Validate for Htpasswd {
    fn validate(&self, problems: &mut Problems) {
        if self.file.is_none() && self.inline.is_empty() {
            return no_source(problems);
        }
        match self.table() {
            Ok((table, remarks)) => {
                for sentence in remarks.sentences() {
                    let key = if self.inline.is_empty() { "file" } else { "inline" };
                    problems.warn_at(key, sentence);
                }
                if table.users() == 0 {
                    let key = if self.inline.is_empty() { "file" } else { "inline" };
                    problems.warn_at(key, "the htpasswd table has no users: nobody can come in");
                }
            }
            Err(TableError::File(error)) => {
                problems.error_at("file", error);
            }
            Err(TableError::Lines(errors)) => {
                for error in errors {
                    problems.error_at(error.source.key(), error.to_string());
                }
            }
        }
    }
}

impl Validate for ClientAuth {
    fn validate(&self, problems: &mut Problems) {
        if let Err(error) = header_value(self) {
            problems.error(error);
        }
        let has_username = self.username_file.is_some() || !self.username.is_empty();
        let has_password = self.password_file.is_some() || !self.password.is_empty();
        if !has_username && !has_password {
            problems.warn_at("username", "neither a user name nor a password is given: both are sent empty");
        }
    }
}

#[cfg(test)]
mod tests {
    use spanbridge_component::{ExtensionFactory as _, Severity};
    use spanbridge_config::Document;

    use super::*;

    /// The configuration under an id of the test data, with what is said about it.
    fn read(id: &str) -> (Option<Config>, Vec<String>) {
        let document = Document::from_yaml(include_str!("../testdata/config.yaml")).unwrap();
        let node = document.root().get(id).unwrap().clone();
        let unsupported = crate::Factory.descriptor().unsupported;
        let (config, found) = document.decode_and_validate::<Config>(&node, &[id], unsupported).into_parts();
        (config, found.into_iter().map(|problem| format!("{}: {}", problem.path, problem.message)).collect())
    }

    fn problems(config: &Config) -> Vec<(Severity, String)> {
        let mut problems = Problems::new();
        config.validate(&mut problems);
        problems.into_found().into_iter().map(|found| (found.severity, found.message)).collect()
    }

    fn inline(text: &str) -> Config {
        let htpasswd = Htpasswd { file: None, inline: Opaque::new(text) };
        Config { htpasswd: Optional::on(htpasswd), client_auth: Optional::off() }
    }

    #[test]
    fn the_reference_examples_are_read_or_refused_as_there() {
        for (id, error) in [
            ("basicauth", Some("no credential source provided")),
            ("basicauth/server", None),
            ("basicauth/client", None),
            ("basicauth/both", Some("only one of `htpasswd` or `client_auth` can be specified")),
            ("basicauth/empty", Some("no credential source provided")),
            ("basicauth/colon", Some("invalid authorization format")),
            ("basicauth/aws", Some("\"aws_secrets_manager\" is not supported")),
        ] {
            let (_, found) = read(id);
            match error {
                Some(error) => assert!(found.iter().any(|found| found.contains(error)), "{id}: {found:?}"),
                None => assert!(found.iter().all(|found| found.contains("plain text")), "{id}: {found:?}"),
            }
        }
    }

    #[test]
    fn every_line_that_cannot_be_used_is_named_and_nothing_of_it_is_shown() {
        let found = problems(&inline(
            "a:$2y$05$short\n\n# b:{SHA}x\nc:{SHA}hunter2\nd:{SSHA}aHVudGVyMg==\ne:$apr1$salt$hunter2\nf:$y$j9T$hunter2\n\
             g:$6$rounds=10$salt$x\nh:$2x$05$hunter2\ni:{SSHA256}hunter2\nj:\nk:$5$salt$hunter2\n",
        ));
        let messages: Vec<_> = found.iter().map(|(_, message)| message.as_str()).collect();
        assert_eq!(messages.len(), 10, "{messages:#?}");
        for (line, message) in [1, 4, 5, 6, 7, 8, 9, 10, 11, 12].into_iter().zip(&messages) {
            assert!(message.starts_with(&format!("line {line} of htpasswd.inline: ")), "{message}");
            assert!(!message.contains("hunter2") && !message.contains("aHVudGVyMg"), "{message}");
        }
        assert!(messages[4].contains("the scheme $y$ is not supported"), "{}", messages[4]);
        assert!(messages[7].contains("{SSHA256}"), "{}", messages[7]);
        assert!(messages[8].contains("write {PLAIN}"), "{}", messages[8]);
    }

    #[test]
    fn plain_passwords_are_counted_in_one_warning_and_look_alikes_are_named() {
        let found = problems(&inline("a:one\nb:{PLAIN}two\nc:rqXexS6ZhobKA\nd:$money\nnobody\n"));
        assert!(found.iter().all(|(severity, _)| *severity == Severity::Warning));
        let messages: Vec<_> = found.iter().map(|(_, message)| message.as_str()).collect();
        assert_eq!(messages.len(), 3, "{messages:#?}");
        assert!(
            messages[0].starts_with("4 lines of the htpasswd table (inline:1, inline:2, inline:3, inline:4)")
        );
        assert!(messages[1].contains("(inline:3)") && messages[1].contains("DES-crypt"), "{}", messages[1]);
        assert!(messages[2].contains("(inline:5)") && messages[2].contains("without a colon"));
    }

    #[test]
    fn files_that_are_not_there_are_named() {
        let path = PathBuf::from("/no/such/file");
        let htpasswd = Htpasswd { file: Some(path.clone()), inline: Opaque::default() };
        let config = Config { htpasswd: Optional::on(htpasswd), client_auth: Optional::off() };
        assert!(problems(&config)[0].1.starts_with("open htpasswd file: /no/such/file: "));
        let client = ClientAuth { password_file: Some(path), ..ClientAuth::default() };
        let config = Config { htpasswd: Optional::off(), client_auth: Optional::on(client) };
        assert!(problems(&config)[0].1.starts_with("failed to read credentials file \"/no/such/file\": "));
    }

    #[test]
    fn no_secret_is_printed() {
        let (config, _) = read("basicauth/client");
        let config = config.unwrap();
        let client = format!("{config:?} {}", serde_json_text(&config));
        let server = format!("{:?} {}", inline("user:hunter2"), serde_json_text(&inline("user:hunter2")));
        assert!(!client.contains("1234") && !server.contains("hunter2"), "{client} {server}");
    }

    fn serde_json_text(config: &Config) -> String {
        serde_json::to_string(config).unwrap()
    }
}
