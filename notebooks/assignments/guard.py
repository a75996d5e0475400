"""Run the kernel of a submission, kept from harming the machine and from reading what is not its own.

    python guard.py CONNECTION OWN ASKED BYTES

CONNECTION is Jupyter's file with the ports of the kernel. The kernel may write below the folder OWN, and read there, below
ASKED, and what it needs to compute: Python, its libraries, the course and its cache. It may take BYTES of memory.

Two layers do this. On Linux the system itself refuses the rest, also to libraries in C and in every thread: Landlock files
and TCP, a filter of system calls the whole network, other programs and signals. Everywhere, Python reports what it is
about to do, and a hook refuses it with a message that says what to do instead. Where the system does not help (macOS,
Windows, Linux before 5.13), the hook stops accidents and plain mischief, and not somebody who sets out to break it.
"""

from __future__ import annotations

import ctypes
import importlib.util
import json
import os
import platform
import re
import site
import sys
from pathlib import Path

import course_utils

# What a computation reads of the system.
SYSTEM = (
    *("/usr", "/lib", "/lib64", "/sys/devices/system", "/sys/fs/cgroup", f"/proc/{os.getpid()}"),
    *("/proc/cpuinfo", "/proc/meminfo", "/proc/stat", "/proc/version", "/proc/filesystems", "/proc/loadavg"),
    *("/etc/ld.so.cache", "/etc/localtime", "/etc/timezone", "/etc/passwd", "/etc/group", "/etc/nsswitch.conf"),
    *("/etc/fonts", "/etc/ssl", "/etc/mime.types", "/etc/os-release", "/etc/machine-id", "/etc/hosts"),
    *("/System", "/Library", "/opt", "/private/etc", "/private/var/db"),  # macOS
)
DEVICES = ("/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom")  # are written to as well
# Rights of Landlock.
WRITE_FILE, READ_FILE, READ_FOLDER, TRUNCATE = 1 << 1, 1 << 2, 1 << 3, 1 << 14
# System calls, with their numbers on x86_64 and aarch64 (0: has none). Refused are new sockets, other programs, signals to
# others, a look into other processes and at what happens in folders, memory that stays after the kernel, and what only an
# administrator may do.
REFUSED = """
socket 41 198  fork 57 0  vfork 58 0  execve 59 221  execveat 322 281  kill 62 129  rt_sigqueueinfo 129 138
rt_tgsigqueueinfo 297 240  pidfd_send_signal 424 424  pidfd_open 434 434  pidfd_getfd 438 438  ptrace 101 117
process_vm_readv 310 270  process_vm_writev 311 271  io_uring_setup 425 425  mount 165 40  umount2 166 39
open_tree 428 428  move_mount 429 429  fsopen 430 430  pivot_root 155 41  chroot 161 51  setns 308 268  unshare 272 97
bpf 321 280  perf_event_open 298 241  init_module 175 105  finit_module 313 273  delete_module 176 106
kexec_load 246 104  kexec_file_load 320 294  reboot 169 142  swapon 167 224  swapoff 168 225  open_by_handle_at 304 265
mknod 133 0  mknodat 259 33  settimeofday 164 170  clock_settime 227 112  clock_adjtime 305 266  adjtimex 159 171
sethostname 170 161  setdomainname 171 162  acct 163 89  keyctl 250 219  userfaultfd 323 282  setpriority 141 140
iopl 172 0  ioperm 173 0  shmget 29 194  semget 64 190  msgget 68 186  mq_open 240 180  fanotify_init 300 262
inotify_add_watch 254 27
"""
# Ignored, as if they had been done, are changes of modes, owners, times and attributes: nobody needs them in a folder that is
# deleted afterwards.
IGNORED = """
chmod 90 0  fchmod 91 52  fchmodat 268 53  fchmodat2 452 452  chown 92 0  fchown 93 55  lchown 94 0  fchownat 260 54
utime 132 0  utimes 235 0  futimesat 261 0  utimensat 280 88  setxattr 188 5  lsetxattr 189 6  fsetxattr 190 7
removexattr 197 14  lremovexattr 198 15  fremovexattr 199 16  setxattrat 463 463  removexattrat 466 466
file_setattr 469 469
"""
PROCESSORS = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}  # as the filter knows them, in the order of the numbers
# Python's events → which of their arguments are paths, and where a folder's descriptor stands beside each.
CHANGES = {
    "os.remove": ((0, 1),),
    "os.rmdir": ((0, 1),),
    "os.mkdir": ((0, 2),),
    "os.rename": ((0, 2), (1, 3)),
    "os.link": ((0, 2), (1, 3)),
    "os.symlink": ((1, 2),),
    "os.chmod": ((0, 2),),
    "os.chown": ((0, 3),),
    "os.truncate": ((0, None),),
    "os.utime": ((0, 3),),
    "os.setxattr": ((0, None),),
    "os.removexattr": ((0, None),),
    "shutil.rmtree": ((0, None),),
    "shutil.move": ((0, None), (1, None)),
}
FOLLOWS = ("os.chmod", "os.chown", "os.truncate", "os.utime", "os.setxattr", "os.removexattr")  # links to their ends
PROGRAMS = ("os.system", "os.exec", "os.fork", "os.forkpty", "os.posix_spawn", "os.spawn", "os.startfile", "pty.spawn")
PROGRAMS += ("subprocess.Popen", "os.kill", "os.killpg", "signal.pthread_kill", "resource.prlimit")
NETWORK = ("socket.connect", "socket.bind", "socket.sendto", "socket.sendmsg", "socket.getaddrinfo")
NETWORK += ("socket.gethostbyname", "socket.gethostbyaddr", "socket.getnameinfo")
MEMORY = ("gc.get_objects", "gc.get_referrers", "gc.get_referents")


