//! A change is sent once, whatever becomes of its connection, and what became of it can be told.
//!
//! The retries of the SDK and of the client below it would show here as a second request: each fault is for one request
//! alone, so that a second one would pass.

use std::{
    collections::BTreeMap,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use firedrill::{
    change::{Change, Settled},
    failure::Class,
    site::{
        Site, SiteSpec, Wire,
        changes::{CreateBucket, SetEncryption, SetRetention, SetVersioning, StartResync},
        s3::{Encryption, Retention, Versioning},
    },
    step::Reads,
    types::BucketName,
};

use super::{BUCKET, Scene, spec};
use crate::{
    client::block_on,
    proxy::{Fault, How, On, Part, Point, fault::Endless},
};

fn faults() -> Vec<Fault> {
    let points = [Point::Unread, Point::Forwarded, Point::Head, Point::Body, Point::Chunks];
    let breaks = points.into_iter().flat_map(|at| [How::Close, How::Reset].map(|how| Fault::Break(at, how)));
    // In silence each takes all of the time that a request has.
    let silent = [Point::Unread, Point::Forwarded, Point::Head].map(|at| Fault::Break(at, How::Silence));
    let answers = [
        Fault::error(500, "InternalError"),
        Fault::page(502),
        Fault::page(503),
        Fault::slow_down(None),
        Fault::slow_down(Some(1)),
        Fault::page(504),
        Fault::redirect(307, "http://elsewhere.example"),
        Fault::error(403, "AccessDenied"),
    ];
    let rest = [
        Fault::Late,
        Fault::HangUp,
        Fault::Garble(3),
        Fault::Delay(Duration::from_millis(20)),
        Fault::Slow(Part::Head, 1),
        Fault::Endless(Endless::Chunks),
    ];
    breaks.chain(silent).chain(answers).chain(rest).collect()
}

/// One kind of change under every fault.
struct Trial {
    scene: Scene,
    /// For what meets the fault: short of time.
    quick: Arc<Wire>,
    /// For all else.
    patient: Arc<Wire>,
    /// How often each outcome was seen.
    outcomes: BTreeMap<&'static str, usize>,
}

impl Trial {
    fn new(scenario: &str) -> Self {
        let scene = Scene::start(scenario);
        let [quick, patient] = [500, 20_000].map(|limit| {
            let site = spec(&scene.source.endpoint(), &scene.sandbox.pair.source);
            Wire::new(SiteSpec { request_timeout: Duration::from_millis(limit), ..site }).unwrap()
        });
        Self { scene, quick, patient, outcomes: BTreeMap::new() }
    }

    fn site(&self) -> Site<Reads> {
        Site::reading(Arc::clone(&self.patient))
    }

    /// Sends it under the fault, on a connection that was used before.
    async fn send<C: Change>(&mut self, fault: &Fault, change: C) {
        let proxy = &self.scene.source;
        let warm: Site<Reads> = Site::reading(Arc::clone(&self.quick));
        while warm.health().await.is_err() {}
        let before = proxy.changing().len();
        proxy.fault(fault.clone(), On::changes().times(1));
        let sent = change.send(&self.quick).await;
        let settles = Instant::now() + Duration::from_secs(10);
        let asked = loop {
            let asked = proxy.changing().split_off(before);
            // It is on its way to the server, and must come to an end there.
            if asked.iter().all(|request| !request.forwarded || request.status.is_some()) && !late(fault, &asked) {
                break asked;
            }
            assert!(Instant::now() < settles, "{fault:?}: {asked:?}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        };
        proxy.clear();
        let [request] = &asked[..] else { panic!("{}: {fault:?} was sent {} times: {asked:?}", C::NAME, asked.len()) };
        assert!(request.reused, "{}: {fault:?} came on a fresh connection", C::NAME);

        let arrived = request.status.is_some_and(|status| (200..300).contains(&status));
        let settled = self.settled(&change).await;
        assert_eq!(settled, arrived, "{}: {fault:?} was settled wrongly", C::NAME);
        let outcome = match sent {
            Ok(_) => {
                assert!(arrived, "{}: {fault:?} was taken for done", C::NAME);
                "done"
            }
            Err(failure) if failure.class() == Some(Class::Refused) => {
                assert!(!arrived, "{}: {fault:?} was taken for refused: {failure}", C::NAME);
                "refused"
            }
            Err(failure) => {
                assert!(failure.class().is_some(), "{failure}");
                if arrived { "open, and was done" } else { "open, and was not done" }
            }
        };
        *self.outcomes.entry(outcome).or_default() += 1;
    }

    async fn settled<C: Change>(&self, change: &C) -> bool {
        match change.settle(&self.patient).await.expect("what became of it") {
            Settled::Done(_) => true,
            Settled::NotDone => false,
            Settled::CannotTell(why) => panic!("{}: {why}", C::NAME),
        }
    }

    fn tell(self, kind: &str) {
        let all: usize = self.outcomes.values().sum();
        assert_eq!(all, faults().len());
        println!("{kind}: each of {all} faults, one request each: {:?}", self.outcomes);
    }
}

/// What is sent late is not there yet.
fn late(fault: &Fault, asked: &[crate::proxy::Recorded]) -> bool {
    matches!(fault, Fault::Late) && asked.iter().any(|request| !request.forwarded)
}

fn name(text: &str) -> BucketName {
    BucketName::try_from(text.to_owned()).unwrap()
}

fn create_buckets() {
    let mut trial = Trial::new("healthy");
    block_on(async || {
        for (n, fault) in faults().iter().enumerate() {
            trial.send(fault, CreateBucket { bucket: name(&format!("fresh-{n}")), object_lock: n % 2 == 0 }).await;
        }
    });
    trial.tell("CreateBucket");
}

fn set_versioning() {
    let mut trial = Trial::new("healthy");
    block_on(async || {
        for (n, fault) in faults().iter().enumerate() {
            let excluded_prefixes = vec![format!("p{n}/")];
            let versioning = Versioning { enabled: true, excluded_prefixes, exclude_folders: false };
            trial.send(fault, SetVersioning { bucket: name(BUCKET), versioning }).await;
        }
    });
    trial.tell("SetVersioning");
}

fn set_retention() {
    let mut trial = Trial::new("healthy");
    block_on(async || {
        let bucket = name("locked");
        CreateBucket { bucket: bucket.clone(), object_lock: true }.send(&trial.patient).await.unwrap();
        for (days, fault) in (1..).zip(&faults()) {
            let retention = Some(Retention { mode: "GOVERNANCE".into(), days: Some(days), years: None });
            trial.send(fault, SetRetention { bucket: bucket.clone(), retention }).await;
        }
    });
    trial.tell("SetRetention");
}

fn set_encryption() {
    let mut trial = Trial::new("healthy");
    block_on(async || {
        for fault in &faults() {
            let now = trial.site().encryption(&name(BUCKET)).await.unwrap();
            let encryption = match now {
                Some(_) => None,
                None => Some(Encryption { algorithm: "AES256".into(), kms_key: None }),
            };
            trial.send(fault, SetEncryption { bucket: name(BUCKET), encryption }).await;
        }
    });
    trial.tell("SetEncryption");
}

fn start_resyncs() {
    let mut trial = Trial::new("healthy");
    block_on(async || {
        let bucket = name(BUCKET);
        let arn = trial.site().remote_targets(&bucket).await.unwrap()[0].arn.clone();
        for (n, fault) in faults().iter().enumerate() {
            let before = loop {
                let jobs = trial.site().resync_status(&bucket, Some(&arn)).await.unwrap();
                match jobs.first() {
                    Some(job) if job.running() => tokio::time::sleep(Duration::from_millis(20)).await,
                    job => break job.map(|job| job.reset_id.clone()),
                }
            };
            let reset_id = format!("drill-{n}");
            let start =
                StartResync { bucket: bucket.clone(), arn: arn.clone(), reset_id, older_than_days: None, before };
            trial.send(fault, start).await;
        }
    });
    trial.tell("StartResync");
}

#[test]
fn a_change_is_sent_once_whatever_becomes_of_it() {
    thread::scope(|scope| {
        for kind in [create_buckets, set_versioning, set_retention, set_encryption, start_resyncs] {
            scope.spawn(kind);
        }
    });
}

/// A server closes idle connections without a word. The client may notice in time and take another one, or lose the
/// request: it must not send it twice.
#[test]
fn a_connection_that_died_while_idle_doubles_nothing() {
    let scene = Scene::start("healthy");
    let wire = Wire::new(spec(&scene.source.endpoint(), &scene.sandbox.pair.source)).unwrap();
    scene.source.fault(Fault::HangUp, On::call("GET", "/minio/health"));
    block_on(async || {
        let site: Site<Reads> = Site::reading(Arc::clone(&wire));
        let mut done = 0;
        for n in 0..60_u64 {
            site.health().await.unwrap();
            // The end of the connection and the change meet, now in this order and now in that.
            tokio::time::sleep(Duration::from_micros(n * 20)).await;
            let before = scene.source.changing().len();
            let sent = CreateBucket { bucket: name(&format!("idle-{n}")), object_lock: false }.send(&wire).await;
            assert!(sent.as_ref().err().is_none_or(|failure| failure.class() == Some(Class::Unreachable)), "{sent:?}");
            let asked = scene.source.changing().len() - before;
            assert!(asked <= 1, "sent {asked} times");
            assert!(sent.is_err() || asked == 1);
            done += usize::from(sent.is_ok());
        }
        println!("60 changes on connections that just died: {done} were answered, none was sent twice");
        assert!(done > 0);
    });
}
