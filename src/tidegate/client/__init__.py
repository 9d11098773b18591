"""The client: one set of request builders and answer parsers, and two thin faces over it, sync and async.

`calls` says what to send and how to read the answer, without sending anything; `client`/`job` and `aio` carry it over
HTTP. `local` finds the server of a data directory or starts one.
"""
