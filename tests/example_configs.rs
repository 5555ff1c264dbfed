//! Every file in `configs/` is valid.

use std::fs;
use std::path::{Path, PathBuf};

use crate::harness::{run, workspace};

/// Kubernetes manifests are not configurations of ours.
const NOT_CONFIGURATIONS: &str = "kubernetes";

fn yaml_files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display())) {
        let path = entry.expect("a folder entry").path();
        if path.is_dir() && path.file_name().is_some_and(|name| name != NOT_CONFIGURATIONS) {
            yaml_files(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "yaml") {
            found.push(path);
        }
    }
}

#[test]
fn every_configuration_that_we_ship_is_valid() {
    let mut files = Vec::new();
    yaml_files(&workspace().join("configs"), &mut files);
    assert!(!files.is_empty(), "configs/ holds no configuration");
    for file in files {
        let output = run(workspace(), &["validate", "--config", &file.display().to_string()], &[]);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{}: {}\n{errors}", file.display(), output.status);
        assert!(!errors.contains("warning"), "{} is valid with warnings:\n{errors}", file.display());
    }
}
