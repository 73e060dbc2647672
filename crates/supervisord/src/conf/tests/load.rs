//! Whole configs: what they come to, and faults in the original's words.

use super::*;

fn around() -> Surroundings {
    Surroundings {
        environment: BTreeMap::from([("HOME".to_owned(), "/srv/home".to_owned())]),
        host: "node".to_owned(),
        temporary: PathBuf::from("/tmp"),
    }
}

fn read(text: &str) -> Result<Loaded, String> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("supervisord.conf");
    std::fs::write(&path, text).unwrap();
    load(&path, &around())
        .map_err(|error| error.to_string().replace(&path.display().to_string(), "F"))
}

#[test]
fn a_whole_config() {
    let loaded = read(
        "[supervisord]\nenvironment=A=1,B=2\nidentifier=me\n\
         [unix_http_server]\nfile=%(here)s/s.sock\nchmod=0770\nusername=u\npassword=p\n\
         [inet_http_server]\nport=*:9001\n\
         [program:web]\ncommand=/bin/cat %(ENV_A)s\nenvironment=B=3\n\
         [program:job]\ncommand=cat\nnumprocs=2\nprocess_name=%(program_name)s_%(process_num)02d\n\
         [group:both]\nprograms=web,job\npriority=5\n\
         [eventlistener:ears]\ncommand=cat\nevents=TICK_5,PROCESS_STATE\n\
         [fcgi-program:php]\ncommand=cat\nsocket=unix:///tmp/x/../php.sock\nsocket_backlog=7\n",
    )
    .unwrap();
    let groups: Vec<_> = loaded
        .groups
        .iter()
        .map(|group| (group.name.as_str(), group.priority, group.programs.len()))
        .collect();
    assert_eq!(groups, [("ears", -1, 1), ("both", 5, 2), ("php", 999, 1)]);
    let web = &loaded.groups[1].programs[0].processes[0];
    assert_eq!(web.command, "/bin/cat 1");
    assert_eq!(
        web.environment.0,
        [
            ("A".to_owned(), "1".to_owned()),
            ("B".to_owned(), "3".to_owned())
        ]
    );
    assert_eq!(loaded.groups[1].programs[1].processes[1].name, "job_01");
    assert_eq!(
        loaded.groups[2].programs[0]
            .socket
            .as_ref()
            .unwrap()
            .address,
        SocketAddress::Unix("/tmp/php.sock".into())
    );
    assert_eq!(loaded.servers.len(), 2);
    assert_eq!(loaded.servers[0].section, "inet_http_server");
    assert!(loaded.servers[1].login.is_some());
    assert!(!format!("{:?}", loaded.servers[1].login).contains("\"p\""));
}

