"""The fake Hub's binary, running."""

import json
import os
import subprocess


class FakeHub:
    """Serves generated files until it is closed; arguments are those of `fake-hub`."""

    def __init__(self, *arguments):
        command = [os.environ["FAKE_HUB"], *map(str, arguments)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        announcement = json.loads(self.process.stdout.readline())
        self.endpoint = announcement["endpoint"]
        self.cdn = announcement["cdn"]
        self.repo = announcement["repo"]
        self.commit = announcement["commit"]
        self.authority = announcement["ca_file"]
        self.files = {file["path"]: file for file in announcement["files"]}

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()
