"""More processes than one, and processes that stay."""

from tests.security_tests.corpus import attacks

CHILD = "os.close(os.open('<<folder>>/child', os.O_CREAT)) or os._exit(0)"
STAY = "os.setsid() and time.sleep(20) or time.sleep(20) or os._exit(0)"

ROWS = {
    "fork": f"pid = os.fork()\nif not pid: {CHILD}\nos.waitpid(pid, 0)",
    "fork-terminal": f"pid, _ = os.forkpty()\nif not pid: {CHILD}\nos.waitpid(pid, 0)",
    "libc-fork": f"pid = libc.fork()\nif not pid: {CHILD}\nos.waitpid(pid, 0)",
    "fork-server": "import multiprocessing\np = multiprocessing.get_context('fork').Process(target=os.mkdir, args=('<<folder>>/child',))\np.start()\np.join(5)",
    "executor": "from concurrent.futures import ProcessPoolExecutor\nimport multiprocessing\nwith ProcessPoolExecutor(1, multiprocessing.get_context('fork')) as pool: pool.submit(os.mkdir, '<<folder>>/child').result(5)",
}
RAW = {
    "clone": f"pid = check(libc.syscall(56, 17, 0, 0, 0, 0))\nif not pid: {CHILD}\nos.waitpid(pid, 0)",
    "clone3": f"a = struct.pack('11Q', 0, 0, 0, 0, 17, 0, 0, 0, 0, 0, 0)\npid = check(libc.syscall(435, a, 88))\nif not pid: {CHILD}\nos.waitpid(pid, 0)",
    "raw-fork": f"pid = check(libc.syscall(57))\nif not pid: {CHILD}\nos.waitpid(pid, 0)",
    "x32-fork": f"pid = check(libc.syscall(0x40000000 + 57))\nif not pid: {CHILD}\nos.waitpid(pid, 0)",
}
STAYING = {
    "stays": f"if not os.fork(): {STAY}",
    "stays-twice-removed": f"if not os.fork():\n    if not os.fork(): {STAY}\n    os._exit(0)",
    "bomb": f"for _ in range(64):\n    try:\n        if not os.fork(): {STAY}\n    except OSError: pass",
}

# Their new session is theirs before the cell ends, and its process group is killed.
STAYING = {name: code + "\ntime.sleep(0.3)" for name, code in STAYING.items()}

ATTACKS = (
    *attacks("processes", "changed", ROWS, control="process"),
    *(
        attack
        for name, row in RAW.items()
        for attack in attacks(
            "processes",
            "changed",
            {name: row},
            control=None if name == "x32-fork" else "process",
            machine="x86_64",
        )
    ),
    *attacks("processes", "left", STAYING, control="process"),
)
