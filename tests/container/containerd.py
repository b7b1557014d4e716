"""containerd on a socket of its own, and the containers it runs."""

import os
import re
import subprocess
import time
from pathlib import Path

CONFIG = """
version = 2
root = "{dir}/root"
state = "{dir}/state"
disabled_plugins = ["io.containerd.grpc.v1.cri"]
[grpc]
  address = "{dir}/socket"
"""
MIB = 1 << 20


class Containerd:
    def __init__(self, directory):
        self.dir = directory
        self.count = 0

    def __enter__(self):
        config = self.dir / "config.toml"
        config.write_text(CONFIG.format(dir=self.dir))
        with open(self.dir / "log", "w") as log:
            self.process = subprocess.Popen(["containerd", "--config", config], stdout=log, stderr=log)
        wait_until(lambda: self.ctr("version", check=False).returncode == 0, seconds=20)
        return self

    def __exit__(self, *_):
        for name in self.ctr("task", "ls", "--quiet").stdout.split():
            self.ctr("task", "delete", "--force", name)
        self.process.terminate()
        self.process.wait()

    def ctr(self, *arguments, check=True):
        command = ["ctr", "--address", self.dir / "socket", *arguments]
        done = subprocess.run(list(map(str, command)), capture_output=True, text=True)
        assert done.returncode == 0 or not check, f"{arguments}: {done.stderr}"
        return done

    def load(self, image):
        self.ctr("image", "import", image.archive)
        (self.image,) = self.ctr("image", "ls", "--quiet").stdout.split()
        # Arguments on ctr's command line stand in place of the whole command.
        self.entrypoint = image.config["config"]["Entrypoint"]

    def start(self, *arguments, models, mounts=None, environment=None, memory=128 * MIB):
        """Starts the image with a read-only root; `mounts` maps paths inside to paths outside."""
        self.count += 1
        return Container(self, f"modelfetch-{os.getpid()}-{self.count}").start(
            arguments, {"/models": models} | (mounts or {}), environment or {}, memory
        )


class Container:
    def __init__(self, daemon, name):
        self.daemon, self.name = daemon, name
        self.log = daemon.dir / f"{name}.log"

    def start(self, arguments, mounts, environment, memory):
        options = ["--read-only", "--memory-limit", memory]
        # Our own network namespace, without the files that --net-host would bring along.
        options += ["--with-ns", f"network:/proc/{os.getpid()}/ns/net", "--cgroup", f"/{self.name}"]
        for inside, outside in mounts.items():
            options += ["--mount", f"type=bind,src={outside},dst={inside},options=rbind:rw"]
        for name, value in environment.items():
            options += ["--env", f"{name}={value}"]
        options += ["--detach", "--log-uri", f"file://{self.log}"]
        self.daemon.ctr("run", *options, self.daemon.image, self.name, *self.daemon.entrypoint, *arguments)
        return self

    def wait(self, seconds=120):
        """Waits for the end and returns the exit status."""
        wait_until(self.has_stopped, seconds)
        # The memory control group lives until the task is deleted.
        self.memory = Memory.of_group(self.name)
        deleted = self.daemon.ctr("task", "delete", self.name)
        self.daemon.ctr("container", "delete", self.name)
        # ctr tells a status other than 0 in a warning.
        told = re.search(r"non-zero exit code (\d+)", deleted.stderr)
        return int(told[1]) if told else 0

    def has_stopped(self):
        tasks = (line.split() for line in self.daemon.ctr("task", "ls").stdout.splitlines())
        return any(name == self.name and state == "STOPPED" for name, _, state in tasks)

    def signal(self, name):
        self.daemon.ctr("task", "kill", "--signal", name, self.name)

    def output(self):
        return self.log.read_text()


class Memory:
    """What a control group has seen, in bytes; both versions of control groups."""

    def __init__(self, peak, killed):
        self.peak, self.killed = peak, killed

    @classmethod
    def of_group(cls, name):
        one, two = Path("/sys/fs/cgroup/memory", name), Path("/sys/fs/cgroup", name)
        if one.is_dir():
            peak, events = one / "memory.max_usage_in_bytes", one / "memory.oom_control"
        else:
            peak, events = two / "memory.peak", two / "memory.events"
        counts = dict(line.split() for line in events.read_text().splitlines())
        return cls(int(peak.read_text()), int(counts["oom_kill"]))


def wait_until(condition, seconds):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"not within {seconds} s"
        time.sleep(0.1)
