"""Alerts: figures from all over the service, messages on their way to channels, and what operators may do."""
