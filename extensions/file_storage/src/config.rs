//! What users write under `file_storage` (reference: contrib-components, D.6).

use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use spanbridge_component::{Problems, Validate};
use spanbridge_config::Duration;

/// The configuration of a `file_storage` extension.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Where the logs lie, one folder an owner. It must exist unless `create_directory` is on.
    pub directory: PathBuf,
    /// How long to wait for a log that another process or component has open; then the start fails and says who. 0 tries
    /// once.
    pub timeout: Duration,
    /// Whether an append is answered only when the disk has it (`true`: survives a power loss) or when the kernel has it
    /// (`false`: survives the end of the process, also by kill -9).
    pub fsync: bool,
    /// Whether to make the directory, with its parents, if it is not there.
    pub create_directory: bool,
    /// Permissions of directories that are made, in octal; the process's umask is taken off.
    pub directory_permissions: String,
    /// Most bytes that one log may take on disk, 0 for no limit. A full log refuses what comes until there is room.
    pub max_size: u64,
    /// What to do with a segment that this version cannot read as a whole, because a newer one wrote it: rename it to
    /// `<file>.<time>.backup` and go on without it (`true`), or refuse to start (`false`). Damage never needs this: it is
    /// set aside and what lies around it is delivered.
    pub recreate: bool,
    /// Accepted so that existing configurations run. A log frees its space by itself, whole segments at a time, so there
    /// is nothing to compact.
    pub compaction: Compaction,
}

/// The keys by which the Go collector's database is told when to shrink. They are checked and have no effect: a log of
/// ours is deleted segment by segment as it is consumed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Compaction {
    /// Compact at start. Not needed here.
    pub on_start: bool,
    /// Compact after a large backlog was consumed. Not needed here.
    pub on_rebound: bool,
    /// Where to compact. Not used here.
    pub directory: Option<PathBuf>,
    /// Bytes that one transaction of a compaction moves. Not used here.
    pub max_transaction_size: i64,
    /// MiB in use above which a later shrinking counts as a rebound. Not used here.
    pub rebound_needed_threshold_mib: i64,
    /// MiB in use below which a rebound begins. Not used here.
    pub rebound_trigger_threshold_mib: i64,
    /// How often to look for a rebound. Not used here.
    pub check_interval: Duration,
    /// Delete what an interrupted compaction left. Not needed here.
    pub cleanup_on_start: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            directory: PathBuf::from("/var/lib/otelcol/file_storage"),
            timeout: Duration::from_secs(1),
            fsync: false,
            create_directory: false,
            directory_permissions: "0750".to_owned(),
            max_size: 0,
            recreate: false,
            compaction: Compaction::default(),
        }
    }
}

impl Default for Compaction {
    fn default() -> Self {
        Self {
            on_start: false,
            on_rebound: false,
            directory: None,
            max_transaction_size: 65_536,
            rebound_needed_threshold_mib: 100,
            rebound_trigger_threshold_mib: 10,
            check_interval: Duration::from_secs(5),
            cleanup_on_start: false,
        }
    }
}

