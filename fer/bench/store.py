"""``bench store``."""


def bench_store(arguments, progress):
    raise ValueError("not written yet")
