//! Our methods beside the original's, each with a supervision of real processes: the same calls must
//! have the same answers.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::tz::TimeZone;
use mainstay_base::{Resolver, SystemClock, Template};
use mainstay_supervise::{
    Autorestart, Group, Output, Policy, ProgramSpec, Settings, Stdin, Supervisor,
};
use mainstay_supervisord::rpc::Rpc;
use mainstay_supervisord::server::Socket;

use crate::fake::Fake;
use crate::http::start_on;

const SUPERVISORD: &str = "/usr/bin/supervisord";

const CONFIG: &str = "
[unix_http_server]
file=%(here)s/s.sock
[supervisord]
logfile=%(here)s/s.log
pidfile=%(here)s/s.pid
childlogdir=%(here)s
nodaemon=true
[rpcinterface:supervisor]
supervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface
[program:cat]
command=/bin/cat
startsecs=0
stdout_logfile=%(here)s/cat.out
stderr_logfile=%(here)s/cat.err
[program:web]
command=/bin/cat
process_name=web_%(process_num)d
numprocs=2
startsecs=0
stdout_logfile=NONE
stderr_logfile=NONE
[program:mail]
command=/bin/cat
startsecs=0
autostart=false
stdout_logfile=%(here)s/mail.out
redirect_stderr=true
[group:shop]
programs=web,mail
[program:missing]
command=/nonexistent/program
autostart=false
[program:directory]
command=/tmp
autostart=false
[program:plain]
command=/etc/hostname
autostart=false
[program:dies]
command=/bin/false
autostart=false
startretries=0
[program:ends]
command=/bin/sh -c \"exec cat >/dev/null; exit 3\"
autostart=false
autorestart=false
startsecs=0
";

fn programs(dir: &Path) -> Vec<ProgramSpec> {
    let program = |name: &str, words: &[&str], change: fn(&mut ProgramSpec, &Path)| {
        let words = words.iter().map(|word| Template::literal(*word)).collect();
        let mut spec = ProgramSpec::new(name, words, dir);
        spec.policy = Policy::supervisord();
        spec.autostart = false;
        spec.stdin = Stdin::Pipe;
        change(&mut spec, dir);
        spec
    };
    let file = |dir: &Path, name: &str| Output::File {
        path: dir.join(name),
        retain: mainstay_log::Retention::default(),
    };
    let at_once = |spec: &mut ProgramSpec, _: &Path| spec.policy.start_secs = Duration::ZERO;
    let shop = |spec: &mut ProgramSpec| {
        spec.policy.start_secs = Duration::ZERO;
        spec.group = Group {
            priority: 999,
            name: "shop".to_owned(),
        };
    };
    let mut web = program("web", &["/bin/cat"], |_, _| {});
    shop(&mut web);
    web.autostart = true;
    let one = web.processes[0].clone();
    web.processes = (0..2)
        .map(|instance| {
            let mut process = one.clone();
            process.process = format!("shop:web_{instance}");
            process.instance = instance;
            process.stdout = Output::Discard;
            process.stderr = Output::Discard;
            process
        })
        .collect();
    let mut mail = program("mail", &["/bin/cat"], |_, _| {});
    shop(&mut mail);
    mail.processes[0].process = String::from("shop:mail");
    mail.processes[0].stdout = file(dir, "mail.out");
    mail.processes[0].stderr = Output::Merge;
    let mut cat = program("cat", &["/bin/cat"], at_once);
    cat.autostart = true;
    cat.processes[0].stdout = file(dir, "cat.out");
    cat.processes[0].stderr = file(dir, "cat.err");
    vec![
        cat,
        program("dies", &["/bin/false"], |spec, _| {
            spec.policy.start_retries = Some(0);
        }),
        program("directory", &["/tmp"], |_, _| {}),
        program(
            "ends",
            &["/bin/sh", "-c", "exec cat >/dev/null; exit 3"],
            |spec, _| {
                spec.policy.start_secs = Duration::ZERO;
                spec.policy.autorestart = Autorestart::Never;
            },
        ),
        program("missing", &["/nonexistent/program"], |_, _| {}),
        program("plain", &["/etc/hostname"], |_, _| {}),
        mail,
        web,
    ]
}

/// Makes the calls and prints what came of each, without what is different in every run. Its
/// arguments are the address and the directory of the logs.
const CALLS: &str = r"
import re, sys, time, xmlrpc.client
from supervisor.xmlrpc import SupervisorTransport
url, here = sys.argv[1:3]
proxy = xmlrpc.client.ServerProxy('http://127.0.0.1', SupervisorTransport(None, None, url))
def clean(value):
    if isinstance(value, dict):
        value = dict(value)
        for key in ('start', 'stop', 'now', 'pid'):
            if key in value:
                value[key] = value[key] > 0
        for key in ('logfile', 'stdout_logfile', 'stderr_logfile'):
            # Names that the daemon chose.
            if key in value and '---' in value[key] or value.get('name') not in ('cat', 'mail'):
                value.pop(key, None)
        return {key: clean(item) for key, item in sorted(value.items())}
    if isinstance(value, list):
        return [clean(item) for item in value]
    if isinstance(value, str):
        value = value.replace(here, 'HERE')
        value = re.sub(r'pid \d+, uptime \d:\d\d:\d\d', 'pid N, uptime T', value)
        value = re.sub(r'\w\w\w \d\d \d\d:\d\d [AP]M', 'MOMENT', value)
    return value
