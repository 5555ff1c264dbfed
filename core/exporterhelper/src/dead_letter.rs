//! Files for what is given up for good.
//!
//! For each signal there are two files in the directory, named after the exporter:
//!
//! - `otlp_grpc.traces.otlp`: the requests, each a serialized `ExportTraceServiceRequest` behind its length as a varint:
//!   the delimited form that protobuf libraries read (`parseDelimitedFrom`, `protodelim`, `decode_length_delimited`).
//! - `otlp_grpc.traces.index`: a line a request, fields parted by tabs: seconds since 1970, offset and length of the
//!   request in the other file (its varint not counted), items, why it was given up, the gRPC code, the error's text.
//!
//! A request is on disk before it is forgotten elsewhere. What does not fit into `max_size` is counted and gone. A request
//! whose line could not be written stays in its file and counts as failed.
//!
//! During a reload two exporters of one name write to the same files, so each write is under a lock of the file, and begins
//! with a look at where it ends now.

use std::fs::{File, OpenOptions};
use std::io::{self, BufReader, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use prometheus::IntCounterVec;
use spanbridge_component::{ComponentId, ConsumeError, Payload, Settings, Signal, StartError};
use tokio::task::spawn_blocking;

use crate::{DeadLetterConfig, RateLimit};

/// The longest text of an error in the index, in bytes.
const ERROR_BYTES_MAX: usize = 4096;
const LOG_INTERVAL: Duration = Duration::from_secs(10);

/// Writes what is given up for good.
pub(crate) struct DeadLetters {
    config: DeadLetterConfig,
    exporter: ComponentId,
    signals: Vec<Signal>,
    files: OnceLock<Arc<Mutex<Files>>>,
    written: IntCounterVec,
    failed: IntCounterVec,
    failures_logged: RateLimit,
}

/// The open files of one exporter.
struct Files {
    by_signal: [Option<Pair>; 3],
    size_max: u64,
}

struct Pair {
    requests: File,
    index: File,
    /// Up to where the requests are known to be whole. Others may have written more.
    end: u64,
}

/// A file that nobody else writes to meanwhile, in this process or another.
struct Locked<'a>(&'a File);

// === impl DeadLetters ===

impl DeadLetters {
    /// # Errors
    /// As [`spanbridge_component::telemetry::Telemetry::counter`].
    pub(crate) fn new(settings: &Settings, config: DeadLetterConfig) -> Result<Self, prometheus::Error> {
        let counter =
            |name: &str, help: &str| settings.telemetry.counter(name, help, &["exporter", "data_type"]);
        Ok(Self {
            config,
            exporter: settings.id.clone(),
            signals: settings.signals.clone(),
            files: OnceLock::new(),
            written: counter(
                "otelcol_exporter_dead_letter_items",
                "Number of items that were given up and written to the dead-letter files. [Development]",
            )?,
            failed: counter(
                "otelcol_exporter_dead_letter_failed_items",
                "Number of items that were given up and could not be written to the dead-letter files. [Development]",
            )?,
            failures_logged: RateLimit::new(LOG_INTERVAL),
        })
    }

    /// Opens the files.
    pub(crate) async fn start(&self) -> Result<(), StartError> {
        let (config, exporter, signals) = (self.config.clone(), self.exporter.clone(), self.signals.clone());
        let open = move || Files::open(&config, &exporter, &signals);
        let files = spawn_blocking(open).await.unwrap_or_else(|error| Err(io::Error::other(error)));
        let files = files.map_err(|error| {
            StartError(format!(
                "cannot open the dead-letter files in {}: {error}",
                self.config.directory.display()
            ))
        })?;
        let _ = self.files.set(Arc::new(Mutex::new(files)));
        Ok(())
    }

