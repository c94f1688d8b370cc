"""What axe-core finds on a page; whoever imports this is skipped where it is not installed."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page

axe = pytest.importorskip("axe_playwright_python.sync_playwright")


def serious(page: Page) -> list[str]:
    """The violations that axe calls serious or critical, a line for each place."""
    found = axe.Axe().run(page).response["violations"]
    return [
        f"{one['id']}: {node['html'][:150]} {node['failureSummary'][:200]}"
        for one in found
        if one["impact"] in ("serious", "critical")
        for node in one["nodes"]
    ]
