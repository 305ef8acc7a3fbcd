//! Pairs of real MinIO servers on loopback ports, and the real `mc` to set them up.
//!
//! `tests/run` says where the two programs are (`FIREDRILL_TEST_MINIO`, `FIREDRILL_TEST_MC`). `FIREDRILL_TEST_DISKS`
//! may name a folder for what the servers keep. Nothing outlives the test
//! process, however it ends: a keeper shell waits for the end of a pipe that only the test process holds.

use std::{
    collections::HashSet,
    env,
    fs::{self, File},
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Mutex, Once, OnceLock},
    thread,
    time::{Duration, Instant},
};

use base64::{Engine, prelude::BASE64_STANDARD};
use serde_json::Value;

use crate::{client, scene::next_second, seed};

/// All that a rule can replicate; what [`Rule::default`] asks for.
pub(crate) const EVERYTHING: &str = "delete,delete-marker,existing-objects,metadata-sync";

/// Whether servers can be started. Says once that tests are skipped; under `CI=true` a skip is a failure.
pub(crate) fn available() -> bool {
    static SAY: Once = Once::new();
    let there = ["FIREDRILL_TEST_MINIO", "FIREDRILL_TEST_MC"].iter().all(|name| env::var_os(name).is_some());
    if !there {
        assert!(env::var("CI").as_deref() != Ok("true"), "needs MinIO, and under CI=true a skip is a failure");
        SAY.call_once(|| {
            // Straight to the descriptor: the test harness would keep the words of a passing test to itself.
            let _ = writeln!(std::io::stderr().lock(), "skipped: needs MinIO (run tests/run)");
        });
    }
    there
}

/// Leaves the test when there are no servers to run it with.
macro_rules! needs_minio {
    () => {
        if !crate::pair::available() {
            return;
        }
    };
}
pub(crate) use needs_minio;

/// Two sites: `source` replicates to `target`.
pub(crate) struct Pair {
    pub(crate) source: Server,
    pub(crate) target: Server,
    folder: PathBuf,
    /// Of servers that run in processes of their own.
    keeper: Option<Child>,
}

/// Which key each site's key service holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Kms {
    /// The same key on both sites.
    #[default]
    Same,
    /// The same name, other bytes.
    Different,
    /// Each site has a key, and the target's has another name.
    OtherName,
    SourceOnly,
    Neither,
}

/// How a pair of one's own differs from the shared one.
#[derive(Clone, Debug, Default)]
pub(crate) struct Options {
    pub(crate) kms: Kms,
    /// Environment of both servers, e.g. `MINIO_API_REQUESTS_MAX`.
    pub(crate) env: Vec<(String, String)>,
}

/// How a bucket is made and replicated.
#[derive(Clone, Debug)]
pub(crate) struct Rule {
    /// Made with object lock on both sites.
    pub(crate) lock: bool,
    /// The `--replicate` flags of `mc replicate add`.
    pub(crate) flags: String,
    /// Also a rule from target to source.
    pub(crate) two_way: bool,
    /// More arguments for `mc replicate add`, e.g. `--disable-proxy`.
    pub(crate) arguments: Vec<String>,
}

impl Default for Rule {
    fn default() -> Self {
        Self { lock: false, flags: EVERYTHING.into(), two_way: false, arguments: Vec::new() }
    }
}

