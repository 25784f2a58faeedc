"""Run the command line by `python -m evermodel.cli`."""

from evermodel.cli.root import main

if __name__ == "__main__":
    main()
