"""The security audit: attacks as data, run through the real mesh, and looked at from the host."""
