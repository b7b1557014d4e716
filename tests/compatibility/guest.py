"""User-mode Linux: a kernel as a process, with clients that the kernel of this machine may lack. Its root is the machine's."""

import os
import shlex
import subprocess
import sys
from functools import cache
from pathlib import Path

HERE = Path(__file__).parent
MODULES = "/usr/lib/uml/modules"
SECONDS = 300


@cache
def release():
    return subprocess.check_output(["linux.uml", "--version"], text=True).strip()


def run(place, *arguments):
    """Runs these tests in a guest, with arguments for pytest. Returns what was printed."""
    library = place / "guest.so"
    subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", library, HERE / "guest.c"], check=True)
    (place / "lib").mkdir()
    (place / "lib/modules").symlink_to(MODULES)
    passed_on = {name: value for name, value in os.environ.items() if name.isidentifier()} | {"TMPDIR": "/run/work"}
    exports = [f"export {name}={shlex.quote(value)}" for name, value in passed_on.items()]
    pytest = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", HERE, *arguments]
    (place / "command").write_text("\n".join([*exports, shlex.join(map(str, pytest))]))
    kernel = ["linux.uml", "mem=1536M", "rootfstype=hostfs", "rw", "quiet", "con=null", "con0=null,fd:1"]
    console = subprocess.run(
        [*kernel, f"init={HERE}/guest.sh", f"WORK={place}", f"PATH={os.environ['PATH']}"],
        env={"PATH": os.environ["PATH"], "HOME": str(place), "TMPDIR": "/dev/shm", "LD_PRELOAD": str(library)},
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=SECONDS, check=False,
    )  # fmt: skip
    output = place / "output"
    return output.read_text() if output.exists() else console.stdout + console.stderr
