#!/usr/bin/env python3
"""Licences and sources of every crate that DoLake is built of, judged by deny.toml.

`cargo deny check` does the same and more where it is installed; this needs nothing but cargo and Python. Advisories
need the RustSec database, which only cargo-deny fetches.
"""

import json
import pathlib
import re
import subprocess
import sys
import tomllib

ROOT = pathlib.Path(__file__).resolve().parents[1]


def packages():
    """Every package of the lock file, and the ids of the workspace's own."""
    done = subprocess.run(["cargo", "metadata", "--locked", "--format-version", "1"], cwd=ROOT, check=True,
                          stdout=subprocess.PIPE)
    found = json.loads(done.stdout)
    return found["packages"], set(found["workspace_members"])


def allowed(expression, licences):
    """Whether an SPDX expression can be met with these licences. `/` is the old spelling of OR."""
    tokens = re.findall(r"\(|\)|[^\s()]+", expression.replace("/", " OR "))

    def either():
        value = both()
        while tokens and tokens[0] == "OR":
            tokens.pop(0)
            value = both() or value
        return value

    def both():
        value = one()
        while tokens and tokens[0] == "AND":
            tokens.pop(0)
            value = one() and value
        return value

    def one():
        token = tokens.pop(0)
        if token == "(":
            value = either()
            assert tokens.pop(0) == ")", expression
            return value
        if tokens and tokens[0] == "WITH":
            token = f"{token} {tokens.pop(0)} {tokens.pop(0)}"
        return token in licences

    value = either()
    assert not tokens, expression
    return value


def main():
    rules = tomllib.loads((ROOT / "deny.toml").read_text())
    licences = set(rules["licenses"]["allow"])
    found, ours = packages()
    wrong = []
    for package in found:
        name = f"{package['name']} {package['version']}"
        wild = [d["name"] for d in package["dependencies"] if package["id"] in ours and d["req"] == "*" and not d.get("path")]
        if wild:
            wrong.append(f"{name}: depends on any version of {', '.join(wild)}; name one")
        if package["id"] in ours:
            continue
        if not (package["source"] or "").startswith("registry+"):
            wrong.append(f"{name}: comes from {package['source']}; only a registry is allowed")
        if not package["license"]:
            wrong.append(f"{name}: states no licence")
        elif not allowed(package["license"], licences):
            wrong.append(f"{name}: licence {package['license']!r} is not allowed by deny.toml")
    for line in wrong:
        print(line, file=sys.stderr)
    print(f"{len(found) - len(ours)} crates: {len(wrong)} objections")
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
