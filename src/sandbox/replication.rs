//! Sends versions to a target as MinIO does: a HEAD to see what is there, then what is missing, with the source's ids.

use std::{borrow::Cow, sync::Arc};

use http::Method;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, mpsc},
    task::JoinSet,
    time::sleep,
};

use super::{
    peer::{Heard, Say},
    site::{Cause, Sending, Site},
    store::Version,
    targets::Target,
    wire::http_date,
};

/// Versions under way at a time.
const WORKERS: usize = 8;
/// How often what failed is sent again by itself.
const RETRIES: u32 = 3;

/// Works off the queue of a site, for as long as it lives.
pub(super) async fn work(site: Arc<Site>, mut queue: mpsc::UnboundedReceiver<Sending>) {
    let mut tasks = JoinSet::new();
    let free = Arc::new(Semaphore::new(WORKERS));
    while let Some(sending) = queue.recv().await {
        while tasks.try_join_next().is_some() {}
        let Ok(worker) = Arc::clone(&free).acquire_owned().await else { return };
        tasks.spawn(send_until_there(Arc::clone(&site), sending, worker));
    }
}

/// Sends a version, and later again what failed. Whoever reads it meanwhile queues it anew and need not wait.
async fn send_until_there(site: Arc<Site>, sending: Sending, worker: OwnedSemaphorePermit) {
    let mut there = send_if_up(&site, &sending).await;
    site.sent(&sending);
    drop(worker);
    for _ in 0..RETRIES {
        if there {
            return;
        }
        sleep(site.pace.retry).await;
        there = send_if_up(&site, &sending).await;
    }
}

async fn send_if_up(site: &Site, sending: &Sending) -> bool {
    let serving = site.state().serving.is_some();
    serving && send(site, sending, None).await.is_ok()
}

/// Sends one version and notes what became of it; with a reset id when a resync asks.
pub(super) async fn send(site: &Site, sending: &Sending, reset: Option<&str>) -> Result<(), String> {
    let Sending { bucket, key, id, arn, cause } = sending;
    let found = {
        let store = site.store();
        let Some(bucket) = store.buckets.get(bucket) else { return Ok(()) };
        let target = bucket.targets.iter().find(|target| target.arn == *arn).cloned();
        let version = bucket.find(key, Some(id)).ok().map(Cow::into_owned);
        target.zip(version)
    };
    // What is gone by now needs no sending.
    let Some((target, version)) = found else { return Ok(()) };
    let begun = tokio::time::Instant::now();
    let sent = match cause {
        Cause::Purged => purge(site, &target, key, &version).await,
        Cause::Written | Cause::Healed => deliver(site, &target, key, &version).await,
    };
    let took = u64::try_from(begun.elapsed().as_nanos()).unwrap_or(u64::MAX);
    let now = site.now();
    let mut store = site.store();
    let Some(bucket) = store.buckets.get_mut(bucket) else { return sent };
    if let Some(target) = bucket.targets.iter_mut().find(|target| target.arn == *arn) {
        match &sent {
            Ok(()) => target.answered(now, took),
            Err(why) if why.contains("connection refused") || why.contains("timeout") => target.online = false,
            Err(_) => {}
        }
    }
    let stamp = reset.map(str::to_owned).or_else(|| target.reset.map(|(id, _)| id));
    match (&sent, cause) {
        (Ok(()), Cause::Purged) => bucket.remove(key, id),
        (_, Cause::Purged) => {
            if let Some(version) = bucket.find_mut(key, id) {
                version.purge = Some("FAILED");
            }
        }
        (_, Cause::Written | Cause::Healed) => {
            if let Some(version) = bucket.find_mut(key, id) {
                let status = if sent.is_ok() { "COMPLETED" } else { "FAILED" };
                version.replication.insert(arn.clone(), status);
                if let (Ok(()), Some(stamp)) = (&sent, stamp) {
                    version.stamps.insert(arn.clone(), stamp);
                }
            }
        }
    }
    sent
}

