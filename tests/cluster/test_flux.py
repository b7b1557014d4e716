"""The chart as Flux installs it: Helm's library with the actions, waits and remediation of its helm-controller.

The controller itself is no program that the module proxy serves as one. What it does to a release is in its
`internal/action` and `internal/reconcile` (fluxcd/helm-controller 0f61a8607a62): install and upgrade with a wait for
readiness and for Jobs under `spec.timeout`, server-side apply; on a failed install uninstall and install again
(`install.remediation.retries`), or upgrade (`install.strategy: RetryOnFailure`). The helm command is the same library.
"""

import cluster
from chart import CHART
from cluster import FETCHED, RELEASE, chat, condition, merged, padded_model, values
from node import wait_until
from strict_yaml import objects_of

EXAMPLE = objects_of((CHART / "examples/flux/llamacpp-app.yaml").read_text())[1]["spec"]
WAITS = ("--wait=watcher", "--wait-for-jobs", "--server-side=true")


def flux_values(hub, **more):
    """The example's values, with what can't be had here from the other journeys."""
    return merged(merged(EXAMPLE["values"], values(hub, argocd={"enabled": False}, images={"fetch": {"repository": "modelfetch"}})), more)


def install(there, hub, timeout, **more):
    return there.helm("install", RELEASE, CHART, *WAITS, f"--timeout={timeout}", values=flux_values(hub, **more), check=False)


def test_five_minutes_are_not_enough_and_nothing_is_lost(volume, there, tmp_path):
    """The default timeout, made short: the install fails in mid-download, is uninstalled and installed anew, and resumes."""
    model = padded_model(tmp_path, "large.gguf", 24)
    with cluster.hub("--rate-per-connection", "1MiB", files=[model]) as hub:
        slow = {"fetch": {"connections": 1}, "model": {"file": "large.gguf", "repo": hub.repo}}
        failed = install(there, hub, "8s", **slow)
        assert failed.returncode != 0

        there.helm("uninstall", RELEASE, "--wait")
        assert there.get("pvc")["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep"

        done = install(there, hub, "3m", **slow)
        assert done.returncode == 0, done.stderr
        # What was under way when the pods went is paid for again, and no more.
        assert hub.counts()["cdn"]["bytes"] < 1.5 * model.stat().st_size
    chat(there.service()["spec"]["clusterIP"])


def test_a_failed_install_that_is_retried_goes_on(volume, there, tmp_path):
    """RetryOnFailure, as in the example: an upgrade with the same values, while the download goes on."""
    model = padded_model(tmp_path, "large.gguf", 16)
    with cluster.hub("--rate-per-connection", "1MiB", files=[model]) as hub:
        slow = {"fetch": {"connections": 1, "job": {"preUpgrade": False}}, "model": {"file": "large.gguf", "repo": hub.repo}}
        assert install(there, hub, "5s", **slow).returncode != 0
        there.helm("upgrade", RELEASE, CHART, *WAITS, "--timeout=3m", values=flux_values(hub, **slow))
    chat(there.service()["spec"]["clusterIP"])


def test_the_next_model_is_fetched_while_the_old_one_is_served(volume, there, tmp_path):
    new = padded_model(tmp_path, "new.gguf", 16)
    with cluster.hub("--rate-per-connection", "2MiB", files=[cluster.GGUF / FETCHED, new]) as hub:
        install(there, hub, "3m")
        old, address = there.server_pod()["metadata"]["uid"], there.service()["spec"]["clusterIP"]
        upgrade = there.start_helm("upgrade", RELEASE, CHART, *WAITS, "--timeout=3m",
                                   values=flux_values(hub, fetch={"connections": 1}, model={"file": "new.gguf", "alias": "new"}))
        served = 0
        while not volume.holds("new.gguf"):
            assert upgrade.poll() is None, upgrade.communicate()
            assert there.server_pod()["metadata"]["uid"] == old
            chat(address)
            served += 1
        assert upgrade.wait(timeout=180) == 0
        assert served > 3
    wait_until(there.server_is_ready, "the new server")
    assert there.server_pod()["metadata"]["uid"] != old


def test_an_upgrade_whose_download_fails_changes_nothing(volume, there, hub):
    install(there, hub, "3m")
    old = there.server_pod()["metadata"]["uid"]

    failed = there.helm("upgrade", RELEASE, CHART, *WAITS, "--timeout=1m",
                        values=flux_values(hub, model={"file": "typo.gguf"}), check=False)

    assert failed.returncode != 0 and "pre-upgrade" in failed.stderr
    assert there.server_pod()["metadata"]["uid"] == old
    assert condition(there.get("deployment"), "Available") == "True"
    chat(there.service()["spec"]["clusterIP"])
