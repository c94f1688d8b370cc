"""Files in and out: a module per format that the field uses, all speaking in `records.Record`.

Each says whether a tree of files `fits`, can `read` it, and, where faces can be given away in it, `write` it.
"""
