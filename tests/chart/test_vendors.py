"""`gpu.vendor` sets what differs between vendors; each part can be set for itself."""

import pytest

from chart import RenderError, environment, nested, render
from value_changes import merged

VENDORS = {
    "nvidia": ("ghcr.io/ggml-org/llama.cpp:server-cuda", "nvidia.com/gpu", "nvidia.com/gpu", "nvidia", "CUDA_CACHE_PATH"),
    "amd": ("ghcr.io/ggml-org/llama.cpp:server-rocm", "amd.com/gpu", "amd.com/gpu", None, "AMD_COMGR_CACHE_DIR"),
    "intel": ("ghcr.io/ggml-org/llama.cpp:server-intel", "gpu.intel.com/i915", "gpu.intel.com/i915", None, "SYCL_CACHE_DIR"),
    "cpu": ("ghcr.io/ggml-org/llama.cpp:server", None, None, None, None),
}


@pytest.mark.parametrize("vendor", VENDORS)
def test_a_vendor_sets_all_that_is_its_own(vendor):
    image, resource, taint, runtime, cache = VENDORS[vendor]
    r = render(nested("gpu.vendor", vendor))
    assert r.server["image"] == image
    assert [k for k in r.server["resources"]["limits"] if "/" in k] == ([resource] if resource else [])
    assert r.server_pod.get("runtimeClassName") == runtime
    for name, pod in r.pods():
        assert [t["key"] for t in pod.get("tolerations", [])] == ([taint] if taint else []), name
    caches = set(environment(r.server)) - {"HOME", "LLAMA_CACHE"}
    assert (cache in caches) if cache else not caches
    assert all(path.startswith("/tmp/") for name, path in environment(r.server).items() if name in caches)


@pytest.mark.parametrize("vendor", ["amd", "intel"])
def test_the_server_is_in_the_groups_of_the_device_files(vendor):
    r = render(nested("gpu.vendor", vendor))
    assert 44 in r.server_pod["securityContext"]["supplementalGroups"]
    assert "supplementalGroups" not in render().server_pod["securityContext"]


@pytest.mark.parametrize("values,seen,then", [
    (nested("gpu.resource", "amd.com/gpu-shared"), lambda r: "amd.com/gpu-shared" in r.server["resources"]["limits"], True),
    (nested("gpu.nvidiaResource", "example.com/gpu"), lambda r: "example.com/gpu" in r.server["resources"]["limits"], True),
    (nested("images.server.name", "server-vulkan"), lambda r: r.server["image"], "ghcr.io/ggml-org/llama.cpp:server-vulkan"),
    (nested("runtimeClassName", "kata"), lambda r: r.server_pod["runtimeClassName"], "kata"),
    (nested("gpu.deviceGroups", [303]), lambda r: r.server_pod["securityContext"]["supplementalGroups"], [303]),
    (nested("server.podSecurityContext", {"supplementalGroups": [7]}),
     lambda r: r.server_pod["securityContext"]["supplementalGroups"], [7]),
    (nested("server.extraEnv", [{"name": "AMD_COMGR_CACHE_DIR", "value": "/x"}]), lambda r: environment(r.server)["AMD_COMGR_CACHE_DIR"], "/x"),
    (nested("gpu.dra", {"enabled": True}),
     lambda r: r.one("ResourceClaimTemplate")["spec"]["spec"]["devices"]["requests"][0]["exactly"]["deviceClassName"], "gpu.amd.com"),
    (nested("gpu.dra", {"enabled": True, "deviceClassName": "mine.example.com"}),
     lambda r: r.one("ResourceClaimTemplate")["spec"]["spec"]["devices"]["requests"][0]["exactly"]["deviceClassName"], "mine.example.com"),
], ids=lambda x: str(x) if isinstance(x, dict) else "")
def test_each_part_can_be_set_for_itself(values, seen, then):
    assert seen(render(merged(nested("gpu.vendor", "amd"), values))) == then


def test_vulkan_wants_to_know_which_gpu():
    with pytest.raises(RenderError, match="set gpu.resource"):
        render(nested("gpu.vendor", "vulkan"))
    r = render({"gpu": {"vendor": "vulkan", "resource": "amd.com/gpu"}})
    assert r.server["image"] == "ghcr.io/ggml-org/llama.cpp:server-vulkan"
    assert environment(r.server)["MESA_SHADER_CACHE_DIR"] == "/tmp/mesa"
    privileged = {"gpu": {"vendor": "vulkan"}, "server": {"securityContext": {"privileged": True}}}
    assert not [k for k in render(privileged).server["resources"]["limits"] if "/" in k]


def test_a_device_claim_needs_the_class_of_its_vendor():
    with pytest.raises(RenderError, match="gpu.vendor=vulkan has no DeviceClass of its own"):
        render({"gpu": {"vendor": "vulkan", "dra": {"enabled": True}}})
