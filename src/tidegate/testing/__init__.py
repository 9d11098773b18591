"""Proves: fakes, builders and conformance suites, for this project and its users."""
