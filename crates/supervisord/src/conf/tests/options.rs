//! Program sections: defaults, numbers, and faults in the original's words.

use super::*;

fn program(text: &str) -> Result<Vec<Process>, String> {
    let mut ini = Ini::new();
    ini.read("f", &format!("[program:x]\n{text}")).unwrap();
    let section = ini.section("program:x").unwrap();
    processes(&ini, section, "g", &Expansions::new()).map_err(|error| error.to_string())
}

#[test]
fn defaults_and_numbers() {
    let one = &program("command=/bin/cat\n").unwrap()[0];
    assert_eq!(
        (one.name.as_str(), one.priority, one.startsecs),
        ("x", 999, 1)
    );
    assert_eq!(
        (one.stopsignal, one.exitcodes.as_slice()),
        (15, [0].as_slice())
    );
    assert_eq!(
        (&one.stdout.logfile, one.stdout.maxbytes),
        (&LogFile::Auto, 50 << 20)
    );
    let two = program(
        "command=c %(ENV_A)s\nnumprocs=2\nnumprocs_start=8\nenvironment=A=v%(process_num)d\n\
         process_name=%(group_name)s_%(process_num)02d\nstdout_logfile=/l/%(process_num)d\n",
    )
    .unwrap();
    let seen: Vec<_> = two
        .iter()
        .map(|one| (one.name.as_str(), one.command.as_str()))
        .collect();
    assert_eq!(seen, [("g_08", "c v8"), ("g_09", "c v9")]);
    assert_eq!(two[1].stdout.logfile, LogFile::File("/l/9".into()));
}

#[test]
fn faults_have_the_words_of_the_original() {
    for (text, why) in [
        ("", "program section program:x does not specify a command"),
        ("command=a\nautostart=2", "not a valid boolean value: '2'"),
        (
            "command=a\nstopasgroup=1\nkillasgroup=0",
            "Cannot set stopasgroup=true and killasgroup=false",
        ),
        (
            "command=a\nnumprocs=2",
            "%(process_num) must be present within process_name when numprocs > 1",
        ),
    ] {
        let expected = format!("{why} in section 'program:x' (file: 'f')");
        assert_eq!(program(text), Err(expected));
    }
}
