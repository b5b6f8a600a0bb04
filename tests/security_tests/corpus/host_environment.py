"""The host's environment, where the keys are."""

from tests.security_tests.corpus import attacks

ROWS = {
    "environ": "print(os.environ.get('HOST_SECRET'))",
    "getenv": "libc.getenv.restype = ctypes.c_char_p\nprint(libc.getenv(b'HOST_SECRET'))",
    "c-environ": "e = ctypes.POINTER(ctypes.c_char_p).in_dll(libc, 'environ')\ni = 0\nwhile e[i]:\n    print(e[i])\n    i += 1",
    "posix": "import posix\nprint(posix.environ, os.environb)",
    "traversal": "import random\nprint(random._os.environ)",
    "child": "print(subprocess.run(['/usr/bin/env'], capture_output=True).stdout)",
}
FROM_PROC = {
    # What was there when the process started is not there: the host got its secret later.
    "own": "print(open('/proc/self/environ').read())\nassert 'HOST' in os.environ['HOST_SECRET']",
}
OF_HOST = {
    "parents": "print(open('/proc/<<host>>/environ', 'rb').read())",
    "everybodys": "import glob\nfor path in glob.glob('/proc/[0-9]*/environ'):\n    try: print([v for v in open(path, 'rb').read().split(b'\\0') if b'STARTED_WITH' in v])\n    except OSError: pass",
}

ATTACKS = (
    *attacks("host environment", "told", ROWS),
    *attacks("host environment", "told", OF_HOST, control="process"),
)
