"""The fake Hub's binary, running."""

import json
import os
import subprocess


class FakeHub:
    """Serves generated files until it is closed; arguments are those of `fake-hub`."""

    def __init__(self, *arguments):
        command = [os.environ["FAKE_HUB"], *map(str, arguments)]
        command.append("--counts")
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        announcement = json.loads(self.process.stdout.readline())
        self.endpoint = announcement["endpoint"]
        self.cdn = announcement["cdn"]
        self.repo = announcement["repo"]
        self.commit = announcement["commit"]
        self.authority = announcement["ca_file"]
        self.id_token = announcement["id_token"]
        self.files = {file["path"]: file for file in announcement["files"]}
        self.smalls = [str(value) for flag, value in zip(arguments, arguments[1:]) if flag == "--small"]
        """Files that are not in LFS, `{}` inside."""

    def counts(self):
        """Requests and bytes of bodies so far, of the Hub and of the CDN."""
        return self._answer("")

    def push(self, name):
        """Moves main to a commit that has other bytes in this LFS file."""
        self._answer(name)

    def _answer(self, line):
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        self.process.stdin.close()
        self.process.stdout.close()