impl Config {
    /// `directory_permissions` as a number.
    ///
    /// # Errors
    /// If it is not octal, or has bits beyond those of permissions. The texts are the Go collector's.
    pub(crate) fn permissions(&self) -> Result<u32, &'static str> {
        let text = self.directory_permissions.strip_prefix("0o").unwrap_or(&self.directory_permissions);
        let mode = u32::from_str_radix(text, 8)
            .map_err(|_| "directory_permissions value must be a valid octal representation")?;
        if mode & !PERMISSION_BITS == 0 {
            Ok(mode)
        } else {
            Err("directory_permissions contain invalid bits for file access")
        }
    }

    fn check_directory(&self, directory: &Path) -> Result<(), String> {
        match std::fs::metadata(directory) {
            Ok(found) if found.is_dir() => Ok(()),
            Ok(_) => Err(format!("{} is not a directory", directory.display())),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound && self.create_directory => Ok(()),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Err(format!(
                "directory must exist: stat {}: {error}. You can enable the create_directory option to \
                 automatically create it",
                directory.display()
            )),
            Err(error) => {
                Err(format!("problem accessing configured directory: {}, err: {error}", directory.display()))
            }
        }
    }

    fn check_compaction(&self, problems: &mut Problems) {
        let compaction = &self.compaction;
        if compaction.max_transaction_size < 0 {
            let text = "max transaction size for compaction cannot be less than 0";
            problems.error_at("max_transaction_size", text);
        }
        if compaction.on_rebound && compaction.check_interval.is_zero() {
            let text = "compaction check interval must be positive when rebound compaction is set";
            problems.error_at("check_interval", text);
        }
        let thresholds = [
            ("rebound_needed_threshold_mib", compaction.rebound_needed_threshold_mib),
            ("rebound_trigger_threshold_mib", compaction.rebound_trigger_threshold_mib),
        ];
        for (key, mib) in thresholds {
            match u64::try_from(mib) {
                Err(_) => drop(problems.error_at(key, "the threshold cannot be less than 0")),
                Ok(mib)
                    if compaction.on_rebound
                        && self.max_size > 0
                        && mib.saturating_mul(MIB) > self.max_size =>
                {
                    problems.error_at(key, "the threshold cannot be above max_size");
                }
                Ok(_) => {}
            }
        }
        let keys = [
            ("on_start", compaction.on_start),
            ("on_rebound", compaction.on_rebound),
            ("cleanup_on_start", compaction.cleanup_on_start),
        ];
        for (key, _) in keys.into_iter().filter(|(_, on)| *on) {
            let text = "has no effect: a log frees its space by itself, there is nothing to compact";
            problems.warn_at(key, text).help("remove it");
        }
    }
}

impl Validate for Config {
    fn validate(&self, problems: &mut Problems) {
        if let Err(text) = self.check_directory(&self.directory) {
            problems.error_at("directory", text);
        }
        if self.create_directory
            && let Err(text) = self.permissions()
        {
            problems.error_at("directory_permissions", text).help("write for example \"0750\"");
        }
        if self.max_size > 0 && self.max_size < MAX_SIZE_LEAST {
            problems.error_at("max_size", format!("max_size must be 0 or at least {MAX_SIZE_LEAST} bytes"));
        }
        problems.at("compaction", |problems| self.check_compaction(problems));
    }
}

const PERMISSION_BITS: u32 = 0o777;
const MIB: u64 = 1 << 20;
/// Below this a log could not hold one request of common size; it is a mistaken unit.
const MAX_SIZE_LEAST: u64 = 64 << 10;

#[cfg(test)]
mod tests {
    use std::fs;

    use serde_json::{Value, json};
    use spanbridge_component::Severity;

    use super::*;

    fn found(value: Value) -> Vec<(String, Severity)> {
        let mut problems = Problems::new();
        serde_json::from_value::<Config>(value).unwrap().validate(&mut problems);
        let found = problems.into_found().into_iter();
        found.map(|p| (format!("{}: {}", p.path.join("."), p.message), p.severity)).collect()
    }

    fn errors(value: Value) -> Vec<String> {
        found(value).into_iter().filter(|(_, s)| *s == Severity::Error).map(|(text, _)| text).collect()
    }

    #[test]
    fn a_missing_directory_is_refused_unless_it_shall_be_made() {
        let folder = tempfile::tempdir().unwrap();
        let missing = folder.path().join("missing");
        let text = errors(json!({ "directory": missing }));
        assert_eq!(text.len(), 1);
        assert!(text[0].starts_with("directory: directory must exist: "), "{text:?}");
        let end = "You can enable the create_directory option to automatically create it";
        assert!(text[0].ends_with(end), "{text:?}");
        assert!(errors(json!({ "directory": missing, "create_directory": true })).is_empty());
    }

