//! Reads are repeated when the server asks for fewer requests, and at nothing else.

use std::thread;

use super::{Scene, compare, lists};
use crate::proxy::{Fault, How, On, Point, fault::Answer};

/// A read that is throttled for ever is asked for so often in all.
const PATIENCE: usize = 7;

#[test]
fn a_throttled_read_is_repeated_and_no_other() {
    let too_many = || Fault::Answer(Answer { status: 429, headers: Vec::new(), body: String::new() }.into());
    let cases: [(&str, Fault, usize, i32); 9] = [
        ("SlowDown", Fault::slow_down(None), 3, 0),
        // A minute is what MinIO always says, whatever its load.
        ("SlowDown with a time", Fault::slow_down(Some(60)), 3, 0),
        ("429", too_many(), 3, 0),
        ("500", Fault::error(500, "InternalError"), 1, 5),
        ("502", Fault::page(502), 1, 5),
        ("503 of somebody else", Fault::page(503), 1, 5),
        ("503 of a link", Fault::error(503, "XMinioAdminReplicationRemoteConnectionError"), 1, 5),
        ("reset", Fault::Break(Point::Forwarded, How::Reset), 1, 5),
        ("denied", Fault::error(403, "AccessDenied"), 1, 5),
    ];
    thread::scope(|scope| {
        for (name, fault, asked, code) in cases {
            scope.spawn(move || {
                let scene = Scene::start("healthy");
                scene.source.fault(fault, On::matching(lists).times(2));
                let outcome = compare(scene.firedrill("")).run();
                assert_eq!(outcome.code, code, "{name}\n{}\n{}", outcome.stdout, outcome.stderr);
                assert_eq!(scene.source.count(lists), asked, "{name}");
            });
        }
        scope.spawn(throttled_for_ever);
    });
}

fn throttled_for_ever() {
    let scene = Scene::start("healthy");
    scene.source.fault(Fault::slow_down(None), On::matching(lists));
    compare(scene.firedrill("")).run().exit(5).says("is too busy to list the versions").says("SlowDown (503)");
    assert_eq!(scene.source.count(lists), PATIENCE);
}
