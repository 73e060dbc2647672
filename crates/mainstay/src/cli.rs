//! The command line: one table from which parsing, `--help`, man pages and completions are made.

use std::path::PathBuf;

use clap::builder::NonEmptyStringValueParser;
use clap::{Args, CommandFactory, Parser, Subcommand, ValueEnum};

/// Keeps a web app alive on your own servers: runs it, logs it, backs it up.
#[derive(Debug, Parser)]
#[command(
    name = "mainstay",
    version,
    max_term_width = 100,
    propagate_version = true,
    after_help = "Example:\n  mainstay check && mainstay run --daemon && mainstay status",
    after_long_help = after_long_help()
)]
pub(crate) struct Cli {
    /// The config [default: ./mainstay.toml, then /etc/mainstay/mainstay.toml]
    #[arg(
        short,
        long,
        global = true,
        value_name = "FILE",
        env = "MAINSTAY_CONFIG",
        hide_env = true
    )]
    pub(crate) config: Option<PathBuf>,

    /// The daemon's control socket [default: the one the config names]
    #[arg(long, global = true, value_name = "PATH")]
    pub(crate) socket: Option<PathBuf>,

    /// Print JSON: one document, or one per line for what goes on
    #[arg(long, global = true)]
    pub(crate) json: bool,

    /// When to use colours
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto")]
    pub(crate) color: ColorChoice,

    /// Say less: results and errors only
    #[arg(short, long, global = true)]
    pub(crate) quiet: bool,

    #[command(subcommand)]
    pub(crate) command: Command,
}

fn after_long_help() -> String {
    format!(
        "Example:\n  mainstay check && mainstay run --daemon && mainstay status\n\n{}",
        crate::exit::help()
    )
}

