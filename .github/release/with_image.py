#!/usr/bin/env python3
"""with_image.py VALUES REPOSITORY TAG DIGEST: puts the image of modelfetch into a chart's values, comments and all else as they are."""

import re
import sys
from pathlib import Path

path, *image = sys.argv[1:]
text = Path(path).read_text()
for key, value in zip(["repository", "tag", "digest"], image):
    # The first line of that name in `images.fetch`.
    text, count = re.subn(rf"(\n  fetch:\n(?:    .*\n)*?    {key}: ).*", lambda found: f"{found[1]}{value!r}", text, count=1)
    if count != 1:
        sys.exit(f"{path} has no images.fetch.{key}")
Path(path).write_text(text)
