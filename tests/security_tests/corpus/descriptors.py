"""Descriptors: inherited ones, the host's, its terminal, and those that the worker lives by."""

from tests.security_tests.corpus import attacks

SECRETS = {
    "inherited": "import fcntl\nfor fd in range(3, 256):\n    try:\n        if fd in (<<descriptor>>,): print(os.read(fd, 99))\n    except OSError: pass",
    "of-the-host": "print(os.read(os.open('/proc/<<host>>/fd/<<descriptor>>', os.O_RDONLY), 99))",
    "taken": "fd = check(libc.syscall(438, os.pidfd_open(<<host>>), <<descriptor>>, 0))\nprint(os.read(fd, 99))",
}
TERMINAL = {
    "stdout": "os.write(1, b'<<tag>>')",
    "stderr": "os.write(2, b'<<tag>>')",
    "c-stdout": "libc.puts(b'<<tag>>')\nlibc.fflush(None)",
    "own-stream": "sys.__stdout__.write('<<tag>>')\nsys.__stdout__.flush()",
    "fault-handler": "import faulthandler\nfaulthandler.dump_traceback(2)",
    "warning": "import warnings\nwarnings.showwarning('<<tag>>', UserWarning, 'f', 1, sys.__stderr__)\nsys.__stderr__.flush()",
    "the-hosts": "os.write(os.open('/proc/<<host>>/fd/1', os.O_WRONLY), b'<<tag>>')",
    "c-warning": "ctypes.pythonapi.PySys_WriteStderr(b'<<tag>>')\nlibc.perror(b'<<tag>>')",
}
CUTS = {
    "close-all": "os.closerange(3, 256)",
    "replace-all": "for fd in range(3, 64):\n    try: os.dup2(0, fd)\n    except OSError: pass",
    "read-the-wire": "for fd in range(3, 64):\n    try:\n        os.set_blocking(fd, False)\n        os.read(fd, 99)\n    except OSError: pass",
}

ATTACKS = (
    *(a for a in attacks("descriptors", "told", SECRETS) if a.name == "inherited"),
    *(
        a
        for a in attacks("descriptors", "told", SECRETS, control="process")
        if a.name != "inherited"
    ),
    *attacks("descriptors", "printed", TERMINAL),
    *attacks("descriptors", "host", CUTS, control=None, seconds=2.0),
)
