"""1.5: system.*, multicall, calls that are wrong, and passwords."""

import xmlrpc.client

from checks.rpc import daemon, fault, sup, written
from harness import wire
from harness.bench import free_port, program, sh
from harness.register import Failed, check, expect, same

# -- system.* and multicall ---------------------------------------------------------------------

METHODS = sorted(
    ["system." + name for name in ["listMethods", "methodHelp", "methodSignature", "multicall"]]
    + [
        "supervisor." + name
        for name in (
            "addProcessGroup clearAllProcessLogs clearLog clearProcessLog clearProcessLogs getAPIVersion "
            "getAllConfigInfo getAllProcessInfo getIdentification getPID getProcessInfo getState "
            "getSupervisorVersion getVersion readLog readMainLog readProcessLog readProcessStderrLog "
            "readProcessStdoutLog reloadConfig removeProcessGroup restart sendProcessStdin "
            "sendRemoteCommEvent shutdown signalAllProcesses signalProcess signalProcessGroup "
            "startAllProcesses startProcess startProcessGroup stopAllProcesses stopProcess stopProcessGroup "
            "tailProcessLog tailProcessStderrLog tailProcessStdoutLog"
        ).split()
    ]
)


@check("rpc.system.listMethods", "system.listMethods lists all methods, sorted")
def list_methods(t):
    seen = daemon(t).rpc.system.listMethods()
    same(seen, sorted(seen), "order")
    missing = set(METHODS) - set(seen)
    expect(not missing, f"missing: {sorted(missing)}")


@check("rpc.system.methodHelp", "system.methodHelp has a text for each method; unknown is fault 4")
def method_help(t):
    system = daemon(t).rpc.system
    for method in ["supervisor.startProcess", "system.multicall"]:
        expect(len(system.methodHelp(method)) > 20, f"the help of {method}")
    fault(lambda: system.methodHelp("supervisor.nope"), 4, "SIGNATURE_UNSUPPORTED")


SIGNATURES = {
    "supervisor.startProcess": ["boolean", "string", "boolean"],
    "supervisor.getState": ["struct"],
    "supervisor.getPID": ["int"],
    "supervisor.readLog": ["string", "int", "int"],
    "supervisor.getAllProcessInfo": ["array"],
    "supervisor.tailProcessStdoutLog": ["array", "string", "int", "int"],
    "supervisor.signalProcess": ["boolean", "string", "string"],
    "supervisor.reloadConfig": ["array"],
    "supervisor.addProcessGroup": ["boolean", "string"],
    "system.listMethods": ["array"],
    "system.methodHelp": ["string", "string"],
    "system.multicall": ["array", "array"],
}


@check("rpc.system.methodSignature", "system.methodSignature tells result and parameters; unknown is fault 4")
def method_signature(t):
    system = daemon(t).rpc.system
    for method, wanted in SIGNATURES.items():
        same(system.methodSignature(method), wanted, method)
    fault(lambda: system.methodSignature("supervisor.nope"), 4, "SIGNATURE_UNSUPPORTED")


@check("rpc.multicall", "system.multicall answers in order, faults as structs")
def multicall(t):
    d = daemon(t)
    seen = d.rpc.system.multicall(
        [
            {"methodName": "supervisor.getPID", "params": []},
            {"methodName": "supervisor.getProcessInfo", "params": ["nope"]},
            {"methodName": "supervisor.nope"},
            {"methodName": "supervisor.getAPIVersion"},
            {"methodName": "system.multicall", "params": [[]]},
            {"params": []},
            {"methodName": "supervisor.getPID", "params": [1, 2]},
        ]
    )
    same(seen[0], d.pid)
    same(seen[1], {"faultCode": 10, "faultString": "BAD_NAME: nope"})
    same(seen[2], {"faultCode": 1, "faultString": "UNKNOWN_METHOD"})
    same(seen[3], "3.0")
    same(seen[4], {"faultCode": 2, "faultString": "INCORRECT_PARAMETERS: Recursive system.multicall forbidden"})
    same(seen[5], {"faultCode": 2, "faultString": "INCORRECT_PARAMETERS: No methodName"})
    same(seen[6], {"faultCode": 2, "faultString": "INCORRECT_PARAMETERS"})


