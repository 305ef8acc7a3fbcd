//! The command line: types only.

use std::{
    num::{NonZeroU8, NonZeroUsize},
    path::PathBuf,
};

use clap::{Args, Parser, Subcommand, ValueEnum};
use tracing_subscriber::filter::LevelFilter;

/// Runs disaster-recovery runbooks for MinIO, and proves the outcome from the data.
#[derive(Debug, Parser)]
#[command(name = "firedrill", version, propagate_version = true, after_help = AFTER)]
pub struct Cli {
    #[command(flatten)]
    pub global: Global,
    #[command(subcommand)]
    pub command: Command,
}

const AFTER: &str = "\
In an emergency, with the aliases that `mc` knows:
  firedrill verify  SOURCE/BUCKET TARGET/BUCKET                            how bad is it? changes nothing
  firedrill recover SOURCE/BUCKET TARGET/BUCKET --confirm-target TARGET    rebuild TARGET/BUCKET, and prove it

Exit codes: 0 held · 1 defect · 2 usage · 3 refused before anything ran · 4 something does not hold · 5 could not be
done or told · 6 journal · 7 waits for a person · 8 late · 9 another run holds the bucket · 129, 130, 143 stopped";

const RECOVER: &str = "\
SOURCE is the healthy site, TARGET the damaged one: `firedrill recover primary/invoices dr/invoices` rebuilds the bucket
on `dr`. Preconditions come first, then the missing bucket is made, then the source sends every version again, and in
the end the versions of both sites are compared. Nothing is ever deleted. Run `firedrill verify` first if in doubt.

`--lease ALIAS/BUCKET/PREFIX` names a place on a third site, below which each bucket of each site has one object: so
hosts that share no directory of runs exclude each other, in both directions. The default is `lease` of sites.yaml.

`--sign-key` and `--evidence` are for runs in a directory: with `--runs site:ALIAS/BUCKET/PREFIX` they are refused.";

const KEEP: &str = "`--sign-key` and `--evidence` are for runs in a directory: with `--runs site:ALIAS/BUCKET/PREFIX` they are refused.";

const COMPARE: &str = "\
Only listings are read, no object and no journal: `firedrill compare primary/invoices dr/invoices` says which versions
`dr` lacks, has too much, or has otherwise. It ends with 0 when there is no difference, with 4 when there is one, with 5
when it could not be told.";

const SANDBOX: &str = "\
The sites listen on 127.0.0.1 only, on free ports, and keep everything in memory: nothing outlives the command, which ends
with exit code 0 on Ctrl-C or SIGTERM. With `--output json` their addresses and credentials are one JSON document.";
const TEST: &str = "\
A test names a scenario and says what the run comes to; `firedrill schema test` describes the file. Each test has two
sites of its own, so that tests run side by side. All files are checked before the first test runs.";

