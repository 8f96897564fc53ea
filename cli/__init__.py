"""The `sentinel` command: one more client of the service, through the same port as every other."""

VERSION = "0.1.0"
