//! What a program finds when it starts, and what is said when it cannot.

use std::fs;
use std::io::Read as _;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::fs::PermissionsExt as _;
use std::time::Instant;

use mainstay_sys::limits::{self, Resource, UNLIMITED};
use mainstay_sys::spawn::{Detour, Identity};
use mainstay_sys::{Errno, ExitStatus, Spawn, Stage};

use crate::{DETOURS, ended, in_child, is_root, pipe, run, shell};

#[test]
fn directory_mask_arguments_and_environment() {
    let dir = tempfile::tempdir().unwrap();
    let place = dir.path().canonicalize().unwrap();
    for detour in DETOURS {
        let mut spawn = shell("pwd -P; umask; echo \"$0|$1|$A|$B\"; env | sort");
        spawn.args.extend(["zero", "one two"].map(Into::into));
        spawn.env = vec![
            ("A".into(), "x=y".into()),
            ("B".into(), String::new().into()),
            ("PATH".into(), "/bin".into()),
        ];
        spawn.cwd = Some(place.clone());
        spawn.umask = Some(0o7137);
        let (output, status) = run(spawn, detour);
        let lines: Vec<&str> = output.lines().collect();
        assert_eq!(status, ExitStatus::Code(0), "{detour:?}");
        assert_eq!(
            lines[..3],
            [place.to_str().unwrap(), "0137", "zero|one two|x=y|"],
            "{detour:?}"
        );
        let ours = |line: &&str| !line.starts_with("PWD=") && !line.starts_with("_=");
        assert_eq!(
            lines[3..].iter().copied().filter(ours).collect::<Vec<_>>(),
            ["A=x=y", "B=", "PATH=/bin"]
        );
    }
}

#[test]
fn limits_are_those_of_the_child_and_not_ours() {
    let before = limits::get(None, Resource::Nofile).unwrap();
    for detour in DETOURS {
        let mut spawn = shell("ulimit -Sn; ulimit -Hn; ulimit -Sc; ulimit -Hs");
        // Lower than the number of a descriptor that is passed: limits come after the descriptors.
        let (_reader, writer) = pipe();
        spawn.fds.push((writer, 70));
        spawn.limits = vec![
            (Resource::Nofile, 32, 64),
            (Resource::Core, 0, 0),
            (Resource::Stack, 1 << 20, 1 << 23),
        ];
        let (output, status) = run(spawn, detour);
        assert_eq!(
            (output.as_str(), status),
            ("32\n64\n0\n8192\n", ExitStatus::Code(0)),
            "{detour:?}"
        );
    }
    assert_eq!(limits::get(None, Resource::Nofile).unwrap(), before);
}

#[test]
fn the_limits_of_a_running_program_can_be_changed() {
    let child = Spawn {
        args: vec!["sleep".into(), "100".into()],
        ..Spawn::new("/bin/sleep")
    }
    .spawn()
    .unwrap();
    limits::set(Some(child.pid()), Resource::Nofile, 17, 18).unwrap();
    assert_eq!(
        limits::get(Some(child.pid()), Resource::Nofile).unwrap(),
        (17, 18)
    );
    child.signal(mainstay_sys::Signal::KILL).unwrap();
    assert_eq!(ended(&child), ExitStatus::Signal(9, false));
}

#[test]
fn nothing_is_open_but_what_was_named() {
    // Open in this process, some of them without close-on-exec and in odd places.
    let noise: Vec<OwnedFd> = (0..20)
        .map(|_| {
            let (_, writer) = pipe();
            mainstay_sys::pipe::set_cloexec(&writer, false).unwrap();
            writer
        })
        .collect();
    // SAFETY: plain integers.
    let high = unsafe { libc::fcntl(noise[0].as_raw_fd(), libc::F_DUPFD, 900) };
    assert!(high >= 900);
    for detour in DETOURS {
        let mut spawn = Spawn::new("/bin/ls");
        spawn.args = ["ls", "/proc/self/fd"].map(Into::into).to_vec();
        let (output, _) = run(spawn, detour);
        // 3 is the directory that ls itself reads.
        assert_eq!(output, "0\n1\n2\n3\n", "{detour:?}");

        let mut spawn = Spawn::new("/bin/ls");
        spawn.args = ["ls", "/proc/self/fd"].map(Into::into).to_vec();
        spawn.fds = vec![(pipe().1, 9), (pipe().1, 5)];
        assert_eq!(run(spawn, detour).0, "0\n1\n2\n3\n5\n9\n", "{detour:?}");
    }
    // SAFETY: opened above and not used any more.
    unsafe { libc::close(high) };
}

