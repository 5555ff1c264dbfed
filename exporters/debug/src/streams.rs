//! Standard output, standard error and files.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};

use crate::config::{STDERR, STDOUT};

/// Every output path, open for writing.
#[derive(Debug)]
pub(crate) struct Streams(Vec<(String, Stream)>);

#[derive(Debug)]
enum Stream {
    Stdout(io::Stdout),
    Stderr(io::Stderr),
    File(File),
}

impl Streams {
    /// Opens `paths`; files are made if need be, and appended to.
    ///
    /// # Errors
    /// Names the path that cannot be opened.
    pub(crate) fn open(paths: &[String]) -> io::Result<Self> {
        paths.iter().map(|path| Ok((path.clone(), Stream::open(path)?))).collect::<io::Result<_>>().map(Self)
    }

    /// Writes `record` and a line end to each of them, even when one of them fails.
    ///
    /// # Errors
    /// The first failure, with the path.
    pub(crate) fn write_line(&mut self, record: &str) -> io::Result<()> {
        let mut result = Ok(());
        for (path, stream) in &mut self.0 {
            let written = stream.write_line(record).map_err(|error| about("write to", path, &error));
            result = result.and(written);
        }
        result
    }
}

impl Stream {
    fn open(path: &str) -> io::Result<Self> {
        match path {
            STDOUT => Ok(Self::Stdout(io::stdout())),
            STDERR => Ok(Self::Stderr(io::stderr())),
            _ => {
                let file = OpenOptions::new().append(true).create(true).open(path);
                file.map(Self::File).map_err(|error| about("open", path, &error))
            }
        }
    }

    fn write_line(&mut self, record: &str) -> io::Result<()> {
        match self {
            Self::Stdout(stdout) => write_line(&mut stdout.lock(), record),
            Self::Stderr(stderr) => write_line(&mut stderr.lock(), record),
            Self::File(file) => write_line(file, record),
        }
    }
}

fn write_line(to: &mut impl Write, record: &str) -> io::Result<()> {
    to.write_all(record.as_bytes())?;
    to.write_all(b"\n")?;
    to.flush()
}

fn about(verb: &str, path: &str, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("cannot {verb} {path}: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_appended_to_and_errors_name_the_path() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("out.txt").to_str().unwrap().to_owned();
        for record in ["one", "two\n"] {
            Streams::open(std::slice::from_ref(&path)).unwrap().write_line(record).unwrap();
        }
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "one\ntwo\n\n");

        let missing = format!("{path}/below/a/file");
        let error = Streams::open(std::slice::from_ref(&missing)).unwrap_err().to_string();
        assert!(error.starts_with(&format!("cannot open {missing}: ")), "{error}");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn one_failing_path_does_not_keep_the_record_from_the_others() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("out.txt").to_str().unwrap().to_owned();
        let mut streams = Streams::open(&["/dev/full".to_owned(), path.clone()]).unwrap();
        let error = streams.write_line("record").unwrap_err().to_string();
        assert!(error.starts_with("cannot write to /dev/full: "), "{error}");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "record\n");
    }
}
