# Sourced by the scripts beside it: what a clean Debian machine lacks is installed, what is tested is built.

repository=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cache="${XDG_CACHE_HOME:-$HOME/.cache}/modelfetch"
mkdir -p "$cache"

# packages NAME…: installs the Debian packages that are missing.
packages() {
    local name missing=()
    for name in "$@"; do
        dpkg-query -W -f '${Status}' "$name" 2>/dev/null | grep -q '^install ok installed$' || missing+=("$name")
    done
    [ ${#missing[@]} -eq 0 ] && return
    if [ "$(id -u)" -ne 0 ]; then
        echo "missing packages; as root: apt-get install ${missing[*]}" >&2
        return 1
    fi
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >&2
}

# python_packages REQUIREMENTS VENV: makes an environment with these packages.
python_packages() {
    local requirements=$1 venv=$2
    packages python3-venv
    (
        flock 9
        cmp -s "$requirements" "$venv/requirements.txt" && exit
        rm -rf "$venv"
        python3 -m venv "$venv"
        "$venv/bin/pip" install -q --disable-pip-version-check -r "$requirements"
        cp "$requirements" "$venv/requirements.txt"
    ) 9>"$venv.lock" >&2
}

# python_environment: makes the environment of tests/requirements.txt and sets PYTHON and PATH.
python_environment() {
    local venv="$cache/tests-venv"
    python_packages "$repository/tests/requirements.txt" "$venv"
    export PYTHON="$venv/bin/python" PATH="$venv/bin:$PATH"
    export PYTHONPATH="$repository/tests" PYTHONDONTWRITEBYTECODE=1
}

# binaries [--release]: builds the program and the fake Hub and sets MODELFETCH and FAKE_HUB, unless both are set.
binaries() {
    [ -z "${MODELFETCH:-}" ] || [ -z "${FAKE_HUB:-}" ] || return 0
    local built
    # With the tests, unless for release: without them crates have fewer features, and all would be built a second time.
    [ $# -gt 0 ] || set -- --tests
    built=$(cd "$repository" && cargo build --locked --workspace --bins --message-format json-render-diagnostics "$@")
    MODELFETCH=$(executable modelfetch <<<"$built")
    FAKE_HUB=$(executable fake-hub <<<"$built")
    export MODELFETCH FAKE_HUB
}

# executable NAME: finds a binary's path in cargo's messages.
executable() {
    python3 -c '
import json, sys
messages = map(json.loads, sys.stdin)
programs = (m for m in messages if m.get("executable") and m["target"]["kind"] == ["bin"] and not m["profile"]["test"])
print(next(m["executable"] for m in programs if m["target"]["name"] == sys.argv[1]))
' "$1"
}