    #[test]
    fn a_file_in_place_of_the_directory_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        fs::write(&file, "x").unwrap();
        assert_eq!(
            errors(json!({ "directory": file, "create_directory": true })),
            [format!("directory: {} is not a directory", file.display())]
        );
    }

    #[test]
    fn permissions_are_octal_and_nothing_but_permissions() {
        let folder = tempfile::tempdir().unwrap();
        let with = |text: &str| {
            errors(json!({
                "directory": folder.path(), "create_directory": true, "directory_permissions": text
            }))
        };
        assert!(with("0750").is_empty());
        assert!(with("0o700").is_empty());
        let text = "directory_permissions: directory_permissions value must be a valid octal representation";
        assert_eq!(with("0999"), [text]);
        assert_eq!(with("rwx"), [text]);
        let text = "directory_permissions: directory_permissions contain invalid bits for file access";
        assert_eq!(with("1750"), [text]);
    }

    #[test]
    fn compaction_is_checked_as_in_the_reference_and_warned_about() {
        let folder = tempfile::tempdir().unwrap();
        let with = |compaction: Value, max_size: u64| {
            found(json!({ "directory": folder.path(), "compaction": compaction, "max_size": max_size }))
        };
        let found = with(json!({ "max_transaction_size": -1 }), 0);
        let text =
            "compaction.max_transaction_size: max transaction size for compaction cannot be less than 0";
        assert_eq!(found, [(text.to_owned(), Severity::Error)]);
        let found = with(json!({ "on_rebound": true, "check_interval": 0 }), 0);
        let text = "compaction.check_interval: compaction check interval must be positive when rebound compaction is \
                    set";
        assert_eq!(found[0], (text.to_owned(), Severity::Error));
        assert_eq!(found[1].1, Severity::Warning);
        let found = with(json!({ "on_rebound": true }), 50 << 20);
        let text = "compaction.rebound_needed_threshold_mib: the threshold cannot be above max_size";
        assert_eq!(found[0].0, text);
        let found = with(json!({ "on_start": true, "on_rebound": true, "directory": "/tmp" }), 0);
        assert!(found.iter().all(|(_, severity)| *severity == Severity::Warning), "{found:?}");
        assert_eq!(found.len(), 2);
    }

    #[test]
    fn every_key_is_read() {
        let config: Config =
            spanbridge_config::from_yaml(include_str!("../testdata/every_key.yaml")).unwrap();
        assert_eq!(config.timeout, Duration::from_secs(10));
        assert!(config.fsync && config.create_directory && config.recreate);
        assert_eq!((config.permissions(), config.max_size), (Ok(0o700), 1 << 30));
        let expected = Compaction {
            on_start: true,
            on_rebound: true,
            directory: Some("/tmp".into()),
            max_transaction_size: 1024,
            rebound_needed_threshold_mib: 50,
            rebound_trigger_threshold_mib: 5,
            check_interval: Duration::from_secs(1),
            cleanup_on_start: true,
        };
        assert_eq!(config.compaction, expected);
    }

    #[test]
    fn what_a_value_cannot_be_is_refused_while_reading() {
        let refused = |yaml| spanbridge_config::from_yaml::<Config>(yaml).unwrap_err().to_string();
        let unknown = refused(include_str!("../testdata/unknown_key.yaml"));
        assert!(unknown.contains("fsink"), "{unknown}");
        let negative = refused(include_str!("../testdata/negative_max_size.yaml"));
        assert!(negative.contains("max_size"), "{negative}");
    }

    #[test]
    fn a_maximum_in_a_mistaken_unit_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(errors(json!({ "directory": folder.path(), "max_size": 512 })).len(), 1);
        assert!(errors(json!({ "directory": folder.path(), "max_size": 1 << 30 })).is_empty());
    }
}
