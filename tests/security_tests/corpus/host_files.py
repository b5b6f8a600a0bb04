"""The host's files: read, listed, written, moved, changed in any other way."""

from tests.security_tests.corpus import attacks

READS = {
    "open": "print(open('<<file>>').read())",
    "os-open": "print(os.read(os.open('<<file>>', os.O_RDONLY), 99))",
    "file-io": "import io\nprint(io.FileIO('<<file>>').readall())",
    "pathlib": "import pathlib\nprint(pathlib.Path('<<file>>').read_text())",
    "own-root": "print(open('/proc/self/root<<file>>').read())",
    "hosts-root": "print(open('/proc/<<host>>/root<<file>>').read())",
    "hosts-folder": "print(open('/proc/<<host>>/cwd/../../../..<<file>>').read())",
    "libc": "fd = check(libc.open(b'<<file>>', 0))\nprint(os.read(fd, 99))",
    "stdio": "libc.fopen.restype = ctypes.c_void_p\nf = libc.fopen(b'<<file>>', b'r')\nb = ctypes.create_string_buffer(99)\nprint(libc.fread(b, 1, 99, ctypes.c_void_p(f)) and b.value)",
    "openat2": "fd = check(libc.syscall(437, -100, b'<<file>>', bytes(24), 24))\nprint(os.read(fd, 99))",
    "by-handle": "h = ctypes.create_string_buffer(struct.pack('Ii', 64, 0), 96)\nm = ctypes.c_int()\ncheck(libc.name_to_handle_at(-100, b'<<file>>', h, ctypes.byref(m), 0))\nfd = check(libc.open_by_handle_at(os.open('<<folder>>', os.O_RDONLY), h, 0))\nprint(os.read(fd, 99))",
    "path-only": "fd = os.open('<<file>>', os.O_PATH)\nprint(open(f'/proc/self/fd/{fd}').read())",
    "mapped": "import mmap\nfd = os.open('<<file>>', os.O_RDONLY)\nprint(mmap.mmap(fd, 0, prot=mmap.PROT_READ)[:])",
    "link-cache": "import linecache\nprint(linecache.getlines('<<file>>'))",
    "source-loader": "from importlib.machinery import SourceFileLoader\nprint(SourceFileLoader('x', '<<file>>').get_data('<<file>>'))",
    "as-a-module": "import runpy\ntry:\n    runpy.run_path('<<file>>')\nexcept Exception as error:\n    print(open('<<file>>').read(), error)",
    "sqlite": "import urllib.request\nprint(urllib.request.urlopen('file://<<file>>').read())",
    "walk": "for folder, _, files in os.walk('/var/tmp'):\n    for name in files:\n        if name == 'file': print(open(os.path.join(folder, name)).read())",
}

CHANGES = {
    "write": "open('<<file>>', 'w').write('x')",
    "append": "open('<<file>>', 'a').write('x')",
    "create": "open('<<folder>>/new', 'x')",
    "truncate": "os.truncate('<<file>>', 0)",
    "remove": "os.unlink('<<file>>')",
    "rename": "os.rename('<<file>>', '<<file>>2')",
    "exchange": "open('<<folder>>/other', 'w')\nos.replace('<<folder>>/other', '<<file>>')",
    "folder": "os.mkdir('<<folder>>/made')",
    "symlink": "os.symlink('/', '<<folder>>/link')",
    "hard-link": "os.link('<<file>>', '<<folder>>/link')",
    "fifo": "os.mkfifo('<<folder>>/fifo')",
    "mode": "os.chmod('<<file>>', 0o777)",
    "times": "os.utime('<<file>>', (1, 1))",
    "mapped-write": "import mmap\nfd = os.open('<<file>>', os.O_RDWR)\nmmap.mmap(fd, 0)[0:1] = b'x'",
    "log": "import logging\nlogging.basicConfig(filename='<<folder>>/log')\nlogging.error('x')",
    "database": "import dbm.dumb\ndbm.dumb.open('<<folder>>/base')['k'] = 'v'",
    "temporary": "import tempfile\ntempfile.mkdtemp(dir='<<folder>>')",
    "bytecode": "import py_compile\npy_compile.compile(os.__file__, cfile='<<folder>>/x.pyc')",
    "socket-file": "socket.socket(socket.AF_UNIX).bind('<<folder>>/socket')",
    "allocate": "os.posix_fallocate(os.open('<<file>>', os.O_WRONLY), 0, 10**6)",
    "copy": "import shutil\nshutil.copytree('<<folder>>', '<<folder>>/copy')",
}

ATTACKS = (
    *attacks("host files: read", "told", READS),
    *attacks("host files: change", "changed", CHANGES),
)
