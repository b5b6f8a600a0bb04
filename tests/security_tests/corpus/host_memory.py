"""What is in the host's memory: objects in the same process, bytes in another one."""

from tests.security_tests.corpus import attacks

OBJECTS = {
    "collector": "import gc\nprint([v for d in gc.get_objects() if type(d) is dict for v in list(d.values()) if type(v) is str and v.startswith('MEMORY-')])",
    "frames": "for frame in sys._current_frames().values():\n    while frame:\n        print([v for v in frame.f_locals.values() if type(v) is str and 'MEMORY-' in v])\n        frame = frame.f_back",
    "modules": "print([v for m in list(sys.modules.values()) for v in list(vars(m).values()) if type(v) is str and 'MEMORY-' in v])",
    "stack": "import inspect\nprint([f.frame.f_globals.get('__name__') for f in inspect.stack()], [v for m in list(sys.modules.values()) for v in list(getattr(m, '__dict__', {}).values()) if type(v) is str and v[:7] == 'MEMORY-'])",
}
SCAN = """\
import re
for line in open('/proc/<<host>>/maps'):
    found = re.match(r'([0-9a-f]+)-([0-9a-f]+) rw', line)
    if found and ('heap' in line or len(line.split()) == 5):
        start, end = int(found[1], 16), int(found[2], 16)
        print(set(re.findall(b'MEMORY-[0-9a-f]{16}', read(start, end - start))))
"""
BYTES = {
    "mem": "def read(at, size):\n    with open('/proc/<<host>>/mem', 'rb', 0) as f:\n        f.seek(at)\n        return f.read(size)\n"
    + SCAN,
    "process-vm": (
        "def read(at, size):\n    b = ctypes.create_string_buffer(size)\n"
        "    mine = struct.pack('QQ', ctypes.addressof(b), size)\n    theirs = struct.pack('QQ', at, size)\n"
        "    libc.process_vm_readv(<<host>>, mine, ctypes.c_ulong(1), theirs, ctypes.c_ulong(1), ctypes.c_ulong(0))\n    return b.raw\n"
        + SCAN
    ),
}
WRITES = {
    "write-mem": (
        "import re\nfor line in open('/proc/<<host>>/maps'):\n    found = re.match(r'([0-9a-f]+)-([0-9a-f]+) rw', line)\n"
        "    if found and len(line.split()) == 5:\n        f = open('/proc/<<host>>/mem', 'r+b', 0)\n"
        "        f.seek(int(found[1], 16))\n        try: f.write(bytes(int(found[2], 16) - int(found[1], 16)))\n        except OSError: pass"
    ),
}

ATTACKS = (
    *attacks("host memory", "told", OBJECTS, deep=True),
    *attacks("host memory", "told", BYTES, control="process"),
    *attacks("host memory", "killed", WRITES, control="process"),
)
