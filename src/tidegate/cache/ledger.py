"""The ledger's cache on Redis, for all processes of an installation. Each change is one script, so one step."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import wraps
from typing import Concatenate, ParamSpec, TypeVar

from redis.client import Pipeline

from tidegate.cache.connection import Trouble, connect
from tidegate.cache.local import MOST_CHANGES
from tidegate.core.job import AttemptKey
from tidegate.core.plan import Start
from tidegate.core.resources import Resources
from tidegate.errors import Unavailable
from tidegate.ports import Held, Mark, Rooms, WorkerRoom

P = ParamSpec("P")
R = TypeVar("R")

_AT_ONCE = 1000
_ABANDONED_AFTER_S = 60

# KEYS: state (number, version, sure), live (attempt → amounts and worker), sums (worker's amounts), changes (sorted by
# number; "+attempt=entry" or "-attempt"), offered. An entry is "cpu memory disk worker".
_COMMON = """
local state, live, sums, changes = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local function count(entry, sign)
  local cpu, memory, disk, worker = string.match(entry, '^(%d+) (%d+) (%d+) (.*)$')
  for kind, amount in pairs({c = cpu, m = memory, d = disk}) do
    -- As text, so that it stays exact; "-0" is refused.
    if amount ~= '0' then redis.call('HINCRBY', sums, kind .. worker, sign .. amount) end
  end
end
local function add(key, entry)
  if redis.call('HSETNX', live, key, entry) == 1 then count(entry, '') return true end
  return false
end
local function drop(key)
  local entry = redis.call('HGET', live, key)
  if entry then redis.call('HDEL', live, key) count(entry, '-') end
end
local function note(change)
  redis.call('ZADD', changes, redis.call('HINCRBY', state, 'number', 1), change)
end
"""
_STARTED = (
    _COMMON
    + """
for i = 1, #ARGV, 2 do
  local key, entry = ARGV[i], ARGV[i + 1]
  if not redis.call('ZSCORE', changes, '-' .. key) and add(key, entry) then note('+' .. key .. '=' .. entry) end
end
redis.call('ZREMRANGEBYRANK', changes, 0, -1 - MOST)
"""
)
_RELEASED = (
    _COMMON
    + """
for _, key in ipairs(ARGV) do
  if not redis.call('ZSCORE', changes, '-' .. key) then drop(key) note('-' .. key) end
end
redis.call('ZREMRANGEBYRANK', changes, 0, -1 - MOST)
"""
)
_REBUILD = (
    _COMMON
    + """
local fresh, fresh_offered, mark, life = KEYS[6], KEYS[7], tonumber(ARGV[1]), ARGV[2]
local number = tonumber(redis.call('HGET', state, 'number') or '-1')
if redis.call('HGET', state, 'life') ~= life or number - mark > MOST then
  redis.call('DEL', fresh, fresh_offered)
  return 0
end
redis.call('DEL', live, sums, KEYS[5])
if redis.call('EXISTS', fresh) == 1 then redis.call('RENAME', fresh, live) redis.call('PERSIST', live) end
if redis.call('EXISTS', fresh_offered) == 1 then
  redis.call('RENAME', fresh_offered, KEYS[5]) redis.call('PERSIST', KEYS[5])
end
local entries = redis.call('HVALS', live)
for _, entry in ipairs(entries) do count(entry, '') end
for _, change in ipairs(redis.call('ZRANGEBYSCORE', changes, '(' .. mark, '+inf')) do
  if string.sub(change, 1, 1) == '-' then
    drop(string.sub(change, 2))
  else
    local at = string.find(change, '=', 1, true)
    add(string.sub(change, 2, at - 1), string.sub(change, at + 1))
  end
