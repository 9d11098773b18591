"""What docs/alerts.md says is what the program does."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib

import pytest

from scripts import alert_docs
from tests.client.live import live_client
from tests.environment import others_environment
from tidegate.api.schemas.alerts import AlertMoment
from tidegate.app.alerts import channels_of
from tidegate.core.alert_rules import Level
from tidegate.core.alerts import Happening
from tidegate.settings import Settings

PAGE = alert_docs.PAGE.read_text("utf-8")
EXAMPLES = [text for text in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL) if "import tidegate" in text]


def test_the_table_of_rules_is_that_of_the_program():
    assert alert_docs.with_section(PAGE) == PAGE, "run scripts/alert_docs.py"


def test_levels_and_what_happens_are_those_of_the_program():
    assert re.findall(r"^\| `(info|warning|severe|danger)` \|", PAGE, re.MULTILINE) == [
        one.word for one in Level
    ]
    told = re.findall(r"^\| `(\w+)`: ", PAGE, re.MULTILINE)
    assert sorted(told) == sorted(one.value for one in Happening)
    shown = AlertMoment.model_fields["what"].annotation
    assert sorted(getattr(shown, "__args__", ())) == sorted(told)


@pytest.mark.filterwarnings("ignore:'imghdr' is deprecated:DeprecationWarning")
def test_the_example_of_channels_can_be_used():
    (example,) = re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)
    settings = Settings(
        **tomllib.loads(
            example.replace("TokenA/TokenB/TokenC", "T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ")
        )
    )
    channels = channels_of(settings)
    assert [channel.address for channel in channels.values()] == [
        "smtp://mail.example.org:587 to ops@example.org, night@example.org",
        "https://pager.example.org/…",
        "Slack (slack://…)",
    ]
    assert settings.alert_levels == {"pager": "severe"}
    assert "PASSWORD" not in repr(settings)


@pytest.mark.parametrize("example", range(len(EXAMPLES)))
def test_the_examples_in_python_work(example: int, tmp_path):
    kept = others_environment()
    with live_client(tmp_path / "data") as client:
        done = subprocess.run(
            [sys.executable, "-W", "error", "-c", EXAMPLES[example]],
            cwd=tmp_path,
            env={**kept, "TIDEGATE_URL": client.url},
            capture_output=True,
            text=True,
            timeout=50,
            check=False,
        )
    assert (done.returncode, done.stderr) == (0, "")
    assert "12 rules" in done.stdout
