"""What a command took: seconds, exit code, output and the most memory it had."""

import contextlib
import os
import signal
import subprocess
import threading
import time


class Run:
    """A command that is watched. interrupt_after: seconds until it gets SIGINT."""

    def __init__(self, command, env=None, stdin=None, shell=False):
        self.begun = time.monotonic()
        self.peak = 0  # KiB, of it and of its children, summed
        # pylint: disable=consider-using-with
        self.process = subprocess.Popen(command, stdin=stdin or subprocess.DEVNULL, stdout=subprocess.PIPE,
                                        stderr=subprocess.PIPE, start_new_session=True, shell=shell,
                                        env=dict(os.environ, **(env or {})))
        self.watch = threading.Thread(target=self.sample, daemon=True)
        self.watch.start()
        self.seconds, self.out, self.err = 0.0, "", ""

    def sample(self):
        while self.process.poll() is None:
            self.peak = max(self.peak, memory(self.process.pid))
            time.sleep(0.05)

    def interrupt(self, number=signal.SIGINT):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, number)
        return self.wait()

    def wait(self, timeout=None):
        out, err = self.process.communicate(timeout=timeout)
        self.seconds = time.monotonic() - self.begun
        self.out, self.err = out.decode(errors="replace"), err.decode(errors="replace")
        self.watch.join()
        return self

    @property
    def code(self):
        return self.process.returncode

    def good(self, *codes):
        if self.code not in (codes or (0,)):
            raise AssertionError("%s: exit %d\n%s\n%s" % (self.process.args, self.code, self.out[-2000:],
                                                          self.err[-4000:]))
        return self


def memory(pid):
    """Resident KiB of a process and all below it, the largest that the kernel has seen of each."""
    total = 0
    with contextlib.suppress(OSError, ValueError):
        with open("/proc/%d/status" % pid, encoding="ascii", errors="replace") as file:
            for line in file:
                if line.startswith("VmHWM:"):
                    total += int(line.split()[1])
        with open("/proc/%d/task/%d/children" % (pid, pid), encoding="ascii") as file:
            total += sum(memory(int(child)) for child in file.read().split())
    return total
