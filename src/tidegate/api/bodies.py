"""Request bodies: read within a limit, and JSON that means one thing only.

JSON here has no NaN, no Infinity, no number too large for a float, no name twice in one object, and no half of
a surrogate pair. All of these would otherwise turn up later as errors that nobody can place.
"""

from __future__ import annotations

import asyncio
import json
import math
import re
from collections import Counter
from collections.abc import AsyncGenerator, Mapping
from typing import Any, TypeVar

from fastapi import Request
from pydantic import BaseModel, ValidationError

from tidegate.api.admission import Passage
from tidegate.api.budget import UNCOUNTED_BYTES, BodyBudget
from tidegate.api.problems import Refusal, invalid
from tidegate.core.resources import MIB, format_bytes

SMALL_BODY_BYTES = 2 * MIB
BULK_BODY_BYTES = 64 * MIB
LONGEST_IN_PAUSES = 20
"""A body that is held in memory may take so many of the longest pauses to come: ten minutes, 0.1 MiB/s of the largest."""
_ITEMS_AT_A_TIME = 200
"""Items of a long list that are parsed before other requests get their turn: about 1 ms."""

Model = TypeVar("Model", bound=BaseModel)


async def arriving(request: Request) -> AsyncGenerator[bytes, None]:
    """The pieces of a body as they come. Raises `body_stalled` when none comes for `body_idle_s`."""
    idle_s = _idle_s(request)
    pieces = request.stream()
    while True:
        try:
            async with asyncio.timeout(idle_s):
                piece = await anext(pieces)
        except StopAsyncIteration:
            return
        except TimeoutError:
            raise _stalled(f"nothing more of the body came for {idle_s:g} s", idle_s) from None
        yield piece


async def read_body(request: Request, limit_bytes: int) -> bytes:
    """The whole body. With it the request passes its gate, and is worked at from there.

    Raises `overloaded` at that gate, `too_large` as soon as it is known to be, `too_many_bytes` when others take the room,
    and `body_stalled` when it pauses for too long or trickles in: what it holds of the memory for all bodies must not be
    held for ever.
    """
    declared = request.headers.get("content-length", "")
    if declared.isdigit() and int(declared) > limit_bytes:
        raise too_large(int(declared), limit_bytes)
    budget = _budget(request)
    passage: Passage | None = request.scope.get("passage")
    declared_bytes = int(declared) if declared.isdigit() else UNCOUNTED_BYTES
    if declared_bytes >= UNCOUNTED_BYTES and passage is not None:
        passage.look_ahead()
    budget.look_ahead(declared_bytes)
    chunks: list[bytes] = []
    size = counted = 0
    clock = asyncio.get_running_loop().time
    longest_s = LONGEST_IN_PAUSES * _idle_s(request)
    late_at = clock() + longest_s
    async for chunk in arriving(request):
        size += len(chunk)
        if clock() > late_at:
            raise _stalled(f"the body has not come within {longest_s:g} s", longest_s)
        if size > limit_bytes:
            raise too_large(size, limit_bytes)
        if size > UNCOUNTED_BYTES:
            budget.take_body(request.scope, size - counted)
            counted = size
        chunks.append(chunk)
    if passage is not None:
        await passage.enter()
    return chunks[0] if len(chunks) == 1 else b"".join(chunks)


def _idle_s(request: Request) -> float:
    idle_s: float = request.app.state.service.settings.body_idle_s
    return idle_s


def _stalled(what: str, limit_s: float) -> Refusal:
    return Refusal(
        "body_stalled",
        f"The request was given up because {what}. Send it again, in smaller parts if the line is slow; `body_idle_s` is "
        "the longest pause.",
        numbers={"limit": limit_s},
        headers={"Connection": "close"},
    )


def _budget(request: Request) -> BodyBudget:
    budget: BodyBudget = request.app.state.bodies
    return budget


def _parsed(request: Request, body: bytes) -> Any:
    """One JSON value; what it takes of memory is counted first when it is large."""
    text = _text(body)
    if len(text) > UNCOUNTED_BYTES:
        _budget(request).take_values(request.scope, text)
    return _parse_text(text)


def too_large(asked_bytes: int, limit_bytes: int) -> Refusal:
    return Refusal(
        "too_large",
        f"The body has at least {format_bytes(asked_bytes)}; at most {format_bytes(limit_bytes)} are taken here.",
        numbers={"asked": asked_bytes, "limit": limit_bytes},
    )


async def json_object(request: Request, limit_bytes: int = SMALL_BODY_BYTES) -> dict[str, Any]:
    """The body as a JSON object. Raises `malformed` for anything else."""
    value = _parsed(request, await read_body(request, limit_bytes))
    if not isinstance(value, dict):
        raise Refusal("malformed", f"The body must be a JSON object, not {_name(value)}.")
    return value


async def json_model(request: Request, model: type[Model], limit_bytes: int = SMALL_BODY_BYTES) -> Model:
    """The body as a model; an empty body counts as an empty object."""
    body = await read_body(request, limit_bytes)
    value = _parsed(request, body) if body else {}
    if not isinstance(value, dict):
        raise Refusal("malformed", f"The body must be a JSON object, not {_name(value)}.")
    try:
        return model.model_validate(value)
    except ValidationError as error:
        raise invalid(error.errors()) from None


