"""Runs that end at a chosen point, many of them, each in a directory of its own."""

import shutil
import tempfile
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from pathlib import Path

WORKERS = 2


def spread(function, points, *arguments):
    """What the function says about each point, found out by several processes."""
    with ProcessPoolExecutor(WORKERS) as pool:
        return list(pool.map(Applied(function, arguments), points))


class Applied:
    def __init__(self, function, arguments):
        self.function, self.arguments = function, arguments

    def __call__(self, point):
        return self.function(point, *self.arguments)


@contextmanager
def scratch(place):
    """A directory for one point."""
    directory = Path(tempfile.mkdtemp(dir=place))
    try:
        yield directory
    finally:
        shutil.rmtree(directory)


def killed_after(target, bytes_written=None, calls=None, meanwhile=(0, None)):
    """A run that ends before its call number `calls`, or when it has written so much. `meanwhile` has
    the number of a call before which something happens."""
    count = total = 0

    def decide(call):
        nonlocal count, total
        if not call.changes:
            return "continue"
        count += 1
        if count == meanwhile[0]:
            meanwhile[1]()
        if count == calls or (bytes_written is not None and total >= bytes_written):
            return "kill"
        total += call.length if call.name == "pwrite64" else 0
        return "continue"

    ended = target.run(decide)
    assert ended.status in (-9, 0), ended.stderr
    return ended
