"""`python -m carls` is `carls`."""

from carls.cli.main import main

main()
