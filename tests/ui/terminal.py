"""A command as somebody at a terminal has it: what it draws there, and the keys that are pressed meanwhile."""

from __future__ import annotations

import contextlib
import os
import pty
import re
import subprocess
import sys
import termios
from collections.abc import Sequence
from typing import NamedTuple

from tests.environment import others_environment

_MARKS = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
"""What moves, colours and erases: https://invisible-island.net/xterm/ctlseqs/ctlseqs.html, CSI."""

_LOGIN = "import os, sys; os.login_tty(int(sys.argv[1])); os.execv(sys.argv[2], sys.argv[2:])"


class Drawn(NamedTuple):
    """How a command ended, and all that it drew: `text` with the marks of the terminal, `lines` without."""

    code: int
    text: str

    @property
    def lines(self) -> list[str]:
        """As they are in the end: what was drawn over is gone."""
        drawn = self.text.replace("\r\n", "\n").split("\n")
        return [_MARKS.sub("", line.rpartition("\r")[2]) for line in drawn]


def at_terminal(
    arguments: Sequence[str],
    url: str,
    *,
    columns: int = 100,
    when: str = "",
    press: str = "",
    **environment: str,
) -> Drawn:
    """Run `tidegate` at a terminal of so many columns; once it has drawn `when`, the keys of `press` are pressed."""
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, columns))
    kept = {
        name: value
        for name, value in others_environment().items()
        if name not in ("COLUMNS", "LINES", "NO_COLOR")
    }
    with subprocess.Popen(
        [sys.executable, "-c", _LOGIN, str(theirs), sys.executable, "-m", "tidegate", *arguments],
        env={**kept, "TERM": "xterm-256color", "TIDEGATE_URL": url, **environment},
        pass_fds=(theirs,),
    ) as command:
        os.close(theirs)
        text = ""
        with (
            os.fdopen(ours, "r+b", buffering=0) as terminal,
            contextlib.suppress(OSError),
        ):  # EIO: nobody has it open any more
            while read := terminal.read(4096):
                text += read.decode()
                if press and when in text:
                    terminal.write(press.encode())
                    press = ""
    return Drawn(command.returncode, text)
