//! The official Python SDK exports through Spanbridge to a receiver on the official Python stubs.

use crate::harness::{Collector, pipeline};
use crate::peers::{Peer, Receiver, assert_complete, assert_same, or_skip};

fn exports_arrive_unchanged(test: &str, compression: &str) {
    let Some(peer) = or_skip(test, "python", Peer::python()) else { return };
    let (direct, via) = (Receiver::start(&peer), Receiver::start(&peer));
    let target = via.address().parse().expect("an address");
    let edge = Collector::start("edge", &pipeline(target, "timeout: 20ms", "compression: gzip"));
    let account = peer.send_both(&direct, &edge.grpc().to_string(), compression);
    edge.stop();
    assert_complete(test, &account, &via.items());
    assert_same(direct.items(), via.items());
}

#[test]
fn python_sdk_exports_arrive_unchanged_plus_the_inserted_attributes() {
    exports_arrive_unchanged("python_sdk", "none");
}

#[test]
fn python_sdk_exports_with_gzip_arrive_unchanged_plus_the_inserted_attributes() {
    exports_arrive_unchanged("python_sdk_gzip", "gzip");
}