end
redis.call('HINCRBY', state, 'version', 1)
redis.call('HSET', state, 'sure', 1)
return 1
"""
)


def _unavailable(
    method: Callable[Concatenate[RedisLedgerCache, P], R],
) -> Callable[Concatenate[RedisLedgerCache, P], R]:
    @wraps(method)
    def call(self: RedisLedgerCache, /, *args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return method(self, *args, **kwargs)
        except Trouble as error:
            raise Unavailable(f"The ledger's cache cannot be reached: {error}.") from error

    return call


class RedisLedgerCache:
    """Counters, entries and the newest changes under `{namespace}:ledger:*`. A Redis that forgot them is in doubt."""

    def __init__(self, url: str, namespace: str) -> None:
        self._redis = connect(url)
        base = f"{{{namespace}}}:ledger"  # the braces keep all of it on one node of a Redis cluster
        self._base = base
        self._keys = [f"{base}:{name}" for name in ("state", "live", "sums", "changes", "offered")]
        self._started = self._script(_STARTED)
        self._released = self._script(_RELEASED)
        self._rebuild = self._script(_REBUILD)

    @_unavailable
    def started(self, starts: Sequence[Start]) -> None:
        for some in _portions(starts):
            pairs = [
                text for start in some for text in (str(start.key), _entry(start.resources, start.worker_id))
            ]
            self._started(self._keys, pairs)

    @_unavailable
    def released(self, keys: Sequence[AttemptKey]) -> None:
        for some in _portions(keys):
            self._released(self._keys, [str(key) for key in some])

    @_unavailable
    def doubt(self) -> None:
        self._redis.hdel(self._keys[0], "sure")

    @_unavailable
    def mark(self) -> Mark:
        state = self._keys[0]
        with self._redis.pipeline() as pipe:
            # When Redis has forgotten everything numbers begin anew: the life says whose they are.
            pipe.hsetnx(state, "life", secrets.token_hex(8))
            pipe.hincrby(state, "number", 0)
            pipe.hget(state, "life")
            _, number, life = pipe.execute()
            return Mark(str(life), int(number))

    @_unavailable
    def rebuild(self, held: Iterable[Held], offered: Mapping[str, Resources], mark: Mark) -> bool:
        token = secrets.token_hex(8)
        fresh, fresh_offered = f"{self._base}:fresh:{token}", f"{self._base}:offered:{token}"
        entries = {str(one.key): _entry(one.resources, one.worker_id) for one in held}
        with self._redis.pipeline(transaction=False) as pipe:
            _fill(pipe, fresh, entries)
            _fill(pipe, fresh_offered, {name: _entry(amount, name) for name, amount in offered.items()})
            pipe.execute()
        return bool(self._rebuild([*self._keys, fresh, fresh_offered], [mark.number, mark.life]))

    @_unavailable
    def rooms(self) -> Rooms | None:
        state, _, sums, _, offered = self._keys
        with self._redis.pipeline() as pipe:
            pipe.hmget(state, "version", "sure")
            pipe.hgetall(sums)
            pipe.hgetall(offered)
            (version, sure), taken, entries = pipe.execute()
        if sure is None:
            return None
        rooms = {name: WorkerRoom(_amounts(entry), _sum(taken, name)) for name, entry in entries.items()}
        return Rooms(int(version), rooms)

    def close(self) -> None:
        self._redis.close()

    def _script(self, text: str) -> Callable[[Sequence[str], Sequence[str | int]], object]:
        return self._redis.register_script(text.replace("MOST", str(MOST_CHANGES)))


def _portions(items: Sequence[R]) -> Iterable[Sequence[R]]:
    return (items[first : first + _AT_ONCE] for first in range(0, len(items), _AT_ONCE))


def _fill(pipe: Pipeline, key: str, entries: Mapping[str, str]) -> None:
    items = list(entries.items())
    for some in _portions(items):
        pipe.hset(key, mapping=dict(some))
    if items:
        pipe.expire(key, _ABANDONED_AFTER_S)


def _entry(amount: Resources, worker_id: str) -> str:
    return f"{amount.cpu_milli} {amount.memory_bytes} {amount.disk_bytes} {worker_id}"


def _amounts(entry: str) -> Resources:
    cpu, memory, disk, _ = entry.split(" ", 3)
    return Resources(int(cpu), int(memory), int(disk))


def _sum(sums: Mapping[str, str], name: str) -> Resources:
    return Resources(*(int(sums.get(f"{kind}{name}", 0)) for kind in "cmd"))