/// Options of every command.
#[derive(Debug, Args)]
pub struct Global {
    /// Runs in DIR or site:ALIAS/BUCKET/PREFIX
    #[arg(
        long,
        global = true,
        value_name = "PLACE",
        env = "FIREDRILL_RUNS",
        hide_env_values = true,
        default_value = ".firedrill/runs"
    )]
    pub runs: String,
    /// Text for people, or JSON for scripts
    #[arg(long, global = true, value_name = "FORM", value_enum, default_value_t = Output::Text)]
    pub output: Output,
    /// Developers' log on stderr, e.g. off, info or debug
    #[arg(
        long,
        global = true,
        value_name = "LEVEL",
        env = "FIREDRILL_LOG",
        hide_env_values = true,
        default_value = "warn"
    )]
    pub log: LevelFilter,
    /// Form of the developers' log
    #[arg(long, global = true, value_name = "FORM", value_enum, default_value_t = LogFormat::Text)]
    pub log_format: LogFormat,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Output {
    Text,
    Json,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    Text,
    Json,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Check runbooks without a network: every problem at once, with its place
    Check {
        /// Runbooks
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
    },
    /// Show what a run would do; nothing is changed
    Plan {
        /// The runbook
        #[arg(value_name = "FILE")]
        file: PathBuf,
        #[command(flatten)]
        bind: Bind,
        /// Keep the plan here, for `run --plan`
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
        /// Let checks write and delete MinIO's own probe on the target
        #[arg(long)]
        probe: bool,
    },
    /// Run a runbook
    #[command(after_help = KEEP)]
    Run {
        /// The runbook
        #[arg(value_name = "FILE")]
        file: PathBuf,
        #[command(flatten)]
        bind: Bind,
        #[command(flatten)]
        go: Go,
        /// Refuse when what is about to be changed is not as this plan says
        #[arg(long, value_name = "FILE")]
        plan: Option<PathBuf>,
    },
    /// Rebuild a bucket on a damaged site from its healthy replication remote, and prove it
    #[command(after_help = RECOVER)]
    Recover {
        /// The healthy site and the bucket, kept as they are
        #[arg(value_name = "SOURCE/BUCKET", required_unless_present = "sandbox", conflicts_with = "sandbox")]
        source: Option<Place>,
        /// The damaged site and the bucket to rebuild
        #[arg(value_name = "TARGET/BUCKET", required_unless_present = "sandbox", conflicts_with = "sandbox")]
        target: Option<Place>,
        #[command(flatten)]
        options: Options,
        #[command(flatten)]
        go: Go,
    },
    /// Say how far a bucket's replica is from it, and whether it could be rebuilt; changes nothing
    #[command(after_help = KEEP)]
    Verify {
        /// The site and bucket that have the data
        #[arg(value_name = "SOURCE/BUCKET")]
        source: Place,
        /// The site and bucket that hold the replica
        #[arg(value_name = "TARGET/BUCKET")]
        target: Place,
        #[command(flatten)]
        options: Options,
        #[command(flatten)]
        keep: Keep,
    },
    /// Compare two buckets version by version, and print the differences; changes nothing
    #[command(after_help = COMPARE)]
    Compare(Compare),
    /// Run tests of runbooks on the sandbox; needs no network, no credentials and no person
    #[command(hide = cfg!(not(feature = "sandbox")), after_help = TEST)]
    Test(Test),
    /// Start two embedded sites and stay, for rehearsals with other clients; print how to reach them
    #[command(hide = cfg!(not(feature = "sandbox")), after_help = SANDBOX)]
    Sandbox {
        /// A scenario: a name, or a YAML file
        #[arg(value_name = "SCENARIO", default_value = "target_lost")]
        scenario: String,
        /// List the scenarios
        #[arg(long, conflicts_with = "scenario")]
        list: bool,
    },
    /// Go on with a run that was killed or stopped, waits, or ended without holding
    #[command(after_help = KEEP)]
    Resume {
        /// Id of the run, its unique beginning or end, or `latest`
        #[arg(value_name = "RUN")]
        run: String,
        /// Do the reading steps from this one on again, though they held
        #[arg(long, value_name = "STEP")]
        from: Option<String>,
        /// Go on with an edited copy of the run's runbook; only steps that have not begun may differ
        #[arg(long, value_name = "FILE")]
        use_edited: Option<PathBuf>,
        #[command(flatten)]
        go: Again,
    },
    /// Answer a run's question with yes, or `--no`, and go on with it
    #[command(after_help = KEEP)]
    Approve {
        /// Id of the run, its unique beginning or end, or `latest`
        #[arg(value_name = "RUN")]
        run: String,
        /// The step that asks; may be left out when only one does
        #[arg(value_name = "STEP")]
        step: Option<String>,
        /// Answer no
        #[arg(long)]
        no: bool,
        /// Why; goes into the journal
        #[arg(long, value_name = "TEXT")]
        comment: Option<String>,
        #[command(flatten)]
        go: Again,
    },
    /// List the runs
    Runs {
        #[command(flatten)]
        lookup: Lookup,
    },
    /// Show a run: its steps, findings and verdict
    Show {
        /// Id of the run, its unique beginning or end, or `latest`
        #[arg(value_name = "RUN")]
        run: String,
        #[command(flatten)]
        lookup: Lookup,
    },
    /// Write a report of a run, from its journal alone
    Report {
        /// Id of the run, its unique beginning or end, or `latest`
        #[arg(value_name = "RUN")]
        run: String,
        /// Form of the report
        #[arg(long, value_enum, default_value_t = ReportForm::Markdown, value_name = "FORM")]
        format: ReportForm,
        /// Write it here instead of to stdout
        #[arg(long, short = 'o', value_name = "FILE")]
        out: Option<PathBuf>,
        #[command(flatten)]
        lookup: Lookup,
    },
    /// Verify the record of a run, sign it, or store it on a third site
    Audit {
        #[command(subcommand)]
        command: Audit,
    },
    /// List the step kinds, or show one: parameters, output, an example
    Steps {
        /// One kind, e.g. `resync.recover`
        #[arg(value_name = "KIND")]
        kind: Option<String>,
    },
    /// Print a JSON Schema: of runbooks, tests, scenarios, journals or reports
    Schema {
        /// Of what
        #[arg(value_enum, default_value_t = Schema::Runbook)]
        what: Schema,
    },
    /// Test that sites answer and accept their credentials
    Sites {
        /// Sites by the names that `mc` or a sites.yaml gives them
        #[arg(required = true, value_name = "ALIAS")]
        aliases: Vec<String>,
        #[command(flatten)]
        lookup: Lookup,
    },
}

