"""Who is at the door: from what a request shows to its caller, and how often strangers may try.

Keys are looked up in a copy in memory, read again when it is older than `FRESH_S`, so that a key that was made or revoked
elsewhere (another server, the command line) counts within that time everywhere. A key nobody knows makes the copy be read
at once, since it may have been made a moment ago; how often strangers can cause that is bounded.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Mapping
from concurrent.futures import Executor
from datetime import datetime, timedelta
from ipaddress import IPv6Address, ip_address
from typing import NamedTuple

from tidegate.core.identity import (
    LOCAL_OWNER,
    Caller,
    KeyRecord,
    Role,
    check_owner_name,
)
from tidegate.core.keys import digest_of, key_id_of, key_matches, make_key
from tidegate.errors import AccessDenied, InvalidInput, SettingError
from tidegate.ports import Clock, KeyStore
from tidegate.server.buckets import Buckets
from tidegate.settings import ANYONE, Settings

log = logging.getLogger("tidegate.doorkeeper")

FRESH_S = 2.0
STALE_S = 60.0
"""How long keys are believed while the store cannot be read; after that nobody is let in."""
NOTE_USE_S = 60.0
"""How far `last_used_at` may lie behind."""
FAILURES = 10
FAILURE_EVERY_S = 6.0
"""An address may fail ten times in a row, then once in six seconds. Keys have 256 bits, so this spares work, not secrets:
whoever shows a valid key is let in from any address, and no client can lock out another behind the same proxy."""
REREADS = 20
REREAD_EVERY_S = 0.05
_LONGEST_KEY = 256
LONGEST_LIFE_DAYS = 3660.0


class Pass(NamedTuple):
    """What somebody may do, without the request."""

    owner: str
    role: Role
    key_id: str | None = None


_LOCAL = Pass(LOCAL_OWNER, Role.ADMIN)


def check_door(settings: Settings, keys: KeyStore, now: datetime) -> None:
    """Raise SettingError for a server that strangers could reach and nobody could tell them from friends."""
    if settings.only_on_loopback or settings.anonymous_access == ANYONE:
        return
    if any(key.valid(now) for key in keys.all_keys()):
        return
    reached = (
        f"would listen on {settings.host}"
        if settings.allowed_hosts == []
        else f"would listen on {settings.host} for {', '.join(settings.allowed_hosts)}"
    )
    raise SettingError(
        f"The server {reached}, and there is no API key: whoever reaches it could do everything. Make a key with "
        "`tidegate key create --owner NAME --role admin` (with the same --data-dir), or listen on 127.0.0.1, or say "
        f"TIDEGATE_ANONYMOUS_ACCESS={ANYONE}."
    )


class Doorkeeper:
    """Tells callers by their keys. Lives in one event loop; store calls go through the given executor."""

    def __init__(self, keys: KeyStore, clock: Clock, settings: Settings, executor: Executor) -> None:
        self._store = keys
        self._clock = clock
        self._executor = executor
        self._open = settings.anonymous_access == ANYONE
        self._loopback = settings.only_on_loopback
        self._known: Mapping[str, KeyRecord] = {}
        self._read_s = float("-inf")
        self._reading: asyncio.Task[None] | None = None
        self._failures = Buckets(FAILURES, FAILURE_EVERY_S)
        self._rereads = Buckets(REREADS, REREAD_EVERY_S)
        self._noted: dict[str, datetime] = {}
        self._used: dict[str, datetime] = {}

    async def admit(
        self, shown: str | None, address: str | None = None, request_id: str | None = None
    ) -> Caller | None:
        """Whose key this is; without a key the local owner where that is allowed, else None: nobody known.

        Raises AccessDenied (`unauthenticated`, or `too_many_failures`) for a key that opens nothing.
        """
        age_s = self._clock.monotonic() - self._read_s
        if age_s > FRESH_S:
            reading = self._read()
            if age_s > 2 * FRESH_S:  # else it is read beside the requests, which need not wait for it
                await asyncio.shield(reading)
        shown = shown if self._known or self._open else None  # where nobody needs a key, none is wrong
        found = self._anonymous() if shown is None else self._by_key(shown)
        if found is None and shown is not None:
            found = await self._second_look(shown, address)
        if found is None:
            return None
        return Caller(found.owner, found.role, self._clock.now(), found.key_id, request_id, address)

    async def still_admits(self, caller: Caller) -> bool:
        """Whether what was asked long ago may still be answered: the key it was asked with opens the door as it did then."""
        if self._clock.monotonic() - self._read_s > FRESH_S:
            try:
                await asyncio.shield(self._read())
            except Exception:  # noqa: BLE001 - logged where it was read; nobody is believed for ever
                return False
        if caller.key_id is None:
            return self._anonymous() is not None
        record = self._known.get(caller.key_id)
        asked_as = (caller.owner, caller.role)
        return (
            record is not None and record.valid(self._clock.now()) and (record.owner, record.role) == asked_as
        )

    async def changed(self) -> None:
        """Look at once: this server has made or revoked a key."""
        await self._read_anew()

    def close(self) -> None:
        """Write down what is not written yet of when keys were used."""
        self._note(self._used)

    def _anonymous(self) -> Pass | None:
        return _LOCAL if self._open or (self._loopback and not self._known) else None

    def _by_key(self, shown: str) -> Pass | None:
        key_id = key_id_of(shown) if len(shown) <= _LONGEST_KEY else None
        record = self._known.get(key_id) if key_id else None
        matches = key_matches(shown[:_LONGEST_KEY], record)  # before anything else: the same work for all
        now = self._clock.now()
        if record is None or not matches or not record.valid(now):
            return None
        self._seen(record, now)
        return Pass(record.owner, record.role, record.id)

    async def _second_look(self, shown: str, address: str | None) -> Pass:
        """The key may be newer than our copy. Raises AccessDenied when it is not."""
        now_s = self._clock.monotonic()
        wait_s = self._failures.take(_network(address), now_s)
        if wait_s > 0:
            log.warning("Too many failed keys from %s.", address)
            raise AccessDenied(
                f"Too many wrong keys came from this address. Try again in {wait_s:.0f} s.",
                code="too_many_failures",
                numbers={"retry_after_s": round(wait_s, 1)},
            )
        if self._rereads.take("", now_s) == 0:
            await self._read_anew()
        found = self._by_key(shown)
        if found is None:
            log.warning("A key that opens nothing came from %s.", address)
            raise unauthenticated("The API key is not valid: it is wrong, revoked, or has expired.")
        self._failures.give_back(_network(address))
        return found

    def _read(self) -> asyncio.Task[None]:
        """Read the keys; those who ask at the same time share one reading."""
        if self._reading is None or self._reading.done():
            self._reading = asyncio.ensure_future(self._read_keys())
            self._reading.add_done_callback(_heard)
        return self._reading

    async def _read_anew(self) -> None:
        """Read as of now: a reading under way may be too old, so another follows it."""
        if self._reading is not None and not self._reading.done():
            await asyncio.shield(self._reading)
        await asyncio.shield(self._read())

    async def _read_keys(self) -> None:
        loop = asyncio.get_running_loop()
        began_s = self._clock.monotonic()
        try:
            found = await loop.run_in_executor(self._executor, self._store.all_keys)
        except Exception:
            log.warning("The keys cannot be read; those known are believed for a while.", exc_info=True)
            if began_s - self._read_s > STALE_S:
                raise
            return
        self._known = {key.id: key for key in found}
        self._read_s = began_s

    def _seen(self, record: KeyRecord, now: datetime) -> None:
        last = self._noted.get(record.id, record.last_used_at)
        self._used[record.id] = now
        if last is None or (now - last).total_seconds() > NOTE_USE_S:
            used, self._used = self._used, {}
            self._noted.update(used)
            self._executor.submit(self._note, used)

    def _note(self, used: Mapping[str, datetime]) -> None:
        try:
            self._store.touch_keys(used)
        except Exception:
            log.warning("When keys were used could not be written down.", exc_info=True)


def _heard(reading: asyncio.Task[None]) -> None:
    """Whoever waits for the reading gets its error; when nobody does, it has been logged already."""
    if not reading.cancelled():
        reading.exception()


def unauthenticated(why: str) -> AccessDenied:
    return AccessDenied(
        f"{why} Send a key as `Authorization: Bearer tg_...`; TIDEGATE_API_KEY gives it to the command line.",
        code="unauthenticated",
    )


def new_key(
    owner: object,
    role: Role,
    *,
    name: str = "",
    life_days: float | None = None,
    by: str,
    now: datetime,
) -> tuple[str, KeyRecord]:
    """A new key: its text, which nobody can be told again, and what is stored of it. Raises InvalidInput."""
    if life_days is not None and not 0 < life_days <= LONGEST_LIFE_DAYS:
        raise InvalidInput(
            f"expires_in_days must be above 0 and at most {LONGEST_LIFE_DAYS:g}, not {life_days:g}.",
            numbers={"field": "expires_in_days", "limit": LONGEST_LIFE_DAYS},
        )
    if len(name) > 200 or not (name.isprintable() or not name):
        raise InvalidInput("name must be at most 200 printable characters.", numbers={"field": "name"})
    key = make_key(secrets.token_hex(5), secrets.token_urlsafe(32))
    return key, key_record(key, owner, role, name=name, life_days=life_days, by=by, now=now)


def key_record(
    key: str,
    owner: object,
    role: Role,
    *,
    name: str = "",
    life_days: float | None = None,
    by: str,
    now: datetime,
) -> KeyRecord:
    """What is stored of a key. Raises InvalidInput."""
    key_id = key_id_of(key)
    if key_id is None:
        raise InvalidInput("This is no API key.", numbers={"field": "key"})
    return KeyRecord(
        id=key_id,
        digest=digest_of(key),
        owner=check_owner_name(owner),
        role=role,
        name=name,
        created_at=now,
        created_by=by,
        expires_at=now + timedelta(days=life_days) if life_days is not None else None,
    )


def _network(address: str | None) -> str:
    """The address, or of IPv6 the network of 64 bits: whoever has one has all of its addresses."""
    try:
        parsed = ip_address(address or "")
    except ValueError:
        return ""
    return parsed.exploded[:19] if isinstance(parsed, IPv6Address) else str(parsed)
