"""A process without network, other processes and the rest of the file system, for files that run code when they are opened.

Files are closed off by Landlock (Linux 6.2) or, without it, by a mount namespace; network, processes, signals and
System V memory by a seccomp filter, and the network by a namespace besides, where one can be had. Names of files can be
asked for (`stat`), their content cannot be read. No privilege is needed.
"""

from __future__ import annotations

import ctypes
import os
import platform
import resource
import signal
import struct
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from evermodel.core.errors import PermanentError

# What Python and its libraries read beside their own folders.
_SYSTEM = (
    "/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/local/lib", "/usr/share/zoneinfo", "/etc/ld.so.cache", "/etc/localtime",
    "/dev/null", "/dev/zero", "/dev/urandom", "/sys/devices/system/cpu", "/proc/cpuinfo", "/proc/meminfo",
)  # fmt: skip
_ARCHITECTURES = {"x86_64": (0xC000003E, 0), "aarch64": (0xC00000B7, 1)}  # AUDIT_ARCH, place in the tables
# Numbers of system calls on x86-64 and on arm64; -1: there is none.
_REFUSED = {
    "socket": (41, 198), "socketpair": (53, 199), "connect": (42, 203), "bind": (49, 200), "listen": (50, 201),
    "accept": (43, 202), "accept4": (288, 242), "sendto": (44, 206), "sendmsg": (46, 211), "sendmmsg": (307, 269),
    "fork": (57, -1), "vfork": (58, -1), "execve": (59, 221), "execveat": (322, 281), "ptrace": (101, 117),
    "process_vm_readv": (310, 270), "process_vm_writev": (311, 271), "kill": (62, 129), "tkill": (200, 130),
    "rt_sigqueueinfo": (129, 138), "rt_tgsigqueueinfo": (297, 240), "setpriority": (141, 140),
    "sched_setaffinity": (203, 122), "sched_setscheduler": (144, 119), "sched_setparam": (142, 118),
    "sched_setattr": (314, 274), "ioprio_set": (251, 30), "migrate_pages": (256, 238), "move_pages": (279, 239),
    "chmod": (90, -1), "fchmod": (91, 52), "fchmodat": (268, 53), "chown": (92, -1), "fchown": (93, 55),
    "lchown": (94, -1), "fchownat": (260, 54), "utime": (132, -1), "utimes": (235, -1), "utimensat": (280, 88),
    "futimesat": (261, -1), "truncate": (76, 45), "setxattr": (188, 5), "lsetxattr": (189, 6), "fsetxattr": (190, 7),
    "removexattr": (197, 14), "lremovexattr": (198, 15), "fremovexattr": (199, 16), "mount": (165, 40),
    "umount2": (166, 39), "pivot_root": (155, 41), "chroot": (161, 51), "unshare": (272, 97), "setns": (308, 268),
    "open_by_handle_at": (304, 265), "name_to_handle_at": (303, 264), "quotactl": (179, 60), "acct": (163, 89),
    "swapon": (167, 224), "swapoff": (168, 225), "reboot": (169, 142), "shmget": (29, 194), "shmat": (30, 196),
    "shmctl": (31, 195), "semget": (64, 190), "semop": (65, 193), "semctl": (66, 191), "semtimedop": (220, 192),
    "msgget": (68, 186), "msgsnd": (69, 189), "msgrcv": (70, 188), "msgctl": (71, 187), "mq_open": (240, 180),
    "mq_unlink": (241, 181), "bpf": (321, 280), "perf_event_open": (298, 241), "userfaultfd": (323, 282),
    "add_key": (248, 217), "request_key": (249, 218), "keyctl": (250, 219), "init_module": (175, 105),
    "finit_module": (313, 273), "delete_module": (176, 106), "kexec_load": (246, 104), "kexec_file_load": (320, 294),
    "settimeofday": (164, 170), "clock_settime": (227, 112), "clock_adjtime": (305, 266), "adjtimex": (159, 171),
    "sethostname": (170, 161), "setdomainname": (171, 162), "fanotify_init": (300, 262), "inotify_init": (253, -1),
    "inotify_init1": (294, 26), "inotify_add_watch": (254, 27), "syslog": (103, 116),
}  # fmt: skip
_CLONE, _TGKILL, _PRLIMIT, _SECCOMP = (56, 220), (234, 131), (302, 261), (317, 277)
_NEW = 424  # numbers from here on are the same everywhere: io_uring, pidfds, clone3, the newer mount calls
_CLONE_THREAD = 0x10000
_ALLOW, _EPERM, _ENOSYS = 0x7FFF0000, 0x50001, 0x50026
_SET_DUMPABLE, _SET_NO_NEW_PRIVILEGES, _SET_DEATH_SIGNAL = 4, 38, 1  # of prctl
_FILES_ABI = 3  # of Landlock: the first that refuses truncation
_READ = 0b1100  # READ_FILE and READ_DIR
_NAMESPACES = 0x10000000 | 0x40000000 | 0x08000000  # of users, network and System V memory
_MOUNTS = 0x20000
_BIND, _REC, _PRIVATE, _DETACH = 0x1000, 0x4000, 1 << 18, 2  # of mount and umount2
_AT_RECURSIVE, _READ_ONLY = 0x8000, 1  # of mount_setattr
_LARGEST_ANSWER = 1 << 30  # bytes
_START = [sys.executable, "-I", "-m"]
_NOTE = 4000  # characters of what the process said


