//! Signatures of a journal's head, made and verified by OpenSSH's own `ssh-keygen` (format SSHSIG, from OpenSSH 8.1).
//!
//! The program and not a library: it reaches whatever key a person has (in a file, an agent, on a token), it knows all
//! that an allowed-signers file can say, and it is what an auditor verifies with, so that both sides are the same.

use std::{
    ffi::OsStr,
    fs::{self, DirBuilder},
    io::{self, Write},
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
    process::{Output, Stdio},
    time::Duration,
};

use tokio::{io::AsyncWriteExt, process::Command, time::timeout};

use crate::secret::private;

/// What the signature is for: one made for anything else does not pass for it.
pub const NAMESPACE: &str = "firedrill";
/// For trying a key: nothing that is signed so is ever kept.
const TRIAL: &str = "firedrill-trial";

/// For so long a person may be asked to touch a token or to confirm at an agent.
const PATIENCE: Duration = Duration::from_mins(2);

/// All of the environment that `ssh-keygen` gets to see: no credential of a site.
const ENVIRONMENT: [&str; 5] = ["PATH", "HOME", "SSH_AUTH_SOCK", "SSH_SK_PROVIDER", "TMPDIR"];

/// Reads a variable of the environment.
pub type Env = fn(&str) -> Option<String>;

/// A key to sign with: its file, or that of a public key whose private half an agent holds.
#[derive(Clone, Debug)]
pub struct Signer {
    key: PathBuf,
    env: Env,
}

/// A signature as it lies in `head.sig`, and the key that made it, e.g. `ED25519 key SHA256:…`.
#[derive(Clone, Debug)]
pub struct Signed {
    pub text: String,
    pub key: String,
}

/// Who signed: as the allowed-signers file calls them, and with which key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Who {
    pub principal: String,
    pub key: String,
}

/// What is signed: the head and a line feed, as `echo` prints it.
fn message(head: &str) -> String {
    format!("{head}\n")
}

impl Signer {
    pub fn new(key: &Path, env: Env) -> Self {
        Self { key: key.to_owned(), env }
    }

    /// Whether the key signs; so that a run finds out before it begins.
    pub async fn test(&self) -> Result<(), String> {
        self.make(TRIAL, "trial\n").await.map(drop)
    }

    /// Signs a head, and verifies what it made.
    pub async fn sign(&self, head: &str) -> Result<Signed, String> {
        let text = self.make(NAMESPACE, &message(head)).await?;
        let file = Scratch::new(self.env, text.as_bytes()).map_err(|e| e.to_string())?;
        let path = file.path();
        let verify = ["-Y".as_ref(), "check-novalidate".as_ref(), "-n".as_ref(), NAMESPACE.as_ref(), "-s".as_ref()];
        let args = [&verify[..], &[path.as_os_str()]].concat();
        let told = good(ssh_keygen(&args, &message(head), self.env).await?)?;
        Ok(Signed { text, key: key_of(&told).to_owned() })
    }

    async fn make(&self, namespace: &str, message: &str) -> Result<String, String> {
        let key = self.key.as_os_str();
        // An empty passphrase: nobody may be there to be asked for one when the run ends.
        let args = ["-Y", "sign", "-n", namespace, "-P", "", "-f"].map(OsStr::new);
        let made = ssh_keygen(&[&args[..], &[key]].concat(), message, self.env).await?;
        good(made).map_err(|why| {
            let name = self.key.display();
            let start = fs::read(&self.key).unwrap_or_default();
            let hint = if start.starts_with(b"ssh-") || start.starts_with(b"sk-") || start.starts_with(b"ecdsa-") {
                ": its private half must be held by the agent at SSH_AUTH_SOCK (`ssh-add -L` lists what is)".to_owned()
            } else if why.contains("passphrase") {
                format!(
                    ": it is encrypted; load it into an agent (`ssh-add {name}`), which asks for the passphrase once"
                )
            } else {
                String::new()
            };
            format!("`{name}` does not sign: {why}{hint}")
        })
    }
}

