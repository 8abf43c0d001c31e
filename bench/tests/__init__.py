"""Tests of the comparison's logic; none starts a server."""
