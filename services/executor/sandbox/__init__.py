"""Prepared boxes for untrusted programs. Other packages see `protocol` only; `main` wires the rest."""
