"""`scripts/load_test.py` with a server that is not there, and with wrong arguments. With servers: the contract."""

from __future__ import annotations

import pytest

from tests.e2e.loading import load_test


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (("http://127.0.0.1:9",), "No Tidegate server answers at http://127.0.0.1:9"),
        (("--rate", "0"), "0 is not above 0"),
        (("--rate", "1", "--share", "0.5"), "not allowed with argument"),
    ],
)
def test_what_cannot_be_done_is_exit_code_2(arguments, why):
    done = load_test(*arguments)
    assert done.returncode == 2
    assert why in done.stderr
    assert "Traceback" not in done.stderr
