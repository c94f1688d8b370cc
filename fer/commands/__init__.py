"""The commands of ``python -m fer``, by what they are about; each module adds its own with `add`."""
