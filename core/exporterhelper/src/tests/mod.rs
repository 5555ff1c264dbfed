//! The exporter as the service drives it, against destinations that do as they are told.

mod retry;
