"""Out of the machine, or to another program on it."""

from tests.security_tests.corpus import attacks

ROWS = {
    "tcp": "socket.create_connection(('127.0.0.1', <<port>>), 2)",
    "tcp-nonblocking": "s = socket.socket()\ns.setblocking(False)\ns.connect_ex(('127.0.0.1', <<port>>))\ntime.sleep(0.05)",
    "tcp-libc": "s = check(libc.socket(2, 1, 0))\ncheck(libc.connect(s, struct.pack('>2sHI8x', struct.pack('H', 2), <<port>>, 0x7f000001), 16))",
    "tcp-fast-open": "socket.socket().sendto(b'x', 0x20000000, ('127.0.0.1', <<port>>))",
    "tcp-asyncio": "import asyncio\nawait asyncio.open_connection('127.0.0.1', <<port>>)",
    "http": "import urllib.request\ntry: urllib.request.urlopen('http://127.0.0.1:<<port>>/', timeout=0.1)\nexcept OSError: pass",
    "ftp": "import ftplib\ntry: ftplib.FTP().connect('127.0.0.1', <<port>>, timeout=0.1)\nexcept OSError: pass",
    "mail": "import smtplib\ntry: smtplib.SMTP('127.0.0.1', <<port>>, timeout=0.1)\nexcept OSError: pass",
    "log-handler": "import logging.handlers\nlogging.handlers.DatagramHandler('127.0.0.1', <<udp>>).send(b'x')",
    "udp": "socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'x', ('127.0.0.1', <<udp>>))",
    "udp-message": "socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendmsg([b'x'], [], 0, ('127.0.0.1', <<udp>>))",
    "unix": "socket.socket(socket.AF_UNIX).connect('<<unix>>')",
    "abstract": "socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM).sendto(b'x', b'\\0<<abstract>>')",
    "pair-to-abstract": "a, b = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)\nb.close()\na.sendto(b'x', b'\\0<<abstract>>')",
    "netlink": "socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 2).sendto(struct.pack('IHHII', 16, 16, 0, 0, 0), (<<netlink>>, 0))",
    "child-process": "subprocess.run([sys.executable, '-c', 'import socket; socket.create_connection((\"127.0.0.1\", <<port>>), 2)'])",
    "other-network": "libc.unshare(0x40000000)\nlibc.setns(os.open('/proc/<<host>>/ns/net', 0), 0)\nsocket.create_connection(('127.0.0.1', <<port>>), 2)",
}
# An order that goes past the system calls: a ring of requests (IORING_OP_SOCKET and _CONNECT).
RING = {
    "ring": "fd = check(libc.syscall(425, 4, ctypes.create_string_buffer(120)))\nsocket.create_connection(('127.0.0.1', <<port>>), 2)",
}

ATTACKS = (
    *(a for a in attacks("network", "contact", ROWS) if a.name != "other-network"),
    *attacks("network", "contact", {"other-network": ROWS["other-network"]}, control="process"),
    *attacks("network", "contact", RING, control=None),
)
