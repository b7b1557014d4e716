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

# prepare: what a bare Debian machine lacks, and COMPONENTS, ROUTER, KUBECTL, HELM, PYTHON. With IF_BUILT, network policies
# are enforced only if kube-router is there already.
prepare() {
    local assignments
    [ "$(id -u)" -eq 0 ] || { echo "the cluster needs root" >&2; return 1; }
    COMPONENTS= ROUTER=
    assignments=$("$here/tools") || return
    eval "$assignments"
    if assignments=$("$here/router/build" ${IF_BUILT:+--if-built}); then
        eval "$assignments"
    else
        echo "*** no kube-router in $cache (tests/cluster/router/build builds it): network policies are not enforced" >&2
    fi
    packages buildah ca-certificates containerd containernetworking-plugins curl e2fsprogs ipset iptables iproute2 kmod \
        mount openssl procps runc util-linux
    assignments=$("$repository/tests/chart/tools")
    eval "$assignments"
    python_environment
    export COMPONENTS ROUTER KUBECTL HELM HELM3
}
