//! The storage as its users see it, on a real file system.

mod contract;
mod damage;
mod harness;
mod processes;
