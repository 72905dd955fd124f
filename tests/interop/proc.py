"""Processes as /proc shows them, and waiting for what they do."""

import contextlib
import os
import signal
import time

# Generous: a slow machine must never make a good kekd fail. What is waited for ends the wait.
PATIENCE = float(os.environ.get("KEK_PATIENCE", 60))

# A shell makes what it runs in the background ignore SIGINT, and so all that this would start: they are to hear it.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def wait_for(condition, what, seconds=PATIENCE):
    """Polls until condition() is true and returns what it gave."""
    end = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError("waited %g s in vain for %s" % (seconds, what))
        time.sleep(0.02)


def kill(pid):
    """SIGKILL to a worker, which may have been replaced a moment ago."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


class Process:
    """A line of /proc/PID/stat."""

    def __init__(self, text):
        head, _, tail = text.rpartition(")")
        self.pid = int(head.split(" ", 1)[0])
        self.name = head.split("(", 1)[1]
        fields = tail.split()
        self.state, self.parent = fields[0], int(fields[1])
        self.session = int(fields[3])
        self.started = int(fields[19])  # in ticks since the machine's start


def processes():
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            with contextlib.suppress(OSError), open("/proc/%s/stat" % entry, encoding="latin-1") as file:
                yield Process(file.read())


def freeze(pid):
    """Stops a process and waits until its last thread has stopped: on a busy machine that takes a while."""
    os.kill(pid, signal.SIGSTOP)

    def stopped():
        for thread in os.listdir("/proc/%d/task" % pid):
            with open("/proc/%d/task/%s/stat" % (pid, thread), encoding="latin-1") as file:
                if Process(file.read()).state != "T":
                    return False
        return True
    wait_for(stopped, "process %d to stop" % pid)
