"""A file system in memory, on /dev/fuse, that forgets what was not flushed.

It records every change. A recording, played back up to any point and cut there, gives what a disk may
hold after a power cut: all that fsync had promised, and of the rest whatever chance decides, page by
page and name by name. It can also lie about flock, refuse links, renames and names, fold case, number inodes
anew at each mount, or keep times in whole seconds.

The protocol is linux/fuse.h.
"""

import ctypes
import errno
import os
import stat
import struct
import threading
import time
from dataclasses import dataclass, field

ROOT = 1
PAGE = 4096


@dataclass
class Node:
    number: int
    mode: int
    uid: int
    gid: int
    content: bytearray = field(default_factory=bytearray)
    """Bytes of a file, target of a link."""
    entries: dict = field(default_factory=dict)
    """Of a directory: number by name."""
    mtime: int = 0
    """Nanoseconds."""
    changed: int = 0
    """The same, of the last change of its names or rights."""
    durable: bytearray = field(default_factory=bytearray)
    pending: list = field(default_factory=list)
    """Changes of the content since the last flush."""
    links: int = 0
    renamed: int = 0
    """How often, where that gives it another inode number."""

    @property
    def is_dir(self):
        return stat.S_ISDIR(self.mode)


@dataclass(frozen=True)
class Behaviour:
    flock: str = "kernel"
    """`kernel`: as it should be. `lies`: granted to everyone. `missing`: refused with ENOLCK."""
    symlinks: bool = True
    reads_symlinks: bool = True
    """Else they can be made, but lead nowhere."""
    frees_names: bool = True
    """Else the name of a file that was removed stays taken, as with SMB for some time."""
    hard_links: bool = True
    preallocates: bool = True
    keeps_numbers: bool = True
    """A renamed file keeps its inode number."""
    reading_moves_times: bool = False
    """A file that was opened anew has another time when it is first read, as with rclone."""
    seconds: int = 0
    """Granularity of times, 0 for nanoseconds."""
    change_time: bool = False
    """Names and rights move the time of the last change of an inode; without, it is that of the last modification."""
    directory_flush: bool = True
    capacity: int = 1 << 40
    tells_space: bool = True
    """Without: statfs says that there are no blocks."""
    anywhere: bool = True
    """Without: bytes are taken from the start of a file to its end alone."""
    renames: bool = True
    refuses: str = ""
    """Characters that no name may have."""
    name_max: int = 255
    folds_case: bool = False
    """Small and capital letters are the same; names are kept as they were made."""
    renumbers: bool = False
    """Every mount has inode numbers of its own."""


