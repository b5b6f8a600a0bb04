"""Signals to the host and to others, and a worker that would outlive or end its host."""

from tests.security_tests.corpus import attacks

ROWS = {
    "kill": "os.kill(<<host>>, 9)",
    "terminate": "os.kill(<<host>>, 15)",
    "stop": "os.kill(<<host>>, 19)",
    "abort": "os.kill(<<host>>, 6)",
    "parent": "os.kill(os.getppid(), 9)",
    "thread": "check(libc.syscall(234, <<host>>, <<host>>, 9))",
    "old-thread-kill": "check(libc.syscall(200, <<host>>, 9))",
    "queue": "b = ctypes.create_string_buffer(struct.pack('iii', 9, 0, -1), 128)\ncheck(libc.syscall(129, <<host>>, 9, b))",
    "by-descriptor": "import signal\nsignal.pidfd_send_signal(os.pidfd_open(<<host>>), 9)",
    "owner-of-a-pipe": "import fcntl\nr, w = os.pipe()\nfcntl.fcntl(r, fcntl.F_SETOWN, <<host>>)\nfcntl.fcntl(r, 10, 9)\nfcntl.fcntl(r, fcntl.F_SETFL, os.O_ASYNC)\nos.write(w, b'x')\ntime.sleep(0.1)",
    "trace": "check(libc.ptrace(16, <<host>>, 0, 0))\ntime.sleep(0.2)",
}
ON_HOST = {
    "processor-limit": "import resource\nresource.prlimit(<<host>>, resource.RLIMIT_CPU, (0, 0))",
    "priority": "os.setpriority(os.PRIO_PROCESS, <<host>>, 5)",
    "limits": "import resource\nresource.prlimit(<<host>>, resource.RLIMIT_NOFILE, (40, 40))",
}
GROUPS = {
    # Not shown to succeed: it would end whatever the user of the tests runs.
    "own-group": "os.killpg(0, 9)",
    "everybody": "os.kill(-1, 9)",
}

ATTACKS = (
    *attacks("signals", "killed", ROWS, control="process", machine="x86_64"),
    *attacks("signals", "host", ON_HOST, control="process"),
    *attacks("signals", "killed", GROUPS, control=None),
)
