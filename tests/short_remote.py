"""A remote run whose job has little to do: it starts `short_finetune` there. Tests start it in place of `fer.remote`.

    python -m short_remote RUN_DIR
"""

from __future__ import annotations

import logging
import os

from fer import remote


def shorten(change=setattr) -> None:
    """Let the job of this process train for a moment only, and look at it often; `change` sets the attribute of a module."""
    change(remote, "TRAINER", "short_finetune")
    change(remote, "LOOK_SECONDS", 0.2)
    change(remote, "PATIENCE_SECONDS", float(os.environ.get("SHORT_PATIENCE", "600")))


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    shorten()
    raise SystemExit(remote.main())
