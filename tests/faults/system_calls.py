"""The system calls of a process, one at a time: counted, refused, cut short, or the process's last.

A seccomp filter hands the calls of all threads to this process before the kernel runs them, so that
they have one order, and each is known by name and path. (strace counts them per thread, and cannot
carry a call out in part.)
"""

import ctypes
import errno
import fcntl
import mmap
import os
import select
import signal
import socket
import struct
import time
from dataclasses import dataclass, field

# x86-64: number, and where the path is: a file descriptor, a path, or a directory and a path.
FD, PATH, AT = "fd", "path", "at"
CALLS = {
    "read": (0, FD, 0),
    "write": (1, FD, 0),
    "open": (2, PATH, 0),
    "close": (3, FD, 0),
    "fstat": (5, FD, 0),
    "pread64": (17, FD, 0),
    "pwrite64": (18, FD, 0),
    "writev": (20, FD, 0),
    "sendfile": (40, FD, 0),
    "flock": (73, FD, 0),
    "fsync": (74, FD, 0),
    "fdatasync": (75, FD, 0),
    "ftruncate": (77, FD, 0),
    "rename": (82, PATH, 1),
    "mkdir": (83, PATH, 0),
    "rmdir": (84, PATH, 0),
    "link": (86, PATH, 1),
    "unlink": (87, PATH, 0),
    "symlink": (88, PATH, 1),
    "fchmod": (91, FD, 0),
    "statfs": (137, PATH, 0),
    "fstatfs": (138, FD, 0),
    "getdents64": (217, FD, 0),
    "openat": (257, AT, 0),
    "mkdirat": (258, AT, 0),
    "newfstatat": (262, AT, 0),
    "unlinkat": (263, AT, 0),
    "renameat": (264, AT, 2),
    "linkat": (265, AT, 2),
    "symlinkat": (266, AT, 1),
    "readlinkat": (267, AT, 0),
    "sync_file_range": (277, FD, 0),
    "fallocate": (285, FD, 0),
    "pwritev": (296, FD, 0),
    "renameat2": (316, AT, 2),
    "copy_file_range": (326, FD, 2),
    "statx": (332, AT, 0),
    "pwritev2": (328, FD, 0),
}
NAMES = {number: name for name, (number, _, _) in CALLS.items()}
LOOKS = {
    "read", "pread64", "statfs", "fstatfs", "getdents64", "fstat", "newfstatat", "statx", "readlinkat", "close",
}  # fmt: skip
"""Those that leave the disk as it is."""
CHANGES = set(CALLS) - LOOKS

CONTINUE, KILL = "continue", "kill"


@dataclass
class Call:
    name: str
    path: str
    """The file it is about; of a rename, the new name."""
    arguments: tuple
    offset: int = 0
    length: int = 0

    @property
    def changes(self):
        """Whether the disk may look different after it. An open does so only when it may create or empty."""
        if self.name in ("open", "openat"):
            flags = self.arguments[1 if self.name == "open" else 2]
            return bool(flags & (os.O_CREAT | os.O_TRUNC))
        return self.name in CHANGES


@dataclass
class Fails:
    """The call is not carried out and fails with this error number."""

    number: int


@dataclass
class Returns:
    """The call is not carried out and returns this."""

    value: int = 0


@dataclass
class Short:
    """Half of a write is carried out."""


@dataclass
class Ended:
    status: int
    """The exit number, negative for a signal."""
    stdout: str
    stderr: str
    calls: list = field(default_factory=list)


