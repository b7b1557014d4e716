"""licences.py TARGET: the licence texts of every crate that is linked into the program, as its source has them."""

import sys
from pathlib import Path

from crates import linked

NAMES = ("LICENSE", "LICENCE", "COPYING", "COPYRIGHT", "NOTICE", "UNLICENSE")


def texts(package):
    folder = Path(package["manifest_path"]).parent
    named = {folder / package["license_file"]} if package["license_file"] else set()
    return sorted(named | {path for path in folder.iterdir() if path.is_file() and path.name.upper().startswith(NAMES)})


def main():
    print("The crates that are linked into modelfetch, and their licences.")
    for package in linked(sys.argv[1]):
        print(f"\n{'=' * 80}\n{package['name']} {package['version']}: {package['license']}\n{package['repository'] or ''}")
        for path in texts(package):
            print(f"\n---- {path.name}\n\n{path.read_text(errors='replace').strip()}")


if __name__ == "__main__":
    main()
