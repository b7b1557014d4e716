# Sourced by up, run and down: where the cluster is, and what it needs.

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
. "$here/../tools.sh"
state="${MODELFETCH_CLUSTER:-/var/tmp/modelfetch-cluster}"

# init_pid: the first process of the cluster's namespaces, as it is numbered here; nothing if there is none.
init_pid() {
    local outer
    outer=$(cat "$state/pid" 2>/dev/null) && tr -d ' ' <"/proc/$outer/task/$outer/children" 2>/dev/null || true
}

is_up() {
    [ -e "$state/ready" ] && [ -n "$(init_pid)" ]
}

# prepare [--if-built]: what a bare Debian machine lacks, and COMPONENTS, KUBECTL, HELM, PYTHON.
prepare() {
    local assignments
    [ "$(id -u)" -eq 0 ] || { echo "the cluster needs root" >&2; return 1; }
    COMPONENTS=
    assignments=$("$here/tools" "$@") || return
    eval "$assignments"
    packages buildah ca-certificates containerd containernetworking-plugins curl e2fsprogs iptables iproute2 kmod \
        mount openssl procps runc util-linux
    assignments=$("$repository/tests/chart/tools")
    eval "$assignments"
    python_environment
    export COMPONENTS KUBECTL HELM HELM3
}
