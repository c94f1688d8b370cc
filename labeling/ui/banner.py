"""The line above the tabs that says, on a Space, that labels are lost at its restart, and how to keep them."""

from __future__ import annotations

from html import escape
from pathlib import Path

import gradio as gr

from labeling.space import Space, is_wiped

STYLE = """
.wiped { border: 1px solid #b45309; background: #fffbeb; color: #451a03 !important; border-radius: 8px; padding: 8px 12px }
.wiped * { color: inherit !important }  /* Gradio's own is for its dark ground */
.wiped summary { cursor: pointer }
.wiped code { overflow-wrap: anywhere; background: #fef3c7; color: inherit; padding: 1px 4px; border-radius: 4px }
.wiped a { text-decoration: underline; padding: 0 !important; margin: 0 !important }
.wiped ol { margin: 4px 0 0; padding-left: 1.5em; list-style: decimal }
"""


def build(space: Space | None, workspace: Path, repository: str | None) -> None:
    """Add the line to the current `gr.Blocks` where labels in `workspace` are lost at a restart, for want of a dataset
    `repository` that keeps them too."""
    if space and not repository and is_wiped(space, workspace):
        gr.HTML(_ways(space), padding=False, elem_id="wiped")


def _ways(space: Space) -> str:
    settings = f"https://huggingface.co/spaces/{escape(space.id)}/settings"
    duplicate = f"https://huggingface.co/spaces/{escape(space.id)}?duplicate=true"
    return f"""<div class="wiped" role="status"><details>
<summary><b>Labels given here are lost when this Space restarts:</b> its disk is wiped then. There are two ways to keep them.</summary>
<ol>
<li>In the <a href="{settings}" target="_blank" rel="noopener">settings of the Space</a> mount a storage bucket at
<code>/data</code>: the workspace moves there by itself.</li>
<li>Or set the variable <code>FER_LABELS_REPO</code> to the name of a private dataset, such as <code>YOU/my-labels</code> (it is made if
it is not there), and the secret <code>HF_TOKEN</code> to a token that may write to it. Every label is there within two minutes, and
back after a restart.</li>
</ol>
Not your Space? <a href="{duplicate}" target="_blank" rel="noopener">Duplicate it</a>; it keeps labels for you alone.
</details></div>"""
