//! Every file in `configs/` is valid.

use std::fs;
use std::path::{Path, PathBuf};

use crate::harness::{run, workspace};

/// Kubernetes manifests are not configurations of ours.
const NOT_CONFIGURATIONS: &str = "kubernetes";

/// What configurations take from the environment and have no default for.
const ENVIRONMENT: [(&str, &str); 6] = [
    ("CLUSTER_NAME", "edge-cluster-1"),
    ("KUBE_NODE_NAME", "node-1"),
    ("REMOTE_ENDPOINT", "traces.example.com:443"),
    ("REMOTE_USERNAME", "edge-cluster-1"),
    ("REMOTE_PASSWORD", "a-password"),
    ("BACKEND_ENDPOINT", "backend:4317"),
];
/// A user with a hashed password.
const HTPASSWD: &str = "edge-cluster-1:$2y$10$6Y9.UzRm/RWl2W5dgVg/YOleg4WskrkQkuLOfnF9HnkdLvwCiXJgW\n";

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
    let htpasswd = tempfile::NamedTempFile::new().expect("a file");
    fs::write(htpasswd.path(), HTPASSWD).expect("write");
    let mut environment = ENVIRONMENT.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
    environment.push(("HTPASSWD_FILE".to_owned(), htpasswd.path().display().to_string()));
    for file in files {
        let output = run(workspace(), &["validate", "--config", &file.display().to_string()], &environment);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{}: {}\n{errors}", file.display(), output.status);
        assert!(!errors.contains("warning"), "{} is valid with warnings:\n{errors}", file.display());
    }
}