def readable(*more: str) -> tuple[str, ...]:
    """Return the folders and files that a submission may read, beside its own."""
    places = [
        sys.prefix,
        sys.base_prefix,
        *site.getsitepackages(),
        site.getusersitepackages(),
        *SYSTEM,
        *DEVICES,
        *more,
    ]
    (course,) = course_utils.__path__
    places += [course, os.path.join(os.path.dirname(course), "figures", "results")]
    if "COURSE_CACHE" in os.environ:
        places.append(os.environ["COURSE_CACHE"])
    return tuple(dict.fromkeys(os.path.realpath(place) for place in places))


def limit_memory(memory: int) -> None:
    """Set how many bytes this process may take."""
    try:
        import resource

        resource.setrlimit(resource.RLIMIT_DATA, (memory, memory))
    except (ImportError, ValueError, OSError):  # Windows has no such limit, and macOS does not keep it
        pass


def confine(own: str, places: tuple[str, ...], memory: int, ports: tuple[int, ...] = ()) -> None:
    """Set the limit of memory, and let Linux refuse files and ports that are not named (Landlock).

    It holds for this thread and those that it starts; so it is called before there are others. Where the system is older
    than Linux 5.13, or does not allow it, there is only the limit.

    Args:
        own: The folder in which everything is allowed.
        places: What may be read.
        memory: In bytes.
        ports: On which the kernel listens.
    """
    limit_memory(memory)
    if sys.platform != "linux":
        return
    system = ctypes.CDLL(None, use_errno=True)
    create, add, restrict = 444, 445, 446  # the numbers of the system calls, the same on all processors
    version = system.syscall(create, None, ctypes.c_size_t(0), ctypes.c_uint32(1))
    if version < 1:
        return
    files = (1 << (13 if version < 2 else 14 if version < 3 else 15)) - 1  # all rights that this version knows
    tcp = 0b11 if version >= 4 else 0  # listen, connect
    others = 0b11 if version >= 6 else 0  # abstract Unix sockets and signals of processes outside
    rules = b"".join(part.to_bytes(8, "little") for part in (files, tcp, others))
    size = ctypes.c_size_t(24 if version >= 6 else 16 if version >= 4 else 8)
    ruleset = system.syscall(create, ctypes.c_char_p(rules), size, ctypes.c_uint32(0))

    def allow(kind: int, rights: int, what: bytes) -> None:
        rule = ctypes.c_char_p(rights.to_bytes(8, "little") + what)
        if system.syscall(add, ruleset, kind, rule, ctypes.c_uint32(0)):
            raise OSError(ctypes.get_errno(), "Landlock takes no rule")

    for place in (own, *places):
        try:
            descriptor = os.open(place, os.O_PATH)
        except OSError:  # is not on this machine
            continue
        rights = files & ~1 if place == own else READ_FILE | READ_FOLDER  # no programs, not even of its own
        if place in DEVICES:
            rights |= WRITE_FILE | TRUNCATE
        if not os.path.isdir(place):
            rights &= WRITE_FILE | READ_FILE | TRUNCATE
        allow(1, rights & files, descriptor.to_bytes(4, "little"))
        os.close(descriptor)
    for port in ports if tcp else ():
        allow(2, 1, port.to_bytes(8, "little"))
    system.prctl(38, 1, 0, 0, 0)  # no new privileges, without which the next is refused
    if system.syscall(restrict, ruleset, ctypes.c_uint32(0)):
        raise OSError(ctypes.get_errno(), "Landlock cannot be set up")
    os.close(ruleset)


