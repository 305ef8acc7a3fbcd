//! The resync job of a bucket: its start with every refusal, and its status.

use std::sync::Arc;

use http::Method;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::{
    peer::Say,
    scenario::Lie,
    site::Site,
    targets::Target,
    walk::Walk,
    wire::{Answer, Ask, Refused, Reply, nanos, uuid},
    xml::Element,
};

/// What the status shows, and what is counted but not written yet.
#[derive(Clone, Debug)]
pub(super) struct Job {
    pub reset_id: String,
    pub begun: Timestamp,
    pub changed: Timestamp,
    pub status: &'static str,
    pub shown: Counts,
    pub counted: Counts,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Counts {
    pub versions: u64,
    pub bytes: u64,
    pub failed: u64,
    /// The last key.
    pub object: String,
}

/// How far a walk is: done, of how many; told to whoever makes things happen in the middle.
#[derive(Clone, Copy, Debug)]
pub(super) struct Progress {
    pub done: usize,
    pub of: usize,
}

impl Job {
    /// One that somebody else started, and that does not end.
    pub(super) fn foreign(now: Timestamp) -> Self {
        let (shown, counted) = (Counts::default(), Counts::default());
        Self {
            reset_id: "started-by-somebody-else".to_owned(),
            begun: now,
            changed: now,
            status: "Ongoing",
            shown,
            counted,
        }
    }

