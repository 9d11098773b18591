"""The client: one set of requests and readers of answers, and two thin faces over it, sync and async.

`calls` says what to send and how to read the answer, without sending anything; `connection` and `aio_connection` carry it
over HTTP. `client` and `aio` are what users call, with `job`/`aio_job` and one file for each resource. `local` finds the
server of a data directory or starts one.
"""