def numbers_of(calls: str, column: int) -> list[int]:
    """Return the numbers of system calls on one processor."""
    return [int(numbers[column]) for numbers in re.findall(r"\w+ (\d+) (\d+)", calls) if numbers[column] != "0"]


def filter_system_calls() -> None:
    """Let Linux refuse system calls that no computation makes, in all threads (seccomp).

    Where the processor is another one, or the system does not allow it, nothing happens.
    """
    machine = platform.machine()
    if sys.platform != "linux" or machine not in PROCESSORS:
        return
    column = list(PROCESSORS).index(machine)
    allowed, ignored, refused, unknown = 0x7FFF0000, 0x00050000, 0x00050001, 0x00050026  # with the errors EPERM, ENOSYS
    load, equal, at_least, has_bit, say = 0x20, 0x15, 0x35, 0x45, 0x06
    # Each line: an instruction, how many to skip if it holds, and if not, its operand.
    program = [(load, 0, 0, 4), (equal, 1, 0, PROCESSORS[machine]), (say, 0, 0, refused), (load, 0, 0, 0)]
    program += [(at_least, 0, 1, 0x40000000), (say, 0, 0, refused)]  # the calls of another kind of program
    for calls, answer in ((REFUSED, refused), (IGNORED, ignored), ("clone3 435 435", unknown)):
        for number in numbers_of(calls, column):
            program += [(equal, 0, 1, number), (say, 0, 0, answer)]
    # A clone may be a thread (which takes the place of clone3), and limits are of this process: the first argument says so.
    for (number,), condition in (
        (numbers_of("clone 56 220", column), (has_bit, 0, 1, 0x10000)),
        (numbers_of("prlimit64 302 261", column), (equal, 0, 1, 0)),
    ):
        program += [(equal, 0, 4, number), (load, 0, 0, 16), condition, (say, 0, 0, allowed), (say, 0, 0, refused)]
    program.append((say, 0, 0, allowed))
    code = b"".join(
        part.to_bytes(length, "little") for line in program for part, length in zip(line, (2, 1, 1, 4), strict=True)
    )

    class Program(ctypes.Structure):
        _fields_ = (("length", ctypes.c_ushort), ("code", ctypes.c_char_p))

    system = ctypes.CDLL(None)
    system.prctl(38, 1, 0, 0, 0)
    number = {"x86_64": 317, "aarch64": 277}[machine]
    system.syscall(number, 1, 1, ctypes.byref(Program(len(program), code)))  # in all threads


