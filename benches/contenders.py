"""What is measured: shell commands that leave a verified file at its name, and can be run again."""

from dataclasses import dataclass


@dataclass
class Contender:
    name: str
    command: str
    """Run by sh in an empty directory, with URL, FILE and SHA in its environment."""

    connections: int = 1


def curl(verify):
    return 'test -e "$FILE" || { curl -fsSL -C - -o "$FILE.part" "$URL" && mv "$FILE.part" "$FILE"; }; ' + verify


def wget(verify):
    return 'test -e "$FILE" || { wget -q -c -O "$FILE.part" "$URL" && mv "$FILE.part" "$FILE"; }; ' + verify


SHA256SUM = 'echo "$SHA  $FILE" | sha256sum -c --quiet'
# Debian's sha256sum does not use the CPU's SHA instructions; this does.
OPENSSL = 'test "$(openssl dgst -sha256 -r "$FILE" | cut -d" " -f1)" = "$SHA"'
MODELFETCH = '"$MODELFETCH" fetch "$REPO" "$FILE" --dir . --progress none'
ARIA2 = (
    'aria2c -q -c -x16 -s16 -k1M --file-allocation=falloc --auto-file-renaming=false '
    '--checksum=sha-256="$SHA" -o "$FILE" "$URL"'
)
HF = 'hf download "$REPO" "$FILE" --local-dir . --quiet >/dev/null'

ALL = [
    Contender("modelfetch", MODELFETCH, 8),
    Contender("modelfetch --connections 16", f"{MODELFETCH} --connections 16", 16),
    Contender("curl, sha256sum", curl(SHA256SUM)),
    Contender("curl, openssl dgst", curl(OPENSSL)),
    Contender("wget, sha256sum", wget(SHA256SUM)),
    Contender("aria2c -x16 --checksum", ARIA2, 16),
    Contender("hf download (size only)", HF),
    Contender("hf download, sha256sum", f"{HF} && {SHA256SUM}"),
]
