"""python -m tutelage: the same as the command `tutelage`."""

from tutelage.cli import main

main()
