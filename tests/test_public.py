"""What users see: names, the README's code, what an import costs."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

import carls

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCKS = [
    block for page in PAGES for block in re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL)
]


def test_public_names() -> None:
    assert len(set(carls.__all__)) == len(carls.__all__)
    for name in carls.__all__:
        assert getattr(carls, name).__doc__ or name == "__version__"


def test_public_names_of_the_parts() -> None:
    import carls.graphs
    import carls.makers
    import carls.torch

    for part in (carls.graphs, carls.makers, carls.torch):
        assert part.__all__ == sorted(part.__all__)
        assert all(getattr(part, name).__doc__ for name in part.__all__)
    makers = {"GraphMaker", "LabelMaker", "LabelQualityMaker", "TowerMaker", "VertexEmbeddingMaker"}
    assert makers <= set(carls.makers.__all__)
    assert {"CurriculumLoss", "Filter", "Relabel", "SoftWeights"} <= set(carls.torch.__all__)
    assert {"BankContrastiveLoss", "Hardest", "Sampled", "WholeBank"} <= set(carls.torch.__all__)


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: block.splitlines()[-1][:30])
def test_code_in_the_pages_works_as_pasted(block: str) -> None:
    done = subprocess.run([sys.executable, "-c", block], capture_output=True, text=True, timeout=250)
    assert done.returncode == 0, done.stderr
    comments = re.findall(r"^print\(.*\)  # (.*)$", block, re.MULTILINE)
    printed = done.stdout.splitlines()
    assert [comment for comment in comments if not any(comment.startswith(line) for line in printed)] == []


def test_importing_carls_imports_nothing_heavy() -> None:
    heavy = ("torch", "sklearn", "matplotlib", "rich", "typer")
    code = f"import sys, carls; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.strip() == "[]"