impl Pair {
    /// The pair that all tests of this process share; they own buckets, not servers, and never stop it.
    pub(crate) fn shared() -> &'static Self {
        static SHARED: OnceLock<Pair> = OnceLock::new();
        SHARED.get_or_init(|| Self::own(&Options::default()))
    }

    /// A fresh pair, for tests that stop servers or need them set up differently. Gone when dropped.
    pub(crate) fn own(options: &Options) -> Self {
        let folder =
            tempfile::Builder::new().prefix("pair-").tempdir_in(disks()).expect("a folder for the pair").keep();
        let keeper = keeper(&folder);
        let key = || BASE64_STANDARD.encode(random::<32>());
        let (first, second) = (key(), key());
        let (source, target) = match options.kms {
            Kms::Same => (Some(&first), Some(&first)),
            Kms::Different | Kms::OtherName => (Some(&first), Some(&second)),
            Kms::SourceOnly => (Some(&first), None),
            Kms::Neither => (None, None),
        };
        let key = |name: &str, bytes: Option<&String>| bytes.map(|bytes| format!("{name}:{bytes}"));
        let name = if options.kms == Kms::OtherName { "other-key" } else { "my-minio-key" };
        let source = Server::new("source", &folder, key("my-minio-key", source), &options.env);
        let target = Server::new("target", &folder, key(name, target), &options.env);
        source.launch();
        target.launch();
        source.wait_ready();
        target.wait_ready();
        Self { source, target, folder, keeper: Some(keeper) }
    }

    /// Two sites that somebody else keeps running, with the same ways to set them up.
    #[cfg(feature = "sandbox")]
    pub(crate) fn around(source: Server, target: Server) -> Self {
        let folder = tempfile::Builder::new().prefix("pair-").tempdir_in(env!("CARGO_TARGET_TMPDIR"));
        Self { source, target, folder: folder.expect("a folder for the pair").keep(), keeper: None }
    }

    /// A third site beside the shared pair, which replicates nothing.
    pub(crate) fn third() -> &'static Server {
        static THIRD: OnceLock<Server> = OnceLock::new();
        THIRD.get_or_init(|| {
            let third = Server::new("third", &Self::shared().folder, None, &[]);
            third.launch();
            third.wait_ready();
            third
        })
    }

    pub(crate) fn server(&self, alias: &str) -> &Server {
        match alias {
            "source" => &self.source,
            "target" => &self.target,
            other => panic!("a pair has a source and a target, no `{other}`"),
        }
    }

    /// The passwords of both sites; none of these may occur in what a run leaves behind.
    pub(crate) fn secrets(&self) -> Vec<String> {
        vec![self.source.secret_key.clone(), self.target.secret_key.clone()]
    }

    /// The folder of `mc`'s configuration.
    pub(crate) fn mc_folder(&self) -> PathBuf {
        self.folder.join("mc")
    }

    /// Runs `mc` with the aliases `source` and `target` and gives back its JSON lines; panics when it fails.
    pub(crate) fn mc(&self, arguments: &[&str]) -> Vec<Value> {
        self.try_mc(arguments).unwrap_or_else(|why| panic!("mc {}: {why}", arguments.join(" ")))
    }

    /// As [`Pair::mc`]; `Err` has all that `mc` said.
    pub(crate) fn try_mc(&self, arguments: &[&str]) -> Result<Vec<Value>, String> {
        let output = Command::new(env::var_os("FIREDRILL_TEST_MC").expect("FIREDRILL_TEST_MC"))
            .arg("--config-dir")
            .arg(self.mc_folder())
            .args(["--json", "--no-color"])
            .args(arguments)
            .env_clear()
            .env("HOME", &self.folder)
            .env("MC_HOST_source", self.source.mc_host())
            .env("MC_HOST_target", self.target.mc_host())
            .stdin(Stdio::null())
            .output()
            .expect("mc runs");
        let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
        if !output.status.success() {
            return Err(format!("{stdout}{}", String::from_utf8_lossy(&output.stderr)));
        }
        Ok(serde_json::Deserializer::from_str(&stdout).into_iter::<Value>().map_while(Result::ok).collect())
    }

    /// A new bucket on one site (`source` or `target`), versioned; with object lock if asked for.
    pub(crate) fn make_bucket(&self, alias: &str, bucket: &str, lock: bool) {
        let option = if lock { "--with-lock" } else { "--with-versioning" };
        self.mc(&["mb", option, &format!("{alias}/{bucket}")]);
    }

    /// Makes the bucket on both sites and replicates it from source to target; gives back the ARN.
    pub(crate) fn replicate(&self, bucket: &str, rule: &Rule) -> String {
        self.make_bucket("source", bucket, rule.lock);
        self.make_bucket("target", bucket, rule.lock);
        if rule.two_way {
            self.add_rule("target", bucket, &self.source.remote(bucket), rule);
        }
        self.add_rule("source", bucket, &self.target.remote(bucket), rule)
    }

    /// Adds a rule from `alias`/`bucket` to `remote` ([`Server::remote`], or the same for a user); the ARN of the
    /// newest rule.
    pub(crate) fn add_rule(&self, alias: &str, bucket: &str, remote: &str, rule: &Rule) -> String {
        let place = format!("{alias}/{bucket}");
        let priority = (self.rules(alias, bucket).len() + 1).to_string();
        let mut arguments = vec!["replicate", "add", &place, "--remote-bucket", remote, "--priority", &priority];
        arguments.extend(["--replicate", &rule.flags]);
        arguments.extend(rule.arguments.iter().map(String::as_str));
        self.mc(&arguments);
        let rules = self.rules(alias, bucket);
        let newest = rules.iter().max_by_key(|rule| rule["rule"]["Priority"].as_i64()).expect("the rule just added");
        newest["rule"]["Destination"]["Bucket"].as_str().expect("its ARN").to_owned()
    }

    /// The replication rules of a bucket, as `mc replicate ls --json` prints them.
    pub(crate) fn rules(&self, alias: &str, bucket: &str) -> Vec<Value> {
        let mut rules = self.try_mc(&["replicate", "ls", &format!("{alias}/{bucket}")]).unwrap_or_default();
        rules.retain(|line| line["rule"].is_object());
        rules
    }

    /// Makes a site lose a bucket with all its versions, as a damaged site does: the other site is told nothing.
    pub(crate) fn lose_bucket(&self, alias: &str, bucket: &str) {
        let place = format!("{alias}/{bucket}");
        if !self.rules(alias, bucket).is_empty() {
            // Otherwise the purges would be replicated to the other site.
            self.mc(&["replicate", "rm", "--all", "--force", &place]);
        }
        let end = Instant::now() + Duration::from_secs(30);
        // What the other site still had under way may arrive in between.
        loop {
            seed::empty(self.server(alias), bucket);
            match self.try_mc(&["rb", "--force", &place]) {
                Ok(_) => break,
                Err(why) => assert!(Instant::now() < end, "{place} cannot be lost: {why}"),
            }
        }
        assert!(!self.bucket_exists(alias, bucket), "{place} is still there");
        next_second();
    }

    pub(crate) fn bucket_exists(&self, alias: &str, bucket: &str) -> bool {
        let (status, _) = client::signed(self.server(alias), "GET", &format!("/{bucket}?location="));
        match status {
            200 => true,
            404 => false,
            other => panic!("asked whether {alias}/{bucket} exists, {alias} answered {other}"),
        }
    }

    /// A user who may do what the policy says, with a secret key of its own, which is given back.
    pub(crate) fn add_user(&self, alias: &str, name: &str, policy: &Value) -> String {
        let secret = hex::encode(random::<16>());
        let file = self.folder.join(format!("{alias}-{name}.json"));
        fs::write(&file, policy.to_string()).unwrap();
        self.mc(&["admin", "user", "add", alias, name, &secret]);
        self.mc(&["admin", "policy", "create", alias, name, file.to_str().unwrap()]);
        self.mc(&["admin", "policy", "attach", alias, name, "--user", name]);
        secret
    }

    /// Waits until the target's bucket has what the source's has.
    pub(crate) fn wait_replicated(&self, bucket: &str) {
        self.wait_until_closed(bucket, |_| true);
    }

    /// Waits until the target's bucket has every version, with whatever `ETag`.
    pub(crate) fn wait_arrived(&self, bucket: &str) {
        self.wait_until_closed(bucket, |difference| !difference.starts_with("other "));
    }

    fn wait_until_closed(&self, bucket: &str, counts: impl Fn(&str) -> bool) {
        let end = Instant::now() + Duration::from_mins(2);
        loop {
            let mut difference =
                seed::differences(&seed::inventory(&self.source, bucket), &seed::inventory(&self.target, bucket));
            difference.retain(|difference| counts(difference));
            if difference.is_empty() {
                return;
            }
            assert!(Instant::now() < end, "{bucket} is not replicated: {}", difference.join("\n"));
            thread::sleep(Duration::from_millis(300));
        }
    }
}

