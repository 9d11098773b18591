"""The ladder of enforcement: how a sandbox is held to its limits, and which rung holds here."""
