//! Runs the program as a person would: in an empty folder, with an environment of its own, until it ends.

use std::{
    collections::{BTreeMap, BTreeSet},
    env, fs,
    io::Write,
    os::unix::process::{CommandExt, ExitStatusExt},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Output, Stdio},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;
use tempfile::TempDir;

use crate::pair::{self, Server};

/// One call of `firedrill`. A clone works in the same folder, on the same runs: that is how to resume one.
#[derive(Clone)]
pub(crate) struct Firedrill {
    folder: Arc<TempDir>,
    args: Vec<String>,
    env: BTreeMap<String, String>,
    stdin: Option<String>,
    /// The size at which its files are full, in blocks of 512 bytes.
    full_at: Option<u32>,
    /// Files the test wrote: what is secret in them is no leak.
    given: BTreeSet<PathBuf>,
}

/// How a call ended.
#[derive(Clone, Debug)]
pub(crate) struct Outcome {
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    /// The exit code; 128 + N when signal N ended it.
    pub(crate) code: i32,
}

/// A call that is still running; killed when dropped.
pub(crate) struct Running {
    child: Option<Child>,
    folder: Arc<TempDir>,
    outputs: [PathBuf; 2],
}

/// A call at a terminal of its own.
pub(crate) struct Terminal {
    child: Child,
    /// Open as long as the terminal is.
    _keyboard: Option<std::process::ChildStdin>,
    path: PathBuf,
}

impl Terminal {
    /// What stands on the screen.
    pub(crate) fn screen(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.path).unwrap_or_default()).into_owned()
    }

    /// Closes the window: everything at the terminal gets SIGHUP.
    pub(crate) fn close(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Waits until the program ends by itself.
    pub(crate) fn wait(&mut self) -> Outcome {
        let status = self.child.wait().expect("it ends");
        Outcome { stdout: self.screen(), stderr: String::new(), code: code(status) }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        self.close();
    }
}

impl Firedrill {
    pub(crate) fn new() -> Self {
        let folder = tempfile::Builder::new().prefix("case-").tempdir_in(env!("CARGO_TARGET_TMPDIR"));
        let folder = Arc::new(folder.expect("a folder for the case"));
        let home = folder.path().to_str().expect("a plain path").to_owned();
        let env = [
            ("FIREDRILL_RUNS", format!("{home}/runs")),
            ("HOME", home),
            ("LANG", "C.UTF-8".into()),
            ("NO_COLOR", "1".into()),
            ("PATH", "/usr/bin:/bin".into()),
            ("TZ", "UTC".into()),
            ("USER", "operator".into()),
        ];
        let env = env.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        Self { folder, args: Vec::new(), env, stdin: None, full_at: None, given: BTreeSet::new() }
    }

    /// The arguments, in place of any given before.
    pub(crate) fn args<S: AsRef<str>>(mut self, args: impl IntoIterator<Item = S>) -> Self {
        self.args = args.into_iter().map(|arg| arg.as_ref().to_owned()).collect();
        self
    }

    pub(crate) fn env(mut self, name: &str, value: &str) -> Self {
        self.env.insert(name.to_owned(), value.to_owned());
        self
    }

    pub(crate) fn stdin(mut self, text: &str) -> Self {
        self.stdin = Some(text.to_owned());
        self
    }

    /// Lets no file of it grow beyond so many blocks of 512 bytes, as a full disk does.
    pub(crate) fn full_at(mut self, blocks: u32) -> Self {
        self.full_at = Some(blocks);
        self
    }

    /// A site by its alias, as `MC_HOST_<alias>`.
    pub(crate) fn site(self, alias: &str, server: &Server) -> Self {
        self.env(&format!("MC_HOST_{alias}"), &server.mc_host())
    }

    /// Sites by their aliases in a `sites.yaml` in the folder, which names environment variables for the credentials.
    pub(crate) fn sites_file(self, sites: &[(&str, &Server)]) -> Self {
        self.sites_file_with(sites, "")
    }

