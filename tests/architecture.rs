//! The rules of the house that a compiler does not check: who may import whom, and that every component is complete.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::harness::{run, workspace};

const KINDS: [(&str, &str); 5] = [
    ("receivers", "receiver"),
    ("processors", "processor"),
    ("exporters", "exporter"),
    ("connectors", "connector"),
    ("extensions", "extension"),
];
const README_HEADINGS: [&str; 5] = ["Status", "Getting started", "Configuration", "Telemetry", "Limits"];
const COMPONENT_FILES: [&str; 3] = ["lib.rs", "config.rs", "factory.rs"];
/// A component that takes no keys has nothing to test on data.
const WITHOUT_KEYS: &str = "pub struct Config {}";
const MOST_LINES: usize = 500;

/// What each folder of crates may import of ours. A crate of `core/` is named by itself.
const MAY_IMPORT: [(&str, &[&str]); 17] = [
    ("core/pdata", &[]),
    ("core/component", &["pdata"]),
    ("core/config", &["pdata", "component"]),
    ("core/attributes", &["pdata", "component", "config"]),
    ("core/transport", &["pdata", "component", "config"]),
    ("core/exporterhelper", &["pdata", "component", "config"]),
    ("core/kubernetes", &["component", "config"]),
    ("core/otlp", &["pdata", "component", "config", "transport", "exporterhelper"]),
    ("core/service", &["pdata", "component", "config"]),
    ("core/testkit", &["pdata", "component", "config"]),
    ("core/telemetrygen", &["pdata", "component", "config", "transport"]),
    ("receivers", &["pdata", "component", "config", "transport"]),
    ("processors", &["pdata", "component", "config", "transport", "attributes", "kubernetes"]),
    ("exporters", &["pdata", "component", "config", "transport", "exporterhelper", "otlp", "kubernetes"]),
    ("connectors", &["pdata", "component", "config"]),
    ("extensions", &["pdata", "component", "config", "transport"]),
    ("bench", &[]),
];

struct Package {
    name: String,
    /// From the root of the workspace: `core/pdata`.
    folder: String,
    /// Our own crates it depends on, by name, and whether only its tests do.
    imports: Vec<(String, bool)>,
}

impl Package {
    /// The row of the table that applies: `core/pdata`, `receivers`.
    fn place(&self) -> &str {
        if self.folder.starts_with("core/") {
            &self.folder
        } else {
            self.folder.split('/').next().unwrap_or_default()
        }
    }
}

fn packages() -> Vec<Package> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(["metadata", "--no-deps", "--offline", "--format-version", "1"]).current_dir(workspace());
    let output = command.stdin(Stdio::null()).output().expect("cargo metadata runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("cargo metadata is JSON");
    let list = metadata["packages"].as_array().expect("packages");
    list.iter().map(package).collect()
}

fn package(package: &Value) -> Package {
    let manifest = Path::new(package["manifest_path"].as_str().expect("a manifest"));
    let folder =
        manifest.parent().and_then(|dir| dir.strip_prefix(workspace()).ok()).expect("in the workspace");
    let dependencies = package["dependencies"].as_array().expect("dependencies");
    let ours = dependencies.iter().filter(|dependency| dependency["path"].is_string());
    Package {
        name: package["name"].as_str().expect("a name").to_owned(),
        folder: folder.display().to_string(),
        imports: ours.map(|d| (d["name"].as_str().expect("a name").to_owned(), d["kind"] == "dev")).collect(),
    }
}

/// The folder of each component and its kind's singular word.
fn components() -> Vec<(PathBuf, &'static str)> {
    let mut found = Vec::new();
    for (section, kind) in KINDS {
        let Ok(entries) = fs::read_dir(workspace().join(section)) else { continue };
        let paths = entries.map(|entry| entry.expect("a folder entry").path()).filter(|path| path.is_dir());
        found.extend(paths.map(|path| (path, kind)));
    }
    assert!(!found.is_empty(), "no component found");
    found.sort();
    found
}

fn folder_name(path: &Path) -> &str {
    path.file_name().and_then(|name| name.to_str()).expect("a folder name")
}

