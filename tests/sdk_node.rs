//! The official Node SDK exports through Spanbridge to receivers on grpc-js and on the Python stubs.

use crate::harness::{Collector, pipeline};
use crate::peers::{Peer, Receiver, assert_complete, assert_same, or_skip};

/// `receivers` stand at both ends: directly behind the SDK, and behind Spanbridge.
fn exports_arrive_unchanged(test: &str, sender: &Peer, receivers: &Peer, compression: &str) {
    let (direct, via) = (Receiver::start(receivers), Receiver::start(receivers));
    let target = via.address().parse().expect("an address");
    let edge = Collector::start("edge", &pipeline(target, "timeout: 20ms", "compression: gzip"));
    let account = sender.send_both(&direct, &edge.grpc().to_string(), compression);
    edge.stop();
    assert_complete(test, &account, &via.items());
    assert_same(direct.items(), via.items());
}

#[test]
fn node_sdk_exports_arrive_unchanged_plus_the_inserted_attributes() {
    let test = "node_sdk";
    let Some(node) = or_skip(test, "node", Peer::node()) else { return };
    exports_arrive_unchanged(test, &node, &node, "none");
}

#[test]
fn node_sdk_exports_with_gzip_arrive_unchanged_plus_the_inserted_attributes() {
    let test = "node_sdk_gzip";
    let Some(node) = or_skip(test, "node", Peer::node()) else { return };
    exports_arrive_unchanged(test, &node, &node, "gzip");
}

#[test]
fn node_sdk_exports_are_read_by_the_python_stubs() {
    let test = "node_sdk_to_python";
    let Some(node) = or_skip(test, "node", Peer::node()) else { return };
    let Some(python) = or_skip(test, "python", Peer::python()) else { return };
    exports_arrive_unchanged(test, &node, &python, "gzip");
}