#[derive(Debug, Subcommand)]
pub enum Audit {
    /// Verify a journal, the files that it names, and, if asked, its head and signature
    Verify {
        /// Id of a run, the path of a journal, or evidence at `site:ALIAS/BUCKET/PREFIX/RUN`
        #[arg(value_name = "RUN|FILE|PLACE")]
        run: String,
        /// The head that the run printed: finds out whether its end was cut off
        #[arg(long, value_name = "SHA256", value_parser = sha256)]
        head: Option<String>,
        /// Require a signature by somebody whom this file names, in the format of `ssh-keygen(1)`
        #[arg(long, value_name = "FILE")]
        allowed_signers: Option<PathBuf>,
        #[command(flatten)]
        lookup: Lookup,
    },
    /// Sign the record of a run that is not at work
    Sign {
        /// Id of the run, its unique beginning or end, or `latest`
        #[arg(value_name = "RUN")]
        run: String,
        /// An SSH key, or the public key of one that an agent holds
        #[arg(long, value_name = "FILE", env = "FIREDRILL_SIGN_KEY", hide_env_values = true)]
        sign_key: PathBuf,
    },
    /// Store the record of a run on a third site, as `--evidence` does when it ends
    Store {
        /// Id of the run, its unique beginning or end, or `latest`
        #[arg(value_name = "RUN")]
        run: String,
        /// ALIAS/BUCKET/PREFIX [default: what the run began with]
        #[arg(long, value_name = "PLACE", env = "FIREDRILL_EVIDENCE", hide_env_values = true)]
        evidence: Option<EvidencePlace>,
        #[command(flatten)]
        lookup: Lookup,
    },
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum Schema {
    /// The JSON Schema of runbooks, for editors
    Runbook,
    /// The JSON Schema of files of tests, for editors
    #[value(hide = cfg!(not(feature = "sandbox")))]
    Test,
    /// The JSON Schema of scenarios, for editors
    #[value(hide = cfg!(not(feature = "sandbox")))]
    Scenario,
    /// The JSON Schema of a journal's lines
    Journal,
    /// The JSON Schema of a report with `--format json`
    Report,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum ReportForm {
    /// One HTML file that needs nothing else, for an auditor
    Html,
    /// For a job's page or a ticket
    Markdown,
    /// For CI: steps and checks as test cases
    Junit,
    /// For scripts; `firedrill schema report` describes it
    Json,
}

/// What is compared, and how it is printed.
#[derive(Clone, Debug, Args)]
pub struct Compare {
    /// The site and bucket that are right; with `--save` and `--against` the only ones
    #[arg(value_name = "SOURCE/BUCKET", required_unless_present = "sandbox", conflicts_with = "sandbox")]
    pub source: Option<Place>,
    /// The site and bucket that are compared with it
    #[arg(value_name = "TARGET/BUCKET", required_unless_present_any = ["sandbox", "save", "against"], conflicts_with = "sandbox")]
    pub target: Option<Place>,
    /// Save the listing of the one bucket to this file, which is not there yet, and compare nothing
    #[arg(
        long,
        value_name = "FILE",
        conflicts_with_all = ["target", "against", "rows", "exclude", "before", "settle", "accept", "sandbox"],
    )]
    pub save: Option<PathBuf>,
    /// Compare the one bucket with this file, which is right
    #[arg(long, value_name = "FILE", conflicts_with_all = ["target", "settle", "sandbox"])]
    pub against: Option<PathBuf>,
    /// Print all differences while they are found, in this form; counts go to stderr
    #[arg(long = "format", value_name = "FORM", value_enum)]
    pub rows: Option<RowForm>,
    /// Only keys with this prefix
    #[arg(long, value_name = "PREFIX")]
    pub prefix: Option<String>,
    /// Leave out keys like this, e.g. `tmp/*`; repeat it for more
    #[arg(long, value_name = "PATTERN")]
    pub exclude: Vec<String>,
    /// Leave out versions newer than this time, or than `now` by the source's clock
    #[arg(long, value_name = "TIME")]
    pub before: Option<String>,
    /// Give differences this time to close, e.g. 10m
    #[arg(long, value_name = "TIME", default_value = "0s")]
    pub settle: String,
    /// Requests to each site at once, at most, 1 to 255 [default: 2]
    #[arg(long, value_name = "N")]
    pub concurrency: Option<NonZeroU8>,
    /// Compare tags and metadata too, and tell `pending` from `missing`
    #[arg(long)]
    pub metadata: bool,
    /// Count a class, and accept it: missing, extra, different or pending; repeat it for more
    #[arg(long, value_name = "CLASS")]
    pub accept: Vec<String>,
    #[command(flatten)]
    pub lookup: Lookup,
    /// Compare two embedded sites: a scenario, or its YAML file [default: `target_lost`]
    #[arg(
        long,
        value_name = "SCENARIO",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "target_lost",
        hide = cfg!(not(feature = "sandbox")),
    )]
    pub sandbox: Option<String>,
}

