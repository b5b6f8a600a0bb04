"""The wall around a worker: what the worker gives up, for good, before its first cell.

Linux on x86_64 and aarch64, through ctypes and the standard library alone; the worker loads this
file by path, and `python _jail.py CONFIG` is a probe: it jails itself and prints what that gave.

Order: modules, resource limits, namespaces, capabilities and user, Landlock, seccomp, self-test.
A layer that this machine lacks is reported by name and reason; what a cell may not do is claimed
only for layers that are on, and every claim is tried out from inside before the first cell. A
claim that does not hold ends the worker: nothing falls back in silence.

Numbers are the kernel's: `arch/x86/entry/syscalls/syscall_64.tbl` for x86_64,
`include/uapi/asm-generic/unistd.h` for aarch64; a test compares them with installed headers.
"""

from __future__ import annotations

import ctypes
import os
import sys
from struct import pack

# As in `typing`, whose import would cost a worker a quarter of its start.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from typing import Any

    Check = tuple[int, int, tuple[int, ...], bool]

LAYERS = ("rlimits", "namespaces", "capabilities", "uid", "landlock", "sealed", "seccomp")
"""All layers; `sealed` takes the place of a missing Landlock: no file can be opened at all."""

NOBODY = 65534
"""The unprivileged user and group of every Linux distribution."""

EXTRA_BYTES = 512 * 1024 * 1024
"""Room beside a large context, for which the memory limit makes way."""

EPERM, EACCES, ENOSYS = 1, 13, 38
WORD = 0xFFFFFFFF


class JailError(Exception):
    """The jail that was asked for cannot be had here; the text says why."""


# --- Tables -------------------------------------------------------------------------------------

SYSCALLS = """
read 0 63; write 1 64; futex 202 98; close 3 57; fstat 5 80; lseek 8 62; mmap 9 222
munmap 11 215; mprotect 10 226; brk 12 214; madvise 28 233; openat 257 56; newfstatat 262 79
open 2 -; stat 4 -; lstat 6 -; poll 7 -; ppoll 271 73; select 23 -; pselect6 270 72
rt_sigaction 13 134; rt_sigprocmask 14 135; rt_sigreturn 15 139; rt_sigtimedwait 128 137
rt_sigpending 127 136; sigaltstack 131 132; restart_syscall 219 128; ioctl 16 29; pread64 17 67
readv 19 65; writev 20 66; access 21 -; faccessat 269 48; faccessat2 439 439; pipe 22 -
pipe2 293 59; sched_yield 24 124; mremap 25 216; mincore 27 232; dup 32 23; dup2 33 -; dup3 292 24
pause 34 -; nanosleep 35 101; clock_nanosleep 230 115; clock_gettime 228 113; clock_getres 229 114
gettimeofday 96 169; times 100 153; getitimer 36 102; setitimer 38 103; alarm 37 -; getpid 39 172
getppid 110 173; gettid 186 178; getuid 102 174; geteuid 107 175; getgid 104 176; getegid 108 177
socketpair 53 199; sendto 44 206; recvfrom 45 207; clone 56 220; clone3 435 435; exit 60 93
exit_group 231 94; kill 62 129; tgkill 234 131; uname 63 160; fcntl 72 25; getcwd 79 17
readlink 89 -; readlinkat 267 78; getdents64 217 61; statx 332 291; getrlimit 97 163
prlimit64 302 261; getrusage 98 165; sysinfo 99 179; prctl 157 167; arch_prctl 158 -
set_tid_address 218 96; set_robust_list 273 99; rseq 334 293; membarrier 324 283; getcpu 309 168
sched_getaffinity 204 123; sched_getparam 143 121; sched_getscheduler 145 120
sched_get_priority_max 146 125; sched_get_priority_min 147 126; get_mempolicy 239 236
getrandom 318 278; epoll_create 213 -; epoll_create1 291 20; epoll_ctl 233 21; epoll_wait 232 -
epoll_pwait 281 22; eventfd2 290 19
"""
"""Security limit: every system call that a worker may make, and its numbers on x86_64 and aarch64.

What CPython, glibc, musl, numpy and pandas need to compute, to import and to wait. Not here, so
refused: sockets, programs, processes, tracing, keys, mounts, namespaces, shared memory, and every
call that changes a file, a limit or an identity. Some are limited by `_argument_rules`.
"""