@check("rpc.multicall.empty", "a multicall of nothing answers an empty list")
def multicall_empty(t):
    same(daemon(t).rpc.system.multicall([]), [])


@check("rpc.multicall.deferred", "calls that wait run one after the other in a multicall", 5)
def multicall_deferred(t):
    d = t.start(program("x", "/bin/cat", startsecs=1), program("bad", sh("exit 1"), startsecs=3, startretries=0))
    seen = d.rpc.system.multicall(
        [
            {"methodName": "supervisor.startProcess", "params": ["x"]},
            {"methodName": "supervisor.stopProcess", "params": ["x"]},
            {"methodName": "supervisor.startProcess", "params": ["x", False]},
            {"methodName": "supervisor.startProcess", "params": ["bad"]},
            {"methodName": "supervisor.stopAllProcesses"},
        ]
    )
    same(seen[:3], [True, True, True])
    expect(seen[3]["faultCode"] in (40, 50), f"{seen[3]}")
    expect({"name": "x", "group": "x", "status": 80, "description": "OK"} in seen[4], f"{seen[4]}")


# -- calls that are wrong -----------------------------------------------------------------------


@check("rpc.fault.unknown_method", "unknown methods are fault 1")
def unknown_method(t):
    d = daemon(t)
    for method in ["supervisor.nope", "nope.getPID", "getPID", "supervisor", "a.b.c", "supervisor.getPID.x"]:
        answer = wire.post(d.url, wire.call_body(method))
        same(answer.status, 200, method)
        fault(lambda: xmlrpc.client.loads(answer.body), 1, "UNKNOWN_METHOD")


@check("rpc.fault.traversal", "neither attributes nor hidden names can be reached (CVE-2017-11610)")
def traversal(t):
    d = daemon(t)
    for method in [
        "supervisor.supervisord.options.execve",
        "supervisor.supervisord.options.warnings.linecache.os.system",
        "supervisor._update",
        "supervisor.__init__",
        "supervisor.__class__",
        "system._listMethods",
        "supervisor.supervisord",
        "system.namespaces",
        "system.__dict__",
    ]:
        answer = wire.post(d.url, wire.call_body(method, "true"))
        same(answer.status, 200, method)
        fault(lambda: xmlrpc.client.loads(answer.body), 1, "UNKNOWN_METHOD")


@check("rpc.fault.parameters", "too many or too few parameters are fault 2")
def parameters(t):
    s = sup(t)
    fault(lambda: s.getPID(1), 2, "INCORRECT_PARAMETERS")
    fault(lambda: s.getProcessInfo(), 2, "INCORRECT_PARAMETERS")
    fault(lambda: s.startProcess("a", True, 3), 2, "INCORRECT_PARAMETERS")
    fault(lambda: s.readLog(0), 2, "INCORRECT_PARAMETERS")


@check("rpc.params_optional", "a call without <params> is a call without parameters")
def params_optional(t):
    d = daemon(t)
    answer = wire.post(
        d.url, b"<?xml version='1.0'?><methodCall><methodName>supervisor.getPID</methodName></methodCall>"
    )
    same(xmlrpc.client.loads(answer.body)[0][0], d.pid)


@check("rpc.value_forms", "untyped, i4 and string values, base64 and entities are understood")
def value_forms(t):
    d = daemon(t)
    written(t)
    for name, offset, length in [
        ("<value>writes</value>", "<value><i4>0</i4></value>", "<value><int>4</int></value>"),
        ("<value><string>writes</string></value>", "<value><int>0</int></value>", "<value><i4>4</i4></value>"),
        ("<value><string>&#119;rites</string></value>", "<value><int>0</int></value>", "<value><i4>4</i4></value>"),
    ]:
        body = (
            "<methodCall><methodName>supervisor.readProcessLog</methodName><params>"
            f"<param>{name}</param><param>{offset}</param><param>{length}</param></params></methodCall>"
        )
        answer = wire.post(d.url, body.encode())
        same(xmlrpc.client.loads(answer.body)[0][0], "0123", body)


