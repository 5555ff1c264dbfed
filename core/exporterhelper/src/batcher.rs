//! Puts requests together, or cuts them, behind the queue (reference: collector-core, 8.5).

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::num::NonZeroUsize;
use std::time::Duration;

use smallvec::SmallVec;
use spanbridge_component::{Context, Metadata};
use spanbridge_pdata::SplitPart;
use tokio::time::Instant;

use crate::ticket::{Parcel, Part};
use crate::{BatchSizer, QueueBatchConfig};

/// Combinations of metadata values whose batches are open at the same time; one more sends the oldest batch on its way.
const PARTITIONS_MAX: usize = 10_000;

/// Bytes in all open batches; more sends the oldest on its way. It bounds the memory that a queue on disk takes.
const OPEN_BYTES_MAX: usize = 64 << 20;

/// The open batches of one signal. A partition is there only while a batch of it is open, so that none is ever idle.
pub(crate) struct Batcher {
    sizer: BatchSizer,
    min: u64,
    /// [`u64::MAX`] is no limit.
    max: u64,
    flush_timeout: Duration,
    keys: Vec<String>,
    /// In the order in which they were opened, which is the order in which their time is over.
    open: BTreeMap<u64, Open>,
    by_key: HashMap<Key, u64>,
    opened: u64,
    bytes: usize,
    ready: VecDeque<Ready>,
}

/// The values of the partition keys, in bytes.
type Key = Box<[u8]>;

struct Open {
    key: Key,
    parts: SmallVec<[Part; 1]>,
    size: u64,
    bytes: usize,
    expires: Instant,
}

/// What is to be done with a batch.
pub(crate) enum Ready {
    Send(Parcel),
    /// A single item is larger than `max_size`.
    TooLarge(Parcel),
}

// === impl Batcher ===

impl Batcher {
    pub(crate) fn new(config: &QueueBatchConfig, sizer: BatchSizer) -> Self {
        let size = |configured: i64| u64::try_from(configured).unwrap_or(0);
        Self {
            sizer,
            min: size(config.min_size),
            max: match size(config.max_size) {
                0 => u64::MAX,
                max => max,
            },
            flush_timeout: config.flush_timeout.get(),
            keys: config.partition.metadata_keys.iter().map(|key| key.to_lowercase()).collect(),
            open: BTreeMap::new(),
            by_key: HashMap::new(),
            opened: 0,
            bytes: 0,
            ready: VecDeque::new(),
        }
    }

    /// Takes in a request; whole batches become ready.
    pub(crate) fn push(&mut self, part: Part) {
        let key = self.key_of(&part.context.metadata);
        let size = self.sizer.size(&part.payload);
        if size <= self.max.saturating_sub(self.size_of(&key)) {
            self.add(&key, part);
        } else {
            match self.sizer {
                BatchSizer::Items => self.push_cut_by_items(&key, part),
                BatchSizer::Bytes => self.push_cut_by_bytes(&key, part),
            }
        }
        while self.bytes > OPEN_BYTES_MAX || self.open.len() > PARTITIONS_MAX {
            self.flush_oldest();
        }
    }

    /// When the next batch's time is over.
    pub(crate) fn expires(&self) -> Option<Instant> {
        self.open.first_key_value().map(|(_, open)| open.expires)
    }

    /// Makes batches ready whose time is over.
    pub(crate) fn expire(&mut self, now: Instant) {
        while self.expires().is_some_and(|expires| expires <= now) {
            self.flush_oldest();
        }
    }

    /// Makes every batch ready.
    pub(crate) fn flush(&mut self) {
        while !self.open.is_empty() {
            self.flush_oldest();
        }
    }

    /// The next batch that is ready.
    pub(crate) fn pop(&mut self) -> Option<Ready> {
        self.ready.pop_front()
    }

