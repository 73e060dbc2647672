//! Command lines, row by row, and beside Debian's supervisord.

use std::collections::BTreeMap;
use std::process::{Command, Stdio};

use super::super::load::{Surroundings, load};
use super::*;

fn words(line: &str) -> Vec<String> {
    line.split_whitespace().map(str::to_owned).collect()
}

#[test]
fn command_lines() {
    let all = parse(&words(
        "-nsc f.conf -ukto -m 077 -d/ --logfile=/l -y 1KB -z3 -e debug -j /p -i me -q /tmp -a 5 \
         --minprocs 6 -kt",
    ))
    .unwrap();
    assert_eq!(
        all,
        Arguments {
            config: Some("f.conf".into()),
            nodaemon: true,
            silent: true,
            user: Some("kto".into()),
            umask: Some(0o77),
            directory: Some("/".into()),
            logfile: Some("/l".into()),
            logfile_maxbytes: Some(1024),
            logfile_backups: Some(3),
            loglevel: Some(Level::Debug),
            pidfile: Some("/p".into()),
            identifier: Some("me".into()),
            childlogdir: Some("/tmp".into()),
            minfds: Some(5),
            minprocs: Some(6),
            nocleanup: true,
            strip_ansi: true,
            ..Arguments::default()
        }
    );
    assert!(parse(&words("--vers")).unwrap().version);
    assert!(parse(&words("-? -x")).is_err());
    assert!(parse(&words("-h")).unwrap().help);
    for (line, message) in [
        ("-x", "option -x not recognized"),
        ("--no", "option --no not a unique prefix"),
        ("--nope", "option --nope not recognized"),
        ("-c", "option -c requires argument"),
        ("--user", "option --user requires argument"),
        (
            "--nodaemon=1",
            "option --nodaemon must not have an argument",
        ),
        ("a b", "positional arguments are not supported: ['a', 'b']"),
        ("-n -n", "conflicting command line option '-n'"),
        (
            "-z x",
            "invalid value for -z 'x': invalid literal for int() with base 10: 'x'",
        ),
        (
            "-e loud",
            "invalid value for -e 'loud': bad logging level name 'loud'",
        ),
        (
            "-q /nope",
            "invalid value for -q '/nope': /nope is not an existing directory",
        ),
        (
            "-l /nope/x",
            "invalid value for -l '/nope/x': The directory named as part of the path /nope/x \
             does not exist",
        ),
    ] {
        assert_eq!(parse(&words(line)).unwrap_err().message, message, "{line}");
    }
}

#[test]
fn automatic_logs() {
    for (name, want) in [
        ("x-stdout---supervisor-a1b2.log", true),
        ("x-stderr---supervisor-a1b2.log.10", true),
        ("x-stderr---supervisor-a1b2.log1", true),
        ("x-stdout---other-a1b2.log", false),
        ("---supervisor-a1b2.log", false),
        ("x---supervisor-.log", false),
        ("x---supervisor-a.txt", false),
        ("x---supervisor-a b.log", false),
        ("x---supervisor-a.log.old", false),
    ] {
        assert_eq!(is_auto_log(name, "supervisor"), want, "{name}");
    }
}

#[test]
fn the_first_place_that_exists_counts() {
    let program = Path::new("/opt/bin/supervisord");
    let found = |place: &str| search(program, &|path| path == Path::new(place));
    assert_eq!(
        found("/opt/etc/supervisord.conf"),
        Some("/opt/etc/supervisord.conf".into())
    );
    assert_eq!(found("supervisord.conf"), Some("supervisord.conf".into()));
    assert_eq!(found("/nowhere"), None);
    assert!(not_found_text(program).contains("/etc/supervisor/supervisord.conf"));
}

#[test]
fn a_question_mark_has_no_long_form() {
    assert!(parse(&words("-?")).unwrap().help);
    let refused = parse(&words("--?")).unwrap_err();
    assert_eq!(refused.message, "option --? not recognized");
}

/// The section of an empty config with a log and a pid file, after this command line.
fn applied(line: &[&str]) -> SupervisordSection {
    let directory = tempfile::tempdir().unwrap();
    let config = directory.path().join("s.conf");
    std::fs::write(
        &config,
        "[supervisord]\nlogfile=/l\npidfile=/p\nnodaemon=true\n",
    )
    .unwrap();
    let around = Surroundings {
        environment: BTreeMap::new(),
        host: "host".into(),
        temporary: "/tmp".into(),
    };
    let mut section = load(&config, &around).unwrap().supervisord;
    let line: Vec<String> = line.iter().map(|&word| word.to_owned()).collect();
    apply(&parse(&line).unwrap(), &mut section);
    section
}

