//! Changes of files.
