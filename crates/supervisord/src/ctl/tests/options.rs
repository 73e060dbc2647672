//! Command lines and configs.

use super::*;

fn parsed(line: &str) -> Result<Options, String> {
    let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
    parse(&words).map_err(|why| why.message)
}

#[test]
fn options_end_where_the_action_begins() {
    let options = parsed("-c f -i -s unix:///s -uU -p P --hist=h status -x a").unwrap();
    assert_eq!(options.config.as_deref(), Some("f"));
    assert!(options.interactive);
    assert_eq!(options.serverurl.as_deref(), Some("unix:///s"));
    assert_eq!(options.username.as_deref(), Some("U"));
    assert_eq!(options.password.unwrap().expose(), "P");
    assert_eq!(options.history_file.as_deref(), Some("h"));
    assert_eq!(options.words, ["status", "-x", "a"]);
    assert_eq!(parsed("-- -c").unwrap().words, ["-c"]);
    assert_eq!(parsed("- -c").unwrap().words, ["-", "-c"]);
    assert_eq!(parsed("").unwrap().line(), None);
    assert_eq!(parsed("-i -h -x-").unwrap_err(), "option -x not recognized");
    assert_eq!(parsed("-i -h").unwrap().wants, Some(Wanted::Help));
    assert_eq!(parsed("-?").unwrap().wants, Some(Wanted::Help));
    assert_eq!(parsed("--version").unwrap().wants, Some(Wanted::Version));
}

#[test]
fn wrong_command_lines_are_told_in_the_words_of_getopt() {
    for (line, message) in [
        ("-x", "option -x not recognized"),
        ("-c", "option -c requires argument"),
        ("-ic", "option -c requires argument"),
        ("--s", "option --serverurl requires argument"),
        ("--h", "option --h not a unique prefix"),
        ("--nope", "option --nope not recognized"),
        (
            "--interactive=3",
            "option --interactive must not have an argument",
        ),
        ("-i -i", "conflicting command line option '-i'"),
        (
            "-s a:b --server c:d",
            "conflicting command line option '--serverurl'",
        ),
        (
            "-s foo",
            "invalid value for -s 'foo': value 'foo' is not a URL",
        ),
        (
            "-s http://",
            "invalid value for -s 'http://': value 'http://' is not a URL",
        ),
    ] {
        assert_eq!(parsed(line).unwrap_err(), message, "{line}");
    }
    assert_eq!(
        UsageError::new("m").text("ctl"),
        "Error: m\nFor help, use ctl -h\n"
    );
    assert!(usage("ctl").contains("Usage: ctl [options]"));
}

fn around() -> Surroundings {
    Surroundings {
        program: "/usr/bin/supervisorctl".into(),
        directory: "/srv/dir".into(),
        home: Some("/srv/u".into()),
        variables: vec![("A".into(), "env".into())],
    }
}

fn read(text: &str) -> Result<Settings, String> {
    from_text("f", text, Path::new("/etc/s/f"), &around()).map_err(|why| why.message)
}

#[test]
fn the_config_is_read() {
    let settings = read(
        "[supervisorctl]\nserverurl=unix://%(here)s/../s.sock\nusername=u%(ENV_A)s\n\
         password=p\nprompt=me\nhistory_file=~/h\n[ctlplugin:x]\nsupervisor.ctl_factory=a:b\n",
    )
    .unwrap();
    assert_eq!(settings.serverurl, "unix:///etc/s.sock");
    assert_eq!(settings.username.as_deref(), Some("uenv"));
    assert_eq!(settings.prompt, "me");
    assert_eq!(settings.history_file.as_deref(), Some("/srv/u/h"));
    assert!(settings.notes[0].contains("'x' is not loaded"));
    assert!(!format!("{settings:?}").contains("\"p\""));
    let settings = read("[supervisorctl]\nserverurl=unix://s.sock\n").unwrap();
    assert_eq!(settings.serverurl, "unix:///srv/dir/s.sock");
    let settings = read("[supervisorctl]\n").unwrap();
    assert_eq!(settings.serverurl, "http://localhost:9001");
    assert_eq!(settings.prompt, "supervisor");
}

#[test]
fn faults_of_the_config_are_told() {
    for (text, message) in [
        ("[a]\n", ".ini file does not include supervisorctl section"),
        (
            "[supervisorctl]\n[ctlplugin:x]\n",
            "section [ctlplugin:x] does not specify a supervisor.ctl_factory",
        ),
        (
            "[supervisorctl]\nprompt=%(here)s\n",
            "Format string '%(here)s' for 'supervisorctl.prompt' contains names ('here') which \
             cannot be expanded. Available names: ENV_A",
        ),
    ] {
        assert_eq!(read(text).unwrap_err(), message, "{text}");
    }
}

#[test]
fn the_command_line_beats_the_config() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("supervisord.conf");
    std::fs::write(
        &path,
        "[supervisorctl]\nserverurl=http://file:1\nusername=file\n",
    )
    .unwrap();
    let around = Surroundings {
        directory: dir.path().to_owned(),
        program: "/nowhere/bin/ctl".into(),
        ..Surroundings::default()
    };
    let found = settings(&parsed("status").unwrap(), &around).unwrap();
    assert_eq!(found.serverurl, "http://file:1");
    assert!(!found.interactive);
    let given = settings(&parsed("-s http://h:2 -u u -p p -r h").unwrap(), &around).unwrap();
    assert_eq!(given.serverurl, "http://h:2");
    assert_eq!(given.username.as_deref(), Some("u"));
    assert_eq!(
        given.history_file,
        Some(dir.path().join("h").display().to_string())
    );
    assert!(given.interactive);
    let missing = settings(&parsed("-c nofile").unwrap(), &around).unwrap_err();
    assert_eq!(missing.message, "could not find config file nofile");
}

#[test]
fn the_config_is_looked_for_where_the_original_looks() {
    let paths: Vec<String> = search_paths("/usr/bin/supervisorctl")
        .iter()
        .map(|path| path.display().to_string())
        .collect();
    assert_eq!(
        paths,
        [
            "/usr/etc/supervisord.conf",
            "/usr/supervisord.conf",
            "supervisord.conf",
            "etc/supervisord.conf",
            "/etc/supervisord.conf",
            "/etc/supervisor/supervisord.conf"
        ]
    );
    assert_eq!(search_paths("ctl")[0], Path::new("etc/supervisord.conf"));
}
