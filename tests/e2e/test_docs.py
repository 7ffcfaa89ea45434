"""Every example of the documentation does what it says."""

import os
import re
import subprocess
import sys
from pathlib import Path

from ground import engines
from ground.server import BINARY, free_port

ROOT = Path(__file__).parents[2]


def blocks(page, language):
    return re.findall(rf"^```{language}\n(.*?)^```", (ROOT / page).read_text(), re.M | re.S)


def test_the_quick_start_works_as_it_is_written(tmp_path):
    """Only the port is another, since tests run beside other things."""
    port = str(free_port())
    script = "\n".join(["set -e", "trap 'kill $(jobs -p)' EXIT", *blocks("README.md", "sh")]).replace("8181", port)
    path = f"{BINARY.parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(["bash", "-c", script], cwd=tmp_path, env={**os.environ, "PATH": path}, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "default.users" in done.stdout
    rows = sorted(engines.scan_path(tmp_path / "lake" / "warehouse" / "default" / "users"), key=lambda row: row["_cdc_seq"])
    assert [(row["_cdc_op"], row["age"]) for row in rows] == [("INSERT", 31), ("UPDATE", 32), ("DELETE", 32)]


def test_the_producer_of_the_integration_page_works(server, tmp_path):
    (code,) = blocks("docs/INTEGRATION.md", "python")
    (tmp_path / "producer.py").write_text(code)
    url = f"ws://127.0.0.1:{server.port}/lakehouse"
    for time in (1, 2):
        done = subprocess.run([sys.executable, tmp_path / "producer.py", url], capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, (time, done.stdout, done.stderr)
    assert len(list(engines.scan_folder(server, "users"))) == 100
