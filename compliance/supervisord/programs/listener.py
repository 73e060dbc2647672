"""An event listener that writes each event it is sent to a file, one JSON object a line.

Usage: listener.py OUT [--fail N] [--die N] [--hold FILE] [--wait FILE] [--mode MODE]

--fail N     answers the first N events with FAIL
--die N      ends without an answer to the Nth event, but only once (a file beside OUT remembers)
--hold FILE  does not answer an event until FILE exists
--wait FILE  does not become ready until FILE exists
--mode MODE  how to break the protocol: hello (no READY first), chatter (data while READY),
             badresult (a result line that is none), pieces (READY in pieces)
"""

import json
import os
import sys
import time


def wait_for(path):
    while path and not os.path.exists(path):
        time.sleep(0.03)


def say(text):
    sys.stdout.write(text)
    sys.stdout.flush()


def main():
    args = sys.argv[1:]
    out = args.pop(0)
    options = dict(zip(args[::2], args[1::2]))
    mode = options.get("--mode", "")
    fail, die = int(options.get("--fail", 0)), int(options.get("--die", 0))
    sys.stderr.write("listening\n")
    sys.stderr.flush()
    wait_for(options.get("--wait"))
    if mode == "hello":
        say("HELLO WORLD\n")
        while True:
            time.sleep(600)
    count = 0
    while True:
        if mode == "pieces":
            say("REA")
            time.sleep(0.2)
            say("DY\n")
        else:
            say("READY\n")
        if mode == "chatter":
            time.sleep(0.5)
            say("and something more\n")
            mode = ""
        line = sys.stdin.readline()
        if not line:
            return
        headers = dict(pair.split(":", 1) for pair in line.split())
        payload = sys.stdin.read(int(headers["len"]))
        count += 1
        with open(out, "a") as file:
            entry = {"headers": headers, "payload": payload, "line": line, "pid": os.getpid()}
            file.write(json.dumps(entry) + "\n")
        if count == die and not os.path.exists(out + ".died"):
            open(out + ".died", "w").close()
            sys.exit(3)
        wait_for(options.get("--hold"))
        if mode == "badresult":
            say("RESULT two\nOK")
            while True:
                time.sleep(600)
        say("RESULT 4\nFAIL" if count <= fail else "RESULT 2\nOK")


main()