#[test]
fn descriptors_may_change_places() {
    for detour in DETOURS {
        let dir = tempfile::tempdir().unwrap();
        let file = |name: &str| OwnedFd::from(fs::File::create_new(dir.path().join(name)).unwrap());
        let (a, b, c) = (file("a"), file("b"), file("c"));
        // Each goes to the number that another one has here, in a ring.
        let numbers = [a.as_raw_fd(), b.as_raw_fd(), c.as_raw_fd()];
        let mut spawn = shell(&format!(
            "readlink /proc/self/fd/{} /proc/self/fd/{} /proc/self/fd/{}",
            numbers[0], numbers[1], numbers[2]
        ));
        spawn.fds = vec![(a, numbers[1]), (b, numbers[2]), (c, numbers[0])];
        let (output, _) = run(spawn, detour);
        let place = dir.path().canonicalize().unwrap();
        let want: String = ["c", "a", "b"]
            .map(|name| format!("{}\n", place.join(name).display()))
            .concat();
        assert_eq!(output, want, "{detour:?}");
    }
}

#[test]
fn standard_descriptors_that_were_not_named_are_nowhere() {
    for detour in DETOURS {
        let (output, _) = run(
            shell("readlink /proc/self/fd/0 /proc/self/fd/2; cat; echo oops >&2"),
            detour,
        );
        assert_eq!(output, "/dev/null\n/dev/null\n", "{detour:?}");
    }
}

#[test]
fn a_session_of_its_own_only_when_asked() {
    // Fields of /proc/PID/stat after the name: state, parent, group, session.
    let script =
        "IFS= read -r line < /proc/$$/stat; set -- ${line##*) }; [ $3 = $$ ] && [ $4 = $$ ]";
    for detour in DETOURS {
        let script = format!("unset IFS; {}", script.replace("IFS= ", ""));
        let mut spawn = shell(&script);
        assert_eq!(run(spawn, detour).1, ExitStatus::Code(1), "{detour:?}");
        spawn = shell(&script);
        spawn.session = true;
        assert_eq!(run(spawn, detour).1, ExitStatus::Code(0), "{detour:?}");
    }
}

#[test]
fn no_signal_is_blocked_or_ignored_in_the_program() {
    // Here SIGPIPE is ignored (by the runtime) and these are blocked.
    let _signals =
        mainstay_sys::SignalFd::new(&[mainstay_sys::Signal::TERM, mainstay_sys::Signal::HUP])
            .unwrap();
    let masks = |text: &str| {
        text.lines()
            .filter(|line| line.starts_with("SigBlk") || line.starts_with("SigIgn"))
            .map(str::to_owned)
            .collect()
    };
    let ours: Vec<String> = masks(&fs::read_to_string("/proc/thread-self/status").unwrap());
    for detour in DETOURS {
        let mut spawn = Spawn::new("/bin/cat");
        spawn.args = ["cat", "/proc/self/status"].map(Into::into).to_vec();
        let theirs: Vec<String> = masks(&run(spawn, detour).0);
        assert_eq!(
            theirs,
            ["SigBlk:\t0000000000000000", "SigIgn:\t0000000000000000"],
            "{detour:?}"
        );
    }
    // And ours are as they were.
    assert_eq!(
        masks(&fs::read_to_string("/proc/thread-self/status").unwrap()) as Vec<String>,
        ours
    );
    assert!(ours[0].ends_with("4001"), "{ours:?}");
}

