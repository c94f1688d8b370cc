"""The screens of `fer`: one tab a file. Only here, in `labeling.ui` and in ``app.py`` is gradio imported."""