def by_name(value):
    if isinstance(value, list) and value and isinstance(value[0], dict) and 'name' in value[0]:
        return sorted(value, key=lambda it: (it['group'], it['name']))
    return value
def call(method, *params):
    try:
        result = clean(by_name(getattr(proxy, method)(*params)))
    except xmlrpc.client.Fault as fault:
        result = 'fault %d %s' % (fault.faultCode, clean(fault.faultString))
    except xmlrpc.client.ProtocolError as error:
        result = 'status %d' % error.errcode
    print(method, params, '->', result)
def s(method, *params):
    call('supervisor.' + method, *params)
def until(name, state):
    for _ in range(1200):
        if proxy.supervisor.getProcessInfo(name)['statename'] == state:
            return
        time.sleep(.05)
    print('waited in vain for', name, state)
for name in ('cat', 'shop:web_0', 'shop:web_1'):
    until(name, 'RUNNING')
s('getAPIVersion'); s('getVersion'); s('getSupervisorVersion'); s('getIdentification')
s('getState'); s('getAllProcessInfo')
for name in ('cat', 'cat:cat', 'cat:*', 'cat:', 'shop', 'shop:web_0', 'shop:web', 'web', 'web_0', '', '*', 'a:b:c', ':'):
    s('getProcessInfo', name)
s('startProcess', 'cat'); s('startProcess', 'cat', False); s('startProcess', 'nobody')
s('startProcess', 'missing'); s('startProcess', 'directory'); s('startProcess', 'plain')
s('startProcess', 'dies'); until('dies', 'FATAL'); s('getProcessInfo', 'dies')
s('startProcess', 'ends'); s('getProcessInfo', 'ends')
s('startProcess', 'shop:mail', 0); until('shop:mail', 'RUNNING')
s('startProcess', 'shop:*'); s('startProcessGroup', 'shop', True); s('startProcessGroup', 'nobody')
s('startProcess', 'nobody:*'); s('getProcessInfo', 'shop:mail')
s('sendProcessStdin', 'cat', 'one\ntwo\n'); s('sendProcessStdin', 'cat', 7)
s('sendProcessStdin', 'cat:*', 'x'); s('sendProcessStdin', 'missing', 'x')
s('sendProcessStdin', 'nobody', 'x')
for _ in range(1200):
    if proxy.supervisor.readProcessLog('cat', 0, 0) == 'one\ntwo\n': break
    time.sleep(.05)
for offset, length in ((0, 0), (0, 3), (2, 3), (4, 100), (100, 5), (-3, 0), (-300, 0), (-3, 3), (-3, -3), (0, -1), (3, -1)):
    s('readProcessStdoutLog', 'cat', offset, length)
    s('tailProcessStdoutLog', 'cat', offset, length)
for name in ('cat', 'shop:mail', 'shop:web_0', 'missing', 'nobody', 'cat:*'):
    s('tailProcessStderrLog', name, 0, 100)
for name in ('cat', 'shop:mail', 'shop:web_0', 'nobody', 'cat:*'):
    s('readProcessStderrLog', name, 0, 100)
s('readProcessLog', 'cat', '1', '2')
s('clearProcessLogs', 'cat'); s('readProcessStdoutLog', 'cat', 0, 0)
s('clearProcessLog', 'missing'); s('clearProcessLogs', 'cat:*'); s('clearProcessLogs', 'nobody')
s('signalProcess', 'cat', 'CONT'); s('signalProcess', 'cat', 'sigcont'); s('signalProcess', 'cat', '18')
s('signalProcess', 'cat', 18); s('signalProcess', 'cat', 'NOPE'); s('signalProcess', 'cat', 999)
s('signalProcess', 'missing', 'CONT'); s('signalProcess', 'missing', 'NOPE')
s('signalProcess', 'nobody', 'CONT'); s('signalProcess', 'shop:*', 'CONT')
s('signalProcessGroup', 'shop', 'NOPE'); s('signalProcessGroup', 'nobody', 'CONT')
s('signalAllProcesses', 'CONT')
s('stopProcess', 'cat'); s('getProcessInfo', 'cat'); s('stopProcess', 'cat'); s('stopProcess', 'nobody')
s('stopProcess', 'cat:*'); s('startProcess', 'cat:*'); s('stopProcessGroup', 'shop'); s('stopProcessGroup', 'nobody')
s('startAllProcesses', False); 
for name in ('cat', 'shop:web_0', 'shop:web_1', 'shop:mail'):
    until(name, 'RUNNING')