    /// The same, with more to say of each site, e.g. `timeouts: { request: 5s }`.
    pub(crate) fn sites_file_with(mut self, sites: &[(&str, &Server)], more: &str) -> Self {
        let mut lines = vec!["sites:".to_owned()];
        for (alias, server) in sites {
            let (name, endpoint) = (alias.to_uppercase(), server.endpoint());
            let (key, secret) = (format!("{name}_KEY"), format!("{name}_SECRET"));
            lines.push(format!("  {alias}: {{ endpoint: \"{endpoint}\", access_key: {{ env: {key} }}, secret_key: {{ env: {secret} }}, {more} }}\n"));
            self = self.env(&key, &server.access_key).env(&secret, &server.secret_key);
        }
        self.file("sites.yaml", &lines.join("\n"))
    }

    /// Writes a file into the folder.
    pub(crate) fn file(mut self, name: &str, text: &str) -> Self {
        let path = self.folder.path().join(name);
        fs::create_dir_all(path.parent().expect("a folder")).unwrap();
        fs::write(&path, text).unwrap();
        self.given.insert(path);
        self
    }

    /// A variable of its environment.
    pub(crate) fn variable(&self, name: &str) -> Option<String> {
        self.env.get(name).cloned()
    }

    /// The folder it works in.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Runs it to its end.
    pub(crate) fn run(&self) -> Outcome {
        let mut child = self.command(Stdio::piped(), Stdio::piped()).spawn().expect("firedrill starts");
        let mut stdin = child.stdin.take();
        let text = self.stdin.clone();
        let writer = thread::spawn(move || {
            if let (Some(stdin), Some(text)) = (&mut stdin, text) {
                // It may have ended without reading all of it.
                let _ = stdin.write_all(text.as_bytes());
            }
        });
        let output = child.wait_with_output().expect("firedrill ends");
        writer.join().expect("its input is written");
        output.into()
    }

    /// Starts it, for tests that watch, signal or kill it.
    pub(crate) fn spawn(&self) -> Running {
        let outputs = ["stdout", "stderr"].map(|name| {
            let file = tempfile::Builder::new().prefix(name).tempfile_in(self.folder.path()).expect("a file");
            file.into_temp_path().keep().expect("a file")
        });
        let [stdout, stderr] = outputs.each_ref().map(|path| fs::File::create(path).expect("a file"));
        let mut child = self.command(stdout.into(), stderr.into()).spawn().expect("firedrill starts");
        if let (Some(mut stdin), Some(text)) = (child.stdin.take(), &self.stdin) {
            let _ = stdin.write_all(text.as_bytes());
        }
        Running { child: Some(child), folder: Arc::clone(&self.folder), outputs }
    }

    /// Starts it at a terminal of its own, at which nobody types; `None` where there is no `script` to make one.
    pub(crate) fn in_a_terminal(&self) -> Option<Terminal> {
        let plain = self.command(Stdio::null(), Stdio::null());
        let quoted = |text: &str| format!("'{}'", text.replace('\'', r"'\''"));
        let words = std::iter::once(plain.get_program()).chain(plain.get_args());
        let line: Vec<String> = words.map(|word| quoted(word.to_str().expect("plain words"))).collect();
        let typescript = tempfile::Builder::new().prefix("terminal").tempfile_in(self.folder.path()).expect("a file");
        let path = typescript.into_temp_path().keep().expect("a file");
        let mut script = Command::new("/usr/bin/script");
        script.args(["-q", "-e", "-f", "-c", &line.join(" ")]).arg(&path).env_clear().envs(&self.env);
        script.current_dir(self.folder.path()).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        match script.process_group(0).spawn() {
            Ok(mut child) => Some(Terminal { _keyboard: child.stdin.take(), child, path }),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => None,
            Err(e) => panic!("{e}"),
        }
    }

    /// The folder of the newest run; run ids sort by time.
    pub(crate) fn run_folder(&self) -> Option<PathBuf> {
        runs(Path::new(&self.env["FIREDRILL_RUNS"])).pop()
    }

    /// The newest run's id.
    pub(crate) fn run_id(&self) -> String {
        let folder = self.run_folder().expect("a run");
        folder.file_name().and_then(|name| name.to_str()).expect("its id").to_owned()
    }

    /// The lines of the newest run's journal; an unfinished last one is left out.
    pub(crate) fn journal(&self) -> Vec<Value> {
        self.run_folder().map(|folder| journal(&folder)).unwrap_or_default()
    }