/// When output is coloured. `auto` is: on a terminal, unless `NO_COLOR` is set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ColorChoice {
    Auto,
    Always,
    Never,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run the programs of the config and answer on the control socket
    #[command(
        after_help = "Example:\n  mainstay run -c mainstay.toml\n  mainstay run -c /etc/mainstay/mainstay.toml --daemon"
    )]
    Run {
        /// Go to the background; returns when the daemon is up, or says why it is not
        #[arg(long)]
        daemon: bool,
    },

    /// Show programs, backups and disks on one screen
    #[command(after_help = "Example:\n  mainstay status\n  mainstay status web --json")]
    Status {
        /// Only these programs
        names: Vec<String>,
    },

    /// Show the numbers of `status` in the text format of Prometheus
    #[command(
        after_help = "Example:\n  mainstay metrics\n  mainstay metrics --to /var/lib/node_exporter/mainstay.prom"
    )]
    Metrics {
        /// Into this file, replaced as a whole
        #[arg(long, value_name = "FILE")]
        to: Option<PathBuf>,
    },

    /// Start programs and wait until they run
    #[command(after_help = "Example:\n  mainstay start web worker\n  mainstay start all")]
    Start(Names),

    /// Stop programs and wait until they have ended
    #[command(after_help = "Example:\n  mainstay stop web\n  mainstay stop web:1")]
    Stop(Names),

    /// Stop programs and start them again
    #[command(after_help = "Example:\n  mainstay restart web")]
    Restart(Names),

    /// Send a signal to programs
    #[command(after_help = "Example:\n  mainstay signal HUP web")]
    Signal {
        /// The signal's name or number: HUP, SIGUSR1, 15
        signal: String,
        /// Programs, processes (`web:0`) or `all`
        #[arg(required = true)]
        names: Vec<String>,
    },

    /// Show what programs wrote: records by time, level and text, also from rolled files
    #[command(
        after_help = "Example:\n  mainstay logs web -f\n  mainstay logs web worker --level warn --since 10m\n  mainstay logs --all --since yesterday --until today --grep timeout\n  mainstay logs web --stream stderr -n 20 --regex 'user=[0-9]+'"
    )]
    Logs(Box<Logs>),

    /// What a person must know: list, silence, raise, try whether it arrives
    #[command(
        subcommand,
        after_help = "Example:\n  mainstay alert list\n  mainstay alert test"
    )]
    Alert(Alert),

    /// What went wrong in programs: list it, look at one, retry or skip an undo that is stuck
    #[command(
        after_help = "Example:\n  mainstay faults\n  mainstay faults --app shop --since yesterday\n  mainstay faults K7Q29-XWD4M\n  mainstay faults retry K7Q29-XWD4M --wait"
    )]
    Faults(Faults),

    /// Configs of logs: check, explain, convert them; change levels of the running daemon
    #[command(
        subcommand,
        after_help = "Example:\n  mainstay log check seelog.xml\n  mainstay log level web=debug for 10m"
    )]
    Log(Log),

    /// Check the config and show what it comes to
    #[command(after_help = "Example:\n  mainstay check -c mainstay.toml")]
    Check,

    /// Back up, list, prove and restore
    #[command(
        subcommand,
        after_help = "Example:\n  mainstay backup init local\n  mainstay backup run\n  mainstay backup restore db"
    )]
    Backup(Backup),

    /// Stop every program in order and end the daemon
    #[command(after_help = "Example:\n  mainstay shutdown")]
    Shutdown,

    /// Be supervisord: its command line, its config, its clients
    #[command(
        disable_help_flag = true,
        after_help = "Example:\n  mainstay supervisord -n -c /etc/supervisor/supervisord.conf"
    )]
    Supervisord {
        /// As supervisord takes them; `-h` lists them
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<std::ffi::OsString>,
    },

    /// Be supervisorctl: its command line, its shell, its texts
    #[command(
        disable_help_flag = true,
        after_help = "Example:\n  mainstay supervisorctl -c /etc/supervisor/supervisord.conf status"
    )]
    Supervisorctl {
        /// As supervisorctl takes them; `-h` lists them
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<std::ffi::OsString>,
    },

    /// Replace the running daemon by the binary on disk: same process id, programs untouched
    #[command(after_help = "Example:\n  cargo install mainstay && mainstay upgrade")]
    Upgrade,

    /// Say whether this binary can take over from a running daemon that was called like this
    #[command(
        hide = true,
        after_help = "Example:\n  mainstay self-check -- mainstay run -c mainstay.toml"
    )]
    SelfCheck {
        /// How the daemon was called, its name included
        #[arg(last = true, required = true)]
        arguments: Vec<std::ffi::OsString>,
    },

    /// Hold on to the programs' output while no daemon lives; the daemon starts it
    #[command(
        hide = true,
        after_help = "Example:\n  mainstay keep /var/lib/mainstay"
    )]
    Keep {
        /// The state directory
        state: PathBuf,
    },

    /// Open the daemon's and the programs' log files anew, after something moved them
    #[command(after_help = "Example:\n  mainstay reopen-logs")]
    ReopenLogs,

    /// Show the version of this binary and of the running daemon
    #[command(after_help = "Example:\n  mainstay version --json")]
    Version,

    /// Write completions for a shell to standard output
    #[command(
        after_help = "Example:\n  mainstay completions bash > /etc/bash_completion.d/mainstay"
    )]
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },

    /// Write man pages into a directory
    #[command(after_help = "Example:\n  mainstay man target/man")]
    Man {
        /// Where to; it is created
        directory: PathBuf,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Names {
    /// Programs, processes (`web:0`), `web:*` or `all`
    #[arg(required = true)]
    pub(crate) names: Vec<String>,
    /// Return at once instead of waiting for the outcome
    #[arg(long)]
    pub(crate) no_wait: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum StreamChoice {
    Both,
    Stdout,
    Stderr,
}

/// What `mainstay logs` is asked.
#[derive(Debug, Args)]
pub(crate) struct Logs {
    /// Programs or processes; `mainstay` for the daemon's own log
    #[arg(value_name = "PROGRAM", required_unless_present = "all")]
    pub(crate) names: Vec<String>,
    /// All programs
    #[arg(long, conflicts_with = "names")]
    pub(crate) all: bool,
    /// Go on with what is written from now on
    #[arg(short, long, conflicts_with = "until")]
    pub(crate) follow: bool,
    /// How many records of the past [default: 50, or all within --since and --until]
    #[arg(short = 'n', long, value_name = "N")]
    pub(crate) lines: Option<u32>,
    /// Not before this: 10m, today, yesterday, 10:00, 2026-11-25T10:00
    #[arg(long, value_name = "TIME")]
    pub(crate) since: Option<String>,
    /// Not after this
    #[arg(long, value_name = "TIME")]
    pub(crate) until: Option<String>,
    /// This level and graver ones: trace, debug, info, warn, error, critical
    #[arg(long, value_name = "LEVEL")]
    pub(crate) level: Option<mainstay_log::Level>,
    /// Only records that have this text
    #[arg(long, value_name = "TEXT", conflicts_with = "regex")]
    pub(crate) grep: Option<String>,
    /// Only records in which this regular expression matches
    #[arg(long, value_name = "REGEX")]
    pub(crate) regex: Option<String>,
    /// Upper and lower case are the same to --grep and --regex
    #[arg(short, long)]
    pub(crate) ignore_case: bool,
    /// Which of the two outputs
    #[arg(long, value_name = "STREAM", default_value = "both")]
    pub(crate) stream: StreamChoice,
}

/// Which faults are shown, or what is done about one.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub(crate) struct Faults {
    /// The code of one, as the visitor's page, the log and the mail have it
    pub(crate) code: Option<String>,
    /// Only those of this program
    #[arg(long, value_name = "PROGRAM", conflicts_with = "code")]
    pub(crate) app: Option<String>,
    /// Only those seen since then: `10m`, `today`, `2026-11-25`
    #[arg(long, value_name = "TIME", conflicts_with = "code")]
    pub(crate) since: Option<String>,
    /// Only those at least so grave [default: warning]
    #[arg(long, value_name = "SEVERITY", conflicts_with = "code")]
    pub(crate) severity: Option<FaultSeverity>,
    /// All that are known, however little grave and old
    #[arg(long, conflicts_with = "code")]
    pub(crate) all: bool,
    #[command(subcommand)]
    pub(crate) act: Option<FaultAct>,
}

/// How grave a fault is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum FaultSeverity {
    Debug,
    Info,
    Warning,
    Error,
    Critical,
}