/// A form of differences, one after the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum RowForm {
    /// RFC 4180, with a line of column names
    Csv,
    /// A JSON object a line, as in a run's `differences.jsonl`
    Jsonl,
}

/// Which tests are run, and how.
#[derive(Debug, Args)]
pub struct Test {
    /// Files of tests, or folders: all `*.test.yaml` below them
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// Run the tests whose name or file contains this; repeat it for more
    #[arg(short = 'f', long = "filter", value_name = "TEXT")]
    pub filters: Vec<String>,
    /// How many tests run side by side [default: the number of CPUs]
    #[arg(short = 'j', long, value_name = "N")]
    pub jobs: Option<NonZeroUsize>,
    /// Begin no further test once one has failed
    #[arg(long)]
    pub fail_fast: bool,
    /// List the tests, and run none
    #[arg(long)]
    pub list: bool,
    /// Write a report for CI systems here, as JUnit XML
    #[arg(long, value_name = "FILE")]
    pub junit: Option<PathBuf>,
}

/// A bucket of a site: `ALIAS/BUCKET`.
#[derive(Clone, Debug)]
pub struct Place {
    pub alias: String,
    pub bucket: String,
}

impl std::str::FromStr for Place {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        match text.trim_end_matches('/').split_once('/') {
            Some((alias, bucket)) if !alias.is_empty() && !bucket.is_empty() && !bucket.contains('/') => {
                Ok(Self { alias: alias.into(), bucket: bucket.into() })
            }
            _ => Err("write ALIAS/BUCKET, e.g. `dr/invoices`".into()),
        }
    }
}

/// Where records lie on a site: `ALIAS/BUCKET/PREFIX`; the prefix may be missing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EvidencePlace {
    pub alias: String,
    pub bucket: String,
    /// Without slashes at its ends.
    pub prefix: String,
}

impl std::str::FromStr for EvidencePlace {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let mut parts = text.strip_prefix("site:").unwrap_or(text).trim_end_matches('/').splitn(3, '/');
        match (parts.next(), parts.next(), parts.next().unwrap_or_default()) {
            (Some(alias), Some(bucket), prefix) if !alias.is_empty() && !bucket.is_empty() => {
                Ok(Self { alias: alias.into(), bucket: bucket.into(), prefix: prefix.trim_matches('/').into() })
            }
            _ => Err("write ALIAS/BUCKET/PREFIX, e.g. `vault/firedrill/runs`".into()),
        }
    }
}

impl std::fmt::Display for EvidencePlace {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { alias, bucket, prefix } = self;
        write!(f, "{alias}/{bucket}{}{prefix}", if prefix.is_empty() { "" } else { "/" })
    }
}

/// How the record of a run is made to outlast the machine that it was made on.
#[derive(Clone, Debug, Default, Args)]
pub struct Keep {
    /// Sign the record with an SSH key, or an agent's (.pub)
    #[arg(long, value_name = "FILE", env = "FIREDRILL_SIGN_KEY", hide_env_values = true)]
    pub sign_key: Option<PathBuf>,
    /// Store the record too, at ALIAS/BUCKET/PREFIX of a third site
    #[arg(long, value_name = "PLACE", env = "FIREDRILL_EVIDENCE", hide_env_values = true)]
    pub evidence: Option<EvidencePlace>,
}

