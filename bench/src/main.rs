//! The measuring rig.

fn main() {}
