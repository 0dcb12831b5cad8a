"""Batch scoring: tables of any size, in bounded memory, on a disk or in an object store.

The source is cut into partitions, and each is scored as a whole or not at all. A target looks so:

    manifest.json   which files are valid: read what it lists. Written last, replaced in one step
    predictions/    Parquet, one file a partition
    quarantine/     the rows that broke the contract, with the reason
    summary.json    what the last run did, whether it published or failed
    state/          what has been done: makes a rerun cheap, and a resumed run possible
    lock.json       while a run is under way

`run.py` goes through the steps; the other modules are one idea each.
"""
