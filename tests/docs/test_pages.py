"""What users read is what the program does."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import tidegate
from scripts import settings_docs
from tests.environment import others_environment
from tidegate.settings import Settings
from tidegate.telemetry.events import EVENTS
from tidegate.telemetry.logs import BOUND

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
ROOMS = ROOT / "src" / "tidegate"


def text_of(page: str) -> str:
    return (ROOT / page).read_text("utf-8")


def blocks(page: str, language: str) -> list[str]:
    """The fenced blocks of a language in a page."""
    return re.findall(rf"^```{language}\n(.*?)^```", text_of(page), re.DOTALL | re.MULTILINE)


def test_the_table_of_settings_is_that_of_the_program():
    page = settings_docs.PAGE.read_text("utf-8")
    assert page == settings_docs.with_section(page), "run scripts/settings_docs.py"


def test_every_setting_says_what_it_does():
    assert [name for name, field in Settings.model_fields.items() if not field.description] == []


def test_the_example_configuration_has_settings_that_exist(tmp_path, monkeypatch):
    (example,) = blocks("docs/settings.md", "toml")
    assert set(tomllib.loads(example)) <= set(Settings.model_fields)
    (tmp_path / "tidegate.toml").write_text(example)
    monkeypatch.chdir(tmp_path)
    assert str(Settings().data_dir) == "/var/lib/tidegate"


def test_every_extra_is_in_the_first_guide():
    extras = tomllib.loads(text_of("pyproject.toml"))["project"]["optional-dependencies"]
    rows = re.findall(r"^\| (`\w+`(?:, `\w+`)*) \|", text_of("docs/start.md"), re.MULTILINE)
    assert {name for row in rows for name in re.findall(r"\w+", row)} == set(extras) - {"dev"}


def test_every_event_is_documented_with_its_fields():
    rows = re.findall(r"^\| `(\w+)` \| (.*?) \| (.*?) \|$", text_of("docs/events.md"), re.MULTILINE)
    assert {name: (meaning, set(re.findall(r"`(\w+)`:", data))) for name, meaning, data in rows} == {
        name: (event.meaning, set(event.fields)) for name, event in EVENTS.items()
    }


def test_every_field_that_log_lines_can_be_bound_to_is_documented():
    page = text_of("docs/logs.md")
    assert [name for name in BOUND if f"`{name}`" not in page] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    targets = re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text("utf-8"))
    local = [target for target in targets if "://" not in target and not target.startswith("mailto:")]
    assert [target for target in local if not (page.parent / target).exists()] == []


def test_every_page_is_in_the_index():
    index = text_of("docs/README.md")
    pages = {page.name for page in (ROOT / "docs").glob("*.md")} - {"README.md"}
    assert {page for page in pages if f"]({page})" not in index} == set()


def test_the_architecture_names_every_room_and_no_other():
    table = text_of("ARCHITECTURE.md").partition("## Rooms")[2].partition("\n## ")[0]
    named = set(re.findall(r"^\| `([\w.]+)/?` \|", table, re.MULTILINE))
    packages = {path.name for path in ROOMS.iterdir() if (path / "__init__.py").exists()}
    modules = {path.name for path in ROOMS.glob("*.py")} - {"__init__.py", "__main__.py"}
    described_elsewhere = {"errors.py", "settings.py"}
    assert named == packages | (modules - described_elsewhere)


def test_the_files_that_the_architecture_names_are_there():
    named = re.findall(r"`([a-z_]+(?:/[a-z_]+)*/?(?:[a-z_0-9]+\.py)?)`", text_of("ARCHITECTURE.md"))
    paths = {name for name in named if "/" in name or name.endswith(".py")}
    of_the_data_directory = {"results/"}
    missing = {
        name for name in paths if not any((base / name).exists() for base in (ROOMS, ROOMS / "runtime"))
    }
    assert missing - of_the_data_directory == set()


def test_the_architecture_names_every_thread_of_the_server():
    names = set()
    for file in ROOMS.rglob("*.py"):
        text = file.read_text("utf-8")
        names.update(re.findall(r"(?:name|thread_name_prefix)=\"(tidegate-[\w-]+)\"", text))
        names.update(f"tidegate-{part}" for part in re.findall(r"= kept\(\"(\w+)\"", text))
    documented = set(re.findall(r"^\| `(tidegate-[\w-]+)`", text_of("ARCHITECTURE.md"), re.MULTILINE))
    assert names == documented


def test_the_commands_that_the_readme_names_are_targets_of_make():
    targets = set(re.findall(r"^(\w+):", text_of("Makefile"), re.MULTILINE))
    named = set(re.findall(r"^make (\w+)", text_of("README.md"), re.MULTILINE))
    assert named == {"run", "test"}
    assert named <= targets


def test_the_example_of_the_readme_works(tmp_path):
    (example,) = blocks("README.md", "python")
    (tmp_path / "towns.csv").write_text(
        "city,country,people\nRome,IT,2800000\nOslo,NO,700000\nTurin,IT,840000\n"
    )
    clean = others_environment()
    # Other tests run at the same time: jobs that give way to everything would hardly move.
    settings = {
        "TIDEGATE_DATA_DIR": str(tmp_path / "data"),
        "TIDEGATE_YIELD_CPU": "off",
        "TIDEGATE_GRACE_S": "0.5",
    }
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", example],
        cwd=tmp_path,
        env={**clean, **settings},
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    explanation, rows, again = done.stdout.splitlines()
    # It is asked at once: the job may be looked at, wait, run, or leave its queue at this moment.
    assert explanation.startswith(("Job ", "The scheduler has just taken job "))
    assert "3640000" in rows
    assert "3640000" in again


def test_the_command_of_the_readme_works(tmp_path):
    """Also for who has run the example in Python before, which leaves a source named `towns`."""
    (example,) = blocks("README.md", "sh")
    before = "import tidegate\nwith tidegate.connect() as client: client.sources.upload('towns.csv', 'towns')"
    example = f'"{sys.executable}" -c "{before}" && {example}'
    (tmp_path / "towns.csv").write_text("city,people\nRome,2800000\nOslo,700000\n")
    clean = others_environment()
    programs = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    settings = {"TIDEGATE_DATA_DIR": str(tmp_path / "data"), "TIDEGATE_YIELD_CPU": "off", "PATH": programs}
    done = subprocess.run(
        ["sh", "-c", example],
        cwd=tmp_path,
        env={**clean, **settings},
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["n", "2"]


def test_the_version_that_the_readme_names_is_the_version():
    assert f"Version {'.'.join(tidegate.__version__.split('.')[:2])}," in text_of("README.md")