#[test]
fn user_group_and_supplementary_groups() {
    if !is_root("changing the user") {
        return;
    }
    for detour in DETOURS {
        let mut spawn = shell(
            "id -u; id -g; id -G; grep -E '^(Uid|Gid|Groups|CapEff|NoNewPrivs)' /proc/self/status",
        );
        spawn.identity = Some(Identity {
            uid: 4711,
            gid: 4712,
            groups: vec![4712, 4713, 4714],
        });
        spawn.no_new_privs = true;
        let (output, _) = run(spawn, detour);
        let lines: Vec<&str> = output.lines().map(str::trim_end).collect();
        let want = [
            "4711",
            "4712",
            "4712 4713 4714",
            "Uid:\t4711\t4711\t4711\t4711",
            "Gid:\t4712\t4712\t4712\t4712",
            "Groups:\t4712 4713 4714",
            "CapEff:\t0000000000000000",
            "NoNewPrivs:\t1",
        ];
        assert_eq!(lines, want, "{detour:?}");
    }
    // Limits come before the user, the directory after.
    let dir = tempfile::tempdir().unwrap();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o700)).unwrap();
    let hard = limits::get(None, Resource::Nofile).unwrap().1;
    for detour in DETOURS {
        let nobody = || {
            Some(Identity {
                uid: 4711,
                gid: 4711,
                groups: vec![],
            })
        };
        let mut spawn = shell("ulimit -Hn");
        spawn.identity = nobody();
        spawn.limits = vec![(Resource::Nofile, 1024, hard)];
        assert_eq!(run(spawn, detour).0, format!("{hard}\n"), "{detour:?}");
        let mut spawn = shell("true");
        spawn.identity = nobody();
        spawn.cwd = Some(dir.path().into());
        let error = spawn.spawn_by(detour).unwrap_err();
        assert_eq!(
            (error.stage, error.errno),
            (Stage::Chdir, Errno::ACCESS),
            "{detour:?}"
        );
    }
}

/// While a child of another user shares our memory, that user must not get at it: the kernel sees to
/// it by making the memory undumpable, and this test to it that the kernel does.
#[test]
fn memory_shared_with_a_child_of_another_user_is_closed_to_that_user() {
    if !is_root("changing the user") {
        return;
    }
    // SAFETY: plain integers.
    let dumpable = || unsafe { libc::prctl(libc::PR_GET_DUMPABLE) };
    let status = in_child(move || {
        // SAFETY: plain integers.
        assert_eq!(unsafe { libc::prctl(libc::PR_SET_DUMPABLE, 1_usize) }, 0);
        let mut spawn = shell("true");
        assert_eq!(ended(&spawn.spawn().unwrap()), ExitStatus::Code(0));
        assert_eq!(dumpable(), 1, "the same user");
        spawn.identity = Some(Identity {
            uid: 4711,
            gid: 4711,
            groups: vec![],
        });
        assert_eq!(ended(&spawn.spawn().unwrap()), ExitStatus::Code(0));
        assert_ne!(dumpable(), 1, "another user");
        0
    });
    assert_eq!(status, ExitStatus::Code(0), "see the panic above");
}

#[test]
fn who_is_not_root_stays_who_it_is() {
    if !is_root("becoming an ordinary user first") {
        return;
    }
    let status = in_child(|| {
        // SAFETY: plain integers, in a process that only we use.
        let group = unsafe { libc::setgid(4711) };
        // SAFETY: as above.
        let user = unsafe { libc::setuid(4711) };
        assert_eq!((group, user), (0, 0));
        for detour in DETOURS {
            let mut spawn = shell("id -u");
            spawn.identity = Some(Identity {
                uid: 4711,
                gid: 4711,
                groups: vec![1, 2, 3],
            });
            assert_eq!(run(spawn, detour).0, "4711\n", "nothing to change");
            for (uid, gid) in [(4712, 4711), (4711, 4712), (0, 0)] {
                let mut spawn = shell("true");
                spawn.identity = Some(Identity {
                    uid,
                    gid,
                    groups: vec![],
                });
                let error = spawn.spawn_by(detour).unwrap_err();
                assert_eq!((error.stage, error.errno), (Stage::Groups, Errno::PERM));
                assert!(error.guidance().is_some());
            }
            let mut spawn = shell("true");
            spawn.limits = vec![(Resource::Core, 0, 0), (Resource::Nofile, 1, u64::MAX)];
            let error = spawn.spawn_by(detour).unwrap_err();
            assert_eq!((error.stage, error.errno), (Stage::Limits, Errno::PERM));
            assert!(error.subject.starts_with("nofile"), "{error}");
        }
        0
    });
    assert_eq!(status, ExitStatus::Code(0), "see the panic above");
}

/// What a case does to a request that is fine.
type Change<'a> = Box<dyn Fn(&mut Spawn) + 'a>;

