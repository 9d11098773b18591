"""The group of commands that loads a command's module when it is called, and turns errors into exit codes."""

from __future__ import annotations

import os
import sys
from importlib import import_module
from typing import Any

import typer
from typer.core import TyperGroup

from tidegate.errors import TidegateError
from tidegate.ui.cli.exits import INTERRUPTED, NOT_IN_TIME, READER_GONE, exit_code_of, report, report_timeout

COMMANDS = {
    "serve": "Run a server with its worker, until Ctrl-C.",
    "worker": "Run the worker of this machine in a cluster",
    "sql": "Run a query as a job and show its first rows.",
    "ingest": "Load Excel and CSV files into a database or a data source of Tidegate's own.",
    "lint": "Check SQL files with SQLFluff.",
    "submit": "Submit a command, a function, or jobs given as JSON.",
    "jobs": "List jobs, the newest first.",
    "job": "Look at one job, wait for it, cancel it.",
    "top": "Show what goes on: workers, queues, the machine, health, alerts, and jobs that run or wait, with why.",
    "sources": "Named data sets: list, add, look into, delete.",
    "queues": "Queues: list, pause, resume, set caps.",
    "alerts": "Alerts: list, acknowledge, silence, rules, channels.",
    "pressure": "Pressure: levels, readings, rules.",
    "safe-mode": "Safe mode: show, enter, leave. For operators.",
    "quarantine": "Tasks that were lost too often: list, show, release. For operators.",
    "key": "API keys: create, list, revoke.",
    "db": "The database: bring it up to date.",
    "audit": "Show who did what, the newest first. For operators.",
    "usage": "Show who used how much: jobs, failures, waits, CPU and memory",
    "doctor": "Show what this machine offers and what is missing.",
    "verify": "Start a cluster of its own, hurt it at random, and check that nothing is lost, doubled or oversold.",
    "version": "Print the version.",
}
"""Each command and its line in the help; its module in this package has the same name, except for short ones."""

_MODULES = {
    "safe-mode": "safe_mode",
    "serve": "serve",
    "version": "about",
    "sources": "sources",
    "queues": "queues",
}


class LazyGroup(TyperGroup):
    """Knows the names and help lines of all commands without loading any."""

    def list_commands(self, ctx: Any) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if cmd_name not in COMMANDS:
            return None
        module = import_module(f"tidegate.ui.cli.{_MODULES.get(cmd_name, cmd_name)}")
        command = typer.main.get_command(module.app)
        command.name = cmd_name
        return command

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))

    def invoke(self, ctx: Any) -> Any:
        as_json = "--json" in sys.argv if not ctx.args else "--json" in ctx.args
        try:
            return super().invoke(ctx)
        except TidegateError as error:
            report(error, as_json)
            raise typer.Exit(exit_code_of(error)) from None
        except TimeoutError as error:
            report_timeout(error, as_json)
            raise typer.Exit(NOT_IN_TIME) from None
        except KeyboardInterrupt:
            print("\nInterrupted.", file=sys.stderr)
            raise typer.Exit(INTERRUPTED) from None
        except BrokenPipeError:
            _silence_stdout()
            raise typer.Exit(READER_GONE) from None


def _silence_stdout() -> None:
    """Whoever read our output has gone: what is still buffered goes nowhere, so that the interpreter ends quietly."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
