//! The storage as its users see it, on a real file system.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::from_iter_instead_of_collect,
    reason = "tests may; and a collected range is best written as what it becomes"
)]

mod contract;
mod damage;
mod harness;
mod processes;
