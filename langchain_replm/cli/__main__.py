"""`python -m langchain_replm.cli`."""

import sys

from langchain_replm.cli import main

if __name__ == "__main__":
    sys.exit(main())