class SandboxError(PermanentError):
    """A file cannot be opened in a closed process here, or its process failed."""


def run_closed(module: str, requests: Iterator[bytes], *, seconds: float, memory: int) -> bytes:
    """Run a module of evermodel that closes itself off by `close_off`, and return its standard output.

    The process has no variables of this one's environment, an empty working directory, and no open file but its
    standard ones; it is killed at its time limit, and with this process.

    Parameters
    ----------
    requests
        Parts of its standard input.
    seconds
        Limit of wall and processor time.
    memory
        Limit of its address space, in bytes.

    Raises
    ------
    SandboxError
        The time is over, or the process failed.
    """
    with tempfile.TemporaryDirectory() as folder, _files() as (given, answered, said):
        for part in requests:
            given.write(part)
        given.seek(0)
        process = subprocess.Popen(
            [*_START, module, str(memory), str(int(seconds) + 1)],
            stdin=given,
            stdout=answered,
            stderr=said,
            cwd=folder,
            env={
                "PATH": os.defpath,
                "LANG": "C.UTF-8",
                "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1"),
            },
            start_new_session=True,
        )
        try:
            code = process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise SandboxError(
                f"the model did not answer within {seconds:g} s",
                "give it more with --time-limit, or fewer rows",
            ) from None
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        said.seek(0)
        answered.seek(0)
        note = said.read().decode(errors="replace")[-_NOTE:].strip()
        if code:
            end = f"signal {-code}" if code < 0 else f"exit code {code}"
            last = note.rsplit("\n", 1)[-1] or "no message"
            raise SandboxError(
                f"the process that opens the model died ({end}): {last}",
                "signal 9 and MemoryError mean that it needs more memory: --memory",
            )
        return answered.read(_LARGEST_ANSWER)


@contextmanager
def _files() -> Iterator[tuple[IO[bytes], IO[bytes], IO[bytes]]]:
    """Open the three standard files of a process, which have no names."""
    with (
        tempfile.TemporaryFile() as given,
        tempfile.TemporaryFile() as answered,
        tempfile.TemporaryFile() as said,
    ):
        yield given, answered, said


def limit(memory: int, seconds: int) -> None:
    """Limit this process's address space, processor time, files and core dumps, and end it with its parent."""
    for what, most in (
        (resource.RLIMIT_AS, memory),
        (resource.RLIMIT_CPU, seconds),
        (resource.RLIMIT_FSIZE, _LARGEST_ANSWER),
        (resource.RLIMIT_CORE, 0),
    ):
        _, hard = resource.getrlimit(what)
        least = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(what, (least, least))
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_SET_DEATH_SIGNAL, signal.SIGKILL, 0, 0, 0)


def close_off(readable: Sequence[Path]) -> str:
    """Close this process off for good; what it has open stays open.

    Called before anything is imported that starts threads.

    Parameters
    ----------
    readable
        Files and folders that it may read beside Python's own.

    Returns
    -------
    What closes the files off: ``landlock`` or ``namespace``.

    Raises
    ------
    SandboxError
        The system offers no way.
    """
    machine = platform.machine()
    if sys.platform != "linux" or machine not in _ARCHITECTURES:
        raise _no_way(f"{sys.platform} on {machine} has neither Landlock nor seccomp")
    if len(os.listdir("/proc/self/task")) > 1:
        raise _no_way("threads are running already")
    libc = ctypes.CDLL(None, use_errno=True)
    places = _places(readable)
    if libc.prctl(_SET_NO_NEW_PRIVILEGES, 1, 0, 0, 0):
        raise _no_way("the kernel cannot forbid new privileges")
    abi = int(libc.syscall(444, None, 0, 1))
    if abi >= _FILES_ABI:
        libc.unshare(_NAMESPACES)  # one wall more, where it can be had
        _by_landlock(libc, places, abi)
        way = "landlock"
    else:
        _by_namespace(libc, places)
        way = "namespace"
    libc.prctl(_SET_DUMPABLE, 0, 0, 0, 0)
    _by_seccomp(libc, *_ARCHITECTURES[machine])
    return way


def _no_way(why: str) -> SandboxError:
    return SandboxError(
        f"a file that may run code cannot be opened safely here: {why}",
        "use Linux 6.2 or later, or allow user namespaces; --trust opens it without a sandbox",
    )