class Process:
    """A child whose system calls on files below `root` are shown to `decide` first."""

    def __init__(self, command, root, decide, output, environment, calls=CHANGES):
        self.root, self.decide = str(root), decide
        self.calls = []
        self.output = output
        """Where its output goes: outside of `root`, for writing it is no call of interest."""
        ours, theirs = socket.socketpair()
        program = [os.fsencode(str(part)) for part in command]
        stdout, stderr = (
            os.open(f"{output}.{name}", os.O_CREAT | os.O_TRUNC | os.O_RDWR, 0o644) for name in ("out", "err")
        )
        numbers = [CALLS[name][0] for name in calls]
        self.pid = os.fork()
        if self.pid == 0:
            try:
                os.dup2(os.open("/dev/null", os.O_RDONLY), 0)
                os.dup2(stdout, 1)
                os.dup2(stderr, 2)
                listener = filter_calls(numbers)
                socket.send_fds(theirs, [b"."], [listener])
                os.execve(program[0], program, environment)
            finally:
                os._exit(127)
        theirs.close()
        os.close(stdout)
        os.close(stderr)
        _, (self.listener,), _, _ = socket.recv_fds(ours, 1, 1)
        ours.close()
        os.set_blocking(self.listener, True)

    def finish(self, seconds=120):
        """Serves its calls until it ends."""
        end = time.monotonic() + seconds
        poll = select.poll()
        poll.register(self.listener, select.POLLIN)
        while True:
            ready = poll.poll(max(0, end - time.monotonic()) * 1000)
            if not ready:
                self.kill()
                os.waitpid(self.pid, 0)
                raise TimeoutError(f"not over after {seconds} s: {self.text('err')}")
            if not ready[0][1] & select.POLLIN:
                break
            self.serve()
        os.close(self.listener)
        _, status = os.waitpid(self.pid, 0)
        return Ended(os.waitstatus_to_exitcode(status), self.text("out"), self.text("err"), self.calls)

    def text(self, name):
        with open(f"{self.output}.{name}", errors="replace") as file:
            return file.read()

    def kill(self):
        os.kill(self.pid, signal.SIGKILL)

    def serve(self):
        notice = bytearray(80)
        try:
            fcntl.ioctl(self.listener, NOTICE_RECEIVE, notice)
        except OSError as why:
            # The thread died before its call was looked at.
            if why.errno in (errno.ENOENT, errno.EINTR):
                return
            raise
        identifier, thread, _, number, _, _, *arguments = struct.unpack("=QIIiIQ6Q", notice)
        value, error, flags = 0, 0, CONTINUE_FLAG
        try:
            call = self.understand(thread, NAMES[number], arguments)
        except (OSError, ValueError):
            # Nothing is at this descriptor or address: the kernel will say so.
            call = None
        if call and is_below(call.path, self.root):
            self.calls.append(call)
            answer = self.decide(call)
            match answer:
                case "continue":
                    pass
                case "kill":
                    self.kill()
                    return
                case Fails(number):
                    error, flags = -number, 0
                case Returns(number):
                    value, flags = number, 0
                case Short():
                    value, flags = self.write_half(thread, call), 0
        try:
            fcntl.ioctl(self.listener, NOTICE_ANSWER, struct.pack("=QqiI", identifier, value, error, flags))
        except OSError as why:
            if why.errno not in (errno.ENOENT, errno.EINPROGRESS):
                raise

    def understand(self, thread, name, arguments):
        _, kind, index = CALLS[name]
        if kind == FD:
            path = os.readlink(f"/proc/{thread}/fd/{arguments[index] & 0xFFFFFFFF}")
        elif kind == PATH:
            path = read_text(thread, arguments[index])
        else:
            path = read_text(thread, arguments[index + 1])
            if not path.startswith("/"):
                directory = ctypes.c_int(arguments[index] & 0xFFFFFFFF).value
                if directory == AT_FDCWD:
                    base = os.readlink(f"/proc/{thread}/cwd")
                else:
                    base = os.readlink(f"/proc/{thread}/fd/{directory}")
                path = os.path.join(base, path) if path else base
        call = Call(name, path.removesuffix(" (deleted)"), tuple(arguments))
        if name in ("write", "pwrite64", "read", "pread64"):
            call.length = arguments[2]
            call.offset = arguments[3] if name.startswith("p") else 0
        elif name == "copy_file_range":
            call.length = arguments[4]
        return call

    def write_half(self, thread, call):
        """Carries half of a write out in the process's place."""
        file = os.pidfd_open(self.pid)
        try:
            copy = libc.syscall(PIDFD_GETFD, file, call.arguments[0], 0)
            assert copy >= 0, os.strerror(ctypes.get_errno())
            try:
                # Past the page cache a disk takes whole sectors, from where a page begins.
                unit = 4096 if fcntl.fcntl(copy, fcntl.F_GETFL) & os.O_DIRECT else 1
                half = call.length // 2 // unit * unit or call.length
                with mmap.mmap(-1, half) as content:
                    content[:] = read_memory(thread, call.arguments[1], half)
                    if call.name == "pwrite64":
                        return os.pwritev(copy, [content], call.offset)
                    return os.writev(copy, [content])
            finally:
                os.close(copy)
        finally:
            os.close(file)


def is_below(path, root):
    return path == root or path.startswith(root + "/")


def read_memory(thread, address, length):
    with open(f"/proc/{thread}/mem", "rb", buffering=0) as memory:
        memory.seek(address)
        return memory.read(length)


def read_text(thread, address):
    content = b""
    while b"\0" not in content:
        # Not across the end of a page: the next one may not be there.
        part = read_memory(thread, address + len(content), 4096 - (address + len(content)) % 4096)
        content += part
    return os.fsdecode(content.split(b"\0", 1)[0])


libc = ctypes.CDLL(None, use_errno=True)
AT_FDCWD = -100
PIDFD_GETFD = 438
SECCOMP = 317
NOTICE_RECEIVE, NOTICE_ANSWER = 0xC0502100, 0xC0182101
CONTINUE_FLAG = 1


def filter_calls(numbers):
    """Installs the filter in this process; returns where the calls are shown."""
    set_mode_filter, new_listener, wait_killable = 1, 1 << 3, 1 << 5
    show, allow = 0x7FC00000, 0x7FFF0000
    load_number = (0x20, 0, 0, 0)
    jump_if_equal, give = 0x15, 0x06
    program = [load_number]
    for index, number in enumerate(numbers):
        program.append((jump_if_equal, len(numbers) - index, 0, number))
    program += [(give, 0, 0, allow), (give, 0, 0, show)]
    # A jump reaches 255 instructions.
    assert len(numbers) < 250
    code = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *line) for line in program))
    header = struct.pack("@HP", len(program), ctypes.addressof(code))
    no_new_privileges = 38
    assert libc.prctl(no_new_privileges, 1, 0, 0, 0) == 0
    listener = libc.syscall(SECCOMP, set_mode_filter, new_listener | wait_killable, header)
    if listener < 0:
        raise OSError(ctypes.get_errno(), "seccomp")
    return listener