@check("rpc.bad_xml", "what is no XML, or no call, is HTTP 400")
def bad_xml(t):
    d = daemon(t)
    for body in [
        b"this is not XML",
        b"<methodCall>",
        b"<methodCall></methodCall>",
        b"<methodCall><methodName></methodName></methodCall>",
        b"<a/>",
    ]:
        same(wire.post(d.url, body).status, 400, repr(body))
    same(sup(t).getPID(), d.pid)


@check("rpc.get_is_not_a_call", "a GET of /RPC2 is refused and does no harm")
def get_rpc(t):
    d = daemon(t)
    answer = wire.request(d.url, "GET", "/RPC2")
    expect(answer.status >= 400, f"{answer}")
    same(sup(t).getPID(), d.pid)


# -- passwords -------------------------------------------------------------------------------

SHA = "{SHA}82ab876d1387bfafe46cc1c8a2ef074eae50cb1d"  # of "thepassword"


def with_password(t):
    def make(bench):
        port = free_port()
        d = bench.start(
            unix=f"username=user\npassword={SHA}", inet=f"port=127.0.0.1:{port}\nusername=plain\npassword=se:cret"
        )
        d.url = f"http://127.0.0.1:{port}"
        return d

    return t.shared("rpc_password", make)


def refused(call):
    try:
        value = call()
    except xmlrpc.client.ProtocolError as error:
        same(error.errcode, 401, "status")
        return
    raise Failed(f"expected 401, saw {value!r}")


@check("rpc.auth.plain", "basic auth with a plain password, that may contain a colon")
def auth_plain(t):
    d = with_password(t)
    same(d.proxy(d.url, "plain", "se:cret").supervisor.getPID(), d.pid)


@check("rpc.auth.sha", "basic auth with a {SHA} password")
def auth_sha(t):
    d = with_password(t)
    same(d.proxy("unix://" + d.sock, "user", "thepassword").supervisor.getPID(), d.pid)


@check("rpc.auth.refused", "no, wrong and foreign credentials are 401; the hash is no password")
def auth_refused(t):
    d = with_password(t)
    unix = "unix://" + d.sock
    refused(lambda: d.proxy(d.url).supervisor.getPID())
    for url, user, password in [
        (d.url, "plain", "wrong"),
        (d.url, "plain", ""),
        (d.url, "nobody", "se:cret"),
        (d.url, "user", "thepassword"),
        (unix, "user", "wrong"),
        (unix, "user", SHA),
        (unix, "user", SHA[5:]),
        (unix, "plain", "se:cret"),
        (unix, "", ""),
    ]:
        refused(lambda: d.proxy(url, user, password).supervisor.getPID())


@check("rpc.auth.challenge", "a 401 asks for basic auth")
def auth_challenge(t):
    answer = wire.post(with_password(t).url, wire.call_body("supervisor.getPID"))
    same(answer.status, 401)
    expect(answer.headers["WWW-Authenticate"].lower().startswith("basic realm="), f"{answer}")


@check("rpc.auth.malformed", "malformed credentials are refused and do no harm")
def auth_malformed(t):
    d = with_password(t)
    for value in ["Basic", "Basic !!!!", "Basic dXNlcg==", "Bearer abc", "basic", "Digest username=plain"]:
        answer = wire.post(d.url, wire.call_body("supervisor.getPID"), [("Authorization", value)])
        expect(answer.status in (400, 401, 500), f"{value}: {answer}")
    same(d.proxy(d.url, "plain", "se:cret").supervisor.getPID(), d.pid)
