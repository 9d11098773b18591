"""Shows: command line and dashboards, all through the client."""
