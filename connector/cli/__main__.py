"""``python -m connector.cli``, for where the console script is not on the PATH."""

from connector.cli import main

if __name__ == "__main__":
    main(prog_name="connector")