class Disk:
    """The content, and the rules of what survives."""

    def __init__(self, behaviour=None):
        self.behaviour = behaviour or Behaviour()
        self.nodes = {ROOT: Node(ROOT, stat.S_IFDIR | 0o755, 0, 0, links=2)}
        self.next = ROOT + 1
        self.names = {ROOT: {}}
        """Durable entries of each directory."""
        self.pending_names = []
        self.recording = []

    # Every change goes through here, first when it happens, again when it is played back.

    def apply(self, change):
        self.recording.append(change)
        return getattr(self, "do_" + change[0])(*change[1:])

    def do_make(self, parent, name, mode, uid, gid, content, now):
        node = Node(self.next, mode, uid, gid, bytearray(content), mtime=now)
        self.next += 1
        self.nodes[node.number] = node
        # The target of a link is a part of its inode.
        node.durable = bytearray(content)
        node.links = 1
        self.names.setdefault(node.number, {})
        self.nodes[parent].entries[name] = node.number
        self.pending_names.append(("add", parent, name, node.number))
        return node

    def do_link(self, number, parent, name):
        self.nodes[number].links += 1
        self.nodes[parent].entries[name] = number
        self.pending_names.append(("add", parent, name, number))

    def do_remove(self, parent, name):
        number = self.nodes[parent].entries.pop(name)
        self.nodes[number].links -= 1
        self.pending_names.append(("remove", parent, name))

    def do_rename(self, old_parent, old_name, parent, name):
        number = self.nodes[old_parent].entries.pop(old_name)
        self.nodes[parent].entries[name] = number
        self.pending_names.append(("move", old_parent, old_name, parent, name, number))

    def do_write(self, number, offset, data, now):
        node = self.nodes[number]
        settle_content(node.content, offset, data)
        node.pending.append((offset, data))
        node.mtime = now

    def do_resize(self, number, size, now):
        node = self.nodes[number]
        settle_content(node.content, size, None)
        node.pending.append((size, None))
        node.mtime = now

    def do_attributes(self, number, mode, uid, gid, mtime):
        node = self.nodes[number]
        node.mode = node.mode if mode is None else stat.S_IFMT(node.mode) | mode
        node.uid = node.uid if uid is None else uid
        node.gid = node.gid if gid is None else gid
        node.mtime = node.mtime if mtime is None else mtime

    def do_flush(self, number):
        node = self.nodes[number]
        if node.is_dir:
            kept = []
            for change in self.pending_names:
                if number in (change[1], change[3] if change[0] == "move" else None):
                    self.settle_name(self.names, change)
                    # A name that moved away is not made afterwards.
                    kept = [other for other in kept if change[0] != "move" or made(other) != change[1:3]]
                else:
                    kept.append(change)
            self.pending_names = kept
        else:
            for position, data in node.pending:
                settle_content(node.durable, position, data)
            node.pending = []

    def do_lose(self, number):
        """A flush that failed: readers still find the bytes, and no later flush brings them back."""
        self.nodes[number].pending = []

    def do_flush_everything(self):
        for number in list(self.nodes):
            self.do_flush(number)

    @staticmethod
    def settle_name(names, change):
        match change:
            case ("add", parent, name, number):
                names.setdefault(parent, {})[name] = number
            case ("remove", parent, name):
                names.get(parent, {}).pop(name, None)
            case ("move", old_parent, old_name, parent, name, number):
                names.get(old_parent, {}).pop(old_name, None)
                names.setdefault(parent, {})[name] = number

    def after_power_cut(self, chance, ordered_names):
        """What may be left: `ordered_names` as on a journaling file system, where a change of a name
        is there only with all before it; else any of them may be missing."""
        names = {number: dict(entries) for number, entries in self.names.items()}
        if ordered_names:
            kept = self.pending_names[: chance.randint(0, len(self.pending_names))]
        else:
            share = chance.choice([0, 0.5, 1])
            kept = [change for change in self.pending_names if chance.random() < share]
        for change in kept:
            self.settle_name(names, change)
        left = Disk(self.behaviour)
        left.next = self.next
        left.nodes = {}

        def keep(number):
            if number in left.nodes:
                left.nodes[number].links += 1
                return
            old = self.nodes[number]
            content = old.content if old.is_dir else self.content_left(old, chance)
            node = Node(number, old.mode, old.uid, old.gid, bytearray(content), mtime=old.mtime, links=1)
            node.durable = bytearray(content)
            left.nodes[number] = node
            if old.is_dir:
                node.entries = names.get(number, {})
                for child in node.entries.values():
                    keep(child)

        keep(ROOT)
        left.names = {number: dict(node.entries) for number, node in left.nodes.items()}
        return left

    @staticmethod
    def content_left(node, chance):
        content = bytearray(node.durable)
        share = chance.choice([0, 0.5, 1])
        rubbish = chance.choice([b"\0", b"\xa5"])
        for position, data in node.pending:
            if data is None:
                if chance.random() < share:
                    settle_content(content, position, None)
                continue
            for start in range(0, len(data), PAGE):
                part = data[start : start + PAGE]
                end = position + start + len(part)
                if chance.random() < share:
                    settle_content(content, position + start, part)
                elif chance.random() < 0.1 and end > len(content):
                    # The length arrived, the bytes did not.
                    content.extend(rubbish * (end - len(content)))
        return content


def made(change):
    """Where a change makes a name."""
    return {"add": change[1:3], "move": change[3:5]}.get(change[0])


def settle_content(content, position, data):
    """Writes `data` at a position, or without it makes the content that long."""
    if data is None:
        del content[position:]
        content.extend(bytes(position - len(content)))
        return
    content.extend(bytes(max(0, position - len(content))))
    content[position : position + len(data)] = data


def played_back(recording):
    disk = Disk()
    for change in recording:
        disk.apply(change)
    return disk