    fn told(&self, arn: &str, bucket: &str, reset_id: &str) -> Value {
        let Counts { versions, bytes, failed, object } = &self.shown;
        let mut told = json!({
            "arn": arn, "resetid": reset_id, "startTime": nanos(Some(self.begun)), "endTime": nanos(Some(self.changed)),
            "resyncStatus": self.status, "completedReplicationSize": bytes, "failedReplicationSize": 0,
            "failedReplicationCount": failed, "replicationCount": versions, "bucket": bucket,
        });
        if !object.is_empty() {
            told["object"] = object.as_str().into();
        }
        told
    }
}

pub(super) fn status(site: &Site, ask: &Ask) -> Answer {
    let store = site.store();
    let bucket = store.bucket(&ask.bucket)?;
    if bucket.rules().is_empty() {
        return Err(no_rules());
    }
    let wanted = ask.query("arn").filter(|arn| !arn.is_empty());
    let jobs = bucket.jobs.iter().filter(|(arn, _)| wanted.is_none_or(|wanted| wanted == *arn));
    let mut state = site.state();
    state.requests += 1;
    let flip = state.lie == Lie::Flips && state.requests.is_multiple_of(2);
    let told =
        jobs.map(|(arn, job)| job.told(arn, &ask.bucket, if flip { "stale-of-another-node" } else { &job.reset_id }));
    let told: Vec<Value> = told.collect();
    Ok(Reply::json(&if told.is_empty() { json!({}) } else { json!({ "target": told }) }))
}

/// Does everything in the server's order, so that a refusal leaves the same marks.
pub(super) async fn start(site: &Arc<Site>, ask: &Ask, progress: &mpsc::UnboundedSender<Progress>) -> Answer {
    let days = ask
        .query("older-than")
        .filter(|text| !text.is_empty())
        .map(|text| older_than(&ask.bucket, text))
        .transpose()?;
    let arn = ask.query("arn").unwrap_or_default().to_owned();
    let reset_id = ask.query("reset-id").filter(|id| !id.is_empty()).map_or_else(uuid, str::to_owned);
    let target = {
        let store = site.store();
        let bucket = store.bucket(&ask.bucket)?;
        let rules = bucket.rules();
        if rules.is_empty() {
            return Err(no_rules());
        }
        if !arn.is_empty() && !rules.names(&arn) {
            return Err(no_target());
        }
        if !arn.is_empty() && !rules.existing_objects(&arn) {
            return Err(Refused::new(
                400,
                "XMinioReplicationNoExistingObjects",
                "No matching ExistingObjects rule enabled",
            ));
        }
        if !arn.is_empty() && !rules.resyncs(&arn) {
            let message = format!(
                "400 BadRequest (Invalid arguments provided for {}/: (Remote target ARN {arn} missing or ineligible for \
                 replication resync))",
                ask.bucket
            );
            return Err(bad_request(&message).in_json());
        }
        bucket.targets.iter().find(|target| target.arn == arn).cloned()
    };
    let now = site.now();
    let Some(target) = target else {
        // Refused, and yet every target keeps the mark.
        for target in &mut site.store().bucket_mut(&ask.bucket)?.targets {
            target.reset = Some((reset_id.clone(), now));
        }
        let why = "target ARN specified for resync is empty";
        let message = format!("400 BadRequest (Invalid arguments provided for {}/: ({why}))", ask.bucket);
        return Err(bad_request(&message).in_json());
    };
    check(site, &target).await?;
    let before = before(now, days);
    let before = {
        let mut store = site.store();
        let bucket = store.bucket_mut(&ask.bucket)?;
        if let Some(target) = bucket.targets.iter_mut().find(|target| target.arn == arn) {
            // Kept before it is refused: the list of targets fails until a good start, or a restart.
            target.unwritable = before.is_none();
            if let Some(before) = before {
                target.reset = Some((reset_id.clone(), before));
            }
        }
        let Some(before) = before else { return Err(bad_config()) };
        if bucket.jobs.get(&arn).is_some_and(|job| matches!(job.status, "Pending" | "Ongoing")) {
            let message = format!(
                "400 BadRequest (Invalid arguments provided for {0}/: (Resync of bucket {0} is already in progress for \
                 remote bucket {arn}))",
                ask.bucket
            );
            return Err(bad_request(&message).in_json());
        }
        let counts = Counts::default();
        let job = Job {
            reset_id: reset_id.clone(),
            begun: now,
            changed: now,
            status: "Pending",
            shown: counts.clone(),
            counted: counts,
        };
        bucket.jobs.insert(arn.clone(), job);
        before
    };
    let walk = Walk {
        site: Arc::clone(site),
        bucket: ask.bucket.clone(),
        arn: arn.clone(),
        reset_id: reset_id.clone(),
        before,
    };
    tokio::spawn(walk.run(progress.clone()));
    Ok(Reply::json(&json!({ "target": [{
        "arn": arn, "resetid": reset_id, "startTime": nanos(None), "endTime": nanos(None),
        "completedReplicationSize": 0, "failedReplicationSize": 0, "failedReplicationCount": 0, "replicationCount": 0,
    }] })))
}

/// Whether a target can be reached, has its bucket, and versions it; in JSON, as late refusals are.
pub(super) async fn check(site: &Site, target: &Target) -> Result<(), Refused> {
    let unreachable = |why: &str| {
        let Target { bucket, access_key, endpoint, .. } = target;
        Refused::new(503, "XMinioAdminReplicationRemoteConnectionError", format!(
            "Remote service connection error (Remote service endpoint offline, target bucket: {bucket} or remote service \
             credentials: {access_key} invalid \n\tGet \"http://{endpoint}/{bucket}/?location=\": dial tcp {endpoint}: {why})"
        )).in_json()
    };
    let get = |query| Say { method: Method::GET, query: vec![(query, String::new())], ..Say::default() };
    let found = site.peer.ask(target, get("versioning")).await.map_err(|why| unreachable(&why))?;
    match found.status {
        200 => {}
        404 => return Err(no_target().in_json()),
        _ => return Err(unreachable(&found.code())),
    }
    let versioned = Element::parse(&found.body).is_ok_and(|root| root.text(&["Status"]) == "Enabled");
    if !versioned {
        return Err(Refused::new(
            400,
            "RemoteTargetNotVersionedError",
            "The remote target does not have versioning enabled",
        )
        .in_json());
    }
    Ok(())
}

/// The server takes a Go duration, divides its nanoseconds by 24 and calls that days.
fn older_than(bucket: &str, text: &str) -> Result<i64, Refused> {
    let units = [
        ("ns", 1),
        ("µs", 1_000),
        ("us", 1_000),
        ("ms", 1_000_000),
        ("s", 1_000_000_000),
        ("m", 60_000_000_000),
        ("h", 3_600_000_000_000_i64),
    ];
    let nanoseconds = units.iter().find_map(|(unit, each)| {
        let number: i64 = text.strip_suffix(unit)?.parse().ok()?;
        number.checked_mul(*each)
    });
    let Some(nanoseconds) = nanoseconds else {
        let message = format!(
            "Invalid arguments provided for {bucket}/: (invalid query parameter older-than {text} for {bucket} : time: \
             unknown unit \"d\" in duration \"{text}\")"
        );
        return Err(Refused::new(400, "InvalidArgument", message));
    };
    Ok(nanoseconds / 24)
}

/// The moment so many days ago; none when JSON has no year for it.
fn before(now: Timestamp, days: Option<i64>) -> Option<Timestamp> {
    /// The beginning of the year 0.
    const FIRST: i64 = -62_167_219_200;
    let hours = days.unwrap_or(0).checked_mul(24)?;
    let before = now.checked_sub(SignedDuration::try_from_hours(hours)?).ok()?;
    (before.as_second() >= FIRST).then_some(before)
}

fn bad_config() -> Refused {
    Refused::new(400, "XMinioAdminConfigBadJSON", "JSON configuration provided is of incorrect format").in_json()
}

fn bad_request(message: &str) -> Refused {
    Refused::new(400, "BadRequest", message)
}

pub(super) fn no_rules() -> Refused {
    Refused::new(404, "ReplicationConfigurationNotFoundError", "The replication configuration was not found")
}

fn no_target() -> Refused {
    Refused::new(404, "XMinioAdminRemoteTargetNotFoundError", "The remote target does not exist")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_nanoseconds_divided_by_24() {
        assert_eq!(older_than("b", "240ns").unwrap(), 10);
        assert_eq!(older_than("b", "1440ns").unwrap(), 60);
        assert_eq!(older_than("b", "7d").unwrap_err().code, "InvalidArgument");
        let now = Timestamp::UNIX_EPOCH;
        assert_eq!(before(now, Some(10)), Some(now - SignedDuration::from_hours(240)));
        for much in ["1s", "168h", "9999h"] {
            assert_eq!(before(now, Some(older_than("b", much).unwrap())), None, "{much}");
        }
    }
}
