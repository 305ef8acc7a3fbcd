//! The site layer against real servers: `FIREDRILL_TEST_MINIO` names the `minio` program, with `mc` beside it.

use std::{
    env, fs,
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::Arc,
    time::Duration,
};

use firedrill::{
    change::{Change, Settled},
    failure::Class,
    secret::Secret,
    site::{
        Site, SiteSpec, Value, Wire,
        changes::{CreateBucket, Nudge, SetEncryption, SetRetention, SetVersioning, StartResync},
        listing::Listing,
        s3::{Encryption, ObjectLock, Retention, Versioning},
    },
    step::Reads,
    types::BucketName,
    version::{Kind, Version},
};

const USER: &str = "firedrill";
const PASSWORD: &str = "firedrill-secret";

/// A server of its own on a free port, gone at the end of the test.
struct Server {
    process: Child,
    endpoint: String,
    folder: tempfile::TempDir,
    mc: PathBuf,
}

impl Server {
    /// `None` when no server program is named.
    async fn start() -> Option<Self> {
        let Some(minio) = env::var_os("FIREDRILL_TEST_MINIO").map(PathBuf::from) else {
            assert!(env::var_os("CI").is_none(), "FIREDRILL_TEST_MINIO names no server program");
            return None;
        };
        let folder = tempfile::tempdir().unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let address = format!("127.0.0.1:{port}");
        let process = Command::new(&minio)
            .args(["server", "--quiet", "--address", &address])
            .arg(folder.path().join("disk{1...4}"))
            .env("MINIO_ROOT_USER", USER)
            .env("MINIO_ROOT_PASSWORD", PASSWORD)
            .env("MINIO_BROWSER", "off")
            .env("MINIO_CI_CD", "1")
            .env("MINIO_KMS_SECRET_KEY", "my-minio-key:YWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWE=")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mc = minio.with_file_name("mc");
        let server = Self { process, endpoint: format!("http://{address}"), folder, mc };
        for _ in 0..200 {
            if server.site().health().await.is_ok_and(|h| h.live && h.cluster) {
                return Some(server);
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("the server does not start");
    }

    fn spec(&self) -> SiteSpec {
        spec(&self.endpoint, PASSWORD)
    }

    fn wire(&self) -> Arc<Wire> {
        Wire::new(self.spec()).unwrap()
    }

    fn site(&self) -> Site<Reads> {
        Site::reading(self.wire())
    }

    /// The address as `mc` takes it, with the credentials.
    fn url(&self) -> String {
        self.endpoint.replace("http://", &format!("http://{USER}:{PASSWORD}@"))
    }

    /// Runs the ordinary client; the server is `s`.
    fn mc(&self, arguments: &[&str]) {
        let output = Command::new(&self.mc)
            .arg("--config-dir")
            .arg(self.folder.path().join("mc"))
            .args(arguments)
            .env("MC_HOST_s", self.url())
            .output()
            .unwrap();
        assert!(output.status.success(), "mc {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    }

    fn write(&self, name: &str, files: &[(String, String)]) -> PathBuf {
        let folder = self.folder.path().join(name);
        for (name, content) in files {
            let path = folder.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
        folder
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn spec(endpoint: &str, password: &str) -> SiteSpec {
    SiteSpec {
        alias: "dr".into(),
        endpoint: endpoint.parse().unwrap(),
        nodes: Vec::new(),
        region: "us-east-1".into(),
        path_style: true,
        access_key: Value::Literal(Secret::new(USER)),
        secret_key: Value::Literal(Secret::new(password)),
        session_token: None,
        ca_bundle: None,
        pin: None,
        insecure: false,
        connect_timeout: Duration::from_secs(5),
        request_timeout: Duration::from_secs(30),
        max_requests_per_second: None,
        drills: false,
    }
}

fn bucket(name: &str) -> BucketName {
    BucketName::try_from(name.to_owned()).unwrap()
}

async fn all(site: &Site<Reads>, bucket: &BucketName, listing: Listing) -> Vec<Version> {
    let mut versions = site.versions(bucket, listing);
    let mut all = Vec::new();
    while let Some(version) = versions.next().await.unwrap() {
        all.push(version);
    }
    all
}

fn slashed(folder: &Path) -> String {
    format!("{}/", folder.display())
}

const STRANGE: [&str; 9] = [
    "a b/ü+%2F?.txt",
    "emoji-🦀",
    "quote\"s'&<tag>;",
    "trailing spaces  ",
    "control-\u{1}",
    "plus+plus",
    "[minio_cache:v2]",
    "per%25cent%",
    "zero",
];

#[tokio::test]
async fn every_version_is_listed_and_found_whatever_its_key() {
    let Some(server) = Server::start().await else { return };
    let (wire, site) = (server.wire(), server.site());
    let bucket = bucket("strange");

    CreateBucket { bucket: bucket.clone(), object_lock: false }.send(&wire).await.unwrap();
    assert!(site.is_empty(&bucket).await.unwrap());
    let files: Vec<_> =
        STRANGE.iter().map(|k| ((*k).to_owned(), if *k == "zero" { "" } else { k }.to_owned())).collect();
    let folder = server.write("strange", &files);
    server.mc(&["cp", "-q", "-r", &slashed(&folder), "s/strange/"]);
    let versioning = Versioning { enabled: true, ..Versioning::default() };
    SetVersioning { bucket: bucket.clone(), versioning: versioning.clone() }.send(&wire).await.unwrap();
    assert_eq!(site.versioning(&bucket).await.unwrap(), versioning);
    server.mc(&[
        "cp",
        "-q",
        "-r",
        "--attr",
        "X-Amz-Meta-Colour=dark blue;Cache-Control=no-cache",
        "--tags",
        "a=x y&b=1%2B1",
        &slashed(&folder),
        "s/strange/",
    ]);
    server.mc(&["rm", "-q", "s/strange/zero"]);

    for (page_size, at_once) in [(None, 1), (Some(1), 1), (Some(4), 1), (Some(1), 6), (Some(4), 3)] {
        let listing = Listing { page_size, at_once, metadata: true, ..Listing::default() };
        let versions = all(&site, &bucket, listing).await;
        let mut expected: Vec<_> = STRANGE.iter().copied().flat_map(|k| [k, k]).chain(["zero"]).collect();
        expected.sort_unstable();
        assert_eq!(versions.iter().map(|v| v.key.as_str()).collect::<Vec<_>>(), expected, "page size {page_size:?}");
        assert_eq!(versions.iter().filter(|v| v.version_id == "null").count(), STRANGE.len());
        assert_eq!(versions.iter().filter(|v| v.is_latest).count(), STRANGE.len());
        assert_eq!(versions.iter().filter(|v| v.kind == Kind::DeleteMarker).count(), 1);
        let tagged = versions.iter().find(|v| v.key == STRANGE[0] && v.version_id != "null").unwrap();
        let metadata = tagged.metadata.as_ref().unwrap();
        assert_eq!(metadata.header("x-amz-meta-colour"), Some("dark blue"), "{metadata:?}");
        assert_eq!(metadata.header("cache-control"), Some("no-cache"));
        assert_eq!(metadata.tags, [("a".into(), "x y".into()), ("b".into(), "1+1".into())]);

        for version in &versions {
            let head = site.head(&bucket, &version.key, Some(&version.version_id)).await.unwrap().unwrap();
            assert_eq!(head.delete_marker, version.kind == Kind::DeleteMarker);
            assert_eq!((head.size, &head.etag), (version.size, &version.etag), "{version:?}");
            assert_eq!(head.version_id.as_ref(), Some(&version.version_id).filter(|_| head.version_id.is_some()));
        }
    }
    let after = Listing { after: Some(STRANGE[1].to_owned()), ..Listing::default() };
    assert!(all(&site, &bucket, after).await.iter().all(|v| v.key.as_str() > STRANGE[1]));
    for (prefix, after, some) in
        [("a b/", "a", true), ("a b/", "b", false), ("a b/", "a b/ü~", false), ("a b/", "a b/a", true)]
    {
        let listing = Listing { prefix: prefix.into(), after: Some(after.into()), ..Listing::default() };
        assert_eq!(!all(&site, &bucket, listing).await.is_empty(), some, "{prefix} after {after}");
    }
    assert!(site.head(&bucket, "no such key", None).await.unwrap().is_none());
    assert!(site.head(&bucket, "zero", None).await.unwrap().is_none());
    assert!(site.head(&bucket, "zero", Some("5c2ed7ff-6a0c-4a44-8ccb-ff3a1a6de3b4")).await.unwrap().is_none());
}

#[tokio::test]
async fn a_listing_goes_on_over_many_pages() {
    let Some(server) = Server::start().await else { return };
    server.mc(&["mb", "-q", "s/many"]);
    server.mc(&["version", "enable", "s/many"]);
    let files: Vec<_> = (0..500).map(|n| (format!("d{}/o{n}", n % 7), n.to_string())).collect();
    let folder = server.write("many", &files);
    for _ in 0..5 {
        server.mc(&["cp", "-q", "-r", &slashed(&folder), "s/many/"]);
    }
    server.mc(&["rm", "-q", "-r", "--force", "s/many/d3/"]);
    let versions = all(&server.site(), &bucket("many"), Listing::default()).await;
    let markers = versions.iter().filter(|v| v.kind == Kind::DeleteMarker).count();
    assert_eq!(versions.len(), 2500 + markers);
    assert_eq!(markers, files.iter().filter(|(name, _)| name.starts_with("d3/")).count());
    assert!(versions.is_sorted_by_key(|v| v.key.as_bytes()));
    assert!(versions.windows(2).all(|w| w[0].key != w[1].key || w[0].last_modified >= w[1].last_modified));
    let ids: std::collections::HashSet<_> = versions.iter().map(|v| (&v.key, &v.version_id)).collect();
    assert_eq!(ids.len(), versions.len());

    // In ranges, cut anywhere: within folders, between them, and within the versions of a key.
    for (page_size, prefix) in [(Some(3), "d2"), (Some(20), ""), (Some(100), ""), (None, "d")] {
        let listing = Listing { page_size, prefix: prefix.into(), at_once: 8, ..Listing::default() };
        let in_ranges = all(&server.site(), &bucket("many"), listing).await;
        let expected: Vec<_> = versions.iter().filter(|v| v.key.starts_with(prefix)).cloned().collect();
        assert!(in_ranges == expected, "{page_size:?} {prefix}: {} and not {}", in_ranges.len(), expected.len());
    }
}

#[tokio::test]
async fn what_is_set_is_read_back_and_settled() {
    let Some(server) = Server::start().await else { return };
    let (wire, site) = (server.wire(), server.site());
    let locked = bucket("locked");

    let create = CreateBucket { bucket: locked.clone(), object_lock: true };
    assert_eq!(create.settle(&wire).await.unwrap(), Settled::NotDone);
    create.send(&wire).await.unwrap();
    assert_eq!(create.settle(&wire).await.unwrap(), Settled::Done(()));
    let again = create.send(&wire).await.unwrap_err();
    assert_eq!((again.class(), again.code()), (Some(Class::Refused), Some("BucketAlreadyOwnedByYou")), "{again}");
    let unlocked = CreateBucket { bucket: locked.clone(), object_lock: false };
    assert!(matches!(unlocked.settle(&wire).await.unwrap(), Settled::CannotTell(_)));
    assert_eq!(site.object_lock(&locked).await.unwrap(), Some(ObjectLock { default: None }));
    assert!(site.versioning(&locked).await.unwrap().enabled);

    for retention in [
        Some(Retention { mode: "GOVERNANCE".into(), days: Some(30), years: None }),
        Some(Retention { mode: "COMPLIANCE".into(), days: None, years: Some(1) }),
        None,
    ] {
        let set = SetRetention { bucket: locked.clone(), retention: retention.clone() };
        assert_eq!(set.settle(&wire).await.unwrap(), Settled::NotDone);
        set.send(&wire).await.unwrap();
        assert_eq!(set.settle(&wire).await.unwrap(), Settled::Done(()));
        assert_eq!(site.object_lock(&locked).await.unwrap(), Some(ObjectLock { default: retention }));
    }

    let plain = bucket("plain");
    CreateBucket { bucket: plain.clone(), object_lock: false }.send(&wire).await.unwrap();
    assert_eq!(site.object_lock(&plain).await.unwrap(), None);
    assert_eq!(site.versioning(&plain).await.unwrap(), Versioning::default());
    for encryption in [
        Some(Encryption { algorithm: "AES256".into(), kms_key: None }),
        Some(Encryption { algorithm: "aws:kms".into(), kms_key: Some("my-minio-key".into()) }),
        None,
    ] {
        let set = SetEncryption { bucket: plain.clone(), encryption: encryption.clone() };
        assert_eq!(set.settle(&wire).await.unwrap(), Settled::NotDone);
        set.send(&wire).await.unwrap();
        assert_eq!(set.settle(&wire).await.unwrap(), Settled::Done(()));
        assert_eq!(site.encryption(&plain).await.unwrap(), encryption);
    }
    let versioning =
        Versioning { enabled: true, excluded_prefixes: vec!["tmp/".into(), "a&b<c>/".into()], exclude_folders: true };
    let set = SetVersioning { bucket: plain.clone(), versioning: versioning.clone() };
    assert_eq!(set.settle(&wire).await.unwrap(), Settled::NotDone);
    set.send(&wire).await.unwrap();
    assert_eq!(set.settle(&wire).await.unwrap(), Settled::Done(()));
    assert_eq!(site.versioning(&plain).await.unwrap(), versioning);

    assert!(site.lifecycle(&plain).await.unwrap().is_empty());
    server.mc(&[
        "ilm",
        "rule",
        "add",
        "--expire-days",
        "30",
        "--prefix",
        "in/",
        "--noncurrent-expire-days",
        "7",
        "s/plain",
    ]);
    server.mc(&["ilm", "rule", "add", "--expire-delete-marker", "s/plain"]);
    let rules = site.lifecycle(&plain).await.unwrap();
    let mut removes: Vec<_> = rules.iter().flat_map(|r| r.removes.clone()).collect();
    removes.sort();
    assert_eq!(
        removes,
        [
            "current versions after 30 days",
            "delete markers with no version below them",
            "noncurrent versions after 7 days"
        ]
    );
    assert!(rules.iter().any(|r| r.prefix == "in/"));
}

#[tokio::test]
async fn a_deployment_describes_itself() {
    let Some(server) = Server::start().await else { return };
    let site = server.site();
    server.mc(&["mb", "-q", "s/data"]);
    let data = bucket("data");

    let health = site.health().await.unwrap();
    assert!(health.live && health.cluster && health.is_minio && health.server_time.is_some());
    assert!(site.server_time().await.unwrap().duration_since(health.server_time.unwrap()).as_secs() < 60);
    let info = site.info().await.unwrap();
    assert_eq!((info.online_drives, info.offline_drives, info.nodes.len(), info.kms_online), (4, 0, 1, Some(true)));
    assert!(!info.deployment_id.is_empty() && info.free_bytes > 0 && info.releases().len() == 1);
    assert!((info.usable_share - 0.5).abs() < 1e-9);
    let account = site.account().await.unwrap();
    assert_eq!(account.name, USER);
    assert!(account.policy.get("Statement").is_some());
    assert!(site.remote_targets(&data).await.unwrap().is_empty());
    assert!(
        site.resync_status(&data, None).await.is_err_and(|e| e.code() == Some("ReplicationConfigurationNotFoundError"))
    );
    let nodes = vec![server.endpoint.parse().unwrap()];
    let one_node = Wire::new(SiteSpec { nodes, ..spec("http://127.0.0.1:1", PASSWORD) }).unwrap();
    let failure = Site::<Reads>::reading(one_node).resync_status(&data, None).await.unwrap_err();
    assert_eq!(failure.code(), Some("ReplicationConfigurationNotFoundError"), "{failure}");
    assert_eq!(site.replication(&data).await.unwrap(), None);
    site.kms_key("my-minio-key").await.unwrap();
    assert_eq!(site.kms_key("no-such-key").await.unwrap_err().class(), Some(Class::Refused));
    assert_eq!(site.quota(&data).await.unwrap().bytes, 0);
    server.mc(&["quota", "set", "s/data", "--size", "1GiB"]);
    assert_eq!(site.quota(&data).await.unwrap().bytes, 1 << 30);
    assert!(!site.site_replication().await.unwrap());
    assert_eq!(site.usage(&bucket("nowhere")).await.unwrap(), None);
}

#[tokio::test]
async fn refusals_name_the_site_and_what_was_asked() {
    let Some(server) = Server::start().await else { return };
    let (nowhere, site) = (bucket("nowhere"), server.site());
    assert!(!site.bucket_exists(&nowhere).await.unwrap());
    for failure in [
        site.versioning(&nowhere).await.unwrap_err(),
        site.object_lock(&nowhere).await.unwrap_err(),
        site.encryption(&nowhere).await.unwrap_err(),
        site.replication(&nowhere).await.unwrap_err(),
        site.head(&nowhere, "x", None).await.unwrap_err(),
        site.versions(&nowhere, Listing::default()).next().await.unwrap_err(),
        site.resync_status(&nowhere, None).await.unwrap_err(),
    ] {
        assert_eq!(
            (failure.class(), failure.code(), failure.status()),
            (Some(Class::Refused), Some("NoSuchBucket"), Some(404)),
            "{failure}"
        );
        assert!(failure.to_string().contains("`dr`") && failure.to_string().contains("nowhere"), "{failure}");
    }
    assert_eq!(
        site.versioning(&nowhere).await.unwrap_err().to_string(),
        "site `dr` refused to tell the versioning of `nowhere`: NoSuchBucket (404): The specified bucket does not exist"
    );

    let wrong: Site<Reads> = Site::reading(Wire::new(spec(&server.endpoint, "wrong-password")).unwrap());
    for failure in [
        wrong.versioning(&nowhere).await.unwrap_err(),
        wrong.info().await.unwrap_err(),
        wrong.bucket_exists(&nowhere).await.unwrap_err(),
        wrong.head(&nowhere, "x", None).await.unwrap_err(),
        wrong.resync_trace().await.unwrap_err(),
    ] {
        assert_eq!(
            (failure.class(), failure.code()),
            (Some(Class::Refused), Some("SignatureDoesNotMatch")),
            "{failure}"
        );
        assert!(!failure.to_string().contains("wrong-password"), "{failure}");
    }
    wrong.health().await.unwrap();
}

#[tokio::test]
async fn new_credentials_are_read_when_the_server_refuses_the_old_ones() {
    let Some(server) = Server::start().await else { return };
    let file = server.folder.path().join("access-key");
    fs::write(&file, "somebody-else").unwrap();
    let new = || Wire::new(SiteSpec { access_key: Value::File(file.clone()), ..server.spec() }).unwrap();
    let ask = async |wire: &Arc<Wire>, sdk: bool| {
        let site: Site<Reads> = Site::reading(Arc::clone(wire));
        if sdk { site.bucket_exists(&bucket("data")).await.map(drop) } else { site.info().await.map(drop) }
    };
    let mut wire = new();
    for sdk in [true, false] {
        wire = new();
        fs::write(&file, "somebody-else").unwrap();
        assert_eq!(ask(&wire, sdk).await.unwrap_err().code(), Some("InvalidAccessKeyId"));
        fs::write(&file, USER).unwrap();
        ask(&wire, sdk).await.unwrap();
    }
    let masked: Vec<_> = wire.secrets().iter().map(|s| s.expose().to_owned()).collect();
    assert!(["somebody-else", USER, PASSWORD].iter().all(|s| masked.iter().any(|m| m == s)));
}

#[tokio::test]
async fn credentials_that_cannot_be_read_are_named_and_nothing_is_sent() {
    let nobody =
        SiteSpec { secret_key: Value::Env("FIREDRILL_NOT_THERE".into()), ..spec("http://127.0.0.1:1", PASSWORD) };
    let site: Site<Reads> = Site::reading(Wire::new(nobody).unwrap());
    let data = bucket("data");
    for failure in [site.info().await.unwrap_err(), site.bucket_exists(&data).await.unwrap_err()] {
        assert_eq!(failure.class(), Some(Class::Refused));
        assert_eq!(
            failure.to_string(),
            "the secret key of site `dr` cannot be read: the environment variable `FIREDRILL_NOT_THERE` is not set"
        );
    }
}

#[tokio::test]
async fn a_dead_endpoint_is_unreachable_and_a_silent_one_times_out() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let quick =
        SiteSpec { request_timeout: Duration::from_millis(200), ..spec(&format!("http://{address}"), PASSWORD) };
    let silent: Site<Reads> = Site::reading(Wire::new(quick).unwrap());
    let data = bucket("data");
    for failure in [
        silent.info().await.unwrap_err(),
        silent.bucket_exists(&data).await.unwrap_err(),
        silent.health().await.unwrap_err(),
        silent.resync_trace().await.unwrap_err(),
    ] {
        assert_eq!(failure.class(), Some(Class::TimedOut), "{failure}");
    }
    let hangs_up = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = hangs_up.local_addr().unwrap();
    std::thread::spawn(move || hangs_up.incoming().take(2).for_each(drop));
    let breaking: Site<Reads> = Site::reading(Wire::new(spec(&format!("http://{address}"), PASSWORD)).unwrap());
    for failure in [breaking.info().await.unwrap_err(), breaking.bucket_exists(&data).await.unwrap_err()] {
        assert_eq!(failure.class(), Some(Class::Unreachable), "{failure}");
    }
    let dead_address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let dead: Site<Reads> = Site::reading(Wire::new(spec(&format!("http://{dead_address}"), PASSWORD)).unwrap());
    for failure in
        [dead.info().await.unwrap_err(), dead.bucket_exists(&data).await.unwrap_err(), dead.health().await.unwrap_err()]
    {
        assert_eq!(failure.class(), Some(Class::Unreachable), "{failure}");
        assert!(
            failure.to_string().contains("could not be asked to") && failure.to_string().contains("refused"),
            "{failure}"
        );
    }
}

#[tokio::test]
async fn a_resync_is_started_followed_and_settled() {
    let (Some(source), Some(target)) = (Server::start().await, Server::start().await) else { return };
    let (wire, site) = (source.wire(), source.site());
    let data = bucket("data");
    for server in [&source, &target] {
        server.mc(&["mb", "-q", "s/data"]);
        server.mc(&["version", "enable", "s/data"]);
    }
    let files: Vec<_> = (0..30).map(|n| (format!("o{n}"), n.to_string())).collect();
    let folder = source.write("data", &files);
    source.mc(&["cp", "-q", "-r", &slashed(&folder), "s/data/"]);
    source.mc(&["rm", "-q", "s/data/o1"]);
    let remote = format!("{}/data", target.url());
    let switches = "existing-objects,delete,delete-marker,metadata-sync";
    source.mc(&["replicate", "add", "s/data", "--remote-bucket", &remote, "--replicate", switches, "--priority", "1"]);

    let targets = site.remote_targets(&data).await.unwrap();
    assert_eq!((targets.len(), targets[0].target_bucket.as_str()), (1, "data"));
    assert!(target.endpoint.ends_with(&targets[0].endpoint));
    let arn = targets[0].arn.clone();
    let rules = site.replication(&data).await.unwrap().unwrap().rules;
    assert!(
        rules.len() == 1 && rules[0].arn == arn && rules[0].enabled && rules[0].deletes && rules[0].existing_objects
    );
    assert!(site.resync_status(&data, None).await.unwrap().is_empty());

    let start = |reset_id: &str, before: Option<&str>, older_than_days| StartResync {
        bucket: data.clone(),
        arn: arn.clone(),
        reset_id: reset_id.into(),
        older_than_days,
        before: before.map(str::to_owned),
    };
    let first = start("drill-1", None, None);
    assert_eq!(first.settle(&wire).await.unwrap(), Settled::NotDone);
    let mut trace = site.resync_trace().await.unwrap();
    let started = first.send(&wire).await.unwrap();
    assert_eq!(started.reset_id, "drill-1");
    let Settled::Done(settled) = first.settle(&wire).await.unwrap() else { panic!("not settled") };
    assert!(settled.started_at.duration_since(started.started_at).abs().as_secs() < 10, "{settled:?} {started:?}");
    let line = tokio::time::timeout(Duration::from_secs(20), trace.recv()).await.unwrap().unwrap();
    assert_eq!(line.reset_id, "drill-1");
    assert!(line.path.starts_with("data/o"), "{line:?}");

    let second = start("drill-2", Some("drill-1"), None);
    assert_eq!(second.settle(&wire).await.unwrap(), Settled::NotDone);
    let unasked = start("drill-3", None, None);
    assert!(matches!(unasked.settle(&wire).await.unwrap(), Settled::CannotTell(_)));
    for _ in 0..300 {
        if !site.resync_status(&data, Some(&arn)).await.unwrap()[0].running() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let status = site.resync_status(&data, Some(&arn)).await.unwrap();
    assert_eq!((status.len(), status[0].reset_id.as_str(), status[0].status.as_str()), (1, "drill-1", "Completed"));

    // Whole days reach the server without breaking its list of targets.
    let older = start("drill-4", Some("drill-1"), Some(10)).send(&wire).await.unwrap();
    assert_eq!(older.reset_id, "drill-4");
    assert_eq!(site.remote_targets(&data).await.unwrap()[0].reset_id.as_deref(), Some("drill-4"));

    let metrics = site.replication_metrics(&data).await.unwrap();
    assert!(metrics.contains_key(""));
    let versions = all(&site, &data, Listing::default()).await;
    let ids = versions.iter().map(|v| (v.key.clone(), v.version_id.clone())).chain([("gone".into(), "null".into())]);
    Nudge { bucket: data.clone(), versions: ids.collect() }.send(&wire).await.unwrap();
    let replica = target.site();
    let mut equal = false;
    for _ in 0..300 {
        equal = all(&replica, &data, Listing::default()).await.len() == versions.len();
        if equal {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(equal, "the target never got all versions");
    let head = replica.head(&data, "o2", None).await.unwrap().unwrap();
    assert_eq!(head.replication_status.as_deref(), Some("REPLICA"));

    let unknown = StartResync { arn: "arn:minio:replication::nope:data".into(), ..start("drill-5", None, None) };
    let failure = unknown.send(&wire).await.unwrap_err();
    assert_eq!(
        (failure.class(), failure.code()),
        (Some(Class::Refused), Some("XMinioAdminRemoteTargetNotFoundError")),
        "{failure}"
    );
    drop(target);
    let failure = start("drill-6", None, None).send(&wire).await.unwrap_err();
    assert_eq!((failure.class(), failure.status()), (Some(Class::Refused), Some(503)), "{failure}");
    assert_eq!(failure.code(), Some("XMinioAdminReplicationRemoteConnectionError"));
}
