"""The named data sets of a server; both faces."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tidegate.client import calls
from tidegate.client.files import format_of
from tidegate.client.shapes import Document, Rows
from tidegate.client.views import Source

if TYPE_CHECKING:
    # A program uses one face and loads one.
    from tidegate.client.aio_connection import AsyncConnection
    from tidegate.client.connection import Connection


class Sources:
    """The named data sets of a server."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def add(
        self,
        name: str,
        path: str | os.PathLike[str],
        *,
        format: str | None = None,
        shared: bool = False,
        **options: Any,
    ) -> Source:
        """Register a file, glob or folder of the server's machine under a name.

        The format goes by the file's name unless given; `shared` lets every owner read it; `options` are for its reader,
        such as `header=False`.
        """
        return Source(
            self._connection.send(calls.sources.add(name, os.fspath(path), format, options or None, shared))
        )

    def upload(
        self,
        path: str | os.PathLike[str],
        name: str | None = None,
        *,
        overwrite: bool = False,
        shared: bool = False,
    ) -> Source:
        """Send a file of any size to the server; it becomes a source of that name, or named after the file."""
        document = self._connection.upload(path, name, overwrite, shared)
        return self.get(_name_of(document, name))

    def list(self) -> Iterator[Source]:
        """All sources, read page by page."""
        return map(Source, self._connection.pages(lambda cursor: calls.sources.page(cursor=cursor)))

    def get(self, name: str) -> Source:
        """A source with its columns, size and origin. Raises NotFound."""
        return Source(self._connection.send(calls.sources.get(name)))

    def preview(self, name: str, limit: int = 20, offset: int = 0) -> Rows:
        """A page of its rows."""
        return self._connection.send(calls.sources.preview(name, limit, offset))

    def download(self, name: str, path: str | os.PathLike[str], format: str | None = None) -> Path:
        """Write it to a file here: `parquet`, `csv` or `jsonl`, by its ending unless given."""
        return self._connection.download(calls.sources.download(name, format_of(path, format)), path)

    def delete(self, name: str) -> None:
        """Forget it. Files that Tidegate made go with it; files of the user stay."""
        self._connection.send(calls.sources.delete(name))


class AsyncSources:
    """The named data sets of a server. See `Sources`."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def add(
        self,
        name: str,
        path: str | os.PathLike[str],
        *,
        format: str | None = None,
        shared: bool = False,
        **options: Any,
    ) -> Source:
        """Register a file, glob or folder of the server's machine under a name."""
        return Source(
            await self._connection.send(
                calls.sources.add(name, os.fspath(path), format, options or None, shared)
            )
        )

    async def upload(
        self,
        path: str | os.PathLike[str],
        name: str | None = None,
        *,
        overwrite: bool = False,
        shared: bool = False,
    ) -> Source:
        """Send a file of any size to the server; it becomes a source."""
        document = await self._connection.upload(path, name, overwrite, shared)
        return await self.get(_name_of(document, name))

    async def list(self) -> AsyncIterator[Source]:
        """All sources, read page by page."""
        async for document in self._connection.pages(lambda cursor: calls.sources.page(cursor=cursor)):
            yield Source(document)

    async def get(self, name: str) -> Source:
        """A source with its columns, size and origin. Raises NotFound."""
        return Source(await self._connection.send(calls.sources.get(name)))

    async def preview(self, name: str, limit: int = 20, offset: int = 0) -> Rows:
        """A page of its rows."""
        return await self._connection.send(calls.sources.preview(name, limit, offset))

    async def download(self, name: str, path: str | os.PathLike[str], format: str | None = None) -> Path:
        """Write it to a file here."""
        return await self._connection.download(calls.sources.download(name, format_of(path, format)), path)

    async def delete(self, name: str) -> None:
        """Forget it. Files that Tidegate made go with it; files of the user stay."""
        await self._connection.send(calls.sources.delete(name))


def _name_of(document: Document, name: str | None) -> str:
    source = document.get("source")
    return str(source["name"] if isinstance(source, dict) else source or name or document["name"])
