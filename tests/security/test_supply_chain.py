"""What the production image installs is listed by hash, what CI runs by commit, and what all of it is licensed under."""

from __future__ import annotations

import json
import os
import re
import stat
import subprocess
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

from support.dockerfile import stages
from support.paths import PROJECT, load_script

DEPLOY = PROJECT / "include" / "deploy"
LISTS = {"production": "requirements.hashes.txt", "serving": "serving.hashes.txt"}  # by stage of the image
WORKFLOWS = sorted((PROJECT / ".github" / "workflows").glob("*.yml"))
PERMISSIVE = re.compile(
    r"MIT|Apache|BSD|ISC|PSF|Python Software Foundation|MPL|Mozilla|Zope|Unlicense|CC0|CNRI|Zlib|Artistic"
)
# Copyleft, and why it is no obstacle: used as published, as a library of its own.
REVIEWED = {
    "asyncssh": "EPL-2.0 OR GPL-2.0-or-later",
    "grandalf": "GNU General Public License v2 (GPLv2)",  # or EPL-1.0, says its licence file
    "psycopg": "LGPL-3.0-only",
    "psycopg-binary": "LGPL-3.0-only",
    "psycopg2-binary": "GNU Library or Lesser General Public License (LGPL)",
    "pygit2": "GPLv2 with linking exception",
}


@pytest.fixture(scope="module")
def licences() -> ModuleType:
    return load_script(PROJECT / "docs" / "licences.py")


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def listed(stage: str) -> dict[tuple[str, str], list[str]]:
    """Return the hashes of each package; every line of the file is a package or a hash."""
    found: dict[tuple[str, str], list[str]] = {}
    for line in (DEPLOY / LISTS[stage]).read_text(encoding="utf-8").splitlines():
        package = re.fullmatch(r"([\w.-]+)(?:\[[\w,-]+\])?==([^\s;]+)(?: ; [^\\]+)? \\", line)
        if package:
            found[canonical(package[1]), package[2]] = []
        else:
            value = re.fullmatch(r"    --hash=sha256:([0-9a-f]{64})(?: \\)?", line)
            assert value, line
            found[list(found)[-1]].append(value[1])
    return found


def test_every_production_package_is_listed_with_its_hashes_and_nothing_else(licences: ModuleType) -> None:
    found, wanted = listed("production"), {(canonical(name), version) for name, version in licences.pins()}
    assert len(wanted) > 250
    assert found.keys() == wanted, "run make hashes"
    assert all(hashes and len(set(hashes)) == len(hashes) for hashes in found.values())


def test_the_serving_image_installs_files_of_the_production_image() -> None:
    served, produced = listed("serving"), listed("production")
    assert 40 < len(served) < 90
    assert served.items() <= produced.items(), "run make hashes"


@pytest.mark.parametrize(
    ("stage", "packages", "builds"),
    [
        ("production", ". ./plugins", {"setuptools", "hatchling", "trove-classifiers"}),
        ("serving", ".", {"hatchling", "trove-classifiers"}),
    ],
)
def test_the_image_installs_by_hash_only(stage: str, packages: str, builds: set[str]) -> None:
    text, file = stages()[stage].replace("\\\n", ""), LISTS[stage]
    installs = [" ".join(line.split()) for line in re.findall(r"pip install [^\n&]*", text)]
    (by_hash,) = [line for line in installs if f"--require-hashes -r {file}" in line]
    # What has no wheel is built by packages of the list, and so is evermodel's own wheel.
    assert f"--build-constraints {file}" in by_hash
    installs.remove(by_hash)
    assert sorted(installs) == [
        f"pip install --no-cache-dir --no-build-isolation --no-deps {packages}",
        "pip install --no-cache-dir uv==0.13.9",
    ]
    assert builds <= {name for name, _ in listed(stage)}


