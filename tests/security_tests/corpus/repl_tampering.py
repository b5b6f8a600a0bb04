"""The REPL's own names, the modules around it, and the process it runs in."""

from tests.security_tests.corpus import attacks

# Later cells of the same session see the REPL as it was, in every mode.
NAMES = {
    "context": "context = 'another'",
    "context-by-globals": "globals()['context'] = 'another'",
    "function": "llm_query = lambda prompt: 'a lie'",
    "functions-deleted": "del llm_query, FINAL, context",
    "final": "def FINAL(value): pass",
    "everything-cleared": "globals().clear()",
    "builtins-name": "print = lambda *a: None\ndel print",
    "builtins-replaced": "__builtins__ = {}",
    "builtins-item": "__builtins__['len'] = lambda x: 7\n__builtins__['print'] = None",
    "builtins-cleared": "__builtins__.clear()",
    "builtins-module": "len.__self__.len = lambda x: 7",
    "builtins-module-deleted": "del len.__self__.len",
    "answer": "answer = {'content': 'a lie', 'ready': False}",
    "answer-ready-in-an-error": "answer['content'], answer['ready'] = 'a lie', True\n1 / 0",
    "main-name": "__name__ = 'x'\n__doc__ = 7",
    "import-of-names": "import sys\nfrom rlm import llm_query as q\nq = None",
}
HOST = {
    "builtins": "import builtins\nbuiltins.len = lambda x: 7",
    "modules": "sys.modules['json'] = None",
    "module-function": "import json\njson.dumps.__code__ = (lambda *a, **k: 'null').__code__",
    "our-wire": "import langchain_replm.sandbox._wire as w\nw.Session.receive = lambda *a, **k: None",
    "our-state": "m = sys.modules['tests.security_tests.integrity']\nm.HOST['state'] = 'changed'",
    "environment": "os.environ['PATH'] = '/tmp'\nos.environ['LD_PRELOAD'] = 'x'",
    "folder": "os.chdir('/var')",
    "umask": "os.umask(0o077)",
    "search-path": "import importlib\nimportlib.sys.path.insert(0, '/tmp')",
    "descriptor-limit": "import resource\nresource.setrlimit(resource.RLIMIT_NOFILE, (300, 300))",
    "recursion-limit": "import importlib\nimportlib.sys.setrecursionlimit(777)",
    "switch-interval": "import importlib\nimportlib.sys.setswitchinterval(1)",
    "collector": "import gc\ngc.disable()",
    "random-state": "import random\nrandom.seed(1)",
    "excepthook": "import importlib\nimportlib.sys.excepthook = print",
    "trace": "threading.settrace(lambda *a: None)",
    "real-stdout": "import importlib\nimportlib.sys.stdout = None",
    "standard-output": "os.dup2(os.open('/dev/null', os.O_RDONLY), 1)",
    "user": "os.setresuid(65534, 65534, 0) if os.getuid() == 0 else os.nice(1)",
    "stack-limit": "import resource\nresource.setrlimit(resource.RLIMIT_STACK, (2**20, resource.getrlimit(resource.RLIMIT_STACK)[1]))",
}

ATTACKS = (
    *attacks("repl tampering: names", "falsified", NAMES, control=None, bare=True),
    *attacks("repl tampering: host", "host", HOST, deep=True),
)