    /// Fills the open batch to the brim, then others; what is left over stays open if it is less than the minimum.
    fn push_cut_by_items(&mut self, key: &Key, mut part: Part) {
        let whole = part.payload.clone();
        let left = usize::try_from(self.max - self.size_of(key)).ok().and_then(NonZeroUsize::new);
        let max = usize::try_from(self.max).ok().and_then(NonZeroUsize::new).unwrap_or(NonZeroUsize::MAX);
        for piece in whole.split_items(left.unwrap_or(max), max) {
            let piece = part.cut(piece);
            self.add(key, piece);
        }
    }

    /// Ends the open batch and cuts the request, if it is too large by itself.
    fn push_cut_by_bytes(&mut self, key: &Key, mut part: Part) {
        self.flush_key(key);
        if part.payload.len() as u64 <= self.max {
            return self.add(key, part);
        }
        let whole = part.payload.clone();
        let max = usize::try_from(self.max).ok().and_then(NonZeroUsize::new).unwrap_or(NonZeroUsize::MAX);
        for piece in whole.split_bytes(max) {
            match piece {
                SplitPart::Fits(piece) => {
                    if self.size_of(key) + piece.len() as u64 > self.max {
                        self.flush_key(key);
                    }
                    let piece = part.cut(piece);
                    self.add(key, piece);
                }
                SplitPart::TooLarge(piece) => {
                    let piece = part.cut(piece);
                    self.ready.push_back(Ready::TooLarge(Parcel::single(piece)));
                }
            }
        }
    }

    /// Adds what fits.
    fn add(&mut self, key: &Key, part: Part) {
        let number = if let Some(number) = self.by_key.get(key) { *number } else { self.open(key.clone()) };
        let (size, bytes) = (self.sizer.size(&part.payload), part.payload.len());
        let Some(open) = self.open.get_mut(&number) else { return };
        open.size += size;
        open.bytes += bytes;
        open.parts.push(part);
        self.bytes += bytes;
        // Whichever comes first; a maximum is never below the minimum.
        if open.size >= self.min || open.size >= self.max {
            self.flush_number(number);
        }
    }

    fn open(&mut self, key: Key) -> u64 {
        let number = self.opened;
        self.opened += 1;
        let expires = Instant::now() + self.flush_timeout;
        let open = Open { key: key.clone(), parts: SmallVec::new(), size: 0, bytes: 0, expires };
        self.open.insert(number, open);
        self.by_key.insert(key, number);
        number
    }

    fn size_of(&self, key: &Key) -> u64 {
        self.by_key.get(key).and_then(|number| self.open.get(number)).map_or(0, |open| open.size)
    }

    fn flush_key(&mut self, key: &Key) {
        if let Some(number) = self.by_key.get(key) {
            self.flush_number(*number);
        }
    }

    fn flush_oldest(&mut self) {
        if let Some((number, _)) = self.open.first_key_value() {
            self.flush_number(*number);
        }
    }

    fn flush_number(&mut self, number: u64) {
        let Some(open) = self.open.remove(&number) else { return };
        self.by_key.remove(&open.key);
        self.bytes -= open.bytes;
        let shared = open.parts.first().map(|part| self.shared_context(&part.context)).unwrap_or_default();
        self.ready.push_back(Ready::Send(Parcel { parts: open.parts, shared }));
    }

    /// What the requests of one partition have in common.
    fn shared_context(&self, context: &Context) -> Context {
        let values_of = |key: &String| {
            let values = context.metadata.values(key);
            values.iter().map(|value| (key.clone(), value.clone())).collect::<Vec<_>>()
        };
        let metadata = Metadata::from_pairs(self.keys.iter().flat_map(values_of));
        Context { metadata, ..Context::default() }
    }

    /// Every key's values with their number and lengths, so that no two combinations look alike.
    fn key_of(&self, metadata: &Metadata) -> Key {
        let mut bytes = Vec::new();
        for key in &self.keys {
            let values = metadata.values(key);
            bytes.extend_from_slice(&(values.len() as u64).to_be_bytes());
            for value in values {
                bytes.extend_from_slice(&(value.len() as u64).to_be_bytes());
                bytes.extend_from_slice(value.as_bytes());
            }
        }
        bytes.into()
    }
}