class Mounted:
    """A disk at a path, served by a thread until the end of the block."""

    def __init__(self, disk, path, fails=None):
        self.disk, self.path = disk, str(path)
        self.opened = set()
        """Files that were not read since they were opened."""
        self.first = time.time_ns() & 0xFFFFFFFF
        """Of the inode numbers that are of this mount alone."""
        self.taken = set()
        """Names that are not free again, by folder."""
        self.fails = fails or (lambda operation, node: None)
        """May give an error number for an operation on a node."""

    def __enter__(self):
        self.device = os.open("/dev/fuse", os.O_RDWR)
        options = f"fd={self.device},rootmode=40000,user_id=0,group_id=0,allow_other,default_permissions"
        if libc.mount(b"disk", self.path.encode(), b"fuse.disk", 0, options.encode()) != 0:
            raise OSError(ctypes.get_errno(), "mount")
        self.thread = threading.Thread(target=self.serve, daemon=True)
        self.thread.start()
        return self

    def __exit__(self, *_):
        detach = 2
        libc.umount2(self.path.encode(), detach)
        self.thread.join(10)
        assert not self.thread.is_alive(), "something holds the disk"
        os.close(self.device)

    def serve(self):
        while True:
            try:
                request = os.read(self.device, (1 << 20) + 4096)
            except OSError as why:
                if why.errno == errno.ENODEV:
                    return
                if why.errno in (errno.EINTR, errno.ENOENT):
                    continue
                raise
            length, operation, unique, node, uid, gid, _pid = struct.unpack_from("=IIQQIII", request)
            body = memoryview(request)[40:length]
            try:
                answer = self.answer(OPERATIONS.get(operation), node, body, uid, gid)
            except OSError as why:
                answer = why.errno
            if answer is None:
                continue
            error, payload = (-answer, b"") if isinstance(answer, int) else (0, answer)
            try:
                os.write(self.device, struct.pack("=IiQ", 16 + len(payload), error, unique) + payload)
            except OSError as why:
                # The caller was killed meanwhile.
                if why.errno != errno.ENOENT:
                    raise

    def answer(self, operation, number, body, uid, gid):
        if operation is None:
            return errno.ENOSYS
        if operation == "interrupt":
            return errno.ENOSYS
        if operation in ("forget", "batch_forget"):
            return None
        node = self.disk.nodes.get(number)
        if node is None and operation not in ("init", "statfs", "release", "flush", "destroy"):
            return errno.ESTALE
        error = self.fails(operation, node)
        if error:
            return error
        return getattr(self, operation)(node, body, uid, gid)

    # Answers.

    def now(self):
        now, unit = time.time_ns(), self.disk.behaviour.seconds * 10**9
        return now - now % unit if unit else now

    def inode(self, node):
        number = node.number + (node.renamed << 32)
        return number + self.first if self.disk.behaviour.renumbers else number

    def attributes(self, node):
        size = len(node.content)
        seconds, nanoseconds = divmod(node.mtime, 10**9)
        changed = divmod(max(node.mtime, node.changed), 10**9)
        return struct.pack(
            "=6Q10I", self.inode(node), size, -(-size // 512), seconds, seconds, changed[0],
            nanoseconds, nanoseconds, changed[1], node.mode, max(node.links, 1), node.uid, node.gid, 0, PAGE, 0,
        )  # fmt: skip

    def entry(self, node):
        # Nothing is cached: chance changes it.
        return struct.pack("=4Q2I", node.number, 0, 0, 0, 0, 0) + self.attributes(node)

    def called(self, parent, name):
        """The name as the folder has it, for one that is there."""
        if self.disk.behaviour.folds_case and name not in parent.entries:
            return next((other for other in parent.entries if other.lower() == name.lower()), name)
        return name

    def check_name(self, name):
        if len(os.fsencode(name)) > self.disk.behaviour.name_max:
            raise OSError(errno.ENAMETOOLONG, name)
        if set(name) & set(self.disk.behaviour.refuses):
            raise OSError(errno.EINVAL, name)

    def child(self, node, name):
        number = node.entries.get(self.called(node, name))
        if number is None:
            raise OSError(errno.ENOENT, name)
        return self.disk.nodes[number]

    def init(self, _node, body, *_):
        _major, minor, readahead, flags = struct.unpack_from("=4I", body)
        big_writes, max_pages, flock_locks = 1 << 5, 1 << 22, 1 << 10
        wanted = big_writes | max_pages
        if self.disk.behaviour.flock != "kernel":
            wanted |= flock_locks
        return struct.pack(
            "=4I2H2I2H7I", 7, min(minor, 31), readahead, flags & wanted, 16, 12, 1 << 20, 1, 256, *[0] * 8
        )

    def lookup(self, node, body, *_):
        return self.entry(self.child(node, text(body)))

    def getattr(self, node, *_):
        return struct.pack("=QII", 0, 0, 0) + self.attributes(node)

    def setattr(self, node, body, *_):
        valid, _, _, size, _, _, mtime, _, _, nanoseconds, _, mode, _, uid, gid, _ = struct.unpack_from("=2I6Q8I", body)
        if valid & 8:
            if not self.disk.behaviour.anywhere and size not in (0, len(node.content)):
                return errno.EPERM
            self.change("resize", node.number, size, self.now())
        chosen = [value if valid & bit else None for bit, value in [(1, mode & 0o7777), (2, uid), (4, gid)]]
        moment = mtime * 10**9 + nanoseconds if valid & 32 else None
        if valid & 256:
            moment = self.now()
        self.change("attributes", node.number, *chosen, moment)
        self.touch(node)
        return self.getattr(node)

    def change(self, *change):
        return self.disk.apply(change)

    def touch(self, node):
        if self.disk.behaviour.change_time:
            node.changed = self.now()

    def make(self, parent, name, mode, uid, gid, content=b""):
        self.check_name(name)
        if self.called(parent, name) in parent.entries or (parent.number, name) in self.taken:
            raise OSError(errno.EEXIST, name)
        if parent.mode & stat.S_ISGID:
            gid = parent.gid
            mode |= stat.S_ISGID if stat.S_ISDIR(mode) else 0
        return self.change("make", parent.number, name, mode, uid, gid, content, self.now())

    def mkdir(self, node, body, uid, gid):
        mode, umask = struct.unpack_from("=2I", body)
        return self.entry(self.make(node, text(body[8:]), stat.S_IFDIR | (mode & ~umask), uid, gid))

    def mknod(self, node, body, uid, gid):
        mode, _, umask, _ = struct.unpack_from("=4I", body)
        return self.entry(self.make(node, text(body[16:]), mode & ~umask, uid, gid))

    def symlink(self, node, body, uid, gid):
        if not self.disk.behaviour.symlinks:
            return errno.EPERM
        name, target, _ = bytes(body).split(b"\0", 2)
        return self.entry(self.make(node, os.fsdecode(name), stat.S_IFLNK | 0o777, uid, gid, target))

    def readlink(self, node, *_):
        return bytes(node.content) if self.disk.behaviour.reads_symlinks else errno.EPERM

    def link(self, node, body, *_):
        if not self.disk.behaviour.hard_links:
            return errno.EPERM
        (number,) = struct.unpack_from("=Q", body)
        self.check_name(text(body[8:]))
        self.change("link", number, node.number, text(body[8:]))
        self.touch(self.disk.nodes[number])
        return self.entry(self.disk.nodes[number])

    def unlink(self, node, body, *_):
        name = self.called(node, text(body))
        self.child(node, name)
        self.change("remove", node.number, name)
        if not self.disk.behaviour.frees_names:
            self.taken.add((node.number, name))
        return b""

    def rmdir(self, node, body, *_):
        name = self.called(node, text(body))
        if self.child(node, name).entries:
            return errno.ENOTEMPTY
        self.change("remove", node.number, name)
        return b""

    def rename(self, node, body, *_, skip=8):
        (parent,) = struct.unpack_from("=Q", body)
        if not self.disk.behaviour.renames:
            return errno.ENOSYS
        old, new = (os.fsdecode(name) for name in bytes(body[skip:]).split(b"\0", 2)[:2])
        self.check_name(new)
        # What is replaced keeps the name that it has.
        old, new = self.called(node, old), self.called(self.disk.nodes[parent], new)
        moved = self.child(node, old)
        moved.renamed += not self.disk.behaviour.keeps_numbers
        self.change("rename", node.number, old, parent, new)
        self.touch(moved)
        return b""

    def rename2(self, node, body, *_):
        return errno.EINVAL if struct.unpack_from("=QI", body)[1] else self.rename(node, body, skip=16)

    def open(self, node, body, *_):
        (flags,) = struct.unpack_from("=I", body)
        if flags & os.O_TRUNC:
            self.change("resize", node.number, 0, self.now())
        self.opened.add(node.number)
        return struct.pack("=QII", 0, 0, 0)

    def create(self, node, body, uid, gid):
        _, mode, umask, _ = struct.unpack_from("=4I", body)
        made = self.make(node, text(body[16:]), stat.S_IFREG | (mode & 0o7777 & ~umask), uid, gid)
        return self.entry(made) + struct.pack("=QII", 0, 0, 0)

    def read(self, node, body, *_):
        _, offset, size = struct.unpack_from("=QQI", body)
        if self.disk.behaviour.reading_moves_times and node.number in self.opened:
            self.opened.discard(node.number)
            self.change("attributes", node.number, None, None, None, self.now())
        return bytes(node.content[offset : offset + size])

    def write(self, node, body, *_):
        _, offset, size = struct.unpack_from("=QQI", body)
        data = bytes(body[40 : 40 + size])
        if not self.disk.behaviour.anywhere and offset != len(node.content):
            return errno.EPERM
        self.take_space(offset + size - len(node.content))
        self.change("write", node.number, offset, data, self.now())
        return struct.pack("=II", size, 0)

    def take_space(self, more):
        taken = sum(len(node.content) for node in self.disk.nodes.values() if node.links)
        if more > 0 and taken + more > self.disk.behaviour.capacity:
            raise OSError(errno.ENOSPC, "full")

    def fallocate(self, node, body, *_):
        _, offset, length, mode = struct.unpack_from("=3QI", body)
        if mode or not self.disk.behaviour.preallocates or not self.disk.behaviour.anywhere:
            return errno.EOPNOTSUPP
        if offset + length > len(node.content):
            self.take_space(offset + length - len(node.content))
            self.change("resize", node.number, offset + length, self.now())
        return b""

    def fsync(self, node, *_):
        self.change("flush", node.number)
        return b""

    def fsyncdir(self, node, *_):
        if not self.disk.behaviour.directory_flush:
            return errno.EINVAL
        self.change("flush", node.number)
        return b""

    def opendir(self, *_):
        return struct.pack("=QII", 0, 0, 0)

    def readdir(self, node, body, *_):
        _, offset, size = struct.unpack_from("=QQI", body)
        answer = b""
        for index, (name, number) in enumerate(list(node.entries.items())[offset:], offset + 1):
            encoded = os.fsencode(name)
            kind = self.disk.nodes[number].mode >> 12
            record = struct.pack("=QQII", number, index, len(encoded), kind) + encoded
            record += bytes(-len(record) % 8)
            if len(answer) + len(record) > size:
                break
            answer += record
        return answer

    def statfs(self, *_):
        taken = sum(len(node.content) for node in self.disk.nodes.values())
        behaviour = self.disk.behaviour
        free = max(0, behaviour.capacity - taken) // PAGE
        blocks = [behaviour.capacity // PAGE, free, free] if behaviour.tells_space else [0, 0, 0]
        return struct.pack("=5Q10I", *blocks, 1 << 20, 1 << 20, PAGE, behaviour.name_max, PAGE, *[0] * 7)

    def setlk(self, *_):
        return errno.ENOLCK if self.disk.behaviour.flock == "missing" else b""

    setlkw = setlk

    def nothing(self, *_):
        return b""

    flush = release = releasedir = destroy = nothing


OPERATIONS = {
    1: "lookup", 2: "forget", 3: "getattr", 4: "setattr", 5: "readlink", 6: "symlink", 8: "mknod", 9: "mkdir",
    10: "unlink", 11: "rmdir", 12: "rename", 13: "link", 14: "open", 15: "read", 16: "write", 17: "statfs",
    18: "release", 20: "fsync", 25: "flush", 26: "init", 27: "opendir", 28: "readdir", 29: "releasedir",
    30: "fsyncdir", 32: "setlk", 33: "setlkw", 35: "create", 36: "interrupt", 38: "destroy", 42: "batch_forget",
    43: "fallocate", 45: "rename2",
}  # fmt: skip


def text(body):
    return os.fsdecode(bytes(body).split(b"\0", 1)[0])


libc = ctypes.CDLL(None, use_errno=True)
libc.mount.argtypes = [ctypes.c_char_p, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_ulong, ctypes.c_char_p]
