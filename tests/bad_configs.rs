//! Bad configurations and the exact message each gets from `spanbridge validate`.
//!
//! Each file in `bad_configs/` is a case and each file in `snapshots/` its message. Lines at the top of a case say how it
//! is run: `# with: other.yaml` adds a `--config` after it (such files are in `bad_configs/parts/`), `# set: a.b=c` adds a
//! `--set`, `# env: NAME=value` sets a variable, `# args: ...` replaces the arguments altogether.

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use crate::harness::{run, say, workspace};

/// Whatever a case calls secret may not appear in a message.
const SECRET: &str = "hunter2";
const FEWEST_CASES: usize = 40;

struct Case {
    name: String,
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
}

fn read(path: &Path) -> Case {
    let name = path.file_stem().and_then(|s| s.to_str()).expect("a file name").to_owned();
    let mut arguments = vec!["validate".to_owned(), "--config".to_owned(), format!("{name}.yaml")];
    let mut environment = Vec::new();
    let text = fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    for line in text.lines() {
        let Some(directive) = line.strip_prefix("# ") else { break };
        match directive.split_once(": ") {
            Some(("with", file)) => arguments.extend(["--config".to_owned(), file.to_owned()]),
            Some(("set", setting)) => arguments.extend(["--set".to_owned(), setting.to_owned()]),
            Some(("args", given)) => arguments = given.split_whitespace().map(str::to_owned).collect(),
            Some(("env", variable)) => {
                let (key, value) = variable.split_once('=').expect("NAME=value");
                environment.push((key.to_owned(), value.to_owned()));
            }
            _ => break,
        }
    }
    Case { name, arguments, environment }
}

fn cases(folder: &Path) -> Vec<Case> {
    let entries = fs::read_dir(folder).expect("the folder of bad configurations");
    let mut paths: Vec<_> = entries.map(|entry| entry.expect("a folder entry").path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "yaml"));
    paths.sort();
    paths.iter().map(|path| read(path)).collect()
}

/// What the user sees.
fn message(folder: &Path, case: &Case) -> String {
    let arguments: Vec<&str> = case.arguments.iter().map(String::as_str).collect();
    let output = run(folder, &arguments, &case.environment);
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(1), "{}: {}\n{stdout}{stderr}", case.name, output.status);
    assert!(stdout.is_empty(), "{}: on standard output: {stdout}", case.name);
    assert!(!stderr.contains(SECRET), "{}: a secret in the message:\n{stderr}", case.name);
    format!("$ spanbridge {}\n{stderr}", case.arguments.join(" "))
}

#[test]
fn every_bad_configuration_gets_its_message() {
    let folder = workspace().join("tests/bad_configs");
    let cases = cases(&folder);
    assert!(cases.len() >= FEWEST_CASES, "only {} cases", cases.len());
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path(workspace().join("tests/snapshots"));
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    // All of them, so that one run shows every message that changed.
    let failed: Vec<&str> = settings.bind(|| {
        let bad = cases.iter().filter(|case| {
            let check = || insta::assert_snapshot!(case.name.as_str(), message(&folder, case));
            catch_unwind(AssertUnwindSafe(check)).is_err()
        });
        bad.map(|case| case.name.as_str()).collect()
    });
    assert!(failed.is_empty(), "{} of {} messages differ: {failed:?}", failed.len(), cases.len());
    say(&format!("bad_configs: {} configurations, each with its message", cases.len()));
}

#[test]
fn every_message_belongs_to_a_case() {
    let folder = workspace().join("tests/bad_configs");
    let known: Vec<String> = cases(&folder).into_iter().map(|case| format!("{}.snap", case.name)).collect();
    for entry in fs::read_dir(workspace().join("tests/snapshots")).expect("the folder of snapshots") {
        let name = entry.expect("a folder entry").file_name().into_string().expect("a file name");
        let is_leftover = Path::new(&name).extension().is_some_and(|e| e == "snap") && !known.contains(&name);
        assert!(!is_leftover, "snapshots/{name} has no case");
    }
}
