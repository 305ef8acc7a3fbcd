//! The traps of a real server, each shown by a scenario or by a test here.

use std::net::TcpStream;

use firedrill::sandbox::scenario;
use serde_json::Value;

use super::{Sandbox, until};
use crate::{
    client::{signed, signed_with},
    pair::Server,
};

/// What a server does that a client would not expect, and the scenario or test that shows it.
const TRAPS: &[(&str, &[&str])] = &[
    ("counters do not add up", &["counters_wrong"]),
    ("`Completed` with failures", &["target_stops_midway", "a_read_on_the_source_sends_what_is_missing"]),
    ("counters stand still", &["frozen_counter"]),
    ("a restarted source kills the job", &["source_restarts"]),
    ("a used reset id does nothing", &["completed_with_nothing", "a_used_reset_id_does_nothing"]),
    ("a refused start leaves a mark", &["resync_running", "a_refused_start_leaves_its_mark"]),
    ("refusals, and a start that breaks the list of targets", &["a_start_is_refused_as_by_a_server"]),
    ("excluded prefixes are in the server's own XML only", &["excluded_prefixes"]),
    ("a marker with a suffix", &["a_page_ends_with_the_servers_own_marker"]),
    (
        "delete markers without an ETag, and `null` versions",
        &["null_versions", "a_page_ends_with_the_servers_own_marker"],
    ),
    ("`SlowDown`, also about buckets", &["slow_down"]),
    ("a false `Completed` after a restart", &["source_restarts_completed"]),
    ("stuck at `Ongoing`, and two reset ids in turn", &["stuck", "reset_id_flips"]),
    ("delete markers that are not sent", &["markers_not_sent"]),
    ("a replication check that passes", &["check_passes", "kms_key_missing"]),
    ("reads that are answered by the other site", &["active_active", "a_missing_version_looks_present"]),
    ("unknown sub-resources answer", &["an_unknown_sub_resource_answers"]),
    ("extra versions stay", &["extra_versions"]),
    ("purges that are hidden", &["purge_pending", "a_purged_version_is_hidden_and_still_there"]),
    ("keys below keys", &["a_key_below_another_is_in_no_listing_and_is_not_sent"]),
    ("reading the source repairs", &["a_read_on_the_source_sends_what_is_missing"]),
];

#[test]
fn every_trap_is_shown() {
    for (trap, shown) in TRAPS {
        for by in *shown {
            let test = include_str!("traps.rs").contains(&format!("fn {by}()"));
            assert!(test || scenario::ALL.iter().any(|(name, _)| name == by), "nothing named `{by}` shows: {trap}");
        }
    }
}

/// The two sites of a sandbox, and its bucket.
struct Sites {
    sandbox: Sandbox,
    source: Server,
    target: Server,
}

impl Sites {
    fn of(sandbox: Sandbox) -> Self {
        let (source, target) =
            (Sandbox::server("source", &sandbox.pair.source), Sandbox::server("target", &sandbox.pair.target));
        Self { sandbox, source, target }
    }

    fn named(name: &str) -> Self {
        Self::of(Sandbox::start(name))
    }

    fn read(more: &str) -> Self {
        Self::of(Sandbox::read(&format!("scenario: own\nsummary: My own\n{more}\n")))
    }

    fn targets(&self) -> (u16, String) {
        signed(&self.source, "GET", "/minio/admin/v3/list-remote-targets?bucket=invoices&type=replication")
    }

    fn target(&self) -> Value {
        let (status, body) = self.targets();
        assert_eq!(status, 200, "{body}");
        serde_json::from_str::<Value>(&body).expect("a list")[0].clone()
    }

    fn arn(&self) -> String {
        self.target()["arn"].as_str().expect("an ARN").replace(':', "%3A")
    }

    fn start(&self, more: &str) -> (u16, String) {
        signed(&self.source, "PUT", &format!("/invoices?replication-reset=&arn={}&{more}", self.arn()))
    }

