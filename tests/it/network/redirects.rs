//! A redirect is an answer, never a way to go.

use std::collections::BTreeSet;

use super::{Scene, compare, recover, verify};
use crate::proxy::{Fault, On, Proxy};

#[test]
fn a_redirect_is_told_and_nobody_else_hears_of_the_request() {
    let scene = Scene::start("healthy");
    // It would take the same credentials.
    let other = Proxy::start(&scene.sandbox.pair.source.endpoint);
    for status in [301, 302, 303, 307, 308] {
        scene.source.clear();
        scene
            .source
            .fault(Fault::redirect(status, &format!("{}/?X-Amz-Signature=0123", other.endpoint())), On::every());
        let outcome = verify(scene.firedrill("")).exit(4);
        let outcome = outcome.says(&format!("it sends us to `{}`, where no credentials are taken", other.endpoint()));
        assert!(!outcome.stdout.contains("X-Amz-Signature"), "{}", outcome.stdout);
        assert!(other.requests().is_empty(), "{status}: {:?}", other.requests());
    }
}

#[test]
fn a_redirect_to_itself_is_asked_once() {
    let scene = Scene::start("healthy");
    scene.source.fault(Fault::redirect(307, &format!("{}/", scene.source.endpoint())), On::every());
    compare(scene.firedrill("")).run().exit(5).says("it sends us to");
    let asked = scene.source.requests();
    let distinct: BTreeSet<_> = asked.iter().map(|request| (&request.method, &request.path)).collect();
    assert_eq!(distinct.len(), asked.len(), "{asked:?}");
    assert!(asked.iter().all(|request| !request.forwarded));
}

#[test]
fn a_change_that_is_sent_elsewhere_is_refused() {
    let scene = Scene::start("target_lost");
    let other = Proxy::start(&scene.sandbox.pair.target.endpoint);
    scene.target.fault(Fault::redirect(307, &other.endpoint()), On::call("PUT", "/"));
    let drill = scene.firedrill("");
    recover(&scene, &drill).run().exit(5).says("it sends us to").says("name it as the endpoint");
    assert!(other.requests().is_empty(), "{:?}", other.requests());
    assert_eq!(scene.target.changing().len(), 1);
    let receipts = drill.events("receipt");
    assert!(receipts.len() == 1 && receipts[0]["outcome"]["refused"].is_object(), "{receipts:?}");
    // The way out that was told.
    scene.target.clear();
    drill.clone().args(["resume", "latest"]).run().exit(0);
    assert!(scene.differences().is_empty());
}