#[test]
fn failures_name_their_step_and_their_reason() {
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str, content: &str, mode: u32| {
        let path = dir.path().join(name);
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        path
    };
    let plain = file("plain", "#!/bin/sh\n", 0o644);
    let text = file("text", "no program\n", 0o755);
    let lost = file("lost", "#!/no/such/interpreter\n", 0o755);
    let program = |path: &std::path::Path| -> Change<'_> {
        let path = path.to_path_buf();
        Box::new(move |spawn| spawn.program.clone_from(&path))
    };
    let cases: Vec<(Change<'_>, Stage, Errno)> = vec![
        (
            program("/no/such/program".as_ref()),
            Stage::Exec,
            Errno::NOENT,
        ),
        (program(&plain), Stage::Exec, Errno::ACCESS),
        (program(&text), Stage::Exec, Errno::NOEXEC),
        (program(&lost), Stage::Exec, Errno::NOENT),
        (program(dir.path()), Stage::Exec, Errno::ACCESS),
        (program("".as_ref()), Stage::Exec, Errno::NOENT),
        (
            Box::new(|spawn| spawn.cwd = Some("/no/such/place".into())),
            Stage::Chdir,
            Errno::NOENT,
        ),
        (
            Box::new(|spawn| spawn.cwd = Some(plain.clone())),
            Stage::Chdir,
            Errno::NOTDIR,
        ),
        (
            Box::new(|spawn| spawn.limits = vec![(Resource::Core, 2, 1)]),
            Stage::Limits,
            Errno::INVAL,
        ),
        (
            Box::new(|spawn| spawn.args = vec!["a\0b".into()]),
            Stage::Prepare,
            Errno::INVAL,
        ),
        (
            Box::new(|spawn| spawn.env = vec![("a=b".into(), "c".into())]),
            Stage::Prepare,
            Errno::INVAL,
        ),
        (
            Box::new(|spawn| spawn.fds = vec![(pipe().1, 7), (pipe().1, 7)]),
            Stage::Prepare,
            Errno::INVAL,
        ),
        (
            Box::new(|spawn| spawn.fds = vec![(pipe().1, -7)]),
            Stage::Prepare,
            Errno::INVAL,
        ),
        (
            Box::new(|spawn| spawn.fds = vec![(pipe().1, 1 << 30)]),
            Stage::Descriptors,
            Errno::INVAL,
        ),
        (
            Box::new(|spawn| spawn.args = vec!["x".repeat(1 << 22).into()]),
            Stage::Exec,
            Errno::TOOBIG,
        ),
    ];
    for detour in DETOURS {
        for (number, (change, stage, errno)) in cases.iter().enumerate() {
            let mut spawn = shell("true");
            change(&mut spawn);
            let error = spawn.spawn_by(detour).unwrap_err();
            assert_eq!(
                (error.stage, error.errno),
                (*stage, *errno),
                "case {number} {detour:?}: {error}"
            );
        }
    }
}

/// In a process of its own, since other tests would count too.
#[test]
fn no_zombie_and_no_descriptor_is_left() {
    assert_eq!(
        in_child(start_two_hundred),
        ExitStatus::Code(0),
        "see the panic above"
    );
}

fn start_two_hundred() -> i32 {
    let me = i32::try_from(std::process::id()).unwrap();
    let children = || {
        let mine = fs::read_dir("/proc/self/task").unwrap().flatten();
        mine.map(|task| fs::read_to_string(task.path().join("children")).unwrap_or_default())
            .flat_map(|list| {
                list.split_whitespace()
                    .map(str::to_owned)
                    .collect::<Vec<_>>()
            })
            .count()
    };
    let mapped = || {
        fs::read_to_string("/proc/self/maps")
            .unwrap()
            .lines()
            .count()
    };
    // Once for whatever is set up on first use.
    assert_eq!(
        run(shell("exit 5"), Detour::default()).1,
        ExitStatus::Code(5)
    );
    let before = (
        mainstay_sys::gauge::process(me).unwrap().open_fds,
        children(),
    );
    let maps = mapped();
    for turn in 0..200 {
        let detour = DETOURS[turn % 4];
        if turn % 3 == 0 {
            Spawn::new("/no/such/program").spawn_by(detour).unwrap_err();
        } else {
            assert_eq!(
                ended(&shell("exit 5").spawn_by(detour).unwrap()),
                ExitStatus::Code(5)
            );
        }
    }
    assert_eq!(
        (
            mainstay_sys::gauge::process(me).unwrap().open_fds,
            children()
        ),
        before
    );
    assert!(
        mapped() <= maps + 4,
        "stacks are given back: {maps} mappings before, {} after",
        mapped()
    );
    0
}