impl Drop for Pair {
    fn drop(&mut self) {
        match &mut self.keeper {
            Some(keeper) => {
                drop(keeper.stdin.take());
                let _ = keeper.wait();
            }
            None => drop(fs::remove_dir_all(&self.folder)),
        }
        self.source.reap();
        self.target.reap();
    }
}

/// One MinIO server: one node, four drives.
pub(crate) struct Server {
    pub(crate) alias: &'static str,
    pub(crate) port: u16,
    pub(crate) access_key: String,
    pub(crate) secret_key: String,
    folder: PathBuf,
    env: Vec<(String, String)>,
    process: Mutex<Option<Child>>,
}

impl Server {
    fn new(alias: &'static str, pair: &Path, kms: Option<String>, env: &[(String, String)]) -> Self {
        let folder = pair.join(alias);
        fs::create_dir_all(&folder).expect("a folder for the server");
        let mut env = env.to_vec();
        env.extend(kms.map(|key| ("MINIO_KMS_SECRET_KEY".to_owned(), key)));
        Self {
            alias,
            port: free_port(),
            access_key: format!("{alias}-{}", hex::encode(random::<5>())),
            secret_key: hex::encode(random::<16>()),
            folder,
            env,
            process: Mutex::new(None),
        }
    }

    /// A site that somebody else keeps running. It cannot be stopped or started by this handle.
    #[cfg(feature = "sandbox")]
    pub(crate) fn elsewhere(alias: &'static str, endpoint: &str, access_key: &str, secret_key: &str) -> Self {
        let nowhere = Self {
            alias,
            port: 0,
            access_key: access_key.to_owned(),
            secret_key: secret_key.to_owned(),
            folder: PathBuf::new(),
            env: Vec::new(),
            process: Mutex::new(None),
        };
        nowhere.at(endpoint)
    }