    /// Writes a request and resolves when it is on disk, or could not be written, which is reported and counted here.
    pub(crate) async fn write(&self, payload: Payload, reason: &'static str, error: &ConsumeError) {
        let (signal, items) = (payload.signal(), payload.items());
        let answer = format!("{}\t{}", error.code(), shown(error.message()));
        let written = match self.files.get().cloned() {
            None => Err(io::Error::other("the files are not open")),
            Some(files) => {
                let write = move || {
                    files.lock().unwrap_or_else(PoisonError::into_inner).write(&payload, reason, &answer)
                };
                spawn_blocking(write).await.unwrap_or_else(|error| Err(io::Error::other(error)))
            }
        };
        let counter = if written.is_ok() { &self.written } else { &self.failed };
        counter.with_label_values(&[self.exporter.as_str(), signal.name()]).inc_by(items as u64);
        if let Err(error) = written
            && let Some(held_back) = self.failures_logged.admit()
        {
            let directory = self.config.directory.display();
            tracing::error!(%error, %directory, dropped_items = items, held_back, "Cannot write a dead letter.");
        }
    }
}

/// The text of an error in one line.
fn shown(text: &str) -> String {
    let within = |(at, shown): &(usize, char)| at + shown.len_utf8() <= ERROR_BYTES_MAX;
    text.char_indices().take_while(within).flat_map(|(_, shown)| shown.escape_debug()).collect()
}

// === impl Files ===

impl Files {
    fn open(config: &DeadLetterConfig, exporter: &ComponentId, signals: &[Signal]) -> io::Result<Self> {
        std::fs::create_dir_all(&config.directory)?;
        let mut files = Self { by_signal: [const { None }; 3], size_max: config.max_size };
        for signal in signals {
            let path = |extension| path_of(&config.directory, exporter.as_str(), *signal, extension);
            files.by_signal[signal.index()] = Some(Pair::open(&path("otlp"), &path("index"))?);
        }
        sync_directory(&config.directory)?;
        // That may be new as well; but not every parent may be read.
        let _ = config.directory.parent().map(sync_directory);
        Ok(files)
    }

    fn write(&mut self, payload: &Payload, reason: &str, answer: &str) -> io::Result<()> {
        let left = self.size_max.saturating_sub(self.size()?);
        let Some(pair) = &mut self.by_signal[payload.signal().index()] else {
            return Err(io::Error::other("the exporter is not used for this signal"));
        };
        if pair.write(payload, &format!("{reason}\t{answer}"), left)? {
            return Ok(());
        }
        let message = format!("the files have reached dead_letter::max_size, {} bytes", self.size_max);
        Err(io::Error::new(io::ErrorKind::StorageFull, message))
    }

    /// What the files take on disk, whoever wrote it.
    fn size(&self) -> io::Result<u64> {
        let files = self.by_signal.iter().flatten().flat_map(|pair| [&pair.requests, &pair.index]);
        files.map(|file| Ok(file.metadata()?.len())).sum()
    }
}

impl Pair {
    fn open(requests: &Path, index: &Path) -> io::Result<Self> {
        let (requests, index) = (open_private(requests)?, open_private(index)?);
        let end = {
            let _locked = Locked::new(&requests)?;
            mend(&requests, 0)?
        };
        Ok(Self { requests, index, end })
    }

    /// Writes a request, and its line that ends with `why`; not if they take more than `left` bytes. Whether they are written.
    fn write(&mut self, payload: &Payload, why: &str, left: u64) -> io::Result<bool> {
        let _locked = Locked::new(&self.requests)?;
        self.end = mend(&self.requests, self.end)?;
        let prefix = varint(payload.len() as u64);
        let request = (prefix.len() + payload.len()) as u64;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let offset = self.end + prefix.len() as u64;
        let line = format!("{now}\t{offset}\t{}\t{}\t{why}\n", payload.len(), payload.items());
        if request + line.len() as u64 > left {
            return Ok(false);
        }
        let segments = payload.segments().iter().map(AsRef::as_ref);
        append(&self.requests, std::iter::once(&prefix[..]).chain(segments))?;
        // From here on it is there, whatever becomes of its line.
        self.end += request;
        append(&self.index, [line.as_bytes()])?;
        Ok(true)
    }
}

/// Writes `pieces` to the end of `file` and waits until the disk has them. If that fails, nothing of them is left.
fn append<'a>(mut file: &File, pieces: impl IntoIterator<Item = &'a [u8]>) -> io::Result<()> {
    let before = file.metadata()?.len();
    let written = pieces.into_iter().try_for_each(|piece| file.write_all(piece));
    let synced = written.and_then(|()| file.sync_data());
    if synced.is_err() {
        // If this fails too, whoever writes next finds the half of it.
        let _ = file.set_len(before);
    }
    synced
}