impl FaultSeverity {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Debug => "debug",
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Error => "error",
            Self::Critical => "critical",
        }
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum FaultAct {
    /// Have the app try again what is stuck in the work of a fault
    #[command(
        after_help = "Example:\n  mainstay faults retry K7Q29-XWD4M\n  mainstay faults retry K7Q29-XWD4M crm.create --wait=5m"
    )]
    Retry {
        /// The code of the fault
        code: String,
        /// The step that is meant; the order is refused if another one is next
        step: Option<String>,
        /// Wait until the app says what came of it
        #[arg(long, value_name = "DURATION", value_parser = mainstay_base::parse_duration, num_args = 0..=1, require_equals = true, default_missing_value = "1m")]
        wait: Option<std::time::Duration>,
    },

    /// Have the app take a step for undone (or an action for done) that was seen to by hand
    #[command(
        after_help = "Example:\n  mainstay faults skip K7Q29-XWD4M crm.create --reason removed_by_hand"
    )]
    Skip {
        /// The code of the fault
        code: String,
        /// The step
        step: String,
        /// Why it need not be undone; it is written down
        #[arg(long, value_name = "TEXT", value_parser = NonEmptyStringValueParser::new())]
        reason: String,
        /// Wait until the app says what came of it
        #[arg(long, value_name = "DURATION", value_parser = mainstay_base::parse_duration, num_args = 0..=1, require_equals = true, default_missing_value = "1m")]
        wait: Option<std::time::Duration>,
    },

    /// Forget faults of the kind of these, with their orders: the next one is a new one
    #[command(after_help = "Example:\n  mainstay faults forget K7Q29-XWD4M")]
    Forget {
        /// Codes
        #[arg(required = true, value_name = "CODE")]
        codes: Vec<String>,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum Alert {
    /// Show what is raised, silences, channels and messages
    #[command(after_help = "Example:\n  mainstay alert list\n  mainstay alert list --json")]
    List,

    /// Raise an alert, or say that it is over, from a script in any language
    #[command(
        after_help = "Example:\n  mainstay alert raise --app blog --severity critical --lasting --fingerprint payments Payments_fail\n  mainstay alert raise --app blog --fingerprint payments --resolve"
    )]
    Raise(Raise),

    /// Be told nothing of some alerts for a while; they are still counted
    #[command(
        after_help = "Example:\n  mainstay alert silence 2h --app blog --reason migration\n  mainstay alert silence 1d --key web/program-down --reason known"
    )]
    Silence(Silence),

    /// End a silence
    #[command(after_help = "Example:\n  mainstay alert unsilence 3")]
    Unsilence {
        /// Its number, as `mainstay alert list` shows it
        id: i64,
    },

    /// Send a test message through each channel: by the daemon, or from here when none answers
    #[command(after_help = "Example:\n  mainstay alert test\n  mainstay alert test --here --json")]
    Test {
        /// Use the config as it is now, from this process, also when a daemon answers
        #[arg(long)]
        here: bool,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Raise {
    /// One line: what happened
    #[arg(required_unless_present = "resolve")]
    pub(crate) title: Option<String>,
    /// What it is about: the app or the part of it
    #[arg(long)]
    pub(crate) app: String,
    /// info, warning, error, critical [default: error]
    #[arg(long, conflicts_with = "resolve")]
    pub(crate) severity: Option<mainstay_alert::Severity>,
    /// More of it; `-` reads standard input
    #[arg(
        long,
        value_name = "TEXT",
        conflicts_with = "resolve",
        allow_hyphen_values = true
    )]
    pub(crate) body: Option<String>,
    /// What makes alerts the same [default: the title without numbers and the like]
    #[arg(long, value_name = "NAME")]
    pub(crate) fingerprint: Option<String>,
    /// It lasts until it is resolved: it is told again, and its end is told
    #[arg(long, conflicts_with = "resolve")]
    pub(crate) lasting: bool,
    /// It is over; by its fingerprint, or by the same title
    #[arg(long)]
    pub(crate) resolve: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Silence {
    /// For how long, as in 2h
    pub(crate) time: String,
    /// Those with this key, as `mainstay alert list` shows it; `*` stands for anything
    #[arg(long, value_name = "APP/FINGERPRINT", required_unless_present_any = ["app", "severity"])]
    pub(crate) key: Option<String>,
    /// Those of this app
    #[arg(long)]
    pub(crate) app: Option<String>,
    /// Those of this severity
    #[arg(long)]
    pub(crate) severity: Option<String>,
    /// Why: whoever looks next must know
    #[arg(long)]
    pub(crate) reason: String,
    /// Who asks [default: the user who runs this]
    #[arg(long, value_name = "NAME")]
    pub(crate) author: Option<String>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Log {
    /// Say whether a config of seelog, or the [log] of a mainstay.toml, is good
    #[command(after_help = "Example:\n  mainstay log check --strict seelog.xml")]
    Check {
        /// A seelog.xml or a mainstay.toml
        file: PathBuf,
        /// seelog's rules of loading to the letter
        #[arg(long)]
        strict: bool,
    },

    /// Say which sinks a record would reach, and why
    #[command(
        after_help = "Example:\n  mainstay log explain seelog.xml --level warn --file src/main.rs --func main.serve\n  mainstay log explain mainstay.toml --program web --stream stderr"
    )]
    Explain {
        /// A seelog.xml or a mainstay.toml
        file: PathBuf,
        /// Its level
        #[arg(long, default_value = "info")]
        level: mainstay_log::Level,
        /// The source file that it is written in
        #[arg(long = "file", value_name = "PATH")]
        source: Option<String>,
        /// The full name of the function that it is written in
        #[arg(long, value_name = "NAME")]
        func: Option<String>,
        /// Its target
        #[arg(long)]
        target: Option<String>,
        /// It is output of this program
        #[arg(long)]
        program: Option<String>,
        /// The stream of that program
        #[arg(long, requires = "program", default_value = "stdout")]
        stream: OneStream,
    },

    /// Write a config of seelog as a mainstay.toml to standard output
    #[command(after_help = "Example:\n  mainstay log convert seelog.xml > mainstay.toml")]
    Convert {
        /// A seelog.xml
        file: PathBuf,
    },

    /// Change which levels the running daemon lets through, for a time or until it ends
    #[command(
        after_help = "Example:\n  mainstay log level debug for 10m\n  mainstay log level web=warn\n  mainstay log level web=default"
    )]
    Level {
        /// `LEVEL`, or `TARGET=LEVEL` for a target and all below it or for a program; `off` for
        /// nothing, `default` for what the config says
        setting: String,
        /// `for` and a time
        #[arg(value_name = "for TIME", num_args = 0..=2)]
        time: Vec<String>,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum OneStream {
    Stdout,
    Stderr,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Backup {
    /// Create a repository
    #[command(after_help = "Example:\n  mainstay backup init local")]
    Init {
        /// A repository of the config; without one, all that do not exist yet
        repository: Option<String>,
    },

    /// Back up now
    #[command(after_help = "Example:\n  mainstay backup run\n  mainstay backup run db --wait 10m")]
    Run {
        /// Backups of the config; without one, all
        names: Vec<String>,
        /// Wait so long for another run on the same backup or repository to end
        #[arg(long, value_name = "DURATION", value_parser = mainstay_base::parse_duration)]
        wait: Option<std::time::Duration>,
    },

    /// List snapshots
    #[command(after_help = "Example:\n  mainstay backup list\n  mainstay backup list db --json")]
    List {
        /// Only this backup's
        name: Option<String>,
        /// Only in this repository
        #[arg(long, value_name = "NAME")]
        repository: Option<String>,
    },

    /// Show one snapshot and the files in it
    #[command(after_help = "Example:\n  mainstay backup show uploads latest")]
    Show {
        /// A backup of the config
        name: String,
        /// `latest` or the beginning of a snapshot's id
        #[arg(default_value = "latest", value_parser = NonEmptyStringValueParser::new())]
        snapshot: String,
        /// The repository to read [default: the backup's first]
        #[arg(long, value_name = "NAME")]
        repository: Option<String>,
    },

    /// Put a snapshot back: in place (the old data is set aside), or elsewhere
    #[command(
        after_help = "Example:\n  mainstay backup restore db --yes\n  mainstay backup restore uploads 1a2b3c --to /tmp/look\n  mainstay backup restore mysql --table shop.orders --as shop.orders_before\n  mainstay backup restore mysql --database shop --set-aside --check\n  mainstay backup restore mysql --server db2:3306 --user root --password-file root.password"
    )]
    Restore {
        /// A backup of the config
        name: String,
        /// `latest` or the beginning of a snapshot's id
        #[arg(default_value = "latest", value_parser = NonEmptyStringValueParser::new())]
        snapshot: String,
        /// Restore into this new directory instead of in place
        #[arg(long, value_name = "DIR")]
        to: Option<PathBuf>,
        /// The repository to read [default: the backup's first]
        #[arg(long, value_name = "NAME")]
        repository: Option<String>,
        /// Only show what would be done
        #[arg(long)]
        dry_run: bool,
        /// Do not ask
        #[arg(short, long)]
        yes: bool,
        #[command(flatten)]
        server: IntoServer,
    },

    /// Look whether backups could be made now: servers, logins, rights, settings, repositories
    #[command(after_help = "Example:\n  mainstay backup check\n  mainstay backup check db --json")]
    Check {
        /// Backups of the config; without one, all
        names: Vec<String>,
    },

    /// Write a snapshot of a database server as dated files that `zcat FILE | mysql` loads
    #[command(
        after_help = "Example:\n  mainstay backup export db --to /srv/dumps\n  mainstay backup export db --format sql.zst --to /srv/dumps --snapshot 1a2b3c --database shop"
    )]
    Export {
        /// A backup of the config, of a database server
        name: String,
        /// The directory; the files come into one of the snapshot's day in it
        #[arg(long, value_name = "DIR")]
        to: PathBuf,
        /// How the files are compressed
        #[arg(long, value_name = "FORMAT", default_value = "sql.gz")]
        format: DumpFormat,
        /// `latest` or the beginning of a snapshot's id
        #[arg(long, value_name = "ID", default_value = "latest", value_parser = NonEmptyStringValueParser::new())]
        snapshot: String,
        /// Only this database, and no users; may be given several times
        #[arg(long = "database", value_name = "NAME")]
        databases: Vec<String>,
        /// The repository to read [default: the backup's first]
        #[arg(long, value_name = "NAME")]
        repository: Option<String>,
    },

    /// Give dumps of mysqldump or mariadb-dump to the server of a backup
    #[command(
        after_help = "Example:\n  mainstay backup import --into db --user root shop-202611260300.sql.gz\n  mainstay backup import --into db --database shop --over shop old.sql --dry-run"
    )]
    Import {
        /// Dumps, plain or with gzip or zstd, in the order in which they are loaded
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
        /// The backup whose server it is [default: the only one that is of a database server]
        #[arg(long, value_name = "NAME")]
        into: Option<String>,
        /// The database of dumps that name none; made if it is not there
        #[arg(long, value_name = "NAME")]
        database: Option<String>,
        /// Write to this database although it is there; may be given several times
        #[arg(long, value_name = "NAME")]
        over: Vec<String>,
        #[command(flatten)]
        login: Login,
        /// Only look: whether the dumps are whole, and which databases they write to
        #[arg(long)]
        dry_run: bool,
    },

    /// Copy snapshots from one repository to another; the source is not read
    #[command(
        after_help = "Example:\n  mainstay backup copy db --from local --to offsite\n  mainstay backup copy db latest --from local --to offsite"
    )]
    Copy {
        /// A backup of the config
        name: String,
        /// `latest` or the beginning of a snapshot's id [default: all that are not there yet]
        #[arg(value_parser = NonEmptyStringValueParser::new())]
        snapshot: Option<String>,
        /// The repository they are in
        #[arg(long, value_name = "NAME")]
        from: String,
        /// The repository they are copied to
        #[arg(long, value_name = "NAME")]
        to: String,
    },

    /// Remove the snapshots that no rule of `keep` keeps, as each run does
    #[command(
        after_help = "Example:\n  mainstay backup expire db --dry-run --why\n  mainstay backup expire db --repository offsite"
    )]
    Expire {
        /// A backup of the config
        name: String,
        /// Only in this repository [default: all of the backup's]
        #[arg(long, value_name = "NAME")]
        repository: Option<String>,
        /// Remove nothing
        #[arg(long)]
        dry_run: bool,
        /// Say for each snapshot which rules keep it
        #[arg(long)]
        why: bool,
    },

    /// Pin a snapshot: no rule removes it
    #[command(after_help = "Example:\n  mainstay backup keep db 1a2b3c")]
    Keep(Pin),

    /// Take the pin off a snapshot: the rules decide again
    #[command(after_help = "Example:\n  mainstay backup unkeep db 1a2b3c")]
    Unkeep(Pin),

    /// Prove that what was backed up can be read back
    #[command(
        after_help = "Example:\n  mainstay backup verify\n  mainstay backup verify db --read-data"
    )]
    Verify {
        /// Backups of the config; without one, all
        names: Vec<String>,
        /// Read and decrypt every pack of the repository, not only its structure
        #[arg(long)]
        read_data: bool,
    },

    /// Try a restore in a scratch place, check it, and sign a report
    #[command(
        after_help = "Example:\n  mainstay backup drill db\n  mainstay backup drill db --snapshot 1a2b3c\n  mainstay backup drill --show db"
    )]
    Drill {
        /// Backups of the config; without one, all
        names: Vec<String>,
        /// `latest` or the beginning of a snapshot's id
        #[arg(long, value_name = "ID", default_value = "latest", value_parser = NonEmptyStringValueParser::new())]
        snapshot: String,
        /// The repository to read [default: the one whose last proof is the oldest]
        #[arg(long, value_name = "NAME")]
        repository: Option<String>,
        /// Wait so long for another drill of the backup to end
        #[arg(long, value_name = "DURATION", value_parser = mainstay_base::parse_duration)]
        wait: Option<std::time::Duration>,
        /// Show the last report, after its signature was verified, and drill nothing
        #[arg(long, conflicts_with_all = ["snapshot", "repository", "wait"])]
        show: bool,
        /// Print the key that reports of this host are signed with, as PEM
        #[arg(long, conflicts_with_all = ["names", "snapshot", "repository", "wait", "show"])]
        public_key: bool,
    },
}