    pub(crate) fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// The value of `MC_HOST_<alias>`.
    pub(crate) fn mc_host(&self) -> String {
        self.endpoint().replacen("://", &format!("://{}:{}@", self.access_key, self.secret_key), 1)
    }

    /// The same server as another user sees it. It cannot be stopped or started by this handle.
    pub(crate) fn as_user(&self, name: &str, secret: &str) -> Self {
        Self {
            alias: self.alias,
            port: self.port,
            access_key: name.to_owned(),
            secret_key: secret.to_owned(),
            folder: self.folder.clone(),
            env: Vec::new(),
            process: Mutex::new(None),
        }
    }

    /// The same server behind another address on this machine, e.g. a proxy's.
    pub(crate) fn at(&self, endpoint: &str) -> Self {
        let port = endpoint.rsplit(':').next().and_then(|port| port.parse().ok()).expect("http://127.0.0.1:PORT");
        Self { port, ..self.as_user(&self.access_key, &self.secret_key) }
    }

    /// A bucket as `mc replicate add --remote-bucket` wants it.
    pub(crate) fn remote(&self, bucket: &str) -> String {
        format!("{}/{bucket}", self.mc_host())
    }

    /// What the server printed.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.folder.join("log")).unwrap_or_default()
    }

    /// Ends the server at once (SIGKILL).
    pub(crate) fn kill(&self) {
        let child = self.process.lock().unwrap().take();
        let mut child = child.expect("a running server");
        let _ = fs::remove_file(self.pid_file(child.id()));
        child.kill().expect("the server can be killed");
        child.wait().expect("the server ends");
    }

    /// Ends the server in order (SIGTERM), and waits until it is gone.
    pub(crate) fn terminate(&self) {
        self.signal("TERM");
        let mut child = self.process.lock().unwrap().take().expect("a running server");
        child.wait().expect("the server ends");
        let _ = fs::remove_file(self.pid_file(child.id()));
    }

    /// Starts it again on the same port and drives, after [`Server::kill`], and waits until it is ready.
    pub(crate) fn start(&self) {
        self.launch();
        self.wait_ready();
    }

    pub(crate) fn restart(&self) {
        self.kill();
        self.start();
    }

    /// Freezes the server (SIGSTOP): connections are accepted and nothing is answered.
    pub(crate) fn stop(&self) {
        self.signal("STOP");
    }

    /// Lets a frozen server go on (SIGCONT).
    pub(crate) fn cont(&self) {
        self.signal("CONT");
    }

    fn signal(&self, name: &str) {
        let pid = self.process.lock().unwrap().as_ref().expect("a running server").id();
        signal(pid, name);
    }

    fn launch(&self) {
        let mut process = self.process.lock().unwrap();
        assert!(process.is_none(), "{} runs already", self.alias);
        let log = File::options().create(true).append(true).open(self.folder.join("log")).unwrap();
        // The shell leaves its pid for the keeper before it turns into the server.
        let child = Command::new("sh")
            .args(["-c", r#"cd "$1" && : >"../pids/$$" && exec "$0" server --address "$2" "$1/disk{1...4}""#])
            .arg(env::var_os("FIREDRILL_TEST_MINIO").expect("FIREDRILL_TEST_MINIO"))
            .arg(&self.folder)
            .arg(format!("127.0.0.1:{}", self.port))
            .env_clear()
            .env("HOME", &self.folder)
            .env("MINIO_ROOT_USER", &self.access_key)
            .env("MINIO_ROOT_PASSWORD", &self.secret_key)
            .env("MINIO_BROWSER", "off")
            .env("MINIO_CI_CD", "1")
            .envs(self.env.iter().cloned())
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .process_group(0)
            .spawn()
            .expect("the server starts");
        *process = Some(child);
    }

    fn wait_ready(&self) {
        let end = Instant::now() + Duration::from_secs(90);
        loop {
            // A healthy cluster may still be loading buckets and users, so ask for something that needs both.
            if self.healthy() && client::signed(self, "GET", "/").0 == 200 {
                return;
            }
            let gone = self.process.lock().unwrap().as_mut().is_none_or(|child| !matches!(child.try_wait(), Ok(None)));
            assert!(!gone && Instant::now() < end, "{} does not get ready:\n{}", self.alias, self.log());
            thread::sleep(Duration::from_millis(100));
        }
    }

    fn healthy(&self) -> bool {
        let answer = || -> std::io::Result<String> {
            let mut stream = TcpStream::connect(("127.0.0.1", self.port))?;
            stream.set_read_timeout(Some(Duration::from_secs(5)))?;
            stream.write_all(b"GET /minio/health/cluster HTTP/1.0\r\nHost: 127.0.0.1\r\n\r\n")?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer)?;
            Ok(answer)
        };
        answer().is_ok_and(|answer| answer.split(' ').nth(1) == Some("200"))
    }

    fn pid_file(&self, pid: u32) -> PathBuf {
        self.folder.with_file_name("pids").join(pid.to_string())
    }

    fn reap(&self) {
        if let Some(mut child) = self.process.lock().unwrap().take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Sends a signal, named as `kill` names it, to one process.
pub(crate) fn signal(pid: u32, name: &str) {
    let status = Command::new("sh").args(["-c", r#"kill -s "$0" "$1""#, name]).arg(pid.to_string()).status();
    assert!(status.expect("a shell").success(), "kill -s {name} {pid}");
}

/// Kills the servers and removes the folder when its standard input ends, which it does with the test process.
fn keeper(folder: &Path) -> Child {
    const SCRIPT: &str = r#"
        trap '' HUP INT TERM
        mkdir -p "$0/pids" && echo ready
        read -r _
        while :; do
            for file in "$0"/pids/*; do
                pid=${file##*/}
                [ "$pid" = '*' ] || kill -s KILL "$pid" 2>/dev/null
            done
            rm -rf "$0" 2>/dev/null
            [ -e "$0" ] || exit 0
            sleep 0.1
        done"#;
    let mut keeper = Command::new("sh")
        .args(["-c", SCRIPT])
        .arg(folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .process_group(0)
        .spawn()
        .expect("a shell");
    let mut line = String::new();
    BufReader::new(keeper.stdout.take().expect("its output")).read_line(&mut line).expect("its output");
    assert_eq!(line, "ready\n");
    keeper
}

/// Where servers keep their data: in memory when there is room, since they sync every write to each of their drives.
fn disks() -> PathBuf {
    const ENOUGH_KIB: u64 = 4 << 20;
    if let Some(named) = env::var_os("FIREDRILL_TEST_DISKS") {
        return named.into();
    }
    let free = || {
        let told = Command::new("df").args(["-Pk", "/dev/shm"]).stderr(Stdio::null()).output().ok()?;
        String::from_utf8(told.stdout).ok()?.lines().nth(1)?.split_whitespace().nth(3)?.parse::<u64>().ok()
    };
    let memory = Path::new("/dev/shm");
    let writable = || tempfile::tempdir_in(memory).is_ok();
    if free() > Some(ENOUGH_KIB) && writable() { memory.into() } else { env!("CARGO_TARGET_TMPDIR").into() }
}

/// A loopback port below the range from which the system takes the ports of outgoing connections, so that a server
/// that was killed finds its own port free again.
fn free_port() -> u16 {
    static TAKEN: Mutex<Option<HashSet<u16>>> = Mutex::new(None);
    let mut taken = TAKEN.lock().unwrap();
    let taken = taken.get_or_insert_default();
    loop {
        let port = 10_000 + u16::from_le_bytes(random::<2>()) % 20_000;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() && taken.insert(port) {
            return port;
        }
    }
}

fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).expect("random bytes");
    bytes
}