/// Verifies the signature of a head, by anybody whom the allowed-signers file (`ssh-keygen(1)`) names.
pub async fn verify(signature: &[u8], head: &str, allowed: &Path, env: Env) -> Result<Who, String> {
    let file = Scratch::new(env, signature).map_err(|e| e.to_string())?;
    let path = file.path();
    let (signature, allowed) = (path.as_os_str(), allowed.as_os_str());
    let find = ["-Y".as_ref(), "find-principals".as_ref(), "-s".as_ref(), signature, "-f".as_ref(), allowed];
    let found = good(ssh_keygen(&find, "", env).await?)
        .map_err(|why| format!("{} names nobody who signs with this key: {why}", Path::new(allowed).display()))?;
    let mut last = "it names nobody".to_owned();
    for principal in found.lines().flat_map(|line| line.split(',')).filter(|name| !name.is_empty()) {
        let begin = ["-Y", "verify", "-n", NAMESPACE, "-I", principal, "-s"].map(OsStr::new);
        let args = [&begin[..], &[signature, "-f".as_ref(), allowed]].concat();
        match good(ssh_keygen(&args, &message(head), env).await?) {
            Ok(told) => return Ok(Who { principal: principal.to_owned(), key: key_of(&told).to_owned() }),
            Err(why) => last = why,
        }
    }
    Err(last)
}

/// `Good "firedrill" signature for me@example with ED25519 key SHA256:…`
fn key_of(told: &str) -> &str {
    told.trim().rsplit_once(" with ").map_or("", |(_, key)| key)
}

/// What it printed, or why it did not.
fn good(output: Output) -> Result<String, String> {
    if output.status.success() {
        return String::from_utf8(output.stdout).map_err(|e| format!("ssh-keygen: {e}"));
    }
    let said = [output.stderr, output.stdout].concat();
    let said = String::from_utf8_lossy(&said);
    let lines: Vec<&str> =
        said.lines().map(str::trim).filter(|l| !l.is_empty() && !l.starts_with("Signing ")).collect();
    Err(format!("ssh-keygen: {}", if lines.is_empty() { "no reason given".into() } else { lines.join("; ") }))
}

#[expect(clippy::disallowed_methods, reason = "the one program that firedrill runs: it signs and verifies")]
async fn ssh_keygen(args: &[&OsStr], input: &str, env: Env) -> Result<Output, String> {
    let known = ENVIRONMENT.into_iter().filter_map(|name| Some((name, env(name)?)));
    let mut command = Command::new("ssh-keygen");
    command.args(args).env_clear().envs(known).env("LC_ALL", "C").kill_on_drop(true);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(|e| match e.kind() {
        io::ErrorKind::NotFound => "there is no `ssh-keygen` on this machine: install OpenSSH's client".to_owned(),
        _ => format!("ssh-keygen does not start: {e}"),
    })?;
    if let Some(mut stdin) = child.stdin.take() {
        // It may have ended without reading any of it: then its exit tells why.
        let _ = stdin.write_all(input.as_bytes()).await;
    }
    match timeout(PATIENCE, child.wait_with_output()).await {
        Ok(ended) => ended.map_err(|e| format!("ssh-keygen: {e}")),
        Err(_) => Err(format!("ssh-keygen has not ended within {} s (does an agent wait?)", PATIENCE.as_secs())),
    }
}

/// A signature in a folder that only we may read, since `ssh-keygen` takes it from a file only. Gone when dropped.
struct Scratch(PathBuf);

impl Scratch {
    fn new(env: Env, signature: &[u8]) -> io::Result<Self> {
        let mut name = [0; 8];
        getrandom::fill(&mut name).map_err(|e| io::Error::other(e.to_string()))?;
        let parent = env("TMPDIR").map_or_else(|| PathBuf::from("/tmp"), PathBuf::from);
        let folder = parent.join(format!("firedrill-{}", hex::encode(name)));
        DirBuilder::new().mode(0o700).create(&folder)?;
        let scratch = Self(folder);
        private().create_new(true).write(true).open(scratch.path())?.write_all(signature)?;
        Ok(scratch)
    }

    fn path(&self) -> PathBuf {
        self.0.join("head.sig")
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
