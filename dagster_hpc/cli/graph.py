"""A graph of assets as text: a tree for a terminal, and the languages of Graphviz and Mermaid. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Node:
    """One asset."""

    name: str
    parents: tuple[str, ...]
    is_hpc: bool = False  # its steps are batch jobs
    profile: str = ""  # '': not said by the asset itself
    target: str = ""  # the kind of system
    partitions: str = ""

    @property
    def mark(self) -> str:
        """`hpc: small on slurm`; nothing for an asset whose steps run where Dagster does."""
        if not self.is_hpc:
            return ""
        where = f"on {self.target}" if self.target else ""
        how = " ".join(part for part in (self.profile, where) if part)
        return f"hpc: {how}" if how else "hpc"


def tree(nodes: Sequence[Node]) -> str:
    """Each asset under the first of its parents; where it has others, it is only named there."""
    known = {node.name: node for node in nodes}
    children: dict[str, list[Node]] = {node.name: [] for node in nodes}
    for node in nodes:
        for parent in node.parents:
            children.setdefault(parent, []).append(node)
    shown: set[str] = set()
    roots = [node for node in nodes if not any(parent in known for parent in node.parents)]
    return "\n".join(line for root in roots for line in _branch(root, children, shown, "", ""))


def _branch(
    node: Node, children: dict[str, list[Node]], shown: set[str], first: str, rest: str
) -> Iterator[str]:
    again = node.name in shown
    marks = [node.mark, f"partitioned: {node.partitions}" if node.partitions else "", "as above" if again else ""]
    note = "; ".join(mark for mark in marks if mark)
    yield f"{first}{node.name}{f'  [{note}]' if note else ''}"
    if again:
        return
    shown.add(node.name)
    below = children.get(node.name, [])
    for place, child in enumerate(below):
        last = place == len(below) - 1
        yield from _branch(
            child, children, shown, f"{rest}{'└─ ' if last else '├─ '}", f"{rest}{'   ' if last else '│  '}"
        )


def dot(nodes: Sequence[Node]) -> str:
    """For `dot -Tsvg`."""
    lines = ["digraph assets {", "  rankdir=LR;", '  node [shape=box, style="rounded", fontname="sans-serif"];']
    for node in nodes:
        label = json.dumps(node.name + (f"\n{node.mark}" if node.mark else ""), ensure_ascii=False)
        colour = ', style="rounded,filled", fillcolor="#dbe9f4"' if node.is_hpc else ""
        lines.append(f"  {json.dumps(node.name, ensure_ascii=False)} [label={label}{colour}];")
    lines += [f"  {json.dumps(a, ensure_ascii=False)} -> {json.dumps(b, ensure_ascii=False)};" for a, b in _edges(nodes)]
    return "\n".join([*lines, "}"])


def mermaid(nodes: Sequence[Node]) -> str:
    """For a page of Markdown: between the fences of a `mermaid` block."""
    names = dict.fromkeys([*(node.name for node in nodes), *(parent for node in nodes for parent in node.parents)])
    ids = {name: f"a{place}" for place, name in enumerate(names)}
    marks = {node.name: node.mark for node in nodes}
    lines = ["flowchart LR"]
    for name, own in ids.items():
        mark = f"<br/><small>{marks[name]}</small>" if marks.get(name) else ""
        lines.append(f'  {own}["{_quoted(name)}{mark}"]')
    lines += [f"  {ids[a]} --> {ids[b]}" for a, b in _edges(nodes)]
    hpc = ",".join(ids[node.name] for node in nodes if node.is_hpc)
    if hpc:
        lines += ["  classDef hpc fill:#dbe9f4,stroke:#2f6f9f,color:#1d2329", f"  class {hpc} hpc"]
    return "\n".join(lines)


def _edges(nodes: Sequence[Node]) -> list[tuple[str, str]]:
    return [(parent, node.name) for node in nodes for parent in node.parents]


def _quoted(text: str) -> str:
    return text.replace('"', "#quot;")
