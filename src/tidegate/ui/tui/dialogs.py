"""What comes up over the tables: a question, and the keys."""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import Static

KEYS = (
    ("1 to 5, tab", "go to a table"),
    ("arrows, j, k", "move in it; page up and down, home, end"),
    ("enter", "show the job: why it waits, and what it prints"),
    ("/", "only some jobs: words, queue:NAME, kind:NAME, owner:NAME"),
    ("escape", "all jobs again"),
    ("s, S", "sort by the next column, or the other way round"),
    ("c", "cancel the job, after a question"),
    ("p", "pause the queue, or resume it"),
    ("d", "drain the worker, or resume it"),
    ("a", "acknowledge the alert"),
    ("r", "ask the server now"),
    ("t", "other colours"),
    ("?", "these keys"),
    ("q", "quit"),
)


class Question(ModalScreen[bool]):
    """Asks whether something shall be done. Whatever is not yes is no."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("y", "dismiss(True)", "Yes"),
        Binding("n,escape,q", "dismiss(False)", "No"),
    ]

    def __init__(self, question: str) -> None:
        super().__init__()
        self._question = question

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog"):
            yield Static(self._question, markup=False)
            yield Static("y  yes    n  no", classes="soft", markup=False)


class Help(ModalScreen[None]):
    """The keys. `note` says what the role may not."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape,q,enter,question_mark", "dismiss", "Close")]

    def __init__(self, note: str) -> None:
        super().__init__()
        self._note = note

    def compose(self) -> ComposeResult:
        width = max(len(keys) for keys, _ in KEYS)
        lines = "\n".join(f"{keys:<{width}}   {what}" for keys, what in KEYS)
        with Vertical(classes="dialog"):
            yield Static(lines, markup=False)
            yield Static(self._note, classes="soft", markup=False)
