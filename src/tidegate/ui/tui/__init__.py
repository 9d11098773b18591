"""`tidegate top`: what goes on, live in a terminal.

`look` asks a server, `picture` is what it said, `tables` and `summary` make cells of it. Those know nothing of Textual, so
`plain` prints the same without it. Only `live` and what it imports do: the one home of Textual, an extra.
"""
