//! Where the world can be stopped between the shop and its database, from outside: a proxy in front of
//! a server, the write-ahead log of a file.

use std::io::{Read, Write};
use std::mem::MaybeUninit;
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex};

use rustix::fs::inotify;
use rustix::process::{Pid, Signal, kill_process};

/// Which side of a message of the shop to its database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    /// The database never gets it.
    Before,
    /// The database has done it, and the shop never hears of it.
    After,
}

#[derive(Default)]
struct State {
    /// The message to stop at, counted from 1 since this was set.
    at: Option<(u32, Side)>,
    passed: u32,
    /// The connection whose answers go no further.
    mute: Option<u64>,
    stopped: bool,
    connections: u64,
}

/// A proxy that counts messages and stops at one of them.
#[derive(Clone)]
pub(crate) struct Gate {
    shared: Arc<(Mutex<State>, Condvar)>,
    pub(crate) port: u16,
}

impl Gate {
    /// A gate before the server at this socket.
    pub(crate) fn before(socket: PathBuf) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let gate = Self {
            shared: Arc::default(),
            port: listener.local_addr().unwrap().port(),
        };
        let own = gate.clone();
        // Ends with the test's process; nothing of it outlives that.
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let Ok(server) = UnixStream::connect(&socket) else {
                    continue;
                };
                own.join(client, server);
            }
        });
        gate
    }

    fn join(&self, client: TcpStream, server: UnixStream) {
        let id = {
            let mut state = self.shared.0.lock().unwrap();
            state.connections += 1;
            state.connections
        };
        let (mut from, mut to) = (client.try_clone().unwrap(), server.try_clone().unwrap());
        let gate = self.clone();
        std::thread::spawn(move || {
            pump(&mut from, &mut to, || gate.asks(id));
            let _ = to.shutdown(Shutdown::Both);
        });
        let (mut from, mut to, gate) = (server, client, self.clone());
        std::thread::spawn(move || {
            pump(&mut from, &mut to, || gate.answers(id));
            let _ = to.shutdown(Shutdown::Both);
        });
    }

    /// A message of the shop; whether it goes on to the database.
    fn asks(&self, id: u64) -> bool {
        let mut state = self.shared.0.lock().unwrap();
        let Some((at, side)) = state.at else {
            return true;
        };
        state.passed += 1;
        if state.passed != at {
            return true;
        }
        match side {
            Side::Before => self.stand_still(state),
            Side::After => {
                state.mute = Some(id);
                true
            }
        }
    }

    /// An answer of the database; whether it goes on to the shop.
    fn answers(&self, id: u64) -> bool {
        let state = self.shared.0.lock().unwrap();
        state.mute != Some(id) || self.stand_still(state)
    }

    fn stand_still(&self, mut state: std::sync::MutexGuard<'_, State>) -> bool {
        state.stopped = true;
        while state.stopped {
            state = self.shared.1.wait(state).unwrap();
        }
        false
    }

    /// Stops at the message of that number from now on.
    pub(crate) fn stop_at(&self, number: u32, side: Side) {
        let mut state = self.shared.0.lock().unwrap();
        state.passed = 0;
        state.at = Some((number, side));
    }

    pub(crate) fn is_stopped(&self) -> bool {
        self.shared.0.lock().unwrap().stopped
    }

    /// What was stopped is thrown away; nothing more is stopped.
    pub(crate) fn go_on(&self) {
        let mut state = self.shared.0.lock().unwrap();
        state.at = None;
        state.mute = None;
        state.stopped = false;
        self.shared.1.notify_all();
    }
}

fn pump(from: &mut impl Read, to: &mut impl Write, mut goes_on: impl FnMut() -> bool) {
    let mut bytes = vec![0; 64 << 10];
    while let Ok(count @ 1..) = from.read(&mut bytes) {
        if !goes_on() || to.write_all(&bytes[..count]).is_err() {
            return;
        }
    }
}

/// Kills a process at a write to the write-ahead log of its `SQLite` database: as soon as this process
/// sees it, which is that write, or soon after.
pub(crate) struct Trap(Arc<Mutex<bool>>);

impl Trap {
    /// At the write of that number, counted from 1.
    pub(crate) fn set(data: &Path, number: u32, pid: u32) -> Self {
        let watch = inotify::init(inotify::CreateFlags::CLOEXEC).unwrap();
        inotify::add_watch(&watch, data, inotify::WatchFlags::MODIFY).unwrap();
        let sprung = Arc::new(Mutex::new(false));
        let shared = Arc::clone(&sprung);
        // Waits for a write that may never come: it ends with the test's process.
        std::thread::spawn(move || {
            let mut space = [MaybeUninit::uninit(); 4096];
            let mut events = inotify::Reader::new(watch, &mut space);
            let mut left = number;
            while let Ok(event) = events.next() {
                if Arc::strong_count(&shared) == 1 {
                    return;
                }
                if event
                    .file_name()
                    .is_some_and(|name| name.to_bytes() == b"shop.db-wal")
                {
                    left -= 1;
                }
                if left == 0 {
                    let mut sprung = shared.lock().unwrap();
                    let pid = Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
                    *sprung = kill_process(pid, Signal::KILL).is_ok();
                    return;
                }
            }
        });
        Self(sprung)
    }

    pub(crate) fn is_sprung(&self) -> bool {
        *self.0.lock().unwrap()
    }
}