OWN_SYSCALLS = {
    "seccomp": (317, 277),
    "pivot_root": (155, 41),
    "landlock_create_ruleset": (444, 444),
    "landlock_add_rule": (445, 445),
    "landlock_restrict_self": (446, 446),
}
"""What the jail itself calls, before it is closed."""

AUDIT_ARCH = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
"""`linux/audit.h`: EM_X86_64 and EM_AARCH64, 64 bit, little endian."""

THREAD_FLAGS = (0x3D0F00, 0x7D0F00)
"""Flags of `clone` in glibc's and in musl's `pthread_create`: VM, FS, FILES, SIGHAND, THREAD,
SYSVSEM, SETTLS, PARENT_SETTID, CHILD_CLEARTID (and DETACHED). Nothing else may be cloned."""

WRITING = 0x3 | 0x40 | 0x200 | 0x400000
"""O_ACCMODE, O_CREAT, O_TRUNC, __O_TMPFILE (`asm-generic/fcntl.h`, alike on both machines)."""

FCNTL_COMMANDS = (0, 1, 2, 3, 4, 5, 1030)
"""DUPFD, GETFD, SETFD, GETFL, SETFL, GETLK, DUPFD_CLOEXEC. Not SETOWN: it sends signals."""

IOCTL_COMMANDS = (0x5401, 0x5413, 0x541B, 0x5421, 0x5450, 0x5451)
"""TCGETS, TIOCGWINSZ, FIONREAD, FIONBIO, FIONCLEX, FIOCLEX (`asm-generic/ioctls.h`)."""

PRCTL_OPTIONS = (15, 16, 0x53564D41)
"""PR_SET_NAME, PR_GET_NAME, PR_SET_VMA (`linux/prctl.h`); glibc names its memory with the last."""

LANDLOCK_READ_FILE, LANDLOCK_READ_DIR = 1 << 2, 1 << 3
LANDLOCK_FS = ((1, (1 << 13) - 1), (2, 1 << 13), (3, 1 << 14), (5, 1 << 15))
"""ABI and the file rights it brought (`linux/landlock.h`): the first 13; REFER; TRUNCATE;
IOCTL_DEV. All are handled, so all that no rule gives is refused."""

LANDLOCK_NET, LANDLOCK_SCOPES = (4, 0b11), (6, 0b11)
"""ABI 4: bind and connect TCP. ABI 6: abstract sockets and signals to outside."""

LIBRARY_PATHS = (
    "/lib",
    "/lib64",
    "/usr/lib",
    "/usr/lib64",
    "/usr/share/zoneinfo",
    "/etc/ld.so.cache",
    "/dev/null",
    "/dev/urandom",
)
"""What may be read beside Python's own directories. Never a home, a project, /etc or /proc."""

CLONE_NAMESPACES = 0x00020000 | 0x04000000 | 0x08000000 | 0x40000000
"""New mounts, host name, IPC and network (`linux/sched.h`)."""
CLONE_NEWUSER = 0x10000000

# --- The kernel ---------------------------------------------------------------------------------

_LIBC = ctypes.CDLL(None, use_errno=True)
_LIBC.syscall.restype = ctypes.c_long
_MACHINE = os.uname().machine


def _arguments(values: Iterable[Any]) -> list[Any]:
    # An int would go as 32 bits, which is wrong for a pointer or a flag word.
    return [ctypes.c_long(value) if isinstance(value, int) else value for value in values]


def _c(name: str, *values: Any) -> int:
    """Call a function of the C library.

    Raises:
        OSError: It failed.
    """
    ctypes.set_errno(0)
    result = getattr(_LIBC, name)(*_arguments(values))
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return int(result)


def _syscall(name: str, *values: Any) -> int:
    numbers = OWN_SYSCALLS[name]
    # The newer numbers are the same on every machine.
    number = numbers[_MACHINE == "aarch64"]
    return _c("syscall", number, *values)


# --- Resource limits ----------------------------------------------------------------------------


