"""Keep a notebook that is graded from harming the machine: run in its kernel, before its first cell.

It stops accidents and plain mischief: files that are written, moved or deleted outside the kernel's own folder, other
programs, the network, a look into the solutions, memory without end. Python itself reports what it is about to do, and a
hook refuses it with a message. On Linux the system also refuses all writing outside, by libraries in C and by other
processes, too. This does not stop somebody who sets out to break it; grade work of strangers in a container or on a
machine that holds nothing else.
"""


def _guard() -> None:
    import os
    import sys

    own = os.path.realpath(os.environ.pop("COURSE_OWN"))
    secret = [os.path.realpath(place) for place in os.environ.pop("COURSE_SECRET").split(os.pathsep)]
    limit = int(os.environ.pop("COURSE_MEMORY"))
    # Event → which of its arguments are paths, and where a folder's descriptor stands beside each.
    changes = {
        "os.remove": [(0, 1)],
        "os.rmdir": [(0, 1)],
        "os.mkdir": [(0, 2)],
        "os.rename": [(0, 2), (1, 3)],
        "os.link": [(0, 2), (1, 3)],
        "os.symlink": [(1, 2)],
        "os.chmod": [(0, 2)],
        "os.chown": [(0, 3)],
        "os.truncate": [(0, None)],
        "os.utime": [(0, 3)],
        "shutil.rmtree": [(0, None)],
        "shutil.move": [(0, None), (1, None)],
    }
    follows = {"os.chmod", "os.chown", "os.truncate", "os.utime"}  # a link to what it points to
    programs = {"os.system", "os.exec", "os.fork", "os.forkpty", "os.posix_spawn", "os.spawn", "os.startfile"}
    programs |= {"subprocess.Popen", "pty.spawn", "os.kill", "os.killpg"}
    writing = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND

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

    def is_below(path: str, folder: str) -> bool:
        return path == folder or path.startswith(folder.rstrip(os.sep) + os.sep)

    def refuse(what: str) -> None:
        raise PermissionError(f"not allowed while grading: {what}")

    def watch(event: str, arguments: tuple) -> None:
        if event == "open":
            path, mode, flags = arguments
            if isinstance(path, int) or path is None:
                return
            real = os.path.realpath(os.fsdecode(path))
            if any(is_below(real, folder) for folder in secret) and not is_below(real, own):
                refuse(f"opening {path}")
            writes = bool(flags & writing) or (isinstance(mode, str) and bool(set(mode) & set("wax+")))
            if writes and not is_below(real, own) and not real.startswith("/dev/"):
                refuse(f"writing to {path}; write below the notebook's own folder")
        elif event in changes:
            for position, folder in changes[event]:
                where = arguments[folder] if folder is not None and folder < len(arguments) else None
                real = place(arguments[position], where)
                if not is_below(os.path.realpath(real) if event in follows else real, own):
                    refuse(f"{event.partition('.')[2]} {arguments[position]}; stay below the notebook's own folder")
        elif event in programs:
            refuse(f"{event}, which starts or ends other programs")
        elif event == "socket.connect" and isinstance(arguments[1], tuple):
            refuse("the network")

    def refuse_writing_outside() -> None:
        """Let Linux refuse what changes files outside of `own`, for this process and those that it starts (Landlock).

        Where the system is older than Linux 5.13, or does not allow it, nothing happens.
        """
        import ctypes

        system = ctypes.CDLL(None, use_errno=True)
        create, add, restrict = 444, 445, 446  # the numbers of the system calls, the same on all processors
        version = system.syscall(create, None, ctypes.c_size_t(0), ctypes.c_uint32(1))
        if version < 1:
            return
        write_file, truncate = 1 << 1, 1 << 14 if version >= 3 else 0
        make_and_remove = sum(1 << right for right in range(4, 13))
        across_folders = 1 << 13 if version >= 2 else 0
        everything = write_file | truncate | make_and_remove | across_folders
        rules = system.syscall(
            create, ctypes.byref(ctypes.c_uint64(everything)), ctypes.c_size_t(8), ctypes.c_uint32(0)
        )
        for folder, allowed in ((own, everything), ("/dev", write_file | truncate)):
            descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
            rule = allowed.to_bytes(8, "little") + descriptor.to_bytes(4, "little")
            system.syscall(add, rules, 1, ctypes.c_char_p(rule), ctypes.c_uint32(0))
            os.close(descriptor)
        system.prctl(38, 1, 0, 0, 0)  # no new privileges, without which the next is refused
        system.syscall(restrict, rules, ctypes.c_uint32(0))
        os.close(rules)

    try:
        import resource

        resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    except (ImportError, ValueError, OSError):  # Windows has no such limit, and macOS does not keep it
        pass
    if sys.platform == "linux":
        refuse_writing_outside()
    sys.addaudithook(watch)


try:
    _guard()
except BaseException:  # IPython would go on without a guard
    import os

    os._exit(3)
del _guard
