"""sbom.py TARGET PROGRAM FILE: the SBOM of FILE, which holds this program, as CycloneDX on stdout.

The crates are those that the program itself says it holds; licences are cargo's, digests those of Cargo.lock."""

import datetime
import hashlib
import os
import sys
import uuid
from pathlib import Path

from crates import all_of, checksums, embedded, key
from cyclonedx.contrib.license.factories import LicenseFactory
from cyclonedx.model import HashAlgorithm, HashType
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.output.json import JsonV1Dot6
from packageurl import PackageURL


def sha256(digest):
    return [HashType(alg=HashAlgorithm.SHA_256, content=digest)]


def component(package, digest, kind):
    name, version = key(package)
    return Component(
        type=kind,
        name=name,
        version=version,
        bom_ref=f"{name}@{version}",
        purl=PackageURL("cargo", None, name, version),
        licenses=[LicenseFactory().make_from_string(package["license"])],
        hashes=sha256(digest) if digest else [],
    )


def main():
    target, program, described = sys.argv[1:]
    root, packages = all_of(target)
    inside, digests = embedded(program), checksums()
    unknown = inside - set(map(key, packages))
    if unknown:
        raise SystemExit(f"the program holds crates that cargo knows nothing of: {sorted(unknown)}")
    digest = hashlib.sha256(Path(described).read_bytes()).hexdigest()
    bom = Bom(serial_number=uuid.uuid5(uuid.NAMESPACE_OID, digest))
    bom.metadata.timestamp = datetime.datetime.fromtimestamp(int(os.environ["SOURCE_DATE_EPOCH"]), datetime.UTC)
    bom.metadata.component = component(root, digest, ComponentType.APPLICATION)
    crates = [package for package in packages if key(package) in inside]
    parts = {key(package): component(package, digests[key(package)], ComponentType.LIBRARY) for package in crates}
    bom.components.update(parts.values())
    bom.register_dependency(bom.metadata.component, parts.values())
    print(JsonV1Dot6(bom).output_as_string(indent=1))


if __name__ == "__main__":
    main()
