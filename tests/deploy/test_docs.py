"""The page on deployment says what the files say."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.deploy.test_container_files import ROOT, SERVICES, VARIABLE, composes
from tests.e2e.test_guides import typed
from tests.environment import others_environment
from tests.pages import console
from tests.pages import page as text_of
from tidegate.settings import Settings

PAGES = [ROOT / "docs" / "deployment.md", ROOT / "docs" / "zh" / "deployment.md"]
each_page = pytest.mark.parametrize("page", PAGES, ids=["en", "zh"])


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text("utf-8"), re.DOTALL | re.MULTILINE)


@each_page
def test_every_variable_of_compose_is_in_the_table_with_its_default(page):
    found: dict[str, str] = {}
    for file in ("compose.yaml", "deploy/compose/mariadb.yaml"):
        found |= {one[1]: one[2] for one in VARIABLE.finditer((ROOT / file).read_text())}
    rows = re.findall(r"^\| (`[A-Z_`, ]+`) \| (.*?) \|", page.read_text("utf-8"), re.MULTILINE)
    named = {
        name: (row, place)
        for row, (names, _) in enumerate(rows)
        for place, name in enumerate(re.findall(r"`(\w+)`", names))
    }
    assert set(found) - set(named) == set()
    for name, default in found.items():
        row, place = named[name]
        defaults = rows[row][1].replace("`", "").split(", ")
        if len(defaults) == len(re.findall(r"`(\w+)`", rows[row][0])) and not name.endswith("_IMAGE"):
            assert defaults[place] in ([default] if default else ["none", "无"]), name


@each_page
def test_the_services_in_the_table_are_those_of_compose(page):
    table = page.read_text("utf-8").partition("| `web` |")[2].partition("\n\n")[0]
    named = set(re.findall(r"^\| ((?:`\w+`(?:, )?)+) \|", "| `web` |" + table, re.MULTILINE))
    assert {name for names in named for name in re.findall(r"`(\w+)`", names)} == set(SERVICES)


@each_page
def test_what_commands_name_is_there(page):
    commands = "\n".join(blocks(page, "console"))
    for place in re.findall(r"(?<![\w/.])((?:deploy|scripts)(?:/[\w.@*-]+)*)", commands):
        assert list(ROOT.glob(place)), place
    services = re.findall(r"compose exec (?:-\S+ )*(\w+)", commands)
    assert set(services) <= set(SERVICES)


@pytest.mark.skipif(not composes(), reason="neither `docker compose` nor docker-compose is installed")
def test_compose_takes_the_sizes():
    commands = [command for command, _ in console(text_of("deployment.md")) if "--env-file" in command]
    for size in ("small", "medium", "large"):
        for command in commands:
            words = (
                command.replace("small", size).removeprefix("docker compose ").removesuffix(" up -d").split()
            )
            for program in composes():
                done = subprocess.run(
                    [*program, *words, "config"], cwd=ROOT, capture_output=True, text=True, check=False
                )
                assert done.returncode == 0, done.stderr
    assert commands


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_one_server_is_installed_and_started_as_the_page_says(tmp_path):
    commands = [command for command, _ in console(text_of("deployment.md")) if "/opt/tidegate/bin" in command]
    *install, serve = [
        command.replace("/opt/tidegate", f"{tmp_path}/opt").replace("/var/lib/tidegate", f"{tmp_path}/data")
        for command in ["python3 -m venv /opt/tidegate", *commands]
    ]
    for command in install:
        done = subprocess.run(
            command.replace("python3 ", f"{sys.executable} ").split(),
            cwd=ROOT, env=others_environment(), capture_output=True, text=True, timeout=600, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr[-2000:]
    answer = "printf '%s' \"$(" + f"{tmp_path}/opt/bin/tidegate sql 'select 42 as answer'" + ')"'
    assert typed([f"{serve} &", answer], tmp_path)[-1].split() == ["answer", "42"]


@each_page
def test_the_rule_for_the_metric_of_the_autoscaler_is_yaml_with_its_name(page):
    (rule,) = blocks(page, "yaml")
    assert yaml.safe_load(rule)["externalRules"][0]["seriesQuery"] == "tidegate_queue_oldest_wait_seconds"


@each_page
def test_the_environment_of_the_units_has_settings_that_exist(page, monkeypatch):
    (text,) = blocks(page, "ini")
    for name, value in (line.split("=", 1) for line in text.splitlines()):
        monkeypatch.setenv(name, value)
    settings = Settings()
    assert (str(settings.data_dir), settings.host) == ("/srv/tidegate", "0.0.0.0")
    assert settings.allowed_hosts == ["tide.example"]


def test_both_languages_have_the_same_commands_and_headings():
    english, chinese = PAGES
    assert blocks(english, "yaml") == blocks(chinese, "yaml")
    assert blocks(english, "ini") == blocks(chinese, "ini")

    def commands(page: Path) -> list[str]:
        lines = "\n".join(blocks(page, "console")).splitlines()
        return [re.sub(r"\s+#.*", "", line) for line in lines]

    def depths(page: Path) -> list[str]:
        return re.findall(r"^(#+) ", page.read_text("utf-8"), re.MULTILINE)

    assert commands(english) == commands(chinese)
    assert depths(english) == depths(chinese)