/// Brings a version to the target, unless it is there as it should be.
async fn deliver(site: &Site, target: &Target, key: &str, version: &Version) -> Result<(), String> {
    let there = head(site, target, key, &version.id).await?;
    let wanted = match there.status {
        200 if version.id == "null" => null_is_due(&there, version),
        200 => differs(&there, version),
        405 if there.header("x-amz-delete-marker") == Some("true") => !version.marker,
        404 => true,
        _ => return Err(refusal(&there)),
    };
    if !wanted {
        return Ok(());
    }
    let mut headers = vec![
        ("x-minio-source-mtime".to_owned(), version.modified.to_string()),
        ("x-minio-source-replication-request".to_owned(), "true".to_owned()),
        ("x-amz-replication-status".to_owned(), "REPLICA".to_owned()),
    ];
    let query = vec![("versionId", version.id.clone())];
    let say = if version.marker {
        headers.push(("x-minio-source-deletemarker".to_owned(), "true".to_owned()));
        Say { method: Method::DELETE, key: key.to_owned(), query, headers, ..Say::default() }
    } else {
        headers.push(("x-minio-source-etag".to_owned(), version.etag.clone()));
        headers.extend(version.headers.iter().map(|(name, value)| (name.clone(), value.clone())));
        let tags = super::wire::query_text(&version.tags);
        if !tags.is_empty() {
            headers.push(("x-amz-tagging".to_owned(), tags));
        }
        Say { method: Method::PUT, key: key.to_owned(), query, headers, body: version.body.clone() }
    };
    let heard = site.peer.ask(target, say).await?;
    match heard.status {
        200..=299 | 412 => Ok(()),
        _ => Err(refusal(&heard)),
    }
}

async fn purge(site: &Site, target: &Target, key: &str, version: &Version) -> Result<(), String> {
    let headers = vec![
        ("x-minio-source-replication-request".to_owned(), "true".to_owned()),
        ("x-amz-bypass-governance-retention".to_owned(), "true".to_owned()),
    ];
    let query = vec![("versionId", version.id.clone())];
    let say = Say { method: Method::DELETE, key: key.to_owned(), query, headers, ..Say::default() };
    let heard = site.peer.ask(target, say).await?;
    if heard.status < 300 || heard.status == 404 { Ok(()) } else { Err(refusal(&heard)) }
}

/// What the target has of a version, never answered by another site in its place.
pub(super) async fn head(site: &Site, target: &Target, key: &str, id: &str) -> Result<Heard, String> {
    let headers = vec![("x-minio-source-proxy-request".to_owned(), "false".to_owned())];
    let query = vec![("versionId", id.to_owned())];
    site.peer.ask(target, Say { method: Method::HEAD, key: key.to_owned(), query, headers, ..Say::default() }).await
}

fn differs(there: &Heard, version: &Version) -> bool {
    let header = |name: &str| there.header(name).unwrap_or_default().to_owned();
    let tags = header("x-amz-tagging-count").parse().unwrap_or(0_usize);
    let same_facts = header("etag").trim_matches('"') == version.etag
        && header("content-length") == version.body.len().to_string()
        && header("last-modified") == http_date(version.modified)
        && tags == version.tags.len();
    let travels = |name: &str| !name.starts_with("x-amz-checksum-") && !name.starts_with("x-amz-server-side-");
    let same_headers =
        version.headers.iter().filter(|(name, _)| travels(name)).all(|(name, value)| header(name) == *value);
    !(same_facts && same_headers)
}

/// The server decides the wrong way round: a newer `null` version is not sent, and an older one overwrites.
fn null_is_due(there: &Heard, version: &Version) -> bool {
    use jiff::fmt::rfc2822::DateTimeParser;
    let at = there.header("last-modified").and_then(|date| DateTimeParser::new().parse_timestamp(date).ok());
    at.is_some_and(|at| at.as_second() > version.modified.as_second())
}

fn refusal(heard: &Heard) -> String {
    match heard.status {
        404 => "The specified version does not exist.".to_owned(),
        _ => format!("{} ({})", heard.code(), heard.status),
    }
}