def watch(own: str, places: tuple[str, ...]) -> None:
    """Let Python refuse, with a message, what a submission has no reason to do."""
    writing = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
    ours = (os.path.dirname(ctypes.__file__), "<frozen")

    def opened(descriptor: int) -> str:
        """Return the path of an open file or folder, as the system knows it."""
        try:
            return os.readlink(f"/proc/self/fd/{descriptor}")
        except OSError:  # macOS
            import fcntl

            return os.fsdecode(fcntl.fcntl(descriptor, 50, bytes(1024)).rstrip(b"\0"))  # F_GETPATH

    def place(path: object, folder: object = None) -> str:
        """Return where a path, or one relative to an open folder, really is."""
        if isinstance(path, int):
            return opened(path)
        path = os.path.join(opened(folder) if isinstance(folder, int) and folder >= 0 else "", os.fsdecode(path))
        # What is removed or renamed may be a link: then the link counts, and not where it points.
        return os.path.join(os.path.realpath(os.path.dirname(path) or "."), os.path.basename(path))

    def is_below(path: str, *folders: str) -> bool:
        return any(path == folder or path.startswith(folder.rstrip(os.sep) + os.sep) for folder in folders)

    def may_be_read(path: str) -> bool:
        return is_below(path, own, *places) or not os.path.lexists(path)  # what is not there has its own message

    def is_called_by_a_library() -> bool:
        frame = sys._getframe(2)
        while frame and frame.f_code.co_filename.startswith(ours):
            frame = frame.f_back
        return frame is None or is_below(os.path.realpath(frame.f_code.co_filename), *places)

    def refuse(what: str) -> None:
        raise PermissionError(f"not allowed while grading: {what}")

    def check(event: str, arguments: tuple) -> None:
        if event == "open":
            path, mode, flags = arguments
            if isinstance(path, int) or path is None:
                return
            real = os.path.realpath(os.fsdecode(path))
            writes = bool(flags & writing) or (isinstance(mode, str) and bool(set(mode) & set("wax+")))
            if writes and not is_below(real, own, *DEVICES):
                refuse(f"writing to {path}; write below the notebook's own folder")
            if not writes and not may_be_read(real):
                refuse(f"opening {path}")
        elif event in ("os.listdir", "os.scandir"):
            path = "." if arguments[0] is None else arguments[0]
            if not may_be_read(opened(path) if isinstance(path, int) else os.path.realpath(os.fsdecode(path))):
                refuse(f"listing {path}")
        elif event in CHANGES:
            for position, folder in CHANGES[event]:
                where = arguments[folder] if folder is not None and folder < len(arguments) else None
                real = place(arguments[position], where)
                if not is_below(os.path.realpath(real) if event in FOLLOWS else real, own):
                    refuse(f"{event.partition('.')[2]} {arguments[position]}; stay below the notebook's own folder")
        elif event in PROGRAMS:
            refuse(f"{event}, which starts or ends other programs")
        elif event in NETWORK:
            refuse("the network")
        elif event in MEMORY or (event.startswith("ctypes.") and not is_called_by_a_library()):
            refuse(f"{event}, a look into Python's memory")
        elif event == "sqlite3.connect":
            path = os.fsdecode(arguments[0])
            if path not in ("", ":memory:") and not is_below(os.path.realpath(path), own):
                refuse(f"opening {path}; databases stay below the notebook's own folder")

    def start(*_: object) -> None:
        refuse("_posixsubprocess.fork_exec, which starts other programs")

    os.environ["JOBLIB_MULTIPROCESSING"] = "0"  # scikit-learn's helper would warn that it gets no processes
    if os.name == "posix":  # of this way Python reports nothing
        import _posixsubprocess
        import subprocess

        _posixsubprocess.fork_exec = subprocess._fork_exec = start
    sys.addaudithook(check)


def main() -> None:
    """Run the kernel that the command line describes."""
    connection, own, asked, memory = sys.argv[1:]
    connection, own, asked = map(os.path.realpath, (connection, own, asked))
    importlib.util.find_spec("exchange")  # what is imported below is found now, as its folder cannot be listed then
    places = readable(asked)
    ports = tuple(value for name, value in json.loads(Path(connection).read_text()).items() if name.endswith("_port"))
    exchange = os.path.join(os.path.dirname(os.path.realpath(__file__)), "exchange.py")
    confine(own, (*places, connection, exchange), int(memory), ports)

    import exchange
    from ipykernel.kernelapp import IPKernelApp

    del sys.path[0]
    application = IPKernelApp.instance()
    application.initialize(["-f", connection, "--HistoryManager.hist_file=:memory:"])
    filter_system_calls()
    watch(own, places)
    application.start()


if __name__ == "__main__":
    main()