/// How files of statements are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum DumpFormat {
    #[value(name = "sql")]
    Sql,
    #[value(name = "sql.gz")]
    SqlGz,
    #[value(name = "sql.zst")]
    SqlZst,
}

/// How a snapshot of `MySQL` or `MariaDB` comes into a server.
#[derive(Debug, Args)]
#[command(next_help_heading = "For MySQL and MariaDB")]
pub(crate) struct IntoServer {
    /// Only this database; may be given more than once
    #[arg(long = "database", value_name = "NAME", conflicts_with = "tables")]
    pub(crate) databases: Vec<String>,
    /// Only this table; may be given more than once
    #[arg(long = "table", value_name = "DATABASE.TABLE")]
    pub(crate) tables: Vec<String>,
    /// The one database or table gets this name
    #[arg(long = "as", value_name = "NEW")]
    pub(crate) new_name: Option<String>,
    /// Move what is there into a database called `NAME_before_YYYYMMDDHHMM`, instead of refusing
    #[arg(long)]
    pub(crate) set_aside: bool,
    /// Leave users and rights out
    #[arg(long)]
    pub(crate) no_users: bool,
    /// Read all rows back and compare them before anything is put into its place
    #[arg(long)]
    pub(crate) check: bool,
    /// Write it into the server's binary log too, and so to its replicas
    #[arg(long)]
    pub(crate) binlog: bool,
    #[command(flatten)]
    pub(crate) login: Login,
    /// How many connections load at once [default: as for the backup]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=64))]
    pub(crate) connections: Option<u8>,
}

