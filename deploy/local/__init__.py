"""The whole mesh on one machine, without containers: `make up`.

Everything listens on loopback only and keeps its data under one state directory, so that several meshes
can live side by side and deleting that directory leaves nothing behind.
"""
