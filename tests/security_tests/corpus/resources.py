"""Everything that can be used up. Bombs limit themselves."""

from tests.security_tests.corpus import attacks

MEMORY = {
    "bytes": "kept = [bytearray(b'x') * (50 * 2**20) for _ in range(6)]",
    "text": "kept = ('x' * 2**20) * 300",
    "list": "kept = list(range(4_000_000))",
    "dict": "kept = {n: str(n) for n in range(800_000)}",
    "mapped": "import mmap\nm = mmap.mmap(-1, 300 * 2**20)\nfor at in range(0, len(m), 4096): m[at] = 1",
    "addresses": "import mmap\nkept = [mmap.mmap(-1, 500 * 2**20) for _ in range(3)]",
}
ENDLESS = {
    "regular-expression": "import re\nre.match(r'(a+)+$', 'a' * 60 + 'b')",
    "sum-in-c": "sum(range(10**14))",
    "sleeps": "import time\ntime.sleep(1000)",
    "lock": "import _thread\nl = _thread.allocate_lock()\nl.acquire()\nl.acquire()",
}
ENDLESS_TOO = {
    # Python loops are stopped in mode "none" too; loops in C stop its host for good, like two above.
    "loop": "while True: pass",
    "catches-everything": "while True:\n    try:\n        while True: pass\n    except BaseException: pass",
    "recursion-of-generators": "def g():\n    while True: yield from g()\nimport itertools\nsum(1 for _ in itertools.count())",
    "power": "x = 7 ** (10 ** 9)",
    "ignores-signals": "import signal\nfor n in range(1, 32):\n    try: signal.signal(n, signal.SIG_IGN)\n    except (OSError, ValueError): pass\nsum(range(10**14))",
    "blocks-signals": "import signal\nsignal.pthread_sigmask(signal.SIG_BLOCK, range(1, 32))\nsum(range(10**14))",
}
THREADS = {
    "threads": "for _ in range(200): threading.Thread(target=time.sleep, args=(30,), daemon=True).start()",
    "threads-that-start-threads": "def more(n):\n    if n: threading.Thread(target=more, args=(n - 1,), daemon=True).start()\n    time.sleep(30)\nmore(100)",
}
FILES = {
    "disk": "with open('<<folder>>/big', 'wb') as f:\n    for _ in range(10): f.write(bytes(2**20))",
    "inodes": "for n in range(500): open(f'<<folder>>/{n}', 'w')",
}
OUTPUT = {
    "many-prints": "for _ in range(300_000): print('x' * 1000)",
    "one-print": "print('x' * 300_000_000)",
    "no-newline": "import sys\nfor _ in range(300): sys.stdout.write('x' * 10**6)",
    "errors": "import sys\nfor _ in range(300): sys.stderr.write('y' * 10**6)",
    "huge-error": "raise ValueError('x' * 300_000_000)",
    "huge-last-expression": "'x' * 300_000_000",
    "many-variables": "for n in range(5_000): globals()[f'name_{n}'] = n",
    "huge-names": "for n in range(10): globals()['n' * 10**7 + str(n)] = n",
    "many-calls": "for n in range(300): llm_query('x')",
    "wide-batch": "llm_query_batch(['x' * 1000] * 12_000)",
    "huge-batch": "llm_query_batch(['x' * 10**6] * 300)",
    "many-threads-of-calls": "from concurrent.futures import ThreadPoolExecutor\nwith ThreadPoolExecutor(12) as pool: list(pool.map(llm_query, ['x' * 10**6] * 12))",
    "huge-code": "exec(compile('x = [' + '1,' * 10**6 + ']', 'f', 'exec')) if False else None\nx = eval('[' + '1,' * 10**6 + ']') if 'eval' in dir(__builtins__) else [1] * 10**6",
}
STACK = {
    "deep-recursion": "import sys\nsys.setrecursionlimit(10**9)\ndef f(): f()\nf()",
}
DESCRIPTORS = {
    "pipes": "kept = []\nfor _ in range(600): kept.append(os.pipe())",
    "epolls": "import select\nkept = [select.epoll() for _ in range(600)]",
}

ATTACKS = (
    *attacks("resources: memory", "grew", MEMORY, heavy=True),
    *attacks("resources: time", "left", ENDLESS, seconds=0.4, heavy=True),
    *attacks("resources: time", "left", ENDLESS_TOO, seconds=0.4, control=None, heavy=True),
    *attacks("resources: threads", "left", THREADS, heavy=True),
    *attacks("resources: files", "changed", FILES, heavy=True),
    *attacks("resources: output", "grew", OUTPUT, control=None, heavy=True),
    *attacks("resources: stack", "grew", STACK, control=None, seconds=0.4, heavy=True),
    *attacks("resources: descriptors", "left", DESCRIPTORS, heavy=True),
)
