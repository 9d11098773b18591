"""The options of a lint job: judged in the server, which has no linter, and carried to the engine as JSON."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from tidegate.errors import InvalidInput

TEMPLATERS = ("raw", "jinja", "placeholder")
"""Those that run no code of the user's. `python` and `dbt` would."""
FIELDS = frozenset(
    {
        "dialect",
        "rules",
        "exclude_rules",
        "templater",
        "context",
        "config",
        "fix",
        "max_file_bytes",
        "file_timeout_s",
        "disable_noqa",
    }
)
DEFAULT_MAX_FILE_BYTES = 20_000
"""As SQLFluff's `large_file_skip_byte_limit`: a parser's time grows faster than a file."""
MOST_FILE_BYTES = 16 * 1024 * 1024
MOST_CONFIG_BYTES = 64 * 1024
MOST_TIMEOUT_S = 3600.0
_RULE = re.compile(r"[A-Za-z0-9_.*?\[\]-]{1,80}")
_DIALECT = re.compile(r"[a-z][a-z0-9_]{0,40}")


@dataclass(frozen=True, slots=True)
class LintOptions:
    """How to lint. What is None is left to the configuration files, and then to SQLFluff."""

    dialect: str | None = None
    """Default: what a `.sqlfluff` says, else `ansi`."""
    rules: tuple[str, ...] = ()
    """Codes, names, groups or globs; empty: all."""
    exclude_rules: tuple[str, ...] = ()
    templater: str | None = None
    """One of TEMPLATERS. Default: what a `.sqlfluff` says if it is one of them, else `jinja`."""
    context: Mapping[str, Any] = field(default_factory=dict)
    """Variables of the templates: text, numbers, truth values, and lists and objects of these."""
    config: str = ""
    """The text of a `.sqlfluff` file, the outermost one."""
    fix: bool = False
    max_file_bytes: int | None = None
    """A larger file gets the verdict `too_large`; 0: no limit but the job's. Default: the configuration's, 20,000."""
    file_timeout_s: float = 60.0
    disable_noqa: bool = False
    """Whether `-- noqa` comments hide nothing."""

    @classmethod
    def judged(cls, fields: Mapping[str, Any]) -> LintOptions:
        """From a submission's fields; those it does not know are not its business. Raises InvalidInput."""
        return cls(
            dialect=_word(fields.get("dialect"), "dialect", _DIALECT),
            rules=_rules(fields.get("rules"), "rules"),
            exclude_rules=_rules(fields.get("exclude_rules"), "exclude_rules"),
            templater=_templater(fields.get("templater")),
            context=_context(fields.get("context")),
            config=_config(fields.get("config")),
            fix=_flag(fields.get("fix"), "fix"),
            max_file_bytes=_file_bytes(fields.get("max_file_bytes")),
            file_timeout_s=_timeout(fields.get("file_timeout_s")),
            disable_noqa=_flag(fields.get("disable_noqa"), "disable_noqa"),
        )

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> LintOptions:
        lists = {name: tuple(data[name]) for name in ("rules", "exclude_rules")}
        return cls(**{**data, **lists})


def _word(value: object, name: str, pattern: re.Pattern[str]) -> str | None:
    if value is None:
        return None
    if not isinstance(value, str) or not pattern.fullmatch(value):
        raise InvalidInput(f"`{name}` must be a name such as 'postgres', not {value!r:.80}.")
    return value


def _rules(value: object, name: str) -> tuple[str, ...]:
    """A list, or one text with commas, as in a `.sqlfluff` file."""
    if value is None:
        return ()
    listed = value.split(",") if isinstance(value, str) else value
    if not isinstance(listed, list) or len(listed) > 500:
        raise InvalidInput(
            f"`{name}` must be a list of at most 500 rules, such as ['LT01', 'capitalisation']."
        )
    rules = tuple(rule.strip() if isinstance(rule, str) else "" for rule in listed)
    for rule in rules:
        if not _RULE.fullmatch(rule):
            raise InvalidInput(f"`{name}` has {rule!r:.80}, which cannot be the code or the name of a rule.")
    return rules


def _templater(value: object) -> str | None:
    if value is None or value in TEMPLATERS:
        return None if value is None else str(value)
    raise InvalidInput(
        f"`templater` must be one of {', '.join(TEMPLATERS)}, not {value!r:.80}. Others can run code from the files."
    )


def _context(value: object) -> dict[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, dict) or not all(
        isinstance(name, str) and name.isidentifier() for name in value
    ):
        raise InvalidInput("`context` must be an object of variable names and values.")
    return value


def _config(value: object) -> str:
    if value is None:
        return ""
    if not isinstance(value, str) or len(value) > MOST_CONFIG_BYTES:
        raise InvalidInput(
            f"`config` must be the text of a .sqlfluff file, of at most {MOST_CONFIG_BYTES} characters."
        )
    return value


def _flag(value: object, name: str) -> bool:
    if value is None or isinstance(value, bool):
        return bool(value)
    raise InvalidInput(f"`{name}` must be true or false, not {value!r:.80}.")


def _file_bytes(value: object) -> int | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= MOST_FILE_BYTES:
        raise InvalidInput(
            f"`max_file_bytes` must be a whole number from 0 to {MOST_FILE_BYTES}, not {value!r:.80}.",
            numbers={"limit": MOST_FILE_BYTES},
        )
    return value


def _timeout(value: object) -> float:
    if value is None:
        return LintOptions().file_timeout_s
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= MOST_TIMEOUT_S:
        raise InvalidInput(
            f"`file_timeout_s` must be a number above 0 and up to {MOST_TIMEOUT_S:.0f}, not {value!r:.80}.",
            numbers={"limit": MOST_TIMEOUT_S},
        )
    return float(value)
