//! Compression of messages that are sent.
