"""Tests of `procconn ship` with real NATS servers."""