def limit_resources(memory_bytes: int, cpu_seconds: int, *, whole: bool) -> str:
    """Set every limit that the kernel keeps, soft and hard alike; none is ever raised.

    Not RLIMIT_NPROC: it counts all processes of the user, so that it would hit other workers and
    not root; no process can be made behind seccomp, and stacks bound the threads under RLIMIT_AS.

    Args:
        memory_bytes: Address space.
        cpu_seconds: Processor time of the whole session.
        whole: Whether to limit more than memory and time.
    """
    import resource  # noqa: PLC0415 - the jail alone needs it

    limits = {"RLIMIT_AS": memory_bytes, "RLIMIT_CPU": cpu_seconds}
    if whole:
        # FSIZE: not even an inherited descriptor of a file can be written.
        limits |= {"RLIMIT_NOFILE": 64, "RLIMIT_FSIZE": 0, "RLIMIT_CORE": 0}
        limits |= {"RLIMIT_MEMLOCK": 0, "RLIMIT_MSGQUEUE": 0}
    for name, wanted in limits.items():
        kind = getattr(resource, name, None)
        if kind is None:
            continue
        _, hard = resource.getrlimit(kind)
        value = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(kind, (value, value))
    return "RLIMIT_AS"


# --- Namespaces ---------------------------------------------------------------------------------


def enter_namespaces(paths: Sequence[str]) -> str:
    """Move into an empty network, and into a file system that has only `paths`.

    The new root hides names, sizes and times of files, which Landlock does not, and its fresh
    directories let another user reach an interpreter that lies below a private home.

    Raises:
        OSError: Not allowed here; the worker may still go on without.
    """
    uid, gid = os.geteuid(), os.getegid()
    try:
        _c("unshare", CLONE_NAMESPACES)
        means = "namespaces"
    except PermissionError:
        _c("unshare", CLONE_NAMESPACES | CLONE_NEWUSER)
        for name, line in (("setgroups", "deny"), ("uid_map", uid), ("gid_map", gid)):
            text = line if isinstance(line, str) else f"{line} {line} 1"
            _write(f"/proc/self/{name}", text.encode())
        means = "namespaces (of a user)"
    _c("sethostname", b"sandbox", 7)
    _change_root(paths)
    return means


def _write(path: str, data: bytes) -> None:
    fd = os.open(path, os.O_WRONLY)
    try:
        os.write(fd, data)
    finally:
        os.close(fd)


def _change_root(paths: Sequence[str]) -> None:
    bind, private, detach = 0x1000 | 0x4000, 0x4000 | 0x40000, 2  # `linux/mount.h`
    _c("mount", None, b"/", None, private, None)
    # No library lies below /proc, and /proc is everywhere.
    root = "/proc"
    _c("mount", b"tmpfs", root.encode(), b"tmpfs", 0, b"size=64k,mode=755")
    try:
        for path in paths:
            target = root + path
            if os.path.isdir(path):  # noqa: PTH112 - pathlib is slow to import
                os.makedirs(target, exist_ok=True)  # noqa: PTH103
            else:
                os.makedirs(os.path.dirname(target), exist_ok=True)  # noqa: PTH103, PTH120
                os.close(os.open(target, os.O_CREAT | os.O_WRONLY))
            _c("mount", os.fsencode(path), os.fsencode(target), None, bind, None)
        os.chdir(root)
        _syscall("pivot_root", b".", b".")
    except OSError:
        os.chdir("/")
        _c("umount2", root.encode(), detach)
        raise
    _c("umount2", b".", detach)
    os.chdir("/")


# --- Identity -----------------------------------------------------------------------------------


def _capabilities() -> int:
    header, data = pack("II", 0x20080522, 0), ctypes.create_string_buffer(24)  # version 3
    _c("capget", header, data)
    words = memoryview(data.raw).cast("I")
    return words[0] | words[3] << 32 | words[1] | words[4] << 32


def drop_bounding_set() -> None:
    """Let no capability be gained ever again; needs to be root, else there is nothing to drop."""
    try:
        for number in range(64):
            _c("prctl", 24, number, 0, 0, 0)  # PR_CAPBSET_DROP
    except OSError:
        pass  # past the last one, or without the right, and then no_new_privs does it


def leave_root(paths: Sequence[str]) -> str:
    """Become nobody, if the interpreter can still be read then.

    Raises:
        OSError: It cannot, or we may not; the worker goes on as root without capabilities.
    """
    if os.getuid() != 0:
        return f"uid {os.getuid()}"
    if not _capabilities() & 1 << 5:
        # CAP_KILL: a host without it could not signal a worker of another user.
        raise OSError(EPERM, "the host may not signal other users' processes")
    os.setgroups([])
    os.setresgid(NOBODY, NOBODY, NOBODY)
    # Effective only: can be taken back.
    os.seteuid(NOBODY)
    try:
        for path in (os.__file__, *paths):
            os.close(os.open(path, os.O_RDONLY))
    except OSError as error:
        raise OSError(EACCES, f"{error.filename} cannot be read by other users") from None
    finally:
        os.seteuid(0)
    os.setresuid(NOBODY, NOBODY, NOBODY)
    return f"uid {NOBODY}"


