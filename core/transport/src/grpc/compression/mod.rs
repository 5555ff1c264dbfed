//! Compression of gRPC messages: `grpc-encoding` names, bounded decompression and compression.

pub mod decode;
pub mod encode;

/// A message encoding other than `identity`.
///
/// `snappy` is the framed (stream) format, as the Go collector's gRPC encoder registers it under that name; the raw
/// block format is what OTLP/HTTP means by the same word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    /// RFC 1952.
    Gzip,
    /// RFC 8878.
    Zstd,
    /// Snappy framing format.
    Snappy,
}

impl Encoding {
    /// Every encoding, in the order in which they are announced.
    pub const ALL: [Encoding; 3] = [Encoding::Gzip, Encoding::Zstd, Encoding::Snappy];

    /// The value of `grpc-accept-encoding` that announces every encoding.
    pub const ACCEPT: &'static str = "identity,gzip,zstd,snappy";

    /// The value of `grpc-encoding`.
    pub const fn name(self) -> &'static str {
        match self {
            Encoding::Gzip => "gzip",
            Encoding::Zstd => "zstd",
            Encoding::Snappy => "snappy",
        }
    }

    /// The encoding of this name; `None` for `identity` and for what is not known.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|e| e.name() == name)
    }
}