    /// The lines of the journals of all its runs, one run after the other.
    pub(crate) fn all_journals(&self) -> Vec<Value> {
        runs(Path::new(&self.env["FIREDRILL_RUNS"])).iter().flat_map(|folder| journal(folder)).collect()
    }

    /// The events of that name in the newest run's journal.
    pub(crate) fn events(&self, event: &str) -> Vec<Value> {
        self.journal().into_iter().filter(|line| line["event"] == event).collect()
    }

    /// Searches every file of the folder and all given outputs for secrets, byte by byte; files the test wrote itself
    /// are left out.
    pub(crate) fn assert_no_secrets(&self, outcomes: &[&Outcome], secrets: &[String]) {
        let mut searched = Vec::new();
        files(self.folder.path(), &mut searched);
        searched.retain(|path| !self.given.contains(path));
        let mut texts: Vec<(String, Vec<u8>)> =
            searched.iter().map(|path| (path.display().to_string(), fs::read(path).unwrap())).collect();
        for outcome in outcomes {
            texts.push(("stdout".into(), outcome.stdout.clone().into_bytes()));
            texts.push(("stderr".into(), outcome.stderr.clone().into_bytes()));
        }
        for secret in secrets {
            assert!(secret.len() >= 4, "too short to search for");
            for (name, text) in &texts {
                let found = text.windows(secret.len()).any(|window| window == secret.as_bytes());
                assert!(!found, "a secret stands in {name}");
            }
        }
    }

    pub(crate) fn command(&self, stdout: Stdio, stderr: Stdio) -> Command {
        let mut command = match self.full_at {
            None => Command::new(env!("CARGO_BIN_EXE_firedrill")),
            Some(blocks) => {
                let mut shell = Command::new("/bin/sh");
                // The signal ignored, a write fails as on a full disk.
                shell.args(["-c", r#"trap '' XFSZ; ulimit -f "$0" && exec "$@""#, &blocks.to_string()]);
                shell.arg(env!("CARGO_BIN_EXE_firedrill"));
                shell
            }
        };
        command.args(&self.args).env_clear().envs(&self.env).current_dir(self.folder.path());
        let stdin = if self.stdin.is_some() { Stdio::piped() } else { Stdio::null() };
        command.stdin(stdin).stdout(stdout).stderr(stderr).process_group(0);
        command
    }
}

impl Outcome {
    /// It ended with this exit code; otherwise shows all it said.
    #[track_caller]
    pub(crate) fn exit(self, code: i32) -> Self {
        assert_eq!(self.code, code, "\n--- stdout\n{}\n--- stderr\n{}", self.stdout, self.stderr);
        self
    }

    /// Standard output as JSON (`--output json`).
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|why| panic!("no JSON ({why}):\n{}", self.stdout))
    }

    /// The text stands in one of the outputs.
    #[track_caller]
    pub(crate) fn says(self, text: &str) -> Self {
        let found = self.stdout.contains(text) || self.stderr.contains(text);
        assert!(found, "nothing about `{text}`\n--- stdout\n{}\n--- stderr\n{}", self.stdout, self.stderr);
        self
    }
}

impl From<Output> for Outcome {
    fn from(output: Output) -> Self {
        Self {
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
            code: code(output.status),
        }
    }
}

impl Running {
    pub(crate) fn id(&self) -> u32 {
        self.child.as_ref().expect("a running firedrill").id()
    }

    /// Sends a signal, named as `kill` names it: `INT`, `TERM`, `STOP`, `CONT`.
    pub(crate) fn signal(&self, name: &str) {
        pair::signal(self.id(), name);
    }

    /// Whether it still runs.
    pub(crate) fn runs(&mut self) -> bool {
        self.child.as_mut().is_some_and(|child| matches!(child.try_wait(), Ok(None)))
    }

    /// Kills it at once (SIGKILL) and gives back what it had said.
    pub(crate) fn kill(mut self) -> Outcome {
        let mut child = self.child.take().expect("a running firedrill");
        child.kill().expect("it can be killed");
        let status = child.wait().expect("it ends");
        self.outcome(status)
    }

    /// Waits for its end.
    pub(crate) fn wait(mut self) -> Outcome {
        let mut child = self.child.take().expect("a running firedrill");
        let status = child.wait().expect("it ends");
        self.outcome(status)
    }

