"""An event listener written as the original's documentation shows, with its own childutils.

Usage: childutils_listener.py OUT; writes `EVENTNAME PROCESSNAME DATA` for each event, and asks
the daemon for its pid through the environment it was given.
"""

import os
import sys

from supervisor import childutils


def main():
    out = sys.argv[1]
    rpc = childutils.getRPCInterface(os.environ)
    with open(out, "a", encoding="utf-8") as file:
        file.write(f"pid {rpc.supervisor.getPID()}\n")
    while True:
        headers, payload = childutils.listener.wait(sys.stdin, sys.stdout)
        if "\n" in payload:
            fields, data = childutils.eventdata(payload)
        else:
            fields, data = childutils.get_headers(payload), ""
        with open(out, "a", encoding="utf-8") as file:
            file.write(f"{headers['eventname']} {fields.get('processname', '')} {data.rstrip()}\n")
        childutils.listener.ok(sys.stdout)


main()