#[test]
fn faults_have_the_original_s_words() {
    let with = |text: &str| read(&format!("[supervisord]\n{text}")).unwrap_err();
    for (text, words) in [
        (
            "logfile=/no/such/l",
            "The directory named as part of the path /no/such/l does not exist",
        ),
        (
            "childlogdir=/no/such",
            "/no/such is not an existing directory",
        ),
        (
            "[include]",
            ".ini file has [include] section, but no files setting",
        ),
        (
            "[group:g]\nprograms=x",
            "[group:g] names unknown program or fcgi-program x",
        ),
        (
            "[program:x]\nstartsecs=1",
            "program section program:x does not specify a command in section 'program:x' (file: 'F')",
        ),
        (
            "[program:x]\ncommand=x\nuser=nobody-here",
            "Invalid user name nobody-here in section 'program:x' (file: 'F')",
        ),
        (
            "[program:x]\ncommand=x\nstdout_logfile=/no/such/l",
            "The directory named as part of the path /no/such/l does not exist in section 'program:x' (file: 'F')",
        ),
        (
            "[eventlistener:x]\ncommand=x",
            "[eventlistener:x] section requires an \"events\" line",
        ),
        (
            "[eventlistener:x]\ncommand=x\nevents=NOPE",
            "Unknown event type NOPE in [eventlistener:x] events",
        ),
        (
            "[eventlistener:x]\ncommand=x\nevents=TICK_5\nbuffer_size=0",
            "[eventlistener:x] section sets invalid buffer_size (0)",
        ),
        (
            "[eventlistener:x]\ncommand=x\nevents=TICK_5\nredirect_stderr=1",
            "[eventlistener:x] section sets redirect_stderr=true but this is not allowed because it will interfere with the eventlistener protocol",
        ),
        (
            "[fcgi-program:x]\ncommand=x",
            "[fcgi-program:x] section requires a \"socket\" line",
        ),
        (
            "[fcgi-program:x]\ncommand=x\nsocket=unix:///a\nsocket_backlog=70000",
            "Invalid socket_backlog value 70000",
        ),
        (
            "[fcgi-program:x]\ncommand=x\nsocket=unix:///a\nsocket_mode=9",
            "Invalid socket_mode value 9",
        ),
        (
            "[fcgi-program:x]\ncommand=x\nsocket=unix:///a\nsocket_owner=nobody-here",
            "Invalid socket_owner value nobody-here",
        ),
        (
            "[unix_http_server]\nusername=x",
            "section [unix_http_server] has no file value",
        ),
        (
            "[unix_http_server]\nfile=/tmp/s\nusername=x",
            "Section [unix_http_server] contains incomplete authentication: If a username or a password is specified, both the username and password must be specified",
        ),
        (
            "[unix_http_server]\nfile=/tmp/s\nchmod=rw",
            "Invalid chmod value rw",
        ),
        (
            "[unix_http_server]\nfile=/tmp/s\nchown=nobody-here",
            "Invalid sockchown value nobody-here",
        ),
        (
            "[inet_http_server]\nusername=x\npassword=y",
            "section [inet_http_server] has no port value",
        ),
        (
            "[rpcinterface:x]",
            "section [rpcinterface:x] does not specify a supervisor.rpcinterface_factory",
        ),
    ] {
        assert_eq!(with(text), words, "{text}");
    }
    assert!(
        with("[rpcinterface:x]\nsupervisor.rpcinterface_factory=a:b")
            .contains("a:b cannot be resolved within [rpcinterface:x]")
    );
    assert!(
        with("[program:x]\ncommand=%(nope)s")
            .contains("contains names ('nope') which cannot be expanded")
    );
    assert_eq!(
        read("[program:x]\ncommand=x").unwrap_err(),
        ".ini file does not include supervisord section"
    );
    let missing = load(Path::new("/no/such/f.conf"), &around()).unwrap_err();
    assert_eq!(
        missing.to_string(),
        "could not find config file /no/such/f.conf"
    );
}

#[test]
fn includes_are_sorted_and_know_where_they_are() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    std::fs::create_dir(at("d")).unwrap();
    std::fs::write(
        at("main.conf"),
        "[supervisord]\n[include]\nfiles = d/*.conf none/*.x\n",
    )
    .unwrap();
    std::fs::write(at("d/b.conf"), "[program:b]\ncommand=%(here)s/b\n").unwrap();
    std::fs::write(at("d/a.conf"), "[program:a]\ncommand=%(here)s/a\n").unwrap();
    std::fs::write(at("d/.hidden.conf"), "nonsense").unwrap();
    let loaded = load(&at("main.conf"), &around()).unwrap();
    let commands: Vec<_> = loaded
        .groups
        .iter()
        .map(|group| group.programs[0].processes[0].command.clone())
        .collect();
    assert_eq!(
        commands,
        ["a", "b"].map(|name| at("d").join(name).display().to_string())
    );
    assert_eq!(
        loaded.infos[0],
        format!(
            "Included extra file \"{}\" during parsing",
            at("d/a.conf").display()
        )
    );
    assert!(loaded.warnings[0].starts_with("No file matches via include \""));
}

#[test]
fn what_nobody_knows_is_told() {
    let loaded = read("[supervisord]\n[program:x]\ncommand=x\nautostrat=false\n").unwrap();
    assert!(
        loaded
            .warnings
            .iter()
            .any(|text| text
                .contains("has no option autostrat, it is ignored; did you mean autostart?")),
        "{:?}",
        loaded.warnings
    );
}