def test_a_package_with_another_hash_is_refused(tmp_path: Path) -> None:
    """Pip's own check, with a wheel made here: no network."""
    import sys
    import zipfile

    def wheel(folder: Path, text: str) -> str:
        folder.mkdir()
        file = folder / "pinned-1.0-py3-none-any.whl"
        info = "pinned-1.0.dist-info"
        with zipfile.ZipFile(file, "w") as archive:
            archive.writestr("pinned.py", text)
            archive.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: pinned\nVersion: 1.0\n")
            archive.writestr(
                f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
            )
            archive.writestr(f"{info}/RECORD", "")
        import hashlib

        return hashlib.sha256(file.read_bytes()).hexdigest()

    right, _ = wheel(tmp_path / "right", "A = 1\n"), wheel(tmp_path / "swapped", "A = 2\n")
    (tmp_path / "list.txt").write_text(f"pinned==1.0 \\\n    --hash=sha256:{right}\n")
    for folder, code in (("right", 0), ("swapped", 1)):
        command = [sys.executable, "-m", "pip", "install", "--no-index", "--find-links", str(tmp_path / folder),
                   "--target", str(tmp_path / f"in-{folder}"), "--require-hashes", "-r", str(tmp_path / "list.txt")]  # fmt: skip
        environment = {key: value for key, value in os.environ.items() if not key.startswith("PIP_")}
        done = subprocess.run(
            command,
            env={**environment, "PIP_CONFIG_FILE": os.devnull},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == code, done.stderr
    assert "DO NOT MATCH THE HASHES" in done.stderr


@pytest.mark.parametrize("file", WORKFLOWS, ids=lambda file: file.name)
def test_actions_are_pinned_by_commit_with_the_version_beside(file: Path) -> None:
    uses = re.findall(r"uses: (\S.*)", file.read_text(encoding="utf-8"))
    assert uses
    for action in uses:
        assert re.fullmatch(r"[\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", action), action


def test_one_version_of_an_action_everywhere() -> None:
    uses = {u for file in WORKFLOWS for u in re.findall(r"uses: (\S.*)", file.read_text(encoding="utf-8"))}
    repositories = {"/".join(action.split("@")[0].split("/")[:2]) for action in uses}
    commits = {("/".join(a.split("@")[0].split("/")[:2]), a.split("@")[1]) for a in uses}
    assert len(commits) == len(repositories)


def test_workflows_may_only_read_unless_they_say_what_they_write() -> None:
    for file in WORKFLOWS:
        flow: dict[Any, Any] = yaml.safe_load(file.read_text(encoding="utf-8"))
        assert flow["permissions"]["contents"] == "read", file.name


def test_the_page_of_licences_is_today_s_and_every_licence_is_known(licences: ModuleType) -> None:
    page = licences.PAGE.read_text(encoding="utf-8")
    assert page == licences.page(), "run python docs/licences.py"
    rows = dict(re.findall(r"^\| (\S+) \| \S+ \| (.*) \|$", page, re.M))
    assert len(rows) == len(list(licences.pins())) + 1  # the head
    del rows["package"]
    unknown = {name: said for name, said in rows.items() if not PERMISSIVE.search(said)}
    assert unknown == REVIEWED


def _tools(folder: Path, audit: int) -> Path:
    """Programs in the place of the two tools: what is tested is the script."""
    import sys

    (folder / "bin").mkdir(parents=True)
    (folder / "bin" / "python").symlink_to(sys.executable)
    bom = '#!/bin/sh\nwhile [ "$1" != --output-file ]; do shift; done\necho \'{"components": [{"purl": 1}]}\' > "$2"\n'
    for name, text in (("cyclonedx-py", bom), ("pip-audit", f"#!/bin/sh\nexit {audit}\n")):
        file = folder / "bin" / name
        file.write_text(text)
        file.chmod(file.stat().st_mode | stat.S_IXUSR)
    return folder


@pytest.mark.parametrize(("reachable", "audit", "code"), [(True, 0, 0), (True, 1, 1), (False, 1, 0)])
def test_a_vulnerability_fails_and_a_service_that_is_away_is_said_and_fails_nothing(
    tmp_path: Path, reachable: bool, audit: int, code: int
) -> None:
    (tmp_path / ".ci").mkdir()
    script = tmp_path / ".ci" / "supply-chain"
    script.write_bytes((PROJECT / ".ci" / "supply-chain").read_bytes())
    answer = tmp_path / "answer.json"
    answer.write_text("{}")
    service = answer.as_uri() if reachable else "http://127.0.0.1:9/"
    env = {**os.environ, "TOOLS": str(_tools(tmp_path / "tools", audit)), "ADVISORY_SERVICE": service}
    done = subprocess.run(["bash", str(script)], env=env, capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stderr
    assert ("could not be reached" in done.stdout) is not reachable
    assert json.loads((tmp_path / "build" / "sbom.json").read_text())["components"]


def test_ci_makes_the_sbom_and_looks_for_vulnerabilities_with_pinned_tools() -> None:
    flow = yaml.safe_load((PROJECT / ".github" / "workflows" / "ci.yml").read_text(encoding="utf-8"))
    steps = flow["jobs"]["supply-chain"]["steps"]
    assert ".ci/supply-chain" in [step.get("run") for step in steps]
    script = (PROJECT / ".ci" / "supply-chain").read_text(encoding="utf-8")
    (install,) = re.findall(r"pip\" install .*", script)
    assert re.findall(r"([\w-]+)==[\d.]+", install) == ["cyclonedx-bom", "pip-audit"]
    assert "https://" not in install