type Change = fn(&mut SupervisordSection);

#[test]
fn the_command_line_wins() {
    let plain = applied(&[]);
    assert_eq!((&*plain.logfile, &*plain.pidfile), ("/l", "/p"));
    assert!(plain.nodaemon && !plain.silent);
    // What, the command line, what it changes.
    let rows: &[(&str, &[&str], Change)] = &[
        ("flags", &["-nskt"], |it| {
            (it.silent, it.nocleanup, it.strip_ansi) = (true, true, true);
        }),
        ("log", &["-l", "/tmp/../x"], |it| it.logfile = "/x".into()),
        ("syslog", &["-l", "syslog"], |it| {
            it.logfile = "syslog".into();
        }),
        ("no log", &["--logfile="], |_| ()),
        ("pid file", &["-j/y"], |it| it.pidfile = "/y".into()),
        ("no pid file", &["-j", ""], |_| ()),
        ("directory", &["-d", "/"], |it| {
            it.directory = Some("/".into());
        }),
        ("logs", &["-q/"], |it| it.childlogdir = Some("/".into())),
        ("user", &["-u", "0"], |it| it.user = Some("0".into())),
        ("umask", &["-m", "0o77"], |it| it.umask = 0o77),
        ("size", &["-y", "2kB"], |it| it.logfile_maxbytes = 2048),
        ("backups", &["-z-1"], |it| it.logfile_backups = -1),
        ("level", &["-e", "WARN"], |it| it.loglevel = Level::Warn),
        ("identifier", &["-i", ""], |it| {
            it.identifier = String::new();
        }),
        ("descriptors", &["-a1_0"], |it| it.minfds = 10),
        ("processes", &["--minp=7"], |it| it.minprocs = 7),
        ("profiler", &["--prof", "calls"], |_| ()),
    ];
    for (what, line, change) in rows {
        let mut wanted = plain.clone();
        change(&mut wanted);
        assert_eq!(applied(line), wanted, "{what}");
    }
}

#[test]
fn help_names_every_option() {
    let text = help("PROG");
    assert!(text.contains("Usage: PROG [options]"));
    for flag in FLAGS.iter().filter(|flag| flag.short != Some('?')) {
        let shown = match flag.short {
            Some(short) => format!("  -{short}/--{} ", flag.long),
            None => format!("  --{} ", flag.long),
        };
        assert!(text.contains(&shown), "{shown}");
    }
}

#[test]
fn places_by_the_name_of_the_program() {
    for (program, first) in [
        ("/usr/bin/supervisord", "/usr/etc/supervisord.conf"),
        ("/supervisord", "/etc/supervisord.conf"),
        ("supervisord", "etc/supervisord.conf"),
        ("./supervisord", "etc/supervisord.conf"),
        ("bin/supervisord", "etc/supervisord.conf"),
        ("../bin/supervisord", "../etc/supervisord.conf"),
        ("a/b/c", "a/etc/supervisord.conf"),
    ] {
        let text = not_found_text(Path::new(program));
        let second = first.replace("etc/", "");
        let second = if first == "/etc/supervisord.conf" {
            "/supervisord.conf"
        } else {
            &second
        };
        let wanted = format!(
            "No config file found at default paths ({first}, {second}, supervisord.conf, \
             etc/supervisord.conf, /etc/supervisord.conf, /etc/supervisor/supervisord.conf); use \
             the -c option to specify a config file at a different path"
        );
        assert_eq!(text, wanted, "{program}");
    }
}

const ORIGINAL: &str = "/usr/bin/supervisord";

/// A config that is nowhere: the original ends when it comes to read it, so that no line of the
/// tables can start a daemon.
const MISSING: &str = "/nonexistent/supervisord.conf";