/// Where aliases are looked up.
#[derive(Debug, Clone, Default, Args)]
pub struct Lookup {
    /// Look aliases up here, before `MC_HOST_<alias>` and what `mc` has [default: sites.yaml]
    #[arg(long, value_name = "FILE")]
    pub sites: Option<PathBuf>,
    /// Let a site's `insecure: true` skip the check of its certificate
    #[arg(long)]
    pub allow_insecure: bool,
}

/// Options of everything that asks sites.
#[derive(Debug, Clone, Args)]
pub struct Options {
    #[command(flatten)]
    pub lookup: Lookup,
    /// Give an input; repeat it for more, and for the items of a list
    #[arg(short = 'i', long = "input", value_name = "NAME=VALUE", value_parser = pair)]
    pub inputs: Vec<(String, String)>,
    /// Read inputs from a YAML file
    #[arg(long = "inputs", value_name = "FILE")]
    pub inputs_file: Option<PathBuf>,
    /// Waive a precondition; check and reason go into the journal
    #[arg(long, value_name = "CHECK=REASON", value_parser = pair)]
    pub accept: Vec<(String, String)>,
}

/// What a runbook is bound to.
#[derive(Debug, Clone, Args)]
pub struct Bind {
    /// Bind a role of the runbook to a site
    #[arg(long = "site", value_name = "ROLE=ALIAS", value_parser = pair)]
    pub roles: Vec<(String, String)>,
    #[command(flatten)]
    pub options: Options,
}

/// Options of a run that may change something.
#[derive(Debug, Clone, Args)]
pub struct Go {
    /// Name the site that is rebuilt, instead of typing it
    #[arg(long, value_name = "ALIAS")]
    pub confirm_target: Option<String>,
    /// Count the recovery time from here, when the damage began, e.g. 2026-11-23T21:04:00Z
    #[arg(long, value_name = "TIME", value_parser = moment)]
    pub since: Option<jiff::Timestamp>,
    #[command(flatten)]
    pub yes: Yes,
    #[command(flatten)]
    pub keep: Keep,
    #[command(flatten)]
    pub lease: LeaseAt,
    /// Run on two embedded sites: a scenario, or its YAML file [default: `target_lost`]
    #[arg(
        long,
        value_name = "SCENARIO",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "target_lost",
        hide = cfg!(not(feature = "sandbox")),
    )]
    pub sandbox: Option<String>,
}

/// Where hosts that share no directory of runs keep out of each other's way.
#[derive(Debug, Clone, Args)]
pub struct LeaseAt {
    /// Claim buckets for all hosts that name it too: ALIAS/BUCKET/PREFIX
    #[arg(long, value_name = "PLACE", env = "FIREDRILL_LEASE", hide_env_values = true)]
    pub lease: Option<String>,
}

/// Answers given beforehand.
#[derive(Debug, Clone, Args)]
pub struct Yes {
    /// Say yes to a step's question, or to all (in a recovery together with `--confirm-target`)
    #[arg(long, value_name = "STEP", num_args = 0..=1, require_equals = true, default_missing_value = "")]
    pub yes: Vec<String>,
}

/// Options of going on with a run.
#[derive(Debug, Clone, Args)]
pub struct Again {
    #[command(flatten)]
    pub lookup: Lookup,
    /// Give a secret input again, or one that was masked: no journal keeps it
    #[arg(short = 'i', long = "input", value_name = "NAME=VALUE", value_parser = pair)]
    pub inputs: Vec<(String, String)>,
    /// Name the site that is rebuilt, for a bare `--yes`
    #[arg(long, value_name = "ALIAS")]
    pub confirm_target: Option<String>,
    #[command(flatten)]
    pub yes: Yes,
    #[command(flatten)]
    pub keep: Keep,
    #[command(flatten)]
    pub lease: LeaseAt,
    /// Go on although another process was heard of a moment ago; it then sends nothing more
    #[arg(long)]
    pub take_over: bool,
}

fn sha256(text: &str) -> Result<String, String> {
    let hex = text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    if hex { Ok(text.to_ascii_lowercase()) } else { Err("write a SHA-256, 64 hex digits".into()) }
}

fn moment(text: &str) -> Result<jiff::Timestamp, String> {
    text.parse().map_err(|_| "write a time with its zone, e.g. 2026-11-23T21:04:00Z".into())
}

fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("write NAME=VALUE".into()),
    }
}
