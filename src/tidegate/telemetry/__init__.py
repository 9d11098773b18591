"""What Tidegate tells about itself: job events, the structured log, and figures for Prometheus.

Importing this loads none of it: `events`, `catalogue` and `meters` are light, `logs` loads structlog, and `exposition`
prometheus-client.
"""
