"""`dagster-hpc dag`: the assets of a code location, and which of them are batch jobs."""

from __future__ import annotations

from dataclasses import asdict

import click

from dagster_hpc.cli.options import json_option, module_option


@click.command(short_help="Print the assets of a code location as a tree.")
@module_option
@click.option("--dot", "language", flag_value="dot", help="In the language of Graphviz: … | dot -Tsvg >assets.svg.")
@click.option("--mermaid", "language", flag_value="mermaid", help="In the language of Mermaid, for a page of Markdown.")
@json_option
def dag(module: str | None, language: str | None, as_json: bool) -> None:
    """Print the assets of a code location as a tree: what is made of what, and by which profile on which system.

    It imports the code location, as `dagster dev` does. An asset with several parents stands under the first.
    """
    from dagster_hpc.cli import graph
    from dagster_hpc.cli.code_location import asset_nodes
    from dagster_hpc.cli.display import to_json

    nodes = asset_nodes(module)
    if as_json:
        click.echo(to_json([asdict(node) for node in nodes]))
    elif not nodes:
        click.echo("the code location has no assets", err=True)
    else:
        click.echo({"dot": graph.dot, "mermaid": graph.mermaid}.get(language or "", graph.tree)(nodes))
