"""Real servers of NATS, and shippers that ship to them."""