def drop_capabilities() -> str:
    """Give up every capability.

    Raises:
        OSError: The kernel refused.
    """
    _c("prctl", 47, 4, 0, 0, 0)  # PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL
    _c("capset", pack("II", 0x20080522, 0), bytes(24))
    if _capabilities():
        raise OSError(EPERM, "capabilities are left")
    return "no capabilities"


# --- Landlock -----------------------------------------------------------------------------------


def landlock_abi() -> int:
    """Ask for the version of Landlock.

    Raises:
        OSError: The kernel has none.
    """
    return _syscall("landlock_create_ruleset", None, 0, 1)


def landlock(paths: Sequence[str]) -> str:
    """Let `paths` be read and nothing else be touched.

    Raises:
        OSError: The kernel refused.
    """
    abi = landlock_abi()
    words = [sum(rights for since, rights in LANDLOCK_FS if abi >= since)]
    words += [rights for since, rights in (LANDLOCK_NET, LANDLOCK_SCOPES) if abi >= since]
    attributes = pack(f"{len(words)}Q", *words)
    ruleset = _syscall("landlock_create_ruleset", attributes, len(attributes), 0)
    for path in paths:
        fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
        is_dir = os.path.isdir(path)  # noqa: PTH112
        rights = LANDLOCK_READ_FILE | (LANDLOCK_READ_DIR if is_dir else 0)
        # LANDLOCK_RULE_PATH_BENEATH; the structure is packed.
        _syscall("landlock_add_rule", ruleset, 1, pack("=Qi", rights, fd), 0)
        os.close(fd)
    _syscall("landlock_restrict_self", ruleset, 0)
    os.close(ruleset)
    return f"landlock-abi{abi}"


# --- seccomp ------------------------------------------------------------------------------------


def _instruction(code: int, yes: int, no: int, value: int) -> bytes:
    return pack("HBBI", code, yes, no, value & WORD)


LOAD, AND, EQUAL, AT_LEAST, RETURN = 0x20, 0x54, 0x15, 0x35, 0x06
"""`linux/filter.h`: BPF_LD|W|ABS, BPF_ALU|AND|K, BPF_JMP|JEQ|K, BPF_JMP|JGE|K, BPF_RET|K."""

ALLOW, REFUSE, KILL = 0x7FFF0000, 0x00050000, 0x80000000
"""`linux/seccomp.h`: SECCOMP_RET_ALLOW, SECCOMP_RET_ERRNO, SECCOMP_RET_KILL_PROCESS."""


def _is(argument: int, *values: int, mask: int = WORD) -> Check:
    """Demand one of `values`, in the low half: the kernel reads these arguments as 32 bits."""
    return 2 * argument, mask, values, True


def _is_not(argument: int, value: int) -> Check:
    return 2 * argument, WORD, (value,), False


def _is_null(argument: int) -> tuple[Check, Check]:
    return (2 * argument, WORD, (0,), True), (2 * argument + 1, WORD, (0,), True)


def _argument_rules(pid: int, lifeline: int) -> dict[str, tuple[Check, ...]]:
    """Say what the arguments of some calls must be.

    The lifeline's descriptor can be neither closed, replaced nor silenced (see `_worker`).
    """
    return {
        "clone": (_is(0, *THREAD_FLAGS),),
        "kill": (_is(0, pid),),
        "tgkill": (_is(0, pid),),
        "prctl": (_is(0, *PRCTL_OPTIONS),),
        "socketpair": (_is(0, 1),),  # AF_UNIX, for the loop of asyncio
        "sendto": _is_null(4),  # to the peer of that pair only
        "ioctl": (_is(1, *IOCTL_COMMANDS),),
        "fcntl": (_is(1, *FCNTL_COMMANDS), _is_not(0, lifeline)),
        "close": (_is_not(0, lifeline),),
        "dup2": (_is_not(1, lifeline),),
        "dup3": (_is_not(1, lifeline),),
        "prlimit64": (_is(0, 0, pid), *_is_null(2)),
        "open": (_is(1, 0, mask=WRITING),),
        "openat": (_is(2, 0, mask=WRITING),),
    }