fn rust_files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display())) {
        let path = entry.expect("a folder entry").path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if path.is_dir() && !matches!(name, "target" | "node_modules") && !name.starts_with('.') {
            rust_files(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

#[test]
fn crates_import_only_what_their_place_allows() {
    let allowed: BTreeMap<&str, &[&str]> = MAY_IMPORT.into_iter().collect();
    let mut wrong = Vec::new();
    for package in packages() {
        // The program knows everything; the tests run the program.
        if matches!(package.place(), "core/collector" | "tests") {
            continue;
        }
        let Some(allowed) = allowed.get(package.place()) else {
            wrong.push(format!("{} is in no place that the table knows", package.folder));
            continue;
        };
        for (import, only_tests) in &package.imports {
            let short = import.strip_prefix("spanbridge_").unwrap_or(import);
            if !(allowed.contains(&short) || *only_tests && short == "testkit") {
                wrong.push(format!("{} imports {import}", package.folder));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn only_the_end_to_end_tests_import_the_program() {
    for package in packages().iter().filter(|package| package.folder != "tests") {
        let imports = package.imports.iter().any(|(import, _)| import == "spanbridge");
        assert!(!imports, "{} imports the program", package.name);
    }
}

#[test]
fn every_component_is_a_crate_named_after_its_folder_and_registered() {
    let packages = packages();
    let program = packages.iter().find(|package| package.name == "spanbridge").expect("the program");
    let linked: BTreeSet<&str> = program.imports.iter().map(|(import, _)| import.as_str()).collect();
    let registry =
        fs::read_to_string(workspace().join("core/collector/src/registry.rs")).expect("the registry");
    for (folder, kind) in components() {
        let name = format!("{}_{kind}", folder_name(&folder));
        assert!(packages.iter().any(|package| package.name == name), "{} is not {name}", folder.display());
        assert!(linked.contains(name.as_str()), "core/collector does not depend on {name}");
        assert!(
            registry.contains(&format!("{name}::")),
            "core/collector/src/registry.rs does not list {name}"
        );
    }
}

#[test]
fn the_program_lists_every_component_folder() {
    let output = run(workspace(), &["components"], &[]);
    let listed = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    for (folder, kind) in components() {
        let (_, section) = listed.split_once(&format!("\n{kind}s:")).expect("a section of each kind");
        let section = section.lines().skip(1).take_while(|line| line.starts_with([' ', '-']));
        let entry = format!("name: {}", folder_name(&folder));
        assert!(
            section.into_iter().any(|line| line.trim_start_matches([' ', '-']) == entry),
            "`components` does not list {kind} {}:\n{listed}",
            folder_name(&folder)
        );
    }
}

#[test]
fn every_component_has_the_files_a_reader_looks_for() {
    for (folder, _) in components() {
        for file in COMPONENT_FILES {
            assert!(folder.join("src").join(file).is_file(), "{}/src/{file} is missing", folder.display());
        }
        let config = fs::read_to_string(folder.join("src/config.rs")).expect("a source file");
        if config.contains(WITHOUT_KEYS) {
            continue;
        }
        let testdata = folder.join("testdata");
        let is_empty = fs::read_dir(&testdata).map_or(true, |mut entries| entries.next().is_none());
        assert!(!is_empty, "{} holds nothing", testdata.display());
    }
}

#[test]
fn every_component_has_a_readme_with_the_fixed_headings() {
    for (folder, _) in components() {
        let path = folder.join("README.md");
        let text = fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        let headings: Vec<&str> =
            text.lines().filter_map(|line| line.strip_prefix("## ")).map(str::trim).collect();
        assert_eq!(headings, README_HEADINGS, "{}", path.display());
    }
}

#[test]
fn every_crate_takes_the_workspace_lints() {
    for package in packages() {
        let path = workspace().join(&package.folder).join("Cargo.toml");
        let manifest = fs::read_to_string(&path).expect("a manifest");
        assert!(manifest.contains("[lints]\nworkspace = true"), "{} has lints of its own", path.display());
    }
}

#[test]
fn no_file_is_longer_than_five_hundred_lines_without_its_tests() {
    let mut files = Vec::new();
    for folder in ["core", "tests", "bench"].into_iter().chain(KINDS.map(|(section, _)| section)) {
        rust_files(&workspace().join(folder), &mut files);
    }
    let mut long = Vec::new();
    for file in files {
        let text = fs::read_to_string(&file).expect("a source file");
        let lines = text.lines().take_while(|line| line.trim() != "#[cfg(test)]").count();
        if lines > MOST_LINES {
            long.push(format!("{}: {lines}", file.display()));
        }
    }
    assert!(long.is_empty(), "{}", long.join("\n"));
}