async def json_items(
    request: Request, field: str, most: int, limit_bytes: int = BULK_BODY_BYTES
) -> list[Any]:
    """The list of a body `{"<field>": [...]}`, parsed piece by piece so that a long one does not hold up others.

    Stops at the item after the first `most`, since 64 MiB of `{},` would become objects of two GiB.
    """
    text = _text(await read_body(request, limit_bytes))
    opening = re.compile(rf'\s*\{{\s*"{field}"\s*:\s*\[\s*').match(text)
    if opening is None:
        return _items_of_object(text, field)
    items: list[Any] = []
    at = opening.end()
    window = _Window(text, at, request)
    while text[at : at + 1] != "]":
        item, at = window.item(at)
        items.append(item)
        if len(items) > most:
            return items
        if len(items) % _ITEMS_AT_A_TIME == 0:
            await asyncio.sleep(0)
    if text[at + 1 :].strip(_SPACE) != "}":
        return _items_of_object(text, field)
    return items


def parse(body: bytes) -> Any:
    """One JSON value. Raises `malformed` with the place and what is wrong."""
    return _parse_text(_text(body))


_WINDOW_CHARS = 256 * 1024
_SPACE = " \t\r\n"
_BETWEEN = re.compile(r"[ \t\r\n]*(,?)[ \t\r\n]*")


class _Window:
    """The part of a long list that is parsed now, so that what its items take of memory is counted before they are there."""

    def __init__(self, text: str, start: int, request: Request) -> None:
        self._text = text
        self._request = request
        self._counted = 0
        self._move(start, _WINDOW_CHARS)

    def item(self, at: int) -> tuple[Any, int]:
        """The item that begins there, and the place of what follows."""
        for size in (_WINDOW_CHARS, SMALL_BODY_BYTES):
            try:
                item, end = _parse_item(self._part, at - self._start)
                if end < len(self._part) or not self._cut:
                    return item, self._start + end
            except Refusal:
                if not self._cut:
                    raise self._told(at) from None
            self._move(at, size)
        try:
            item, end = _parse_item(self._part, 0)
        except Refusal:
            raise self._told(at) from None
        return item, self._start + end

    def _move(self, start: int, size: int) -> None:
        self._start = start
        self._part = self._text[start : start + size]
        self._cut = start + size < len(self._text)
        if len(self._text) > UNCOUNTED_BYTES:
            fresh = self._part[max(self._counted - start, 0) :]
            _budget(self._request).take_values(self._request.scope, fresh)
            self._counted = max(self._counted, start + len(self._part))

    def _told(self, at: int) -> Refusal:
        """What is wrong with the item, with its place in the whole body."""
        if self._cut:
            return Refusal(
                "malformed",
                f"The item at character {at} is not JSON, or has more than {format_bytes(SMALL_BODY_BYTES)}.",
                numbers={"limit": SMALL_BODY_BYTES},
            )
        try:
            _parse_item(self._text, at)
        except Refusal as refusal:
            return refusal
        raise AssertionError("it was no JSON a moment ago")


def _parse_item(text: str, at: int) -> tuple[Any, int]:
    """One item of a list and the place of the next item, or of the closing bracket."""
    try:
        item, end = _DECODER.raw_decode(text, at)
    except (ValueError, RecursionError) as error:
        raise _malformed(error) from None
    between = _BETWEEN.match(text, end)
    assert between is not None
    following = text[between.end() : between.end() + 1]
    if bool(between.group(1)) == (following in ("]", "")):
        raise Refusal(
            "malformed", f"The body is not JSON: a comma or a closing bracket is wanted at character {end}."
        )
    return item, between.end()


def _parse_text(text: str) -> Any:
    try:
        return _DECODER.decode(text)
    except (ValueError, RecursionError) as error:
        raise _malformed(error) from None


def _text(body: bytes) -> str:
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError as error:
        raise Refusal(
            "malformed", f"The body is not UTF-8: byte {error.start} does not belong there."
        ) from None
    if "\\ud" in text or "\\uD" in text:
        _refuse_half_pairs(text)
    return text


def _refuse_half_pairs(text: str) -> None:
    r"""JSON may write half of a surrogate pair as `\ud800`; no text on any disk can hold it."""
    bare = text.replace("\\\\", "")
    rest = re.sub(r"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}", "", bare)
    if re.search(r"\\u[dD][89a-fA-F]", rest):
        raise Refusal("malformed", "The body has half of a surrogate pair, which is no character.")


def _items_of_object(text: str, field: str) -> list[Any]:
    """The list of a body that is written in an unusual way, parsed at once; a large one is not worth the time."""
    value: Any = _parse_text(text) if len(text) <= SMALL_BODY_BYTES else None
    items = value.get(field) if isinstance(value, dict) else None
    if not isinstance(items, list) or len(value) != 1:
        raise Refusal("malformed", f'The body must be {{"{field}": [...]}} and have nothing beside it.')
    return items


def _malformed(error: Exception) -> Refusal:
    if isinstance(error, RecursionError):
        return Refusal("malformed", "The body is nested too deeply.")
    if isinstance(error, json.JSONDecodeError):
        return Refusal(
            "malformed", f"The body is not JSON: {error.msg} at line {error.lineno}, column {error.colno}."
        )
    return Refusal("malformed", f"The body is not JSON that can be used: {error}.")


def _no_constant(text: str) -> float:
    raise ValueError(f"{text} is no number in JSON")


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text:.40} is too large a number")
    return value


def _whole(text: str) -> int:
    if len(text) > 40:
        raise ValueError(f"a number of {len(text)} digits is too large")
    return int(text)


def _unique(pairs: list[tuple[str, Any]]) -> Mapping[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        twice = Counter(name for name, _ in pairs).most_common(1)[0][0]
        raise ValueError(f"the name {twice!r:.80} stands twice in one object")
    return made


def _name(value: object) -> str:
    names = {list: "a list", str: "a text", bool: "a truth value", int: "a number", float: "a number"}
    return names.get(type(value), "null")


_DECODER = json.JSONDecoder(
    parse_constant=_no_constant, parse_float=_finite, parse_int=_whole, object_pairs_hook=_unique
)
