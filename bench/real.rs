//! Against `mc`, and real servers.

use std::{
    env, fs,
    net::TcpStream,
    path::Path,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use tempfile::TempDir;

use crate::{compare, proxy, report, site, synthetic::Server as Synthetic, usage::Usage};

const USER: &str = "bench";
const PASSWORD: &str = "bench-password";
const ROUNDS: usize = 3;
const VERSIONS_OF_A_KEY: u64 = 5;

/// Lists by `mc` and counts its lines; how many, how long, and its CPU time.
fn mc_lists(folder: &Path, endpoint: &str) -> (u64, Duration, Usage) {
    let (begin, before) = (Instant::now(), Usage::of_children());
    let output = mc(folder, endpoint, "\"$MC\" ls -r --versions s/data | wc -l").output().unwrap();
    let lines = String::from_utf8_lossy(&output.stdout).trim().parse().unwrap();
    (lines, begin.elapsed(), Usage::of_children().since(before))
}

fn mc(folder: &Path, endpoint: &str, script: &str) -> Command {
    let program = env::var("FIREDRILL_TEST_MC").expect("FIREDRILL_TEST_MC names mc");
    let host = endpoint.replace("http://", &format!("http://{USER}:{PASSWORD}@"));
    let mut command = Command::new("sh");
    command.args(["-c", script]).env("MC", program).env("MC_HOST_s", host).env("MC_CONFIG_DIR", folder.join("mc"));
    command
}

/// 20 ms more for each request.
pub(crate) async fn latency(versions: u64, at_once: usize) {
    let server = Synthetic::start(versions, 3);
    let far = proxy::start(&server.endpoint, Duration::from_millis(20));
    let folder = TempDir::new().unwrap();
    for _ in 0..ROUNDS {
        let (lines, wall, used) = mc_lists(folder.path(), &far);
        assert_eq!(lines, versions);
        report("mc ls --versions, 20 ms away", lines, wall, used);
        let rate = lines as f64 / wall.as_secs_f64();
        let listed = site(&far, USER, PASSWORD);
        let (begin, before) = (Instant::now(), Usage::own());
        let mut pages = listed
            .versions(&crate::bucket("data"), firedrill::site::listing::Listing { at_once, ..Default::default() });
        let mut seen = 0;
        while let Some(page) = pages.next_page().await.unwrap() {
            seen += page.len() as u64;
        }
        assert_eq!(seen, versions);
        let wall = begin.elapsed();
        report(&format!("listed by {at_once} at once, 20 ms away"), seen, wall, Usage::own().since(before));
        println!("  {:.1} times the rate of mc", seen as f64 / wall.as_secs_f64() / rate);
    }
}

/// A MinIO server on four drives.
struct MinIO {
    child: Child,
    endpoint: String,
}

impl MinIO {
    fn start(folder: &Path) -> Self {
        let program = env::var("FIREDRILL_TEST_MINIO").expect("FIREDRILL_TEST_MINIO names minio");
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let address = format!("127.0.0.1:{port}");
        let child = Command::new(program)
            .args(["server", "--quiet", "--address", &address])
            .arg(format!("{}/disk{{1...4}}", folder.display()))
            .env("MINIO_ROOT_USER", USER)
            .env("MINIO_ROOT_PASSWORD", PASSWORD)
            .env("MINIO_BROWSER", "off")
            .env("MINIO_CI_CD", "1")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        while TcpStream::connect(&address).is_err() {
            thread::sleep(Duration::from_millis(50));
        }
        thread::sleep(Duration::from_secs(2));
        Self { child, endpoint: format!("http://{address}") }
    }

    fn used(&self) -> Usage {
        Usage::of(&self.child.id().to_string())
    }
}

impl Drop for MinIO {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Puts so many versions into a bucket, by `mc`, five of each key in folders of a hundred keys.
fn fill(folder: &Path, endpoint: &str, versions: u64) {
    let keys = versions / VERSIONS_OF_A_KEY;
    let files = folder.join("files");
    for n in 0..keys {
        let file = files.join(format!("{:03}/invoice-{n:06}.txt", n / 100));
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, n.to_string()).unwrap();
    }
    let run = |script: &str| {
        let status = mc(folder, endpoint, script).stdout(Stdio::null()).status().unwrap();
        assert!(status.success(), "{script}");
    };
    run("\"$MC\" -q mb s/data && \"$MC\" -q version enable s/data");
    for _ in 0..VERSIONS_OF_A_KEY {
        run(&format!("\"$MC\" -q cp -r '{}/' s/data/", files.display()));
    }
}

/// Both sites compared completely, beside `mc` counting lines.
pub(crate) async fn run(versions: u64, at_once: usize) {
    let folder = TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let (first, second) = (folder.path().join("source"), folder.path().join("target"));
    let source = MinIO::start(&first);
    fill(folder.path(), &source.endpoint, versions);
    drop(source);
    // The other site has the same drives, and so the same version ids and times.
    let copied = Command::new("cp").arg("-r").args([&first, &second]).status().unwrap();
    assert!(copied.success());
    let (source, target) = (MinIO::start(&first), MinIO::start(&second));
    for _ in 0..ROUNDS {
        let before = (source.used(), target.used());
        let (lines, wall, used) = mc_lists(folder.path(), &source.endpoint);
        let (more, wall_too, used_too) = mc_lists(folder.path(), &target.endpoint);
        assert_eq!((lines, more), (versions, versions));
        let (wall, used) =
            (wall + wall_too, Usage { user: used.user + used_too.user, system: used.system + used_too.system });
        report("mc ls --versions on one site, then on the other", lines + more, wall, used);
        servers("mc", &source, &target, before);

        let before = (source.used(), target.used());
        let sites = (site(&source.endpoint, USER, PASSWORD), site(&target.endpoint, USER, PASSWORD));
        let (begin, own) = (Instant::now(), Usage::own());
        let tally = compare(&sites.0, &sites.1, "data", at_once).await;
        assert_eq!((tally.same, tally.differences()), (versions, 0));
        let (time, ours) = (begin.elapsed(), Usage::own().since(own));
        report(&format!("compared, {at_once} at once"), versions * 2, time, ours);
        servers("comparison", &source, &target, before);
        println!(
            "  time: {:.2} of mc's; CPU a version: 1/{:.0} of mc's",
            time.as_secs_f64() / wall.as_secs_f64(),
            used.total().as_secs_f64() / ours.total().as_secs_f64(),
        );
    }
}

fn servers(who: &str, source: &MinIO, target: &MinIO, before: (Usage, Usage)) {
    let used = source.used().since(before.0).total() + target.used().since(before.1).total();
    println!("  the servers' CPU time for {who}: {:.2} s", used.as_secs_f64());
}
