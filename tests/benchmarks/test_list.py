import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_every_benchmark_is_listed():
    programs = {
        path.name
        for path in (ROOT / "benchmarks").glob("*.py")
        if "__main__" in path.read_text(encoding="utf-8")
    }
    page = (ROOT / "docs" / "benchmarks.md").read_text(encoding="utf-8")

    assert programs <= set(re.findall(r"python benchmarks/(\w+\.py)", page))