/// Cuts off what is no whole request, and says where the file ends then. Up to `known` it consists of whole ones.
///
/// A crash, or an error that could not be undone, leaves half a request, which would make what follows unreadable.
fn mend(file: &File, known: u64) -> io::Result<u64> {
    let length = file.metadata()?.len();
    if length == known {
        return Ok(known);
    }
    // A file that is shorter than it was is not the one that we know.
    let end = complete_length(file, if length < known { 0 } else { known })?;
    if end < length {
        file.set_len(end)?;
    }
    Ok(end)
}

fn sync_directory(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}

// === impl Locked ===

impl<'a> Locked<'a> {
    /// Waits until nobody else writes.
    fn new(file: &'a File) -> io::Result<Self> {
        file.lock()?;
        Ok(Self(file))
    }
}

impl Drop for Locked<'_> {
    fn drop(&mut self) {
        // It ends with the file at the latest.
        let _ = self.0.unlock();
    }
}

/// Opens a file to append to, which nobody else may read: it holds telemetry.
fn open_private(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).append(true).create(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let named = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", path.display()));
    options.open(path).map_err(named)
}

/// Up to where the file consists of whole requests, which it does up to `from`.
fn complete_length(file: &File, from: u64) -> io::Result<u64> {
    let length = file.metadata()?.len();
    let mut reader = BufReader::new(file);
    let mut end = from;
    reader.seek(SeekFrom::Start(from))?;
    while let Some((prefix, request)) = read_varint(&mut reader)? {
        let next = request.checked_add(end + prefix).filter(|next| *next <= length);
        let (Some(next), Ok(skip)) = (next, i64::try_from(request)) else { break };
        reader.seek_relative(skip)?;
        end = next;
    }
    Ok(end)
}

/// The varint and how many bytes it takes; `None` at the end of the file, within it, or if it is none.
fn read_varint(reader: &mut impl io::BufRead) -> io::Result<Option<(u64, u64)>> {
    let mut value = 0_u64;
    for (count, byte) in reader.bytes().take(10).enumerate() {
        let byte = byte?;
        value |=
            u64::from(byte & 0x7f).checked_shl(7 * u32::try_from(count).unwrap_or(u32::MAX)).unwrap_or(0);
        if byte < 0x80 {
            return Ok(Some((count as u64 + 1, value)));
        }
    }
    Ok(None)
}

fn varint(mut value: u64) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(10);
    while value >= 0x80 {
        bytes.push(u8::try_from(value & 0x7f).unwrap_or_default() | 0x80);
        value >>= 7;
    }
    bytes.push(u8::try_from(value).unwrap_or_default());
    bytes
}

/// A component id as the name of a file: what is not a letter, a digit, `_`, `-` or `.` becomes `%` and its bytes in hex.
fn file_name(id: &str) -> String {
    let mut name = String::with_capacity(id.len());
    for byte in id.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_' | b'-' | b'.' => name.push(char::from(byte)),
            _ => name.extend(format!("%{byte:02X}").chars()),
        }
    }
    name
}

/// Where a file of `exporter` is.
fn path_of(directory: &Path, exporter: &str, signal: Signal, extension: &str) -> PathBuf {
    directory.join(format!("{}.{}.{extension}", file_name(exporter), signal.name()))
}

#[cfg(test)]
mod tests {
    use spanbridge_component::{Code, Kind};
    use spanbridge_testkit::{Payloads, item_ids, metric, settings_of};

    use super::*;

    fn letters(directory: &Path, max_size: u64) -> (DeadLetters, Settings) {
        let settings = settings_of(Kind::Exporter, "otlp_grpc/a:b");
        let config = DeadLetterConfig { directory: directory.to_owned(), max_size };
        (DeadLetters::new(&settings, config).unwrap(), settings)
    }

