"""The targets of ingest jobs that the settings name, and what is in the modules of functions."""

from __future__ import annotations

import functools
import json
import logging
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tidegate.core.resources import parse_bytes, parse_cpus
from tidegate.errors import InvalidInput, SettingError
from tidegate.ports import FunctionDefaults
from tidegate.runtime.zygote_process import passed_environment
from tidegate.settings import Settings
from tidegate.workloads.ingest_targets import SOURCE
from tidegate.workloads.targets.address import parse_address

log = logging.getLogger("tidegate.app")

_LOOKED_WITHIN_S = 60.0
_TARGET_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}")


@dataclass(frozen=True, slots=True)
class FunctionModules:
    """The modules that may be used, as they look when they are imported here."""

    path: tuple[str, ...] = ()
    warm: tuple[str, ...] = ()
    """Those that start no thread: loaded once, before attempts are forked."""
    cold: tuple[str, ...] = ()
    """Those that do, or could not be loaded: loaded in each attempt."""
    functions: Mapping[str, FunctionDefaults] = field(default_factory=dict)
    unseen: frozenset[str] = frozenset()

    @property
    def names(self) -> tuple[str, ...]:
        return (*self.warm, *self.cold)


def target_urls(settings: Settings) -> dict[str, str]:
    """The targets of ingest jobs by name. Raises SettingError, without the URL, for one that cannot be used."""
    urls: dict[str, str] = {}
    for name, secret in settings.targets.items():
        if not _TARGET_NAME.fullmatch(name) or name == SOURCE:
            raise SettingError(
                f"targets: {name!r:.80} is no name of a target: 1 to 63 letters, digits, or _ . -, and not 'source'."
            )
        urls[name] = secret.get_secret_value()
        try:
            parse_address(urls[name])
        except InvalidInput as error:
            raise SettingError(f"targets.{name}: {error.message.replace('`into`', 'the URL')}") from None
    return urls


def function_modules(settings: Settings) -> FunctionModules:
    """Look into the modules of the settings, each in a process of its own; nothing to do when there are none."""
    for name in settings.function_modules:
        if not all(part.isidentifier() for part in name.split(".")):
            raise SettingError(f"function_modules: {name!r} is no name of a module, such as 'pkg.mod'.")
    path = tuple(str(folder.expanduser().resolve()) for folder in settings.function_path)
    return _look(tuple(dict.fromkeys(settings.function_modules)), path)


@functools.cache
def _look(names: tuple[str, ...], path: tuple[str, ...]) -> FunctionModules:
    if not names:
        return FunctionModules(path)
    found = _ask(names, path)
    warm: list[str] = []
    cold: list[str] = []
    unseen: set[str] = set()
    functions: dict[str, FunctionDefaults] = {}
    for name in names:
        facts = found[name]
        if "error" in facts:
            cold.append(name)
            unseen.add(name)
            log.warning(
                "The module %s of `function_modules` cannot be loaded here: %s.", name, facts["error"]
            )
            continue
        functions |= {f"{name}:{known}": _defaults(asked) for known, asked in facts["functions"].items()}
        alone = facts["threads"] == 1
        (warm if alone else cold).append(name)
        log.info(
            "Functions of %s: %s. %s",
            name,
            ", ".join(sorted(facts["functions"])) or "none",
            "Loaded once, before attempts are forked."
            if alone
            else f"Loaded in each attempt, since importing it starts {facts['threads'] - 1} threads.",
        )
    return FunctionModules(path, tuple(warm), tuple(cold), functions, frozenset(unseen))


def _ask(names: tuple[str, ...], path: tuple[str, ...]) -> dict[str, dict[str, Any]]:
    environment = passed_environment()
    above = [*path, environment.get("PYTHONPATH", "")]
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, above))
    try:
        done = subprocess.run(
            [sys.executable, "-P", "-m", "tidegate.workloads.function_list", *names],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            env=environment,
            cwd="/",
            timeout=_LOOKED_WITHIN_S,
            check=True,
        )
    except subprocess.TimeoutExpired:
        return {name: {"error": f"importing takes more than {_LOOKED_WITHIN_S:g} s"} for name in names}
    except subprocess.CalledProcessError as error:
        return {name: {"error": f"looking at it failed with {error.returncode}"} for name in names}
    answer: dict[str, dict[str, Any]] = json.loads(done.stdout)
    return answer


def _defaults(asked: Mapping[str, Any]) -> FunctionDefaults:
    return FunctionDefaults(
        cpu_milli=parse_cpus(asked["cpus"]) if "cpus" in asked else None,
        memory_bytes=parse_bytes(asked["memory"]) if "memory" in asked else None,
        disk_bytes=parse_bytes(asked["disk"], name="disk") if "disk" in asked else None,
        timeout_s=asked.get("timeout_s"),
        max_attempts=asked.get("max_attempts"),
    )
