//! Bounded decompression of messages that are received.
