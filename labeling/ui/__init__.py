"""Screens: imported by `app.py` alone."""
