"""What is measured: shell commands that leave verified files at their names, and can be run again.

They run in an empty directory, with what `surroundings.py` sets in the environment."""

import os
from dataclasses import dataclass


@dataclass
class Contender:
    name: str
    command: str


def curl(verify):
    return 'test -e "$FILE" || { curl -fsSL -C - -o "$FILE.part" "$URL" && mv "$FILE.part" "$FILE"; }; ' + verify


def wget(verify):
    return 'test -e "$FILE" || { wget -q -c -O "$FILE.part" "$URL" && mv "$FILE.part" "$FILE"; }; ' + verify


SHA256SUM = 'sha256sum -c --quiet "$LISTS/SHA256SUMS"'
# Debian's sha256sum does not use the CPU's SHA instructions; this does.
OPENSSL = 'openssl dgst -sha256 -r $(cat "$LISTS/names") | cmp - "$LISTS/openssl"'
MODELFETCH = '"$MODELFETCH" fetch "$REPO" --dir . --progress none >/dev/null'
ARIA2 = 'aria2c -q -c --file-allocation=falloc --auto-file-renaming=false ${CA:+--ca-certificate="$CA"} '
HF = 'hf download "$REPO" --local-dir . --quiet >/dev/null'

# It downloads, does not find a model in the bytes, and ends.
LLAMA = 'HF_HOME=. "$LLAMA_SERVER" -hf "$REPO" -hff "$FILE" >/dev/null 2>&1; ln -fL hub/models--*/snapshots/*/"$FILE" "$FILE"'

OURS = Contender("modelfetch", MODELFETCH)
CURL_SHA256SUM = Contender("curl, sha256sum", curl(SHA256SUM))
CURL_OPENSSL = Contender("curl, openssl dgst", curl(OPENSSL))
ARIA2_16 = Contender("aria2c -x16 --checksum", f'{ARIA2} -x16 -s16 -k1M --checksum=sha-256="$SHA" -o "$FILE" "$URL"')

ONE_FILE = [
    OURS,
    Contender("modelfetch --connections 16", f"{MODELFETCH} --connections 16"),
    CURL_SHA256SUM,
    CURL_OPENSSL,
    Contender("wget, openssl dgst", wget(OPENSSL)),
    ARIA2_16,
    Contender("hf download (size only)", HF),
    Contender("hf download, sha256sum", f"{HF} && {SHA256SUM}"),
]
UNCAPPED = [*ONE_FILE, Contender("modelfetch --connections 64", f"{MODELFETCH} --connections 64")]
if os.environ.get("LLAMA_SERVER"):
    UNCAPPED.append(Contender("llama-server -hf (size only)", LLAMA))
    UNCAPPED.append(Contender("llama-server -hf, openssl dgst", f"{LLAMA} && {OPENSSL}"))

# Where the Hub says that the file is in Xet storage.
XET = [
    OURS,
    CURL_OPENSSL,
    CURL_SHA256SUM,
    ARIA2_16,
    Contender("hf download by Xet (size only)", HF),
    Contender("the same, HF_XET_HIGH_PERFORMANCE=1", f"HF_XET_HIGH_PERFORMANCE=1 {HF}"),
    Contender("hf download by Xet, openssl dgst", f"{HF} && {OPENSSL}"),
    Contender("hf download over HTTP (size only)", f"HF_HUB_DISABLE_XET=1 {HF}"),
]

MANY_FILES = [
    OURS,
    Contender("curl -Z --parallel-max 8, openssl dgst",
              f'test -e "$FILE" || curl -fsSLZ --no-progress-meter --parallel-max 8 -K "$LISTS/curl"; {OPENSSL}'),
    Contender("wget, openssl dgst", f'wget -q -nc -i "$LISTS/urls"; {OPENSSL}'),
    Contender("aria2c -j16, checksums", f'{ARIA2} -j16 -x1 -i "$LISTS/aria2"'),
    Contender("hf download (size only)", HF),
    Contender("the same, --max-workers 16", f"{HF} --max-workers 16"),
    Contender("hf download, sha256sum", f"{HF} && {SHA256SUM}"),
]


def of(link):
    """Those who are measured on a link of `compare.py`."""
    files = {"many": MANY_FILES, "thousands": MANY_FILES, "sharded": MANY_FILES}
    return {"uncapped": UNCAPPED, "xet": XET, **files}.get(link, ONE_FILE)
