"""Every fenced block of every page is run by a test that is named here, or has the reason why none can run it."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

import pytest

from tests.pages import ROOT, Fence, all_pages, fences

GUIDES = "tests/e2e/test_guides.py::test_the_commands_of_a_guide_print_what_it_shows"
EXAMPLES = "tests/e2e/test_page_examples.py::"
PAGES = "tests/docs/test_pages.py::"
DEPLOY = "tests/deploy/test_docs.py::"

# Page, heading (`*`: any), language (empty: none), and the test.
RUN = (
    ("README.md", "Use it", "python", f"{PAGES}test_the_example_of_the_readme_works"),
    ("README.md", "Use it", "sh", f"{PAGES}test_the_command_of_the_readme_works"),
    ("README.zh.md", "*", "*", "tests/docs/test_twins.py::test_blocks_are_the_same_but_for_what_is_said_about_them"),
    ("docs/alerts.md", "The rules", "", f"{EXAMPLES}test_the_commands_on_alerts_are_understood"),
    ("docs/alerts.md", "An alert's life", "", f"{EXAMPLES}test_the_commands_on_alerts_are_understood"),
    ("docs/alerts.md", "*", "toml", f"{EXAMPLES}test_files_of_settings_hold_settings"),
    ("docs/alerts.md", "Checking a webhook", "python",
     "tests/channels/test_channels.py::test_the_check_of_a_webhook_in_the_docs_takes_ours_and_no_other"),
    ("docs/alerts.md", "Over HTTP and from Python", "python", f"{EXAMPLES}test_the_program_on_alerts_changes_a_rule"),
    ("docs/api.md", "*", "console", "tests/e2e/test_docs.py::test_the_examples_of_the_api_are_answered_as_they_say"),
    ("docs/capacity.md", "*", "console", GUIDES),
    ("docs/cli.md", "Command line", "sh", f"{EXAMPLES}test_two_terminals_are_enough"),
    ("docs/cli.md", "*", "text", "tests/ui/test_docs.py::test_the_help_texts_in_the_docs_are_those_of_the_program"),
    ("docs/cluster.md", "*", "console",
     "tests/cluster/test_docs.py::test_five_commands_start_a_cluster_and_four_steer_it"),
    ("docs/commands.md", "Try it", "sh", "tests/e2e/test_commands.py::test_the_examples_of_the_guide_work"),
    ("docs/commands.md", "Turn them on", "console",
     f"{EXAMPLES}test_commands_are_off_until_they_are_turned_on_as_the_page_says"),
    ("docs/commands.md", "Try it", "console", f"{EXAMPLES}test_the_request_for_a_command_is_taken"),
    ("docs/concepts.md", "*", "console", GUIDES),
    ("docs/deployment.md", "One server", "console", f"{DEPLOY}test_one_server_is_installed_and_started_as_the_page_says"),
    ("docs/deployment.md", "Containers", "console",
     "tests/deploy/test_stack.py::test_the_commands_of_deployment_md_use_the_stack_as_they_say"),
    ("docs/deployment.md", "Sizes", "console", f"{DEPLOY}test_compose_takes_the_sizes"),
    ("docs/deployment.md", "*", "yaml",
     f"{DEPLOY}test_the_rule_for_the_metric_of_the_autoscaler_is_yaml_with_its_name"),
    ("docs/deployment.md", "*", "ini", f"{DEPLOY}test_the_environment_of_the_units_has_settings_that_exist"),
    ("docs/executors.md", "*", "python", "tests/e2e/test_executors_docs.py::test_the_service_answers_and_ends_as_asked"),
    ("docs/executors.md", "*", "text", "tests/e2e/test_executors_docs.py::test_the_program_prints_what_the_page_shows"),
    ("docs/functions.md", "*", "python", "tests/e2e/test_functions.py::test_the_examples_of_the_guide_work"),
    ("docs/functions.md", "*", "console",
     f"{EXAMPLES}test_functions_are_registered_and_called_by_http_as_the_page_says"),
    ("docs/functions.md", "*", "sh", "tests/e2e/test_functions.py::test_the_examples_of_the_guide_work"),
    ("docs/ingest.md", "*", "console", "tests/e2e/test_ingest_docs.py::test_the_commands_show_what_the_page_shows"),
    ("docs/ingest.md", "*", "json", "tests/e2e/test_ingest_docs.py::test_the_body_of_a_request_loads_what_it_names"),
    ("docs/ingest.md", "*", "python", "tests/e2e/test_ingest_docs.py::test_the_program_runs"),
    ("docs/ingest.md", "*", "toml", f"{EXAMPLES}test_files_of_settings_hold_settings"),
    ("docs/lint.md", "*", "console", "tests/e2e/test_lint_docs.py::test_the_commands_show_what_the_page_shows"),
    ("docs/lint.md", "*", "json", "tests/e2e/test_lint_docs.py::test_the_bodies_are_taken"),
    ("docs/metrics.md", "*", "yaml", f"{EXAMPLES}test_the_piece_of_prometheus_is_yaml_with_our_address"),
    ("docs/metrics.md", "*", "promql", "tests/docs/test_metric_docs.py::test_the_metrics_that_pages_ask_for_are_there"),
    ("docs/operations.md", "*", "sh", "tests/e2e/test_docs.py::test_the_commands_of_the_page_on_running_a_server_work"),
    ("docs/operations.md", "*", "ini", "tests/e2e/test_docs.py::test_the_unit_for_systemd_starts_a_command_that_there_is"),
    ("docs/overload.md", "Read and change it", "json", f"{EXAMPLES}test_the_rules_on_pressure_are_taken"),
    ("docs/python.md", "*", "python", "tests/ui/test_docs.py::test_the_examples_of_the_python_guide_work"),
    ("docs/security.md", "*", "console", f"{EXAMPLES}test_the_commands_on_keys_make_use_and_revoke_them"),
    ("docs/settings.md", "*", "toml", f"{PAGES}test_the_example_configuration_has_settings_that_exist"),
    ("docs/sizing.md", "*", "console", GUIDES),
    ("docs/sql.md", "*", "json", f"{EXAMPLES}test_the_body_of_a_query_is_a_job"),
    ("docs/start.md", "*", "console", GUIDES),
    ("docs/start.md", "*", "python", "tests/e2e/test_guides.py::test_the_program_of_the_first_guide_works"),
    ("docs/top.md", "*", "console", "tests/ui/tui/test_docs.py::test_the_example_of_once_is_what_it_prints"),
    ("docs/top.md", "For scripts", "sh", "tests/ui/tui/test_docs.py::test_the_example_for_scripts_works"),
    ("docs/traces.md", "*", "sh", f"{EXAMPLES}test_traces_reach_the_collector_that_is_named_as_the_page_says"),
    ("docs/troubleshooting.md", "*", "console", GUIDES),
    ("docs/upgrade.md", "*", "console", GUIDES),
    ("docs/usage.md", "*", "console", "tests/e2e/test_usage_docs.py::test_the_commands_show_who_used_how_much"),
    ("docs/usage.md", "*", "json", "tests/e2e/test_usage_docs.py::test_the_commands_show_who_used_how_much"),
    ("docs/usage.md", "*", "python", "tests/e2e/test_usage_docs.py::test_the_example_in_python_works"),
    ("docs/zh/deployment.md", "*", "*", f"{DEPLOY}test_both_languages_have_the_same_commands_and_headings"),
)  # fmt: skip

DRAWING = "a drawing"
ANSWER = "shows the shape of an answer; figures and names in it are of no real service"
# The same without a test, and why.
NOT_RUN = (
    ("ARCHITECTURE.md", "*", "", DRAWING),
    ("CONTRIBUTING.md", "*", "", "installs this very environment, or writes the lock files from the package index"),
    ("README.md", "Tidegate", "", f"{DRAWING}; and the targets of make, of which one is running this test"),
    ("docs/alerts.md", "Alerts", "", DRAWING),
    ("docs/alerts.md", "Checking a webhook", "json", ANSWER),
    ("docs/api.md", "Errors", "json", ANSWER),
    ("docs/capacity.md", "The three numbers", "", "a formula"),
    ("docs/concepts.md", "Concepts", "", DRAWING),
    ("docs/deployment.md", "Without a registry", "console",
     "as the stack of tests/deploy/test_stack.py does, where images are to be made"),
    ("docs/deployment.md", "Kubernetes", "console",
     "needs a cluster; tests/deploy/test_kubernetes.py puts the example together and looks at it"),
    ("docs/deployment.md", "systemd", "console",
     "sets up a machine; tests/deploy looks at the units, and runs the scripts that they start"),
    ("docs/limits.md", "Processes", "", DRAWING),
    ("docs/logs.md", "*", "json", ANSWER),
    ("docs/overload.md", "Requests", "", ANSWER),
    ("docs/performance.md", "Measure it yourself", "", "runs for hours"),
    ("docs/top.md", "Watching: `tidegate top`", "sh", "takes a terminal; tests/ui/tui/test_live.py types its keys"),
    ("docs/releasing.md", "Make one", "console",
     "takes a commit with a section in the changelog; tests/release runs the script behind it"),
    ("docs/start.md", "Install", "sh", "installs a release from the package index; the smoke test of a release does"),
)  # fmt: skip


def fits(row: tuple[str, str, str, str], fence: Fence) -> bool:
    page, heading, language, _ = row
    return page == fence.page and heading in ("*", fence.heading) and language in ("*", fence.language)


@pytest.mark.parametrize("page", all_pages(), ids=lambda page: str(page.relative_to(ROOT)))
def test_every_block_is_run_or_has_its_reason(page):
    unclear = [
        f"{fence.page}:{fence.line} ({fence.language or 'no language'}, below {fence.heading!r})"
        for fence in fences(page)
        if sum(fits(row, fence) for row in (*RUN, *NOT_RUN)) != 1
    ]
    assert unclear == [], "name the test that runs it in RUN, or a reason in NOT_RUN; in one of them, once"


def test_no_row_is_about_a_block_that_is_gone():
    found = [fence for page in all_pages() for fence in fences(page)]
    assert [row for row in (*RUN, *NOT_RUN) if not any(fits(row, fence) for fence in found)] == []


@cache
def read(file: Path) -> tuple[str, frozenset[str]]:
    """The text of a file of tests, and the names of its tests."""
    text = file.read_text("utf-8")
    functions = (
        node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    )
    return text, frozenset(node.name for node in functions)


def test_the_tests_are_there_and_name_the_page():
    wrong = []
    for page, _, _, test in RUN:
        file, _, name = test.partition("::")
        text, tests = read(ROOT / file)
        by_name = any(word in text for word in (Path(page).name, f"{Path(page).stem}_docs", "all_pages"))
        if not by_name or name not in tests:
            wrong.append((page, test))
    assert wrong == []
