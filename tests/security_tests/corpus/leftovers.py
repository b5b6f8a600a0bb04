"""What goes on after a cell has ended."""

from tests.security_tests.corpus import attacks

LATE = "import threading, time\n"
# The worker's own console and calls keep these out, in every mode.
TALK = {
    "late-print": LATE
    + "def run():\n    for _ in range(30):\n        time.sleep(0.01)\n        print('<<tag>>')\nthreading.Thread(target=run).start()",
    "late-write": LATE
    + "import sys\nout = sys.stdout\ndef run():\n    for _ in range(30):\n        time.sleep(0.01)\n        out.write('<<tag>>')\nthreading.Thread(target=run).start()",
    "late-timer": LATE + "threading.Timer(0.05, print, ['<<tag>>']).start()",
    "late-call": LATE
    + "def run():\n    time.sleep(0.05)\n    llm_query('<<tag>>')\nthreading.Thread(target=run).start()",
    "late-final": LATE
    + "def run():\n    time.sleep(0.05)\n    FINAL('<<tag>>')\nthreading.Thread(target=run).start()",
    "late-error": LATE
    + "def run():\n    time.sleep(0.05)\n    raise ValueError('<<tag>>')\nthreading.Thread(target=run).start()",
    "pool-that-stays": "from concurrent.futures import ThreadPoolExecutor\nimport time\npool = ThreadPoolExecutor(2)\npool.submit(lambda: (time.sleep(0.05), print('<<tag>>')))",
    "asyncio-task": "import asyncio\nasync def late():\n    await asyncio.sleep(0.05)\n    print('<<tag>>')\nasync def main(): asyncio.ensure_future(late())\nawait main()",
    "destructor": "class A:\n    def __del__(self): pass\na = A()\nimport weakref\nweakref.finalize(a, print, '<<tag>>')",
    "replaced-stdout": "import sys, io\nsys.stdout = io.StringIO()\nsys.stderr = None",
    "closed-stdout": "import sys\nsys.stdout.close()",
    "ready-left-behind": "try:\n    answer['ready'] = True\n    1 / 0\nexcept ZeroDivisionError: answer['content'] = ''\nanswer['ready'] = False",
    "half-a-line": "print('<<tag>>', end='')",
}
FILES = {
    "at-exit": "import atexit\natexit.register(os.mkdir, '<<folder>>/at-exit')",
    "late-file": "threading.Timer(0.05, os.mkdir, ['<<folder>>/late']).start()",
    "non-daemon-thread": "def run():\n    time.sleep(0.1)\n    os.mkdir('<<folder>>/late')\nthreading.Thread(target=run, daemon=False).start()",
}
THREADS = {
    "burning-thread": "def run():\n    end = time.monotonic() + 3\n    while time.monotonic() < end: pass\nthreading.Thread(target=run, daemon=True).start()",
    "sleeping-thread": "threading.Thread(target=time.sleep, args=(3,), daemon=True).start()",
}
HOOKS = {
    "alarm": "import signal\nsignal.alarm(1)\nsignal.setitimer(signal.ITIMER_REAL, 0.01)\ntime.sleep(0.3)",
}

ATTACKS = (
    *attacks("leftovers: talk", "falsified", TALK, control=None, wait=0.1, bare=True),
    *(a for a in attacks("leftovers: files", "changed", FILES, wait=0.2) if a.name != "at-exit"),
    *(
        a
        for a in attacks("leftovers: files", "changed", FILES, control=None)
        if a.name == "at-exit"
    ),
    *attacks("leftovers: threads", "left", THREADS),
    *attacks("leftovers: signals", "killed", HOOKS),
)
