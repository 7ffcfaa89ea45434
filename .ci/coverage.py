"""Regions that were reached, by file of core, from the JSON that llvm-cov exports. Tests are not in the binary; lines that
only planted bugs run (`mutant!`) are not counted.

    coverage.py EXPORT [--missing PART…]    PART: what a file's path has in it, such as flush/
"""

import json
import sys

# What takes batches, flushes, and restores.
JUDGED = ("ingest/", "flush/", "journal/", "lake.rs", "identity.rs", "context.rs", "ops.rs")


def main():
    export, *rest = sys.argv[1:]
    with open(export, encoding="utf-8") as text:
        files = json.load(text)["data"][0]["files"]
    parts = rest[1:] if rest[:1] == ["--missing"] else None
    sums = {"ingest, flush, restore": [0, 0], "all of core": [0, 0]}
    for file in sorted(files, key=lambda file: file["filename"]):
        name = file["filename"].split("core/src/", 1)[-1]
        is_judged = name.startswith(JUDGED)
        regions = list(entries(file))
        covered = sum(count > 0 for _, _, count, _ in regions)
        for what in list(sums)[0 if is_judged else 1:]:
            sums[what][0] += covered
            sums[what][1] += len(regions)
        if parts is None:
            print(f"{'*' if is_judged else ' '} {name:44} {line(covered, len(regions))}")
        elif any(part in name for part in parts):
            for at, column, count, text in regions:
                if count == 0:
                    print(f"core/src/{name}:{at}:{column}: {text}")
    print()
    for what, (covered, count) in sums.items():
        print(f"{what:46} {line(covered, count)}")


def entries(file):
    """Where each region begins, how often it was entered, and the line of source that it begins on."""
    with open(file["filename"], encoding="utf-8") as text:
        lines = text.read().split("\n")
    for at, column, count, has_count, is_entry, is_gap in file["segments"]:
        if has_count and is_entry and not is_gap and "mutant!" not in lines[at - 1]:
            yield at, column, count, lines[at - 1].strip()


def line(covered, count):
    return f"{covered:5} of {count:5}  {100 * covered / max(count, 1):6.2f} %"


main()
