"""What this machine does, each figure beside a floor of the same run: ``python -m tests.bench``."""