def _places(readable: Sequence[Path]) -> list[Path]:
    named = [*_SYSTEM, sys.prefix, sys.base_prefix, *filter(None, sys.path)]
    return [place for place in [*(Path(name) for name in named), *readable] if place.exists()]


def _by_landlock(libc: ctypes.CDLL, places: Sequence[Path], abi: int) -> None:
    files = (1 << (15 if abi < 5 else 16)) - 1
    attributes = struct.pack("QQQ", files, 3 if abi >= 4 else 0, 3 if abi >= 6 else 0)
    size = 8 if abi < 4 else 16 if abi < 6 else 24
    rules = libc.syscall(444, attributes, size, 0)
    if rules < 0:
        raise _no_way(f"Landlock: {os.strerror(ctypes.get_errno())}")
    for place in places:
        opened = os.open(place, os.O_PATH | os.O_CLOEXEC)
        allowed = _READ if place.is_dir() else _READ & 0b100
        failed = libc.syscall(445, rules, 1, struct.pack("=Qi", allowed, opened), 0)
        os.close(opened)
        if failed:
            raise _no_way(f"Landlock: {place}: {os.strerror(ctypes.get_errno())}")
    if libc.syscall(446, rules, 0):
        raise _no_way(f"Landlock: {os.strerror(ctypes.get_errno())}")
    os.close(rules)


def _by_namespace(libc: ctypes.CDLL, places: Sequence[Path]) -> None:
    """Make a root of read-only mounts, and leave the old one."""

    def call(done: int, what: str) -> None:
        if done:
            raise _no_way(f"namespaces: {what}: {os.strerror(ctypes.get_errno())}")

    user, group = os.getuid(), os.getgid()
    call(libc.unshare(_NAMESPACES | _MOUNTS), "unshare")
    for name, text in (("setgroups", "deny"), ("uid_map", f"0 {user} 1"), ("gid_map", f"0 {group} 1")):
        with suppress(FileNotFoundError):
            Path("/proc/self", name).write_text(text, encoding="ascii")
    call(libc.mount(None, b"/", None, _REC | _PRIVATE, None), "private mounts")
    root = Path.cwd()
    call(libc.mount(b"tmpfs", bytes(root), b"tmpfs", 0, b"size=1m"), "tmpfs")
    for place in places:
        own = root / place.relative_to("/")
        if own.exists():
            continue
        if place.is_dir():
            own.mkdir(parents=True)
        else:
            own.parent.mkdir(parents=True, exist_ok=True)
            own.touch()
        call(libc.mount(bytes(place.resolve()), bytes(own), None, _BIND | _REC, None), str(place))
    attributes = struct.pack("QQQQ", _READ_ONLY, 0, 0, 0)
    call(libc.syscall(442, -100, bytes(root), _AT_RECURSIVE, attributes, len(attributes)), "read-only mounts")
    os.chdir(root)
    call(libc.syscall(_number("pivot_root"), b".", b"."), "root")
    call(libc.umount2(b".", _DETACH), "old root")
    os.chdir("/")


def _number(name: str) -> int:
    return _REFUSED[name][_ARCHITECTURES[platform.machine()][1]]


def _by_seccomp(libc: ctypes.CDLL, audit: int, place: int) -> None:
    """Refuse system calls by a filter of classic BPF; each instruction is code, jumps, and a value."""
    pid = os.getpid()
    load, equal, at_least, any_bit, answer = 0x20, 0x15, 0x35, 0x45, 0x06
    argument = 16  # offset of the first one, its lower half
    program = [
        (load, 0, 0, 4), (equal, 1, 0, audit), (answer, 0, 0, _EPERM),
        (load, 0, 0, 0), (at_least, 0, 1, _NEW), (answer, 0, 0, _ENOSYS),
        (equal, 0, 4, _CLONE[place]), (load, 0, 0, argument), (any_bit, 0, 1, _CLONE_THREAD), (answer, 0, 0, _ALLOW), (answer, 0, 0, _EPERM),
        (equal, 0, 4, _TGKILL[place]), (load, 0, 0, argument), (equal, 0, 1, pid), (answer, 0, 0, _ALLOW), (answer, 0, 0, _EPERM),
        (equal, 0, 5, _PRLIMIT[place]), (load, 0, 0, argument), (equal, 1, 0, 0), (equal, 0, 1, pid), (answer, 0, 0, _ALLOW), (answer, 0, 0, _EPERM),
    ]  # fmt: skip
    for numbers in _REFUSED.values():
        if numbers[place] >= 0:
            program += [(equal, 0, 1, numbers[place]), (answer, 0, 0, _EPERM)]
    program.append((answer, 0, 0, _ALLOW))
    code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *one) for one in program))
    filters = struct.pack("HP", len(program), ctypes.addressof(code))
    if libc.syscall(_SECCOMP[place], 1, 1, filters):  # of all threads
        raise _no_way(f"seccomp: {os.strerror(ctypes.get_errno())}")
