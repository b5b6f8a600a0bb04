"""Other programs: started in place of the worker or beside it."""

from tests.security_tests.corpus import attacks

TOUCH = "/bin/touch <<folder>>/ran"
ARGV = "['/bin/touch', '<<folder>>/ran']"

ROWS = {
    "system": f"os.system('{TOUCH}')",
    "popen": f"os.popen('{TOUCH}').read()",
    "subprocess": f"subprocess.run({ARGV})",
    "shell": f"subprocess.run('{TOUCH}', shell=True)",
    "spawn": f"os.waitpid(os.posix_spawn('/bin/touch', {ARGV}, {{}}), 0)",
    "execv": f"os.execv('/bin/touch', {ARGV})",
    "execve-by-descriptor": f"os.execve(os.open('/bin/touch', os.O_RDONLY), {ARGV}, {{}})",
    "libc-system": f"libc.system(b'{TOUCH}')",
    "libc-exec": "libc.execl(b'/bin/touch', b'touch', b'<<folder>>/ran', None)",
    "loader": "os.execv('/lib64/ld-linux-x86-64.so.2', ['ld', '/bin/touch', '<<folder>>/ran'])",
    "terminal": f"import pty\npty.spawn({ARGV})",
    "asyncio": f"import asyncio\np = await asyncio.create_subprocess_exec(*{ARGV})\nawait p.wait()",
    "multiprocessing": "import multiprocessing\np = multiprocessing.get_context('spawn').Process(target=os.mkdir, args=('<<folder>>/ran',))\np.start()\np.join(5)",
    "unwritten-file": f"fd = os.memfd_create('x')\nos.write(fd, open('/bin/touch', 'rb').read())\nos.execve(fd, {ARGV}, {{}})",
    "traversal": f"import random\nrandom._os.system('{TOUCH}')",
    "mapped-code": (
        # A shell code of its own: chmod("<folder>", 0) by a raw system call.
        "import mmap\nm = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)\n"
        "path = b'<<file>>\\0'\nm[256:256 + len(path)] = path\n"
        "at = ctypes.addressof(ctypes.c_char.from_buffer(m))\n"
        "code = b'\\x48\\xbf' + struct.pack('Q', at + 256) + b'\\x31\\xf6\\xb8\\x5a\\0\\0\\0\\x0f\\x05\\xc3'\n"
        "m[:len(code)] = code\nprint(ctypes.CFUNCTYPE(ctypes.c_long)(at)())"
    ),
}

ATTACKS = attacks("programs", "changed", ROWS)
