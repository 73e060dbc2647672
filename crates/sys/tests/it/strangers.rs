//! Orphans that come to us, and children that are somebody's.

use std::io::Read as _;

use mainstay_sys::{ExitStatus, reap_strangers, set_child_subreaper};

use crate::{ended, in_child, pipe, shell, state, until};

/// In a process of its own, since a sweep concerns the children of all tests that run in this one.
#[test]
fn orphans_are_reaped_and_children_are_left() {
    assert_eq!(in_child(sweep), ExitStatus::Code(0), "see the panic above");
}

fn sweep() -> i32 {
    set_child_subreaper().unwrap();
    // Ended children that are somebody's, in front of and behind the orphan.
    let ours = shell("exit 11").spawn().unwrap();
    let mut command = std::process::Command::new("/bin/sh")
        .args(["-c", "exit 12"])
        .spawn()
        .unwrap();
    let theirs = i32::try_from(command.id()).unwrap();
    until("both are zombies", || {
        [ours.pid(), theirs]
            .iter()
            .all(|pid| state(*pid) == Some('Z'))
    });

    let (mut reader, writer) = pipe();
    // They end only when their parent has, or it would reap them itself.
    let dir = tempfile::tempdir().unwrap();
    let go = dir.path().join("go");
    let wait = format!(
        "exec >&-; while ! [ -e {} ]; do sleep 0.01; done",
        go.display()
    );
    let mut spawn = shell(&format!(
        "sh -c '{wait}; exit 13' & echo $!; sh -c '{wait}; kill -9 $$' & echo $!"
    ));
    spawn.fds = vec![(writer, 1)];
    let parent = spawn.spawn().unwrap();
    drop(spawn);
    let mut pids = String::new();
    reader.read_to_string(&mut pids).unwrap();
    let pids: Vec<i32> = pids
        .split_whitespace()
        .map(|pid| pid.parse().unwrap())
        .collect();
    assert_eq!(ended(&parent), ExitStatus::Code(0));
    std::fs::write(&go, "").unwrap();

    let mut reaped = Vec::new();
    until("both orphans", || {
        reaped.extend(reap_strangers(|pid| pid == theirs).unwrap());
        reaped.len() >= 2
    });
    reaped.sort_unstable_by_key(|(pid, _)| pids.iter().position(|known| known == pid));
    assert_eq!(
        reaped,
        [
            (pids[0], ExitStatus::Code(13)),
            (pids[1], ExitStatus::Signal(9, false))
        ]
    );
    assert_eq!(ended(&ours), ExitStatus::Code(11));
    assert_eq!(command.wait().unwrap().code(), Some(12));

    // Whoever drops the handle of a child makes it a stranger.
    let dropped = shell("exit 14").spawn().unwrap();
    let pid = dropped.pid();
    drop(dropped);
    let mut reaped = Vec::new();
    until("the dropped child", || {
        reaped.extend(reap_strangers(|_| false).unwrap());
        !reaped.is_empty()
    });
    assert_eq!(reaped, [(pid, ExitStatus::Code(14))]);

    // A busy sweeper next to many starters takes none of their children.
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        let sweeper = scope.spawn(|| {
            let mut taken = Vec::new();
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                taken.extend(reap_strangers(|_| false).unwrap());
            }
            taken
        });
        let starters: Vec<_> = (0..4)
            .map(|thread| {
                scope.spawn(move || {
                    for turn in 0..40 {
                        let child = shell("exit 15").spawn_by(crate::DETOURS[turn % 4]).unwrap();
                        assert_eq!(
                            ended(&child),
                            ExitStatus::Code(15),
                            "thread {thread}, turn {turn}"
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
        assert_eq!(sweeper.join().unwrap(), []);
    });
    0
}