until('dies', 'FATAL')
s('signalProcess', 'cat', 'KILL')
for _ in range(1200):
    if proxy.supervisor.getProcessInfo('ends')['statename'] in ('RUNNING', 'STOPPED', 'EXITED'): break
    time.sleep(.05)
s('sendRemoteCommEvent', 'type', 'data')
# Wrong in number.
s('getPID', 1); s('startProcess'); s('startProcess', 'a', True, 1); s('readLog'); s('tailProcessLog', 'cat')
call('system.listMethods')
for method in proxy.system.listMethods() + ['nope']:
    call('system.methodSignature', method)
call('system.methodHelp', 'nope'); call('system.multicall'); call('supervisor'); call('nope.nope')
call('supervisor._update', 'x'); call('supervisor.a.b'); call('system._listMethods'); call('system.namespaces')
call('system.multicall', [])
call('system.multicall', [
    {'methodName': 'supervisor.getAPIVersion', 'params': []},
    {'methodName': 'supervisor.stopProcess', 'params': ['shop:mail']},
    {'methodName': 'supervisor.startProcess', 'params': ['shop:mail']},
    {'methodName': 'supervisor.startProcess', 'params': ['missing']},
    {'methodName': 'supervisor.getVersion'},
    {'methodName': 'system.multicall', 'params': [[]]},
    {'params': []},
    {'methodName': 'nope'},
    {'methodName': 'supervisor.getPID', 'params': [1]},
])
";

/// The original, for one test.
struct Original(Child);

impl Drop for Original {
    fn drop(&mut self) {
        // It stops its processes and ends.
        let _ = Command::new("/bin/kill")
            .arg(self.0.id().to_string())
            .status();
        let _ = self.0.wait();
    }
}

fn calls(url: &str, dir: &Path) -> Vec<String> {
    let output = Command::new("/usr/bin/python3")
        .args(["-c", CALLS, url])
        .arg(dir)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{url}: {error}");
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().map(str::to_owned).collect()
}

fn original(dir: &Path) -> Vec<String> {
    std::fs::write(dir.join("s.conf"), CONFIG).unwrap();
    let child = Command::new(SUPERVISORD)
        .arg("-c")
        .arg(dir.join("s.conf"))
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let original = Original(child);
    let socket: PathBuf = dir.join("s.sock");
    let deadline = Instant::now() + Duration::from_mins(1);
    while std::os::unix::net::UnixStream::connect(&socket).is_err() {
        assert!(Instant::now() < deadline, "supervisord does not come up");
        std::thread::sleep(Duration::from_millis(20));
    }
    let lines = calls(&format!("unix://{}", socket.display()), dir);
    drop(original);
    lines
}

fn ours(dir: &Path) -> Vec<String> {
    let mut settings = Settings::new(dir);
    settings.as_supervisord = true;
    let supervisor = Supervisor::start(
        settings,
        programs(dir),
        Resolver::default(),
        Box::new(|_| {}),
    )
    .unwrap();
    let supervisor = Arc::new(supervisor);
    let rpc = Rpc::new(
        Arc::clone(&supervisor),
        Fake::default(),
        Arc::new(SystemClock::new()),
        TimeZone::UTC,
    );
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let server = start_on(Socket::Tcp(socket), rpc, |_| {});
    let lines = calls(&format!("http://{}", server.address), dir);
    drop(server);
    let _ = supervisor.ask(mainstay_supervise::Command::Shutdown);
    lines
}

#[test]
fn the_same_calls_have_the_same_answers() {
    if !Path::new(SUPERVISORD).exists() {
        println!("SKIPPED: there is no {SUPERVISORD}");
        return;
    }
    let [theirs, own] = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let expected = original(theirs.path());
    let found = ours(own.path());
    // Whether a start that is not waited for sees that the process is dead already is a matter of
    // luck, on both sides.
    let settled = |line: &String| {
        line.replace(
            "{'description': 'SPAWN_ERROR: dies', 'group': 'dies', 'name': 'dies', 'status': 50}",
            "{'description': 'OK', 'group': 'dies', 'name': 'dies', 'status': 80}",
        )
    };
    let different: Vec<String> = expected
        .iter()
        .map(settled)
        .zip(found.iter().map(settled))
        .filter(|(expected, found)| expected != found)
        .map(|(expected, found)| format!("- {expected}\n+ {found}"))
        .collect();
    assert!(different.is_empty(), "{}", different.join("\n"));
    assert_eq!(expected.len(), found.len());
    assert!(expected.len() > 150, "all calls were made");
}