def _body(checks: Iterable[Check]) -> list[bytes]:
    """Allow a call if every check holds."""
    code = []
    refuse = _instruction(RETURN, 0, 0, REFUSE | EPERM)
    for word, mask, values, wanted in checks:
        code.append(_instruction(LOAD, 0, 0, 16 + 4 * word))
        if mask != WORD:
            code.append(_instruction(AND, 0, 0, mask))
        for index, value in enumerate(values):
            # Wanted: jump over the other values and the refusal. Unwanted: fall into it.
            yes, no = (len(values) - index, 0) if wanted else (0, 1)
            code.append(_instruction(EQUAL, yes, no, value))
        code.append(refuse)
    code.append(_instruction(RETURN, 0, 0, ALLOW))
    return code


def build_filter(machine: str, pid: int, lifeline: int, *, sealed: bool) -> bytes:
    """Make the program that judges every system call.

    An unknown call fails with EPERM, so that a cell gets an exception and not a dead worker.

    Args:
        machine: "x86_64" or "aarch64".
        pid: The worker's own process, the only one it may signal.
        lifeline: A descriptor that stays as it is.
        sealed: Open no file at all.
    """
    column = 1 + (machine == "aarch64")
    rules = _argument_rules(pid, lifeline)
    fixed = {"clone3": ENOSYS}  # its flags lie in memory; the C libraries then use `clone`
    if sealed:
        fixed |= {"open": EACCES, "openat": EACCES}
    code = [
        _instruction(LOAD, 0, 0, 4),
        _instruction(EQUAL, 1, 0, AUDIT_ARCH[machine]),
        _instruction(RETURN, 0, 0, KILL),
        _instruction(LOAD, 0, 0, 0),
    ]
    if machine == "x86_64":
        # Numbers of the x32 ABI would pass by the table.
        code += [_instruction(AT_LEAST, 0, 1, 0x40000000)]
        code += [_instruction(RETURN, 0, 0, REFUSE | ENOSYS)]
    for entry in SYSCALLS.replace("\n", ";").split(";"):
        parts = entry.split()
        if not parts or parts[column] == "-":
            continue
        name, number = parts[0], int(parts[column])
        if name in fixed:
            body = [_instruction(RETURN, 0, 0, REFUSE | fixed[name])]
        else:
            body = _body(rules.get(name, ()))
        code += [_instruction(EQUAL, 0, len(body), number), *body]
    code.append(_instruction(RETURN, 0, 0, REFUSE | EPERM))
    return b"".join(code)


