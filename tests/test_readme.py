"""What README and docs show is executed: Python blocks as scripts, shell lines as commands, a model behind them."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from vertebra.testing import ScriptedModel

ROOT = Path(__file__).parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
SETUP: dict[str, str] = {}
"""Page to code that its first block takes for granted. Better none: a reader copies the block alone."""


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(), re.M | re.S)


def python_pages() -> list[str]:
    return [str(page.relative_to(ROOT)) for page in PAGES if blocks(page, "python")]


def execute(arguments: list[str], folder: Path, model: ScriptedModel, **more: str) -> subprocess.CompletedProcess[str]:
    """Run a command as a reader would, in a folder of its own, with a provider that answers."""
    path = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))
    env = {**os.environ, **model.env(), "PATH": path, **more}
    return subprocess.run(arguments, cwd=folder, env=env, capture_output=True, text=True, timeout=60)


@pytest.fixture
def model() -> ScriptedModel:
    model = ScriptedModel()
    model.on("coughs").reply("Cough at night.")
    model.on("lisinopril").reply("On lisinopril.")
    model.on("parcel").reply("It is on its way.")
    return model


def test_the_readme_example_prints_what_it_says(tmp_path: Path, model: ScriptedModel) -> None:
    (example,) = blocks(ROOT / "README.md", "python")
    (tmp_path / "example.py").write_text(example)
    with model:
        ran = execute([sys.executable, "example.py"], tmp_path, model)
    assert ran.stderr == ""
    assert ran.stdout == "done ['Cough at night.', 'On lisinopril.'] 2\n"
    assert len(model.books.paid()) == 2
    assert (tmp_path / "visits.db").exists()


def test_the_readme_example_is_thirty_lines() -> None:
    (example,) = blocks(ROOT / "README.md", "python")
    assert 25 <= len([line for line in example.splitlines() if line.strip()]) <= 33


def test_the_readme_shell_lines_work_in_order(tmp_path: Path, model: ScriptedModel) -> None:
    (example,) = blocks(ROOT / "README.md", "python")
    (tmp_path / "agents.py").write_text(example.partition("app = ")[0])
    lines = [
        shlex.split(line.removeprefix("$ "), comments=True)
        for block in blocks(ROOT / "README.md", "console")
        for line in block.splitlines()
        if line.startswith("$ vertebra ")
    ]
    assert len(lines) >= 5
    with model:
        results = {line[1]: execute(line, tmp_path, model, OPENAI_API_KEY="test") for line in lines}
    codes = {command: ran.returncode for command, ran in results.items()}
    assert codes == {"run": 3, "resume": 0, "recover": 0, "threads": 0, "show": 0}, results
    assert "Shall this be sent?" in results["run"].stdout
    assert "done" in results["resume"].stdout
    assert "visit-42" in results["threads"].stdout
    assert "summarise" in results["show"].stdout


@pytest.mark.parametrize("page", python_pages())
def test_every_python_block_runs(page: str, tmp_path: Path, model: ScriptedModel) -> None:
    # The blocks of a page build on each other, as they are read.
    code = SETUP.get(page, "") + "\n".join(blocks(ROOT / page, "python"))
    (tmp_path / "page.py").write_text(code)
    with model:
        ran = execute([sys.executable, "page.py"], tmp_path, model)
    assert ran.returncode == 0, ran.stderr
    assert "Traceback" not in ran.stderr
    assert model.books.paid(), "the page shows no call, or its call went elsewhere"


def test_every_link_leads_somewhere() -> None:
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.relative_to(ROOT)} links to {target}"