/// Where something is loaded into, and as whom.
#[derive(Debug, Args)]
pub(crate) struct Login {
    /// Into this server: a backup of the config, a socket, or a host [default: the backup's own]
    #[arg(long, value_name = "NAME|SOCKET|HOST[:PORT]")]
    pub(crate) server: Option<String>,
    /// As this user [default: the backup's own, with its password]
    #[arg(long, value_name = "NAME")]
    pub(crate) user: Option<String>,
    /// The file with the user's password, which nobody else may read
    #[arg(long, value_name = "FILE")]
    pub(crate) password_file: Option<PathBuf>,
}

/// Which snapshot is pinned.
#[derive(Debug, Args)]
pub(crate) struct Pin {
    /// A backup of the config
    pub(crate) name: String,
    /// `latest` or the beginning of a snapshot's id
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    pub(crate) snapshot: String,
    /// The repository it is in [default: the backup's first that has it]
    #[arg(long, value_name = "NAME")]
    pub(crate) repository: Option<String>,
}

/// The whole command line as clap sees it.
pub(crate) fn command() -> clap::Command {
    Cli::command()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_sound() {
        command().debug_assert();
    }

    /// Each command, and each command under a command, has an example in its help.
    #[test]
    fn every_command_has_an_example() {
        fn walk(command: &clap::Command, path: &str) {
            let path = format!("{path} {}", command.get_name());
            let help = command
                .get_after_help()
                .map(ToString::to_string)
                .unwrap_or_default();
            assert!(help.contains("Example:"), "{path} has no example");
            assert!(
                command.get_about().is_some(),
                "{path} does not say what it does"
            );
            for sub in command.get_subcommands() {
                walk(sub, &path);
            }
        }
        walk(&command(), "");
    }

    #[test]
    fn every_example_parses() {
        fn walk(command: &clap::Command) {
            let help = command
                .get_after_help()
                .map(ToString::to_string)
                .unwrap_or_default();
            for example in help
                .lines()
                .flat_map(|l| l.split("&&"))
                .filter(|l| l.trim().starts_with("mainstay "))
            {
                let words = example
                    .split('>')
                    .next()
                    .unwrap_or_default()
                    .split_whitespace();
                if let Err(error) = Cli::try_parse_from(words) {
                    panic!("{example}: {error}");
                }
            }
            command.get_subcommands().for_each(walk);
        }
        walk(&command());
    }
}
