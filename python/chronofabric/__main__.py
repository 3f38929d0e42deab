"""``python -m chronofabric``: the same as the command ``chronofabric``."""

from __future__ import annotations

from chronofabric.apps.cli import main

if __name__ == "__main__":
    main()
