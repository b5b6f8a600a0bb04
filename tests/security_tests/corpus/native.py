"""Below Python: code that ends or corrupts the process it runs in."""

from tests.security_tests.corpus import attacks

ROWS = {
    "null-pointer": "ctypes.string_at(0)",
    "exit": "os._exit(7)",
    "c-exit": "libc.exit(7)",
    "abort": "os.abort()",
    "own-signal": "os.kill(os.getpid(), 11)",
    "raise": "libc.raise_(9) if hasattr(libc, 'raise_') else getattr(libc, 'raise')(9)",
    "fatal-error": "ctypes.pythonapi.Py_FatalError(b'over')",
    "stack": "import importlib\nimportlib.sys.setrecursionlimit(10**9)\nclass A:\n    def __getattr__(self, name): return getattr(self, name)\nA().x",
    "bytecode": "f = lambda: 0\nf.__code__ = f.__code__.replace(co_code=bytes([100, 255, 100, 255, 83, 0]) * 9, co_consts=())\nprint(f())",
    "free": "libc.free(ctypes.c_void_p(id(None)))\nlibc.memset(ctypes.c_void_p(id(type)), 255, 400)\n[type(x)() for x in (1, '', {})]",
    "finalize": "ctypes.pythonapi.Py_Exit(3)",
    "fault": "import faulthandler\nfaulthandler._sigsegv()",
}

ATTACKS = attacks("native", "killed", ROWS)
