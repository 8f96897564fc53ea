"""`python -m cli` is the `sentinel` command."""

from cli.main import main

main()
