"""Regions that were reached, by file of core, from the JSON that llvm-cov exports. Tests are not in the binary.

    coverage.py EXPORT [--missing PART…]    PART: what a file's path has in it, such as flush/
"""

import json
import sys

# What takes batches, flushes, and restores; the figure that docs/SIMULATION.md speaks of.
JUDGED = ("ingest/", "flush/", "journal/", "lake.rs", "identity.rs", "clock.rs", "ops.rs", "context.rs")


def main():
    export, *rest = sys.argv[1:]
    with open(export, encoding="utf-8") as text:
        files = json.load(text)["data"][0]["files"]
    files = {file["filename"].split("core/src/", 1)[1]: file for file in files if "core/src/" in file["filename"]}
    parts = rest[1:] if rest[:1] == ["--missing"] else None
    sums = {"judged": [0, 0], "all of core": [0, 0]}
    for name, file in sorted(files.items()):
        regions = file["summary"]["regions"]
        count, covered = regions["count"], regions["covered"]
        is_judged = name.startswith(JUDGED)
        for what in ("judged", "all of core") if is_judged else ("all of core",):
            sums[what][0] += covered
            sums[what][1] += count
        if parts is None:
            print(f"{'*' if is_judged else ' '} {name:44} {line(covered, count)}")
        elif any(part in name for part in parts):
            missing(name, file)
    print()
    for what, (covered, count) in sums.items():
        print(f"{what:46} {line(covered, count)}")


def line(covered, count):
    return f"{covered:5} of {count:5}  {100 * covered / max(count, 1):6.2f} %"


def missing(name, file):
    """Where each region begins that was never entered."""
    with open(file["filename"], encoding="utf-8") as text:
        lines = text.read().split("\n")
    for at, column, count, has_count, is_entry, is_gap in file["segments"]:
        if has_count and is_entry and not is_gap and count == 0:
            print(f"core/src/{name}:{at}:{column}: {lines[at - 1].strip()}")


main()
