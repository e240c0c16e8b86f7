"""Stand-ins for the systems around the connector, on loopback: what ``connector demo`` and the tests talk to."""
