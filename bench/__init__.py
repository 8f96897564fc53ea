"""`make bench`: measures a mesh of its own against a bare loop on the same machine, in the same run."""
