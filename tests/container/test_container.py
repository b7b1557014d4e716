"""The image in a container as a cluster runs it: read-only root, a random user, little memory."""

import json
import re
import time

from containerd import MIB
from dns_server import DnsServer
from fake_hub import FakeHub

# As the kubelet writes it for a pod in the namespace `default`.
RESOLV_CONF = """\
search default.svc.cluster.local svc.cluster.local cluster.local
nameserver 127.0.0.53
options ndots:5
"""


def fetch(hub, *more):
    return ["fetch", hub.repo, "model.gguf", "--dir", "/models", *more]


def assert_fetched(hub, models):
    published = models / "model.gguf"
    assert published.stat().st_size == hub.files["model.gguf"]["size"]
    receipt = json.loads((models / ".modelfetch/receipts/model.gguf.json").read_text())
    assert hub.files["model.gguf"]["sha256"] in json.dumps(receipt)


def test_the_image_holds_the_program_and_certificates_only(image):
    assert set(image.files) == {"modelfetch", "etc/ssl/certs/ca-certificates.crt"}
    assert image.files["modelfetch"] < 8_000_000
    config = image.config["config"]
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", config["User"])
    assert config["Entrypoint"] == ["/modelfetch"]
    assert config["Labels"]["org.opencontainers.image.licenses"] == "Apache-2.0"


def test_gigabytes_arrive_within_128_mib_of_memory(containerd, models):
    with FakeHub("--file", "model.gguf", "--size", "3GiB") as hub:
        container = containerd.start(*fetch(hub), models=models, environment={"HF_ENDPOINT": hub.endpoint})
        status = container.wait()

        assert status == 0, container.output()
        assert_fetched(hub, models)
    assert container.memory.killed == 0
    print(f"\nmemory of the control group at its peak, page cache included: {container.memory.peak / MIB:.1f} MiB")


def test_kserve_calls_it_as_a_storage_initializer_in_128_mib(containerd, models):
    with FakeHub("--file", "model.gguf", "--size", "1GiB") as hub:
        # As a ClusterStorageContainer has it: the source of the InferenceService, and where its model server looks.
        arguments = ["storage-initializer", f"hf://{hub.repo}", "/models/chat"]
        container = containerd.start(*arguments, models=models, environment={"HF_ENDPOINT": hub.endpoint})
        status = container.wait()

        assert status == 0, container.output()
        assert_fetched(hub, models / "chat")
    assert container.memory.killed == 0


def test_a_summary_is_left_in_the_termination_message(containerd, hub, models, file):
    message = file("termination-log", "")
    container = containerd.start(
        *fetch(hub),
        models=models,
        mounts={"/dev/termination-log": message},
        environment={"HF_ENDPOINT": hub.endpoint},
    )

    assert container.wait() == 0, container.output()
    assert json.loads(message.read_text())["outcome"] == "ok"


def test_sigterm_ends_it_within_a_second_and_the_next_run_goes_on(containerd, models):
    with FakeHub("--file", "model.gguf", "--size", "64MiB", "--rate-per-connection", "2MiB") as hub:
        environment = {"HF_ENDPOINT": hub.endpoint}
        first = containerd.start(*fetch(hub), models=models, environment=environment)
        time.sleep(2)
        begin = time.monotonic()
        first.signal("SIGTERM")
        assert first.wait() == 143, first.output()
        # Two calls of ctr and the poll are in it.
        assert time.monotonic() - begin < 2

        second = containerd.start(*fetch(hub, "--json"), models=models, environment=environment)
        assert second.wait() == 0, second.output()
        # Both streams are in the log, in no order that anybody promises.
        (result,) = [json.loads(line) for line in second.output().splitlines() if line.startswith("{")]
        assert result["files"][0]["done"] == "resumed"
        assert_fetched(hub, models)


def test_names_in_etc_hosts_are_found(containerd, named_hub, models, file):
    with DnsServer({}) as dns:
        container = containerd.start(
            *fetch(named_hub),
            models=models,
            mounts={
                "/etc/hosts": file("hosts", "127.0.0.1 hub.models cdn.models\n"),
                "/etc/resolv.conf": file("resolv.conf", RESOLV_CONF),
            },
            environment={"HF_ENDPOINT": named_hub.endpoint.replace("127.0.0.1", "hub.models")},
        )
        status = container.wait()

    assert status == 0, container.output()
    assert_fetched(named_hub, models)
    print(f"\nasked of the DNS all the same: {sorted(set(dns.asked))}")


def test_short_names_are_completed_as_in_a_cluster(containerd, named_hub, models, file):
    services = {f"{name}.models.svc.cluster.local": "127.0.0.1" for name in ["hub", "cdn"]}
    with DnsServer(services) as dns:
        container = containerd.start(
            *fetch(named_hub),
            models=models,
            mounts={"/etc/hosts": file("hosts", ""), "/etc/resolv.conf": file("resolv.conf", RESOLV_CONF)},
            environment={"HF_ENDPOINT": named_hub.endpoint.replace("127.0.0.1", "hub.models")},
        )
        status = container.wait()

    assert status == 0, container.output()
    assert_fetched(named_hub, models)
    assert "hub.models.default.svc.cluster.local" in dns.asked


def test_a_volume_that_may_not_be_written_is_named(containerd, hub, models):
    models.chmod(0o2750)

    container = containerd.start(*fetch(hub), models=models, environment={"HF_ENDPOINT": hub.endpoint})

    assert container.wait() == 22, container.output()
    assert "/models" in container.output()