#[test]
fn many_threads_start_programs_at_once() {
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        // Threads that allocate, fault and change shared memory all the while.
        for _ in 0..2 {
            scope.spawn(|| {
                let mut numbers = Vec::new();
                while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                    numbers.push(vec![1_u8; 10_000]);
                    if numbers.len() > 200 {
                        numbers.clear();
                    }
                }
            });
        }
        let starters: Vec<_> = (0..8)
            .map(|thread: i32| {
                scope.spawn(move || {
                    for turn in 0..25 {
                        let code = (thread * 25 + turn) % 250;
                        let mut spawn = shell(&format!("exit {code}"));
                        spawn.session = turn % 2 == 0;
                        let detour = DETOURS[usize::try_from(turn).unwrap() % 4];
                        assert_eq!(
                            ended(&spawn.spawn_by(detour).unwrap()),
                            ExitStatus::Code(code)
                        );
                    }
                })
            })
            .collect();
        let results: Vec<_> = starters
            .into_iter()
            .map(std::thread::ScopedJoinHandle::join)
            .collect();
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        assert!(results.iter().all(Result::is_ok));
    });
}

#[test]
fn a_program_dies_with_who_started_it_if_asked() {
    for detour in DETOURS {
        let (mut reader, writer) = pipe();
        let started = in_child(move || {
            let mut spawn = shell("echo up; exec sleep 100");
            spawn.fds.push((writer, 1));
            spawn.dies_with_us = true;
            let Ok(_child) = spawn.spawn_by(detour) else {
                return 1;
            };
            0
        });
        assert_eq!(started, ExitStatus::Code(0), "{detour:?}");
        // The end of the pipe is that of the last process that has it open.
        let begun = Instant::now();
        let mut said = String::new();
        reader.read_to_string(&mut said).unwrap();
        assert!(begun.elapsed() < crate::DEADLINE, "{detour:?}: it lived on");
    }
}

#[test]
fn unlimited_means_unlimited() {
    let mut spawn = shell("ulimit -Sc");
    let hard = limits::get(None, Resource::Core).unwrap().1;
    spawn.limits = vec![(Resource::Core, hard, hard)];
    let want = if hard == UNLIMITED {
        "unlimited\n".to_owned()
    } else {
        format!("{}\n", hard / 512)
    };
    assert_eq!(run(spawn, Detour::default()).0, want);
}

/// What `/proc` says of it, however it is known: a journal goes by this.
#[test]
fn the_start_time_is_what_the_kernel_says() {
    for detour in DETOURS {
        for _ in 0..20 {
            let child = shell("exec sleep 100").spawn_by(detour).unwrap();
            let seen = mainstay_sys::start_time(child.pid()).unwrap();
            assert_eq!(child.start_time().unwrap(), seen, "{detour:?}");
            child.signal(mainstay_sys::Signal::KILL).unwrap();
            ended(&child);
        }
    }
}

/// Between the descriptors of the daemon there may be any number of others, and what was lent to one
/// program is not what the next one gets.
#[test]
fn many_open_descriptors_and_many_births() {
    let nulls: Vec<_> = (0..600)
        .map(|_| std::fs::File::open("/dev/null").unwrap())
        .collect();
    for round in 0..30 {
        for detour in DETOURS {
            let (output, status) = run(shell(&format!("echo {round}; ls /proc/self/fd")), detour);
            assert_eq!(status, ExitStatus::Code(0), "{detour:?}");
            // Of ls: the three, and the directory it lists.
            assert_eq!(output, format!("{round}\n0\n1\n2\n3\n"), "{detour:?}");
        }
    }
    drop(nulls);
}

/// Where the kernel does not unshare the table of descriptors, it is copied, from the first birth on.
#[test]
fn a_table_that_cannot_be_unshared_is_copied() {
    let refused = Detour {
        refuse_unsharing: true,
        ..Detour::default()
    };
    for _ in 0..3 {
        let (output, status) = run(shell("echo here; ls /proc/self/fd"), refused);
        assert_eq!(status, ExitStatus::Code(0));
        assert_eq!(output, "here\n0\n1\n2\n3\n");
    }
}
