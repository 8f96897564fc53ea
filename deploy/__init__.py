"""How Sentinel is put on machines."""
