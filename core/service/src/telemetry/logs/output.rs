//! Where log lines go.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

/// One entry of `output_paths`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Target {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
    /// A file, appended to.
    File(PathBuf),
}

/// All open targets of the logger.
pub(super) struct Outputs(Mutex<Vec<Sink>>);

enum Sink {
    Stdout,
    Stderr,
    File(File),
    #[cfg(test)]
    Memory(std::sync::Arc<Mutex<Vec<u8>>>),
}

impl Target {
    /// Reads an entry of `output_paths`.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        match text {
            "" => Err("an output path must not be empty".into()),
            "stdout" => Ok(Self::Stdout),
            "stderr" => Ok(Self::Stderr),
            _ => match text.split_once("://") {
                None => Ok(Self::File(text.into())),
                Some(("file", path)) if path.starts_with('/') => Ok(Self::File(path.into())),
                Some(("file", _)) => {
                    Err(format!("file URL \"{text}\" must hold an absolute path: file:///..."))
                }
                Some((scheme, _)) => Err(format!(
                    "no output for the scheme \"{scheme}\"; use stdout, stderr, a file path or file:///..."
                )),
            },
        }
    }

    fn open(&self) -> Result<Sink, String> {
        match self {
            Self::Stdout => Ok(Sink::Stdout),
            Self::Stderr => Ok(Sink::Stderr),
            Self::File(path) => OpenOptions::new()
                .create(true)
                .append(true)
                .open(path)
                .map(Sink::File)
                .map_err(|error| format!("cannot open the log file {}: {error}", path.display())),
        }
    }
}

impl Outputs {
    /// Opens every target.
    pub(super) fn open(paths: &[String]) -> Result<Self, String> {
        let sinks = paths.iter().map(|path| Target::parse(path)?.open()).collect::<Result<_, _>>()?;
        Ok(Self(Mutex::new(sinks)))
    }

    /// Writes one line, its end included, to every target in one call each, so that lines stay whole.
    ///
    /// A target that cannot be written to is passed over: there is nowhere left to report it.
    pub(super) fn write(&self, line: &[u8]) {
        for sink in self.0.lock().unwrap_or_else(PoisonError::into_inner).iter_mut() {
            let _ = sink.write(line);
        }
    }

    #[cfg(test)]
    pub(super) fn memory() -> (Self, std::sync::Arc<Mutex<Vec<u8>>>) {
        let memory = std::sync::Arc::new(Mutex::new(Vec::new()));
        (Self(Mutex::new(vec![Sink::Memory(memory.clone())])), memory)
    }
}

impl Sink {
    fn write(&mut self, line: &[u8]) -> io::Result<()> {
        match self {
            Self::Stdout => {
                let mut stdout = io::stdout().lock();
                stdout.write_all(line)?;
                stdout.flush()
            }
            Self::Stderr => io::stderr().lock().write_all(line),
            Self::File(file) => file.write_all(line),
            #[cfg(test)]
            Self::Memory(memory) => memory.lock().unwrap().write_all(line),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn output_paths_are_streams_files_or_file_urls() {
        assert_eq!(Target::parse("stdout"), Ok(Target::Stdout));
        assert_eq!(Target::parse("logs/x.log"), Ok(Target::File("logs/x.log".into())));
        assert_eq!(Target::parse("file:///var/log/x"), Ok(Target::File("/var/log/x".into())));
        assert!(Target::parse("file://host/x").unwrap_err().contains("absolute path"));
        assert!(Target::parse("lumberjack://x").unwrap_err().contains("\"lumberjack\""));
        assert!(Target::parse("").is_err());
    }

    #[test]
    fn a_missing_folder_is_an_error_that_names_the_file() {
        let error = Outputs::open(&["/no/such/folder/x.log".into()]).err().unwrap();
        assert!(error.starts_with("cannot open the log file /no/such/folder/x.log: "), "{error}");
    }

    #[test]
    fn files_are_appended_to() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.log").display().to_string();
        for line in ["one\n", "two\n"] {
            Outputs::open(std::slice::from_ref(&path)).unwrap().write(line.as_bytes());
        }
        assert_eq!(std::fs::read_to_string(path).unwrap(), "one\ntwo\n");
    }
}
