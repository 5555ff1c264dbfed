//! Reading of PEM texts, bounded and wiped afterwards.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};
use spanbridge_config::Opaque;
use zeroize::Zeroizing;

use super::TlsError;
use crate::grpc::client::dial::cause;

/// The largest file that is read. Bundles of all public authorities have a few hundred KiB.
const PEM_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// Where the PEM texts of a block come from.
#[derive(Debug, Clone)]
pub(super) struct Sources {
    pub(super) ca: Option<PemSource>,
    pub(super) cert: Option<PemSource>,
    pub(super) key: Option<PemSource>,
    pub(super) client_ca: Option<PemSource>,
}

/// Where one PEM text comes from.
#[derive(Debug, Clone)]
pub(super) struct PemSource {
    key: &'static str,
    origin: Origin,
}

#[derive(Debug, Clone)]
enum Origin {
    File(PathBuf),
    Inline(Opaque),
}

/// The texts of a block, read at the same time.
#[derive(Clone)]
pub(super) struct Texts {
    pub(super) ca: Option<PemText>,
    pub(super) cert: Option<PemText>,
    pub(super) key: Option<PemText>,
    pub(super) client_ca: Option<PemText>,
}

/// One PEM text. Wiped when dropped; has no `Debug`.
#[derive(Clone)]
pub(super) struct PemText {
    pub(super) key: &'static str,
    /// What to call it in messages: the file's path, or the key.
    pub(super) name: String,
    pub(super) bytes: Zeroizing<Vec<u8>>,
}

impl PemSource {
    /// The file or the text, whichever is given.
    pub(super) fn either(
        file_key: &'static str,
        file: &Path,
        pem_key: &'static str,
        pem: &Opaque,
    ) -> Option<Self> {
        if !file.as_os_str().is_empty() {
            return Some(Self { key: file_key, origin: Origin::File(file.to_owned()) });
        }
        (!pem.is_empty()).then(|| Self { key: pem_key, origin: Origin::Inline(pem.clone()) })
    }

    /// The key that names it.
    pub(super) fn key(&self) -> &'static str {
        self.key
    }

    fn is_file(&self) -> bool {
        matches!(self.origin, Origin::File(_))
    }
}

impl Sources {
    /// Whether anything can change.
    pub(super) fn has_files(&self) -> bool {
        self.all().any(PemSource::is_file)
    }

    /// Reads everything.
    ///
    /// # Errors
    /// The first source that cannot be read.
    pub(super) fn read(&self) -> Result<Texts, TlsError> {
        let text = |source: &Option<PemSource>| source.as_ref().map(read).transpose();
        Ok(Texts {
            ca: text(&self.ca)?,
            cert: text(&self.cert)?,
            key: text(&self.key)?,
            client_ca: text(&self.client_ca)?,
        })
    }

    /// Stays with what was read of the client authorities, whatever becomes of the file.
    pub(super) fn pin_client_ca(&mut self, text: &PemText) {
        let pinned = Opaque::new(String::from_utf8_lossy(&text.bytes));
        self.client_ca = Some(PemSource { key: text.key, origin: Origin::Inline(pinned) });
    }

    fn all(&self) -> impl Iterator<Item = &PemSource> {
        [&self.ca, &self.cert, &self.key, &self.client_ca].into_iter().flatten()
    }
}

impl Texts {
    /// Tells one state of the files from another, without keeping it.
    pub(super) fn digest(&self) -> [u8; 32] {
        let mut digest = Sha256::new();
        for text in [&self.ca, &self.cert, &self.key, &self.client_ca] {
            let bytes = text.as_ref().map(|text| text.bytes.as_slice()).unwrap_or_default();
            digest.update(bytes.len().to_be_bytes());
            digest.update(bytes);
        }
        digest.finalize().into()
    }
}

/// Reads one source.
///
/// # Errors
/// If the file cannot be read, or is larger than any PEM file should be.
pub(super) fn read(source: &PemSource) -> Result<PemText, TlsError> {
    let (name, bytes) = match &source.origin {
        Origin::Inline(text) => (source.key.to_owned(), Zeroizing::new(text.expose().as_bytes().to_vec())),
        Origin::File(path) => {
            let bytes = read_file(path).map_err(|error| {
                let reason = cause(&error);
                TlsError::new(source.key, format!("cannot read {}: {reason}", path.display()))
            })?;
            (path.display().to_string(), bytes)
        }
    };
    Ok(PemText { key: source.key, name, bytes })
}

fn read_file(path: &Path) -> io::Result<Zeroizing<Vec<u8>>> {
    let file = File::open(path)?;
    let metadata = file.metadata()?;
    if metadata.is_dir() {
        return Err(io::Error::other("it is a folder"));
    }
    // With the right capacity at once nothing is left behind by growing.
    let capacity = usize::try_from(metadata.len().min(PEM_BYTES_MAX)).unwrap_or_default() + 1;
    let mut bytes = Zeroizing::new(Vec::with_capacity(capacity));
    file.take(PEM_BYTES_MAX + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > PEM_BYTES_MAX {
        return Err(io::Error::other("it is larger than 4 MiB, which no PEM file should be"));
    }
    Ok(bytes)
}