def seccomp(lifeline: int, *, sealed: bool) -> str:
    """Let the kernel judge every system call from here on.

    Raises:
        OSError: The kernel has no such filter, or there is no table for this machine.
    """
    if _MACHINE not in AUDIT_ARCH or sys.maxsize < 1 << 32:
        raise OSError(ENOSYS, f"no table of system calls for {_MACHINE}")
    program = build_filter(_MACHINE, os.getpid(), lifeline, sealed=sealed)
    memory = ctypes.create_string_buffer(program, len(program))
    # struct sock_fprog: a length, padding, a pointer.
    head = pack("H6xQ", len(program) // 8, ctypes.addressof(memory))
    # SECCOMP_SET_MODE_FILTER with TSYNC: a thread that we do not know of is not left out.
    if _syscall("seccomp", 1, 1, head):
        raise OSError(EPERM, "a thread could not be brought behind the filter")
    return "seccomp-sealed" if sealed else "seccomp"


# --- What it amounts to -------------------------------------------------------------------------


def guaranteed(on: dict[str, str]) -> dict[str, str]:
    """Say what follows from the layers that are on: guarantee to means.

    Claims follow the measured ablation: without seccomp a cell can still send datagrams, make
    processes, change times and modes of files, and run a program out of memory.
    """
    wall = on.get("seccomp")
    landlock_ = on.get("landlock")
    reads = landlock_ or (wall if wall == "seccomp-sealed" else None)

    def own(what: str) -> str:
        return f", {what}" if "namespaces" in on else ""

    found: dict[str, str | None] = {
        "network": wall and wall + own("empty network"),
        "file_reads": reads and reads + own("own root directory"),
        "file_writes": wall,
        "exec": wall,
        "environment": reads and "clean environment",
        "host_memory": wall or landlock_,
        "host_signals": wall,
        "memory_cap": wall and on.get("rlimits"),
        "cpu_cap": wall and on.get("rlimits") and "RLIMIT_CPU",
        "process_cap": wall,
    }
    return {name: means for name, means in found.items() if means}


def _is_refused(attempt: Callable[[], object], *errors: int) -> bool:
    """Say whether an attempt fails, with one of these errors if any are given."""
    try:
        attempt()
    except OSError as error:
        return not errors or error.errno in errors
    except ValueError:
        return True  # `resource`, when a limit would be raised
    return False


def _fork() -> None:
    if os.fork() == 0:
        os._exit(0)


def _cannot_raise(name: str) -> bool:
    import resource  # noqa: PLC0415 - the jail alone needs it

    kind = getattr(resource, name)
    soft, hard = resource.getrlimit(kind)
    if soft == resource.RLIM_INFINITY:
        return False
    return _is_refused(lambda: resource.setrlimit(kind, (soft, hard + 1)))


def _trials() -> dict[str, Callable[[], bool]]:
    """Give for each claim an attempt from inside; all are harmless if they succeed."""
    parent = os.getppid() or 1
    secret = ("/", "/etc/passwd", "/proc/self/environ", f"/proc/{parent}/environ")
    return {
        "network": lambda: all(
            # INET, INET6, UNIX, NETLINK, PACKET as datagrams.
            _is_refused(lambda family=family: _c("socket", family, 2, 0), EPERM)  # type: ignore[misc]
            for family in (2, 10, 1, 16, 17)
        ),
        "file_reads": lambda: all(
            _is_refused(lambda path=path: os.close(os.open(path, os.O_RDONLY)))  # type: ignore[misc]
            for path in secret
        ),
        "file_writes": lambda: (
            _is_refused(lambda: os.close(os.open("/dev/null", os.O_WRONLY)))
            # Without a wall the error would be EEXIST.
            and _is_refused(lambda: os.mkdir("/"), EPERM)  # noqa: PTH102
        ),
        "exec": lambda: _is_refused(lambda: os.execv("/", ["x"]), EPERM),  # noqa: S606 - EACCES otherwise
        # PTRACE_DETACH from one that is not traced: ESRCH otherwise.
        "host_memory": lambda: _is_refused(lambda: _c("ptrace", 17, parent, 0, 0), EPERM),
        "host_signals": lambda: _is_refused(lambda: os.kill(parent, 0), EPERM),
        "memory_cap": lambda: _cannot_raise("RLIMIT_AS"),
        "cpu_cap": lambda: _cannot_raise("RLIMIT_CPU"),
        "process_cap": lambda: _is_refused(_fork, EPERM),
    }


def self_test(claims: dict[str, str]) -> None:
    """Try from inside whatever is claimed to be impossible.

    Raises:
        JailError: Something was possible.
    """
    trials = _trials()
    if "seccomp" not in claims.get("host_memory", ""):
        # Landlock refuses to trace with EPERM too, but only what exists and is not traced.
        trials.pop("host_memory")
    broken = [name for name in claims if name in trials and not trials[name]()]
    if broken:
        msg = f"the jail is in place but does not hold: {', '.join(broken)}"
        raise JailError(msg)


# --- All of it ----------------------------------------------------------------------------------


def readable_paths(extra: Iterable[str]) -> list[str]:
    """Give the directories and files that a worker may read, as far as they exist."""
    site = sys.modules.get("site")
    packages = site.getsitepackages() if site is not None else []
    archives = [
        path
        for path in sys.path
        if path.endswith((".zip", "lib-dynload")) and path.startswith(sys.base_exec_prefix)
    ]
    found = [
        os.path.dirname(os.__file__),  # noqa: PTH120
        *archives,
        *packages,
        os.path.join(sys.base_prefix, "lib"),  # noqa: PTH118 - libraries of conda and pyenv
        *LIBRARY_PATHS,
        *extra,
    ]
    return [path for path in dict.fromkeys(found) if os.path.exists(path)]  # noqa: PTH110


def _preload(modules: Iterable[str]) -> None:
    from importlib import import_module  # noqa: PLC0415 - only where Landlock is missing

    for name in modules:
        try:
            import_module(name)
        except ImportError:
            continue  # of another version of Python, or not installed


def apply(config: dict[str, Any], context_bytes: int) -> dict[str, Any]:
    """Put the calling process into the jail.

    Args:
        config: `isolation`, `layers`, `memory_bytes`, `cpu_seconds`, `read_only_paths`,
            `preload`, `lifeline`, as `ProcessSandbox` makes it.
        context_bytes: Size of the context, for which the memory limit makes way.

    Returns:
        `guarantees`: what holds, by what means; `missing`: layer to the reason why it is off.

    Raises:
        JailError: Not even the least jail can be had, or it does not hold.
    """
    memory = max(config["memory_bytes"], 4 * context_bytes + EXTRA_BYTES)
    if config["isolation"] == "process":
        limit_resources(memory, config["cpu_seconds"], whole=False)
        return {"guarantees": {}, "missing": {"jail": "isolation='process' was asked for"}}
    if sys.platform != "linux":
        return _elsewhere(config, memory)
    on: dict[str, str] = {}
    missing: dict[str, str] = {}

    def put(name: str, layer: Callable[[], str]) -> None:
        if name not in config["layers"]:
            missing[name] = "switched off"
            return
        try:
            on[name] = layer()
        except (OSError, AttributeError) as error:
            missing[name] = getattr(error, "strerror", None) or str(error)

    sys.dont_write_bytecode = True
    paths = readable_paths(config["read_only_paths"])
    sealed = _must_seal(config)
    if sealed:
        _preload(config["preload"])
    put("rlimits", lambda: limit_resources(memory, config["cpu_seconds"], whole=True))
    put("namespaces", lambda: enter_namespaces(paths))
    if "capabilities" in config["layers"]:
        drop_bounding_set()
    put("uid", lambda: leave_root(paths))
    put("capabilities", drop_capabilities)
    _c("prctl", 38, 1, 0, 0, 0)  # PR_SET_NO_NEW_PRIVS
    put("landlock", lambda: landlock(paths))
    put("seccomp", lambda: seccomp(config["lifeline"], sealed=sealed))
    if not on.keys() & {"landlock", "seccomp"}:
        msg = f"neither seccomp ({missing['seccomp']}) nor Landlock ({missing['landlock']})"
        raise JailError(msg)
    claims = guaranteed(on)
    self_test(claims)
    return {"guarantees": claims, "missing": missing, "layers": on}


def _elsewhere(config: dict[str, Any], memory: int) -> dict[str, Any]:
    """Do on macOS what `apply` does on Linux, by the sibling file."""
    platform: str = sys.platform
    if platform != "darwin":
        msg = f"there is no jail for {platform}"
        raise JailError(msg)
    from importlib.machinery import SourceFileLoader  # noqa: PLC0415 - only there
    from types import ModuleType  # noqa: PLC0415

    module = ModuleType("_jail_macos")
    SourceFileLoader("_jail_macos", __file__.replace("_jail", "_jail_macos")).exec_module(module)
    limit_resources(memory, config["cpu_seconds"], whole=True)
    try:
        report: dict[str, Any] = module.apply(readable_paths(config["read_only_paths"]))
    except (OSError, AttributeError, ValueError) as error:
        msg = f"Seatbelt is not to be had, or does not hold: {error}"
        raise JailError(msg) from None
    return report


def _must_seal(config: dict[str, Any]) -> bool:
    """Say whether files must be refused by seccomp, because Landlock cannot do it."""
    if "sealed" not in config["layers"]:
        return False
    try:
        is_landlocked = "landlock" in config["layers"] and landlock_abi() > 0
    except OSError:
        is_landlocked = False
    if not is_landlocked and config["read_only_paths"]:
        msg = "read_only_paths need Landlock, which is missing here"
        raise JailError(msg)
    return not is_landlocked


def main() -> None:
    """Probe: go to jail, and print what that gave."""
    import json  # noqa: PLC0415 - the worker has it already

    try:
        report = apply(json.loads(sys.argv[1]), 0)
    except (JailError, OSError) as error:
        report = {"guarantees": {}, "missing": {"jail": str(error)}, "error": str(error)}
    os.write(1, json.dumps(report).encode())
    os._exit(0)


if __name__ == "__main__":
    main()
