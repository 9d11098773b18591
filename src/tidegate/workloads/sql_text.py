"""Finds the names a query may mean, without parsing it: DuckDB alone knows its grammar, and the server never
loads it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

# In the order of DuckDB's lexer: what starts a comment or a string is taken whole, so that nothing inside is
# a name.
_TOKEN = re.compile(
    r"""
      (?P<line> --[^\r\n]* )
    | (?P<block> /\* )
    | (?P<escape> \b[eE]'(?:[^'\\]|\\.|'')*(?:'|\Z) )
    | (?P<string> '(?:[^']|'')*(?:'|\Z) )
    | (?P<quoted> "(?:[^"]|"")*" )
    | (?P<dollar> \$(?P<tag>(?:[A-Za-z_\u0080-\U0010ffff][A-Za-z0-9_\u0080-\U0010ffff]*)?)\$ )
    | (?P<name> [A-Za-z_\u0080-\U0010ffff][A-Za-z0-9_$\u0080-\U0010ffff]* )
    | (?P<number> [0-9][A-Za-z0-9_.]* )
    | (?P<other> [.(] )
    """,
    re.VERBOSE | re.DOTALL,
)
_BLOCK_EDGE = re.compile(r"/\*|\*/")
_CATALOGS = frozenset({"main", "memory"})
"""Names that may stand before a source's own name, as in `main.flights`."""


def table_names(sql: str) -> list[str]:
    """Every bare or double-quoted name in `sql` that could be a table's, once, in order of appearance.

    Left out: what stands in strings and comments, after a dot (a column, unless a catalog stands before the
    dot), after AS (an alias) and before an opening parenthesis (a function). It may answer too many names,
    never too few.
    """
    names: dict[str, None] = {}
    tokens = list(_tokens(sql))
    for index, (kind, text) in enumerate(tokens):
        if kind != "name" or _is_no_table(tokens, index):
            continue
        names.setdefault(text)
    return list(names)


def first_words(sql: str, *, limit: int = 60) -> str:
    """The beginning of a query in one line, as a name for its job: comments left out, at most `limit`
    characters.
    """
    words = " ".join(_without_comments(sql).split())
    return words if len(words) <= limit else words[: limit - 1].rstrip() + "…"


def _is_no_table(tokens: list[tuple[str, str]], index: int) -> bool:
    before = tokens[index - 1] if index else ("", "")
    after = tokens[index + 1] if index + 1 < len(tokens) else ("", "")
    if before == ("other", "."):
        qualifier = tokens[index - 2] if index > 1 else ("", "")
        return qualifier[0] != "name" or qualifier[1].lower() not in _CATALOGS
    if before[0] == "name" and before[1].lower() == "as":
        return True
    return after == ("other", "(")


def _tokens(sql: str) -> Iterator[tuple[str, str]]:
    """Names (`name`, unquoted) and the marks that decide about them (`other`); `""` for anything else but
    comments.
    """
    for kind, text in _pieces(sql):
        if kind == "quoted":
            yield "name", text[1:-1].replace('""', '"')
        elif kind in ("name", "other"):
            yield kind, text
        elif kind not in ("line", "block"):
            yield "", ""


def _pieces(sql: str) -> Iterator[tuple[str, str]]:
    position = 0
    while match := _TOKEN.search(sql, position):
        kind = match.lastgroup or ""
        end = match.end()
        if kind == "block":
            end = _block_end(sql, end)
        elif kind in ("dollar", "tag"):
            kind = "dollar"
            closing = sql.find(match.group("dollar"), end)
            end = closing + len(match.group("dollar")) if closing >= 0 else len(sql)
        if sql[position : match.start()].strip():
            yield "gap", ""
        yield kind, sql[match.start() : end]
        position = end


def _block_end(sql: str, position: int) -> int:
    """Where a block comment ends that was opened before `position`; they nest, as in PostgreSQL."""
    depth = 1
    while depth and (edge := _BLOCK_EDGE.search(sql, position)):
        depth += 1 if edge.group() == "/*" else -1
        position = edge.end()
    return position if not depth else len(sql)


def _without_comments(sql: str) -> str:
    kept, position = [], 0
    while match := _TOKEN.search(sql, position):
        end = match.end()
        kind = match.lastgroup
        if kind in ("line", "block"):
            kept.append(sql[position : match.start()] + " ")
            end = _block_end(sql, end) if kind == "block" else end
        else:
            kept.append(sql[position:end])
        position = end
        if sum(map(len, kept)) > 1000:
            return "".join(kept)
    kept.append(sql[position : position + 200])
    return "".join(kept)