    fn requests(directory: &Path) -> Vec<Payload> {
        let bytes = std::fs::read(path_of(directory, "otlp_grpc/a:b", Signal::Traces, "otlp")).unwrap();
        let mut rest = bytes::Bytes::from(bytes);
        let mut requests = Vec::new();
        while !rest.is_empty() {
            let (prefix, length) = read_varint(&mut &rest[..]).unwrap().unwrap();
            let _ = rest.split_to(usize::try_from(prefix).unwrap());
            let request = rest.split_to(usize::try_from(length).unwrap());
            let request = Payload::from_wire(Signal::Traces, request, spanbridge_pdata::InvalidUtf8::Refuse);
            requests.push(request.unwrap().payload);
        }
        requests
    }

    #[tokio::test]
    async fn letters_are_delimited_requests_with_a_line_each_also_after_a_crash_in_the_middle_of_one() {
        let dir = tempfile::tempdir().unwrap();
        let mut payloads = Payloads::small();
        let error = ConsumeError::permanent("bad\tspan\nhere").with_code(Code::InvalidArgument);
        let (first, _) = letters(dir.path(), 1 << 20);
        first.start().await.unwrap();
        let mut merged = payloads.request(Signal::Traces, 3);
        merged.append(payloads.request(Signal::Traces, 2)).unwrap();
        first.write(merged, "refused", &error).await;
        let path = path_of(dir.path(), "otlp_grpc/a:b", Signal::Traces, "otlp");
        OpenOptions::new().append(true).open(path).unwrap().write_all(&[200, 1, 10]).unwrap();

        let (second, settings) = letters(dir.path(), 1 << 20);
        second.start().await.unwrap();
        second.write(payloads.request(Signal::Traces, 1), "too_large", &error).await;

        let requests = requests(dir.path());
        assert_eq!(requests.iter().map(item_ids).collect::<Vec<_>>(), [vec![0, 1, 2, 3, 4], vec![5]]);
        let index = path_of(dir.path(), "otlp_grpc/a:b", Signal::Traces, "index");
        let index = std::fs::read_to_string(index).unwrap();
        let lines: Vec<Vec<_>> = index.lines().map(|line| line.split('\t').collect()).collect();
        assert_eq!(lines[0][3..], ["5", "refused", "InvalidArgument", "bad\\tspan\\nhere"]);
        assert_eq!(lines[1][3..5], ["1", "too_large"]);
        assert_eq!(lines[1][2], requests[1].len().to_string());
        let labels = [("exporter", "otlp_grpc/a:b"), ("data_type", "traces")];
        assert_eq!(metric(&settings.telemetry, "otelcol_exporter_dead_letter_items", &labels), Some(1.0));
    }

    /// The items of each request that the index leads to.
    fn indexed(directory: &Path) -> Vec<usize> {
        let path = |extension| path_of(directory, "otlp_grpc/a:b", Signal::Traces, extension);
        let requests = std::fs::read(path("otlp")).unwrap();
        let index = std::fs::read_to_string(path("index")).unwrap();
        let item_counts = index.lines().map(|line| {
            let fields: Vec<usize> = line.split('\t').skip(1).map_while(|field| field.parse().ok()).collect();
            let request = bytes::Bytes::copy_from_slice(&requests[fields[0]..fields[0] + fields[1]]);
            let request = Payload::from_wire(Signal::Traces, request, spanbridge_pdata::InvalidUtf8::Refuse);
            assert_eq!(request.unwrap().payload.items(), fields[2]);
            fields[2]
        });
        item_counts.collect()
    }

    /// Puts another file in the place of an open one.
    fn swap(letters: &DeadLetters, of: fn(&mut Pair) -> &mut File, file: File) -> File {
        let mut files = letters.files.get().unwrap().lock().unwrap();
        std::mem::replace(of(files.by_signal[Signal::Traces.index()].as_mut().unwrap()), file)
    }

