"""Executors for any asyncio application: CPU work in sandboxed processes, blocking work in threads."""
