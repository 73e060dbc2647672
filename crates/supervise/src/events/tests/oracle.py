"""Asks supervisord's own classes. One command a line, words in hexadecimal; one answer a line."""
import sys

try:
    from supervisor import dispatchers, events, process
    from supervisor.states import EventListenerStates, ProcessStates
    from supervisor.supervisord import Supervisor
except ImportError:
    sys.exit(77)


class Thing:
    def __init__(self, **fields):
        self.__dict__.update(fields)


class Log:
    def __init__(self):
        self.lines = []

    def debug(self, text, **_):
        self.lines.append('DEBUG ' + text)

    def warn(self, text, **_):
        self.lines.append('WARN ' + text)

    def error(self, text, **_):
        self.lines.append('ERROR ' + text)


KINDS = {
    name: kind
    for name, kind in vars(events.EventTypes).items()
    if isinstance(kind, type)
}
LEAVES = {
    name: kind
    for name, kind in KINDS.items()
    if not any(k is not kind and issubclass(k, kind) for k in KINDS.values())
}


def text(word):
    return word.decode()


def number(word):
    return int(word)


def proc(name, group, pid=0, tries=0):
    return Thing(
        config=Thing(name=text(name)),
        group=Thing(config=Thing(name=text(group))),
        pid=number(pid),
        backoff=number(tries),
    )


def names():
    return ' '.join(KINDS)


def mask(name):
    top = KINDS[text(name)]
    return ' '.join(n for n, kind in LEAVES.items() if issubclass(kind, top))


def said(event):
    return events.getEventNameByType(event.__class__) + ' ' + event.payload()


def phase(name, group, pid, tries, expected, frm, to):
    kind = process.Subprocess.event_map[getattr(ProcessStates, text(to))]
    frm = getattr(ProcessStates, text(frm))
    return said(kind(proc(name, group, pid, tries), frm, bool(number(expected))))


def data(kind, name, group, pid, what):
    return said(KINDS[text(kind)](proc(name, group, pid), number(pid), what))


def remote(kind, what):
    return said(events.RemoteCommunicationEvent(text(kind), text(what)))


def supervisor(kind):
    return said(KINDS[text(kind)]())


def group(kind, name):
    return said(KINDS[text(kind)](text(name)))


def tick(kind, when):
    return said(KINDS[text(kind)](number(when), None))


def ticks(*times):
    told = []
    events.subscribe(events.TickEvent, lambda e: told.append(said(e)))
    daemon = Supervisor(Thing())
    for time in times:
        daemon.tick(number(time) + 0.5)
    events.clear()
    return '\n'.join(told)


def serials(last, count):
    counter = Thing(serial=number(last))
    return ' '.join(str(process.new_serial(counter)) for _ in range(number(count)))


def talk(*pieces):
    log = Log()
    read = []
    options = Thing(logger=log, readfd=lambda fd: read.pop())
    listener = Thing(
        config=Thing(name='p', options=options, stdout_logfile=None),
        group=Thing(config=Thing(result_handler=dispatchers.default_handler)),
    )
    events.subscribe(events.EventRejectedEvent, lambda e: log.lines.append('give back'))
    dispatcher = dispatchers.PEventListenerDispatcher(listener, 'stdout', 0)
    for piece in pieces:
        if piece == b'!':
            if listener.listener_state == EventListenerStates.READY:
                listener.listener_state = EventListenerStates.BUSY
                listener.event = Thing()
        else:
            read.append(piece)
            dispatcher.handle_read_event()
    events.clear()
    return '\n'.join(line for line in log.lines if ' output:\n' not in line)


def pool(capacity, todo):
    log = Log()
    process.GlobalSerial.serial = -1
    options = Thing(logger=log, identifier='id')
    pool = process.EventListenerPool(
        Thing(
            name='P',
            options=options,
            pool_events=[],
            buffer_size=number(capacity),
            process_configs=[],
        )
    )
    listener = Thing(
        config=Thing(name='p'),
        state=ProcessStates.RUNNING,
        listener_state=EventListenerStates.READY,
        write=lambda written: log.lines.append(written.decode()),
    )
    pool.processes = {'p': listener}
    busy = []
    for when, what in enumerate(text(todo)):
        if what == 'o':
            pool._acceptEvent(events.Tick5Event(when, None))
        elif what == 't':
            listener.listener_state = EventListenerStates.READY
            before = len(log.lines)
            pool.dispatch()
            # A second one is tried at once, and goes back for want of a listener.
            del log.lines[before + 2:]
            if len(log.lines) > before:
                busy.append(listener.event)
        elif what == 'g' and busy:
            pool.handle_rejected(events.EventRejectedEvent(listener, busy.pop(0)))
    events.clear()
    return '\n'.join(log.lines)


for line in sys.stdin:
    command, *words = line.rstrip('\n').split(' ')
    answer = globals()[command](*(bytes.fromhex(word) for word in words))
    sys.stdout.write(answer.encode().hex() + '\n')
