//! End-to-end tests: the real binary as a process, real configuration files, real clients over real sockets.
//!
//! Nothing here links the collector: a test writes YAML, starts `spanbridge`, and talks to it as a user's client would.
//! What a module proves is written at its top. Peers in other languages live in `peers/`; without them their tests are
//! skipped with a printed reason (`.ci/run` installs them and makes a skip a failure).

#![expect(clippy::expect_used, clippy::panic, reason = "this crate is nothing but tests, helpers included")]

mod client;
mod data;
mod harness;
mod peers;
mod sink;

mod architecture;
mod attributes;
mod auth;
mod bad_configs;
mod delivery;
mod error_mapping;
mod example_configs;
mod faults;
mod grpc_conformance;
mod health_check;
mod kubernetes;
mod load_balancing;
mod manifests;
mod memory;
mod oauth2;
mod oidc;
mod reload;
mod resource_detection;
mod roundtrip;
mod sdk_go;
mod sdk_node;
mod sdk_python;
mod secrets;
mod shutdown;
mod tls;
mod volume;