    /// Starts a resync and waits for its end; gives its status.
    fn resync(&self, reset_id: &str) -> Value {
        let (status, body) = self.start(&format!("reset-id={reset_id}"));
        assert_eq!(status, 200, "{body}");
        until(|| self.job()["resyncStatus"] == "Completed");
        self.job()
    }

    fn job(&self) -> Value {
        let (_, body) = signed(&self.source, "GET", "/invoices?replication-reset-status=");
        serde_json::from_str::<Value>(&body).expect("a status")["target"][0].clone()
    }
}

/// A version as a path, from a listing of everything.
fn paths(server: &Server) -> Vec<String> {
    let (status, body) = signed(server, "GET", "/invoices?versions=&encoding-type=url");
    assert_eq!(status, 200, "{body}");
    let text = |entry: &str, name: &str| {
        let (_, rest) = entry.split_once(&format!("<{name}>"))?;
        Some(rest.split_once('<')?.0.to_owned())
    };
    let entries = body.split("<Key>").skip(1).map(|entry| format!("<Key>{entry}"));
    let path = |entry: String| {
        let key = text(&entry, "Key")?.replace('+', "%20");
        Some(format!("/invoices/{key}?versionId={}", text(&entry, "VersionId")?))
    };
    entries.filter_map(path).collect()
}

const ALONE: (&str, &str) = ("x-minio-source-proxy-request", "false");

fn status(server: &Server, path: &str) -> u16 {
    signed_with(server, "HEAD", path, &[ALONE]).0
}

#[test]
fn a_used_reset_id_does_nothing() {
    let sites = Sites::named("healthy");
    sites.resync("first");
    let lost = paths(&sites.target).swap_remove(0);
    assert_eq!(signed(&sites.target, "DELETE", &lost).0, 204);
    let again = sites.resync("first");
    assert_eq!((again["resyncStatus"].as_str(), again["replicationCount"].as_u64()), (Some("Completed"), Some(0)));
    assert_eq!(status(&sites.target, &lost), 404);
    sites.resync("second");
    until(|| status(&sites.target, &lost) == 200);
}

#[test]
fn a_refused_start_leaves_its_mark() {
    let sites = Sites::named("resync_running");
    assert!(sites.target().get("resetID").is_none());
    let (status, body) = sites.start("reset-id=mine");
    assert!(status == 400 && body.contains("already in progress"), "{status} {body}");
    assert_eq!(sites.target()["resetID"], "mine");
}

#[test]
fn a_start_is_refused_as_by_a_server() {
    let sites = Sites::named("partial_loss");
    let unknown = signed(&sites.source, "PUT", "/invoices?replication-reset=&arn=arn%3Aminio%3Areplication%3A%3Ax%3Ay");
    assert!(unknown.0 == 404 && unknown.1.contains("XMinioAdminRemoteTargetNotFoundError"), "{unknown:?}");
    let days = sites.start("older-than=7d");
    assert!(days.0 == 400 && days.1.contains("InvalidArgument") && days.1.starts_with('<'), "{days:?}");
    let arn = sites.arn();
    let hours = sites.start("older-than=168h");
    assert!(hours.0 == 400 && hours.1.contains("XMinioAdminConfigBadJSON") && hours.1.starts_with('{'), "{hours:?}");
    let broken = sites.targets();
    assert!(broken.0 == 500 && broken.1.contains("InternalError"), "{broken:?}");
    let good = signed(&sites.source, "PUT", &format!("/invoices?replication-reset=&arn={arn}&older-than=240ns"));
    assert_eq!((good.0, sites.targets().0), (200, 200), "{}", good.1);
}

#[test]
fn a_page_ends_with_the_servers_own_marker() {
    let sites = Sites::named("healthy");
    let (_, first) = signed(&sites.source, "GET", "/invoices?versions=&max-keys=5");
    let marker = first.split_once("<NextKeyMarker>").and_then(|(_, rest)| rest.split_once("</")).expect("a marker").0;
    let (key, _) = marker.split_once("[minio_cache:").expect("a suffix");
    assert!(first.contains(&format!("<Key>{key}</Key>")));
    let whole = paths(&sites.source);
    assert_eq!(whole.len(), 188);
    let (_, all) = signed(&sites.source, "GET", "/invoices?versions=");
    let marker = all.split("<DeleteMarker>").nth(1).expect("a delete marker");
    assert!(marker.contains("<ETag></ETag><Size>0</Size>"), "{marker}");
}