    /// What it has printed so far.
    pub(crate) fn so_far(&self) -> String {
        self.outputs.iter().map(|path| fs::read_to_string(path).unwrap_or_default()).collect()
    }

    /// Waits until the newest run's journal has a line like that, and gives it back.
    pub(crate) fn wait_for_line(&mut self, runs: &Firedrill, matches: impl Fn(&Value) -> bool) -> Value {
        let line = self.line_or_end(runs, matches);
        line.unwrap_or_else(|| panic!("it ended, and no such line came\n{}", self.so_far()))
    }

    /// As [`Running::wait_for_line`]; `None` when the program ends without.
    pub(crate) fn line_or_end(&mut self, runs: &Firedrill, matches: impl Fn(&Value) -> bool) -> Option<Value> {
        let end = Instant::now() + Duration::from_mins(3);
        loop {
            // Asked first, so that the last lines of a process that has just ended are read too.
            let ended = !self.runs();
            if let Some(line) = runs.journal().into_iter().find(&matches) {
                return Some(line);
            }
            if ended {
                return None;
            }
            assert!(Instant::now() < end, "no such line came\n{}", self.so_far());
            thread::sleep(Duration::from_millis(20));
        }
    }

    fn outcome(&self, status: ExitStatus) -> Outcome {
        let [stdout, stderr] = self.outputs.each_ref().map(|path| fs::read_to_string(path).unwrap_or_default());
        Outcome { stdout, stderr, code: code(status) }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
        // The folder outlives the process that writes into it.
        debug_assert!(self.folder.path().exists());
    }
}

/// The lines of a run's journal; an unfinished last one is left out.
pub(crate) fn journal(run: &Path) -> Vec<Value> {
    let text = fs::read_to_string(run.join("journal.jsonl")).unwrap_or_default();
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    whole.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|why| panic!("{why}: {line}"))).collect()
}

/// All runs, the oldest first.
fn runs(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().map(|entry| entry.expect("an entry").path());
    let mut runs: Vec<_> = entries.filter(|path| path.join("journal.jsonl").exists()).collect();
    runs.sort();
    runs
}

fn files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_dir() {
            files(&entry.path(), found);
        } else if entry.file_type().unwrap().is_file() {
            found.push(entry.path());
        }
    }
}

fn code(status: ExitStatus) -> i32 {
    status.code().or_else(|| status.signal().map(|signal| 128 + signal)).expect("an exit code or a signal")
}

#[test]
fn a_case_runs_in_a_folder_of_its_own_and_finds_secrets() {
    let case = Firedrill::new().file("given.yaml", "password: hunter22").args(["--version"]).stdin("ignored");
    let outcome = case.run();
    assert_eq!(case.spawn().wait().code, outcome.code);
    case.assert_no_secrets(&[&outcome], &["hunter22".into()]);

    let run = case.folder().join("runs/run-2");
    fs::create_dir_all(&run).unwrap();
    fs::create_dir_all(case.folder().join("runs/run-1")).unwrap();
    fs::write(run.join("journal.jsonl"), "{\"event\":\"a\",\"with\":\"hunter22\"}\n{\"event\":\"b\"}\n{\"eve").unwrap();
    assert_eq!(case.run_id(), "run-2");
    assert_eq!(case.journal().len(), 2);
    assert_eq!(case.events("b").len(), 1);
    let mut running = case.spawn();
    running.signal("CONT");
    running.wait_for_line(&case, |line| line["event"] == "b");
    assert!(!running.so_far().contains("hunter22"));
    running.kill();
    let leak = std::panic::catch_unwind(|| case.assert_no_secrets(&[&outcome], &["hunter22".into()]));
    assert!(leak.is_err(), "the secret in the journal was not found");
    let said = Outcome { stdout: "{\"a\": 1}".into(), stderr: "no hunter23".into(), code: 4 };
    assert_eq!(said.clone().exit(4).says("hunter23").json()["a"], 1);
    fs::remove_file(run.join("journal.jsonl")).unwrap();
    let leak = std::panic::catch_unwind(|| case.assert_no_secrets(&[&said], &["hunter23".into()]));
    assert!(leak.is_err(), "the secret in the output was not found");
}