    #[tokio::test]
    async fn a_line_that_cannot_be_written_leaves_the_offsets_of_the_others_right() {
        let dir = tempfile::tempdir().unwrap();
        let mut payloads = Payloads::small();
        let error = ConsumeError::permanent("no");
        let (letters, settings) = letters(dir.path(), 1 << 20);
        letters.start().await.unwrap();
        letters.write(payloads.request(Signal::Traces, 1), "refused", &error).await;
        let path = |extension| path_of(dir.path(), "otlp_grpc/a:b", Signal::Traces, extension);
        let read_only = File::open(path("index")).unwrap();
        let index = swap(&letters, |pair| &mut pair.index, read_only);
        letters.write(payloads.request(Signal::Traces, 2), "refused", &error).await;
        swap(&letters, |pair| &mut pair.index, index);
        letters.write(payloads.request(Signal::Traces, 3), "refused", &error).await;
        let requests_file = swap(&letters, |pair| &mut pair.requests, File::open(path("otlp")).unwrap());
        letters.write(payloads.request(Signal::Traces, 4), "refused", &error).await;
        swap(&letters, |pair| &mut pair.requests, requests_file);
        letters.write(payloads.request(Signal::Traces, 5), "refused", &error).await;

        let written: Vec<_> = requests(dir.path()).iter().map(Payload::items).collect();
        assert_eq!((written, indexed(dir.path())), (vec![1, 2, 3, 5], vec![1, 3, 5]));
        let labels = [("exporter", "otlp_grpc/a:b"), ("data_type", "traces")];
        let failed = metric(&settings.telemetry, "otelcol_exporter_dead_letter_failed_items", &labels);
        assert_eq!(failed, Some(6.0));
    }

    #[tokio::test]
    async fn two_exporters_of_one_name_write_to_the_same_files_during_a_reload() {
        let dir = tempfile::tempdir().unwrap();
        let mut payloads = Payloads::small();
        let error = ConsumeError::permanent("no");
        let (old, _) = letters(dir.path(), 1 << 20);
        let (new, _) = letters(dir.path(), 1 << 20);
        old.start().await.unwrap();
        old.write(payloads.request(Signal::Traces, 1), "refused", &error).await;
        new.start().await.unwrap();
        let mut total = 1;
        for items in 2..20 {
            let (first, second) =
                (payloads.request(Signal::Traces, items), payloads.request(Signal::Traces, 2 * items));
            tokio::join!(old.write(first, "refused", &error), new.write(second, "refused", &error));
            total += 3 * items;
        }
        // One of them could not undo what it could not finish.
        let path = path_of(dir.path(), "otlp_grpc/a:b", Signal::Traces, "otlp");
        OpenOptions::new().append(true).open(path).unwrap().write_all(&[200, 1, 10]).unwrap();
        new.write(payloads.request(Signal::Traces, 1), "refused", &error).await;

        assert_eq!(requests(dir.path()).iter().map(Payload::items).sum::<usize>(), total + 1);
        assert_eq!(indexed(dir.path()).iter().sum::<usize>(), total + 1);
    }

    #[tokio::test]
    async fn the_files_stay_within_their_size_and_what_does_not_fit_is_counted() {
        let dir = tempfile::tempdir().unwrap();
        let (letters, settings) = letters(dir.path(), 2000);
        letters.start().await.unwrap();
        let mut payloads = Payloads::small();
        for _ in 0..10 {
            letters
                .write(payloads.request(Signal::Traces, 5), "refused", &ConsumeError::permanent("no"))
                .await;
        }
        let size: u64 =
            std::fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().metadata().unwrap().len()).sum();
        assert!(size <= 2000, "{size}");
        let written = requests(dir.path()).len();
        assert!((1..10).contains(&written), "{written}");
        let labels = [("exporter", "otlp_grpc/a:b"), ("data_type", "traces")];
        let failed = metric(&settings.telemetry, "otelcol_exporter_dead_letter_failed_items", &labels);
        assert_eq!(failed, Some(f64::from(u32::try_from(5 * (10 - written)).unwrap())));
    }

    #[tokio::test]
    async fn a_directory_that_cannot_be_used_fails_the_start() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        std::fs::write(&file, "").unwrap();
        let error = letters(&file, 1).0.start().await.unwrap_err().to_string();
        assert!(
            error.starts_with(&format!("cannot open the dead-letter files in {}: ", file.display())),
            "{error}"
        );
    }
}