/// Lines behind `-c MISSING`, words separated by spaces; `~` is an empty word.
const LINES: &[&str] = &[
    "",
    "--",
    "-h",
    "-?",
    "--help",
    "--he",
    "-v",
    "--version",
    "--ver",
    "-nsh",
    "-nvx",
    "-vn",
    "-h -e loud",
    "-e loud -h",
    "-n -n -v",
    "-v -n -n",
    "-h extra",
    "-x",
    "-nx",
    "-:",
    "-=",
    "-é",
    "--?",
    "--foo",
    "--foo=1",
    "--=x",
    "--h=",
    "--no",
    "--log",
    "--logfile_",
    "--logfile_m 1",
    "--us= -n",
    "--mi 3",
    "--min",
    "--minfds",
    "--minprocs=x",
    "--minprocs ~",
    "--nodaemon=1",
    "--silent=",
    "--s",
    "--strip-ansi",
    "-c",
    "-u",
    "-cx",
    "-c x",
    "--conf x",
    "--configuration",
    "-",
    "- -n",
    "extra",
    "-n extra more",
    "-n -- -x",
    "-- -h",
    "it's",
    "it's\"q\"",
    "é \u{1b}",
    "~",
    "-nsktn",
    "-n --nodaemon",
    "-s --sil",
    "-k -k",
    "-i ~ -i x",
    "-i a --ident=b",
    "-u nobody",
    "-u nobody -u x",
    "-m 022",
    "-m 0o22",
    "-m 8",
    "-m ~",
    "-m -",
    "-m -n",
    "--umask=9",
    "--um 0x1",
    "-d /",
    "-d /nonexistent",
    "-d ~",
    "-d/nonexistent -x",
    "--directory=~nobodyatall/x",
    "-q /nonexistent/a",
    "-q/dev/null",
    "--childlogdir= -n",
    "-l /nonexistent/x",
    "-l x",
    "-l /x",
    "-l ~",
    "-l syslog",
    "--logf=/nonexistent//x",
    "-j /nonexistent/x",
    "-j/dev/null/x",
    "-y 1KB",
    "-y 1k",
    "-y KB",
    "-y 1.5MB",
    "-y -1",
    "-y ~",
    "--logfile_maxbytes=10XB",
    "-z x",
    "-z 1_0",
    "-z 1__0",
    "-z -5",
    "-z \u{a0}7",
    "-e loud",
    "-e DEBUG",
    "-e ~",
    "--loglevel=Info",
    "--loglevel=10",
    "-e info -e loud",
    "-e info -e warn",
    "-a x",
    "-a 10",
    "-a0x10",
    "-a 1 -a y",
    "-t -a",
    "--profile_options=",
    "--profile_options calls,callers",
    "--profile_options",
    "--prof x --prof y",
];

/// Lines that name the config themselves.
const WHOLE: &[&[&str]] = &[
    &["-c/nonexistent/supervisord.conf"],
    &["-nc/nonexistent/supervisord.conf"],
    &["-nc", MISSING],
    &["-c=/nonexistent"],
    &["--configuration=/nonexistent/supervisord.conf", "-s"],
    &["--conf", MISSING, "--", "x"],
    &["--c", MISSING],
    &["--ch", MISSING, "-c", MISSING],
];

/// What we would say to this line on stdout and stderr, and the exit status.
fn said(line: &[String]) -> (String, String, i32) {
    let usage = |text: &str| (String::new(), usage(ORIGINAL, text), 2);
    match parse(line) {
        Err(why) => usage(&why.message),
        // The texts differ.
        Ok(arguments) if arguments.help => ("help".into(), String::new(), 0),
        Ok(arguments) if arguments.version => ("4.2.5\n".into(), String::new(), 0),
        Ok(arguments) => {
            let config = arguments.config.unwrap();
            usage(&format!("could not find config file {config}"))
        }
    }
}

#[test]
fn lines_end_as_in_the_original() {
    if !Path::new(ORIGINAL).exists() {
        println!("SKIPPED: {ORIGINAL} is not installed");
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let behind = |line: &&str| -> Vec<String> {
        let words = line.split(' ').filter(|word| !word.is_empty());
        let words = words.map(|word| if word == "~" { "" } else { word });
        ["-c", MISSING]
            .into_iter()
            .chain(words)
            .map(String::from)
            .collect()
    };
    let whole = |line: &&[&str]| line.iter().map(|&word| word.to_owned()).collect();
    let lines: Vec<Vec<String>> = LINES
        .iter()
        .map(behind)
        .chain(WHOLE.iter().map(whole))
        .collect();
    assert!(lines.len() >= 60);
    let mut wrong = Vec::new();
    for line in &lines {
        let output = Command::new(ORIGINAL)
            .args(line)
            .current_dir(directory.path())
            .env("PYTHONUTF8", "1")
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let mut stdout = String::from_utf8(output.stdout).unwrap();
        if stdout.contains("Usage:") {
            stdout = "help".into();
        }
        let stderr = String::from_utf8(output.stderr).unwrap();
        let original = (stdout, stderr, output.status.code().unwrap());
        let ours = said(line);
        if ours != original {
            wrong.push(format!(
                "{line:?}\n  ours     {ours:?}\n  original {original:?}"
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
