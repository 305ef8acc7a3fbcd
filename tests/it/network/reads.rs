//! A read that breaks, dries up or comes garbled: always an end, never a false answer.

use std::{
    net::TcpStream,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use super::{BUCKET, Scene, compare, lists, spec};
use crate::{
    client::block_on,
    proxy::{Fault, How, On, Part, Point},
};
use firedrill::{
    failure::{Class, Failure},
    site::{Site, SiteSpec, Wire, listing::Listing},
    step::Reads,
    types::BucketName,
};

const POINTS: [Point; 5] = [Point::Unread, Point::Forwarded, Point::Head, Point::Body, Point::Chunks];

#[test]
fn a_listing_that_breaks_off_is_never_green() {
    let says = |how| match how {
        How::Close | How::Reset => "the connection broke",
        How::Silence => "no answer within 1s",
    };
    thread::scope(|scope| {
        for how in [How::Close, How::Reset, How::Silence] {
            scope.spawn(move || {
                let scene = Scene::start("healthy");
                for point in POINTS {
                    scene.source.clear();
                    scene.source.fault(Fault::Break(point, how), On::matching(lists));
                    let timeouts = match how {
                        How::Close | How::Reset => "timeouts: { request: 20s }",
                        How::Silence => "timeouts: { request: 1s }",
                    };
                    let outcome = compare(scene.firedrill(timeouts)).run();
                    assert_eq!(outcome.code, 5, "{point:?} {how:?}\n{}", outcome.stdout);
                    outcome.says(says(how)).says("site `src`");
                }
            });
        }
        for part in [Part::Head, Part::Body] {
            scope.spawn(move || {
                let scene = Scene::start("healthy");
                scene.source.fault(Fault::Slow(part, 1), On::matching(lists));
                let outcome = compare(scene.firedrill("timeouts: { request: 1s }")).run();
                outcome.exit(5).says("no answer within 1s");
            });
        }
    });
}

#[test]
fn a_server_that_takes_no_connections_is_given_up_in_time() {
    let listener = block_on(async || {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        socket.listen(1).unwrap().into_std().unwrap()
    });
    let address = listener.local_addr().unwrap();
    let mut waiting = Vec::new();
    while let Ok(stream) = TcpStream::connect_timeout(&address, Duration::from_millis(100)) {
        waiting.push(stream);
        assert!(waiting.len() < 100, "it takes them all");
    }
    let scene = Scene::start("healthy");
    let drill = scene.behind(&format!("http://{address}"), "timeouts: { connect: 1s, request: 20s }");
    compare(drill).run().exit(5).says("it took no connection in time");
}

#[test]
fn slow_and_jittery_links_are_no_trouble() {
    let scene = Scene::start("healthy");
    scene.source.fault(Fault::Slow(Part::Head, 200_000), On::matching(lists));
    scene.source.fault(Fault::Jitter(Duration::from_millis(50)), On::every());
    scene.target.fault(Fault::Delay(Duration::from_millis(50)), On::every());
    compare(scene.firedrill("")).run().exit(0).says("188 versions compared: no difference");
}

#[test]
fn a_garbled_listing_is_never_green_over_other_data() {
    // The target lacks versions: no flip of bits may hide it. 24 seeds are 24 places.
    let scene = Scene::start("partial_loss");
    let wire = Wire::new(spec(&scene.source.endpoint(), &scene.sandbox.pair.source)).unwrap();
    let bucket = BucketName::try_from(BUCKET.to_owned()).unwrap();
    let list = |from: &Arc<Wire>| {
        block_on(async || {
            let site: Site<Reads> = Site::reading(Arc::clone(from));
            let mut versions = site.versions(&bucket, Listing::default());
            let mut all = Vec::new();
            while let Some(version) = versions.next().await? {
                all.push(version);
            }
            Ok::<_, Failure>(all)
        })
    };
    let whole = list(&wire).unwrap().len();
    scene.source.fault(Fault::Garble(1), On::matching(lists));
    let (mut unreadable, mut other) = (0, 0);
    for _ in 0..60 {
        match list(&wire) {
            Ok(versions) => {
                assert_eq!(versions.len(), whole, "a listing of another length was taken for whole");
                other += 1;
            }
            Err(_) => unreadable += 1,
        }
    }
    println!("of 60 garbled listings {unreadable} were unreadable, {other} had another value or none that matters");
    assert!(unreadable > 0 && other > 0);
    for _ in 0..3 {
        let outcome = compare(scene.firedrill("")).run();
        assert!([4, 5].contains(&outcome.code), "{}", outcome.stdout);
    }
}

/// Every kind of call has the same limits, whichever way it takes: the SDK's or our own.
#[test]
fn every_call_ends_in_time() {
    let scene = Scene::start("healthy");
    let bucket = BucketName::try_from(BUCKET.to_owned()).unwrap();
    let began = Instant::now();
    for (fault, class) in POINTS
        .map(|point| (Fault::Break(point, How::Silence), Class::TimedOut))
        .into_iter()
        .chain([(Fault::Slow(Part::Head, 1), Class::TimedOut)])
        .chain([How::Close, How::Reset].map(|how| (Fault::Break(Point::Head, how), Class::Unreachable)))
        .chain([(Fault::page(500), Class::Unreachable), (Fault::redirect(301, "http://a.example"), Class::Refused)])
    {
        scene.source.clear();
        scene.source.fault(fault.clone(), On::every());
        // Only what is never answered should be short of time.
        let request_timeout =
            if class == Class::TimedOut { Duration::from_millis(200) } else { Duration::from_secs(20) };
        let site = spec(&scene.source.endpoint(), &scene.sandbox.pair.source);
        let wire = Wire::new(SiteSpec { request_timeout, ..site }).unwrap();
        let failures = block_on(async || {
            let site: Site<Reads> = Site::reading(wire);
            let failures = tokio::join!(
                async { site.info().await.err() },
                async { site.health().await.err() },
                async { site.object_lock(&bucket).await.err() },
                async { site.encryption(&bucket).await.err() },
                async { site.replication(&bucket).await.err() },
                async { site.bucket_exists(&bucket).await.err() },
                async { site.head(&bucket, "x", None).await.err() },
            );
            <[_; 7]>::from(failures)
        });
        for (n, failure) in failures.into_iter().enumerate() {
            // Health calls have no failure but silence and strangers.
            if n == 1 && matches!(fault, Fault::Answer(_)) && class != Class::Refused {
                continue;
            }
            let failure = failure.unwrap_or_else(|| panic!("{fault:?}: call {n} was answered"));
            assert_eq!(failure.class(), Some(class), "{fault:?}: call {n}: {failure}");
        }
    }
    // Not a measure: a call that hangs would take for ever.
    assert!(began.elapsed() < Duration::from_mins(1));
}
