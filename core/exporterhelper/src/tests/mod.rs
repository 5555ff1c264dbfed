//! The exporter as the service drives it, against destinations that do as they are told.

mod apart;
mod batch;
mod log;
mod queue;
mod retry;
mod shutdown;
mod stored;
mod stored_end;