#[test]
fn a_missing_version_looks_present() {
    let sites = Sites::named("active_active");
    let all = paths(&sites.source);
    let there = paths(&sites.target);
    let missing: Vec<&String> = all.iter().filter(|path| !there.contains(path)).collect();
    assert_eq!(missing.len(), 76);
    let markers: Vec<u16> = missing.iter().map(|path| signed(&sites.source, "HEAD", path).0).collect();
    let objects: Vec<_> =
        missing.iter().zip(markers).filter(|(_, status)| *status == 200).map(|(path, _)| *path).collect();
    assert!(objects.len() > 50);
    for path in objects {
        assert_eq!((signed(&sites.target, "HEAD", path).0, status(&sites.target, path)), (200, 404), "{path}");
    }
}

#[test]
fn an_unknown_sub_resource_answers() {
    let sites = Sites::named("healthy");
    let (status, body) = signed(&sites.source, "GET", "/invoices?replication-foo=");
    assert!(status == 200 && body.contains("<ListBucketResult"), "{status} {body}");
    let (status, body) = signed(&sites.source, "PUT", "/invoices?replication-foo=");
    assert!(status == 409 && body.contains("BucketAlreadyOwnedByYou"), "{status} {body}");
}

#[test]
fn a_purged_version_is_hidden_and_still_there() {
    let sites = Sites::read("data: { objects: 5, purge_pending: 3 }\nsource: { heals: false }");
    let (source, target) = (paths(&sites.source), paths(&sites.target));
    let hidden: Vec<&String> = target.iter().filter(|path| !source.contains(path)).collect();
    assert_eq!((source.len() + 3, hidden.len()), (target.len(), 3));
    for path in hidden {
        assert_eq!((status(&sites.source, path), status(&sites.target, path)), (405, 200), "{path}");
    }
}

#[test]
fn a_key_below_another_is_in_no_listing_and_is_not_sent() {
    let sites = Sites::read("data: { objects: 4, delete_markers: 0, nested: 2 }\ndamage: { missing: 100% }");
    let listed = paths(&sites.source);
    assert_eq!((listed.len(), paths(&sites.target).len()), (4 * 3 + 2 * 3, 0));
    sites.resync("one");
    until(|| paths(&sites.target).len() == listed.len());
    // The target first: a read on the source sends it.
    for (site, expected) in [(&sites.target, 404), (&sites.source, 200)] {
        assert_eq!(status(site, "/invoices/nested/000/below.txt"), expected);
    }
    until(|| status(&sites.target, "/invoices/nested/000/below.txt") == 200);
}

#[test]
fn a_read_on_the_source_sends_what_is_missing() {
    let text = "data: { objects: 40, versions: 1, delete_markers: 0 }\ndamage: { missing: 100% }\n\
        resync: { retry: 30m, version: 50ms }\nevents: [{ at: { resync: 25% }, do: { stop: target, for: 500ms } }]";
    let sites = Sites::read(text);
    let job = sites.resync("one");
    assert_eq!(job["resyncStatus"], "Completed", "{job}");
    until(|| TcpStream::connect(("127.0.0.1", sites.target.port)).is_ok());
    // Nothing comes by itself: the retry is half an hour away.
    let there = paths(&sites.target);
    let (status, diff) = signed(&sites.source, "POST", "/minio/admin/v3/replication/diff?bucket=invoices");
    let failed = diff.lines().filter(|line| line.contains("FAILED")).count();
    assert!(status == 200 && failed > 0 && there.len() + failed == 40, "{} there\n{diff}", there.len());
    let all = paths(&sites.source);
    until(|| paths(&sites.target).len() == all.len());
    sites.sandbox.verify().exit(0);
}
