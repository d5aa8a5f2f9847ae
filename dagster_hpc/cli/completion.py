"""`dagster-hpc completion`: the shell completes commands, options, and what the ledger knows of jobs."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Literal

import click

from dagster_hpc.engine.errors import HPCError

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

    from dagster_hpc.engine.ledger import Ledger

_PROGRAM, _VARIABLE = "dagster-hpc", "_DAGSTER_HPC_COMPLETE"
_MOST = 50
_INSTALL = {
    "bash": 'eval "$(dagster-hpc completion bash)" in ~/.bashrc',
    "zsh": 'eval "$(dagster-hpc completion zsh)" in ~/.zshrc, after compinit',
    "fish": "dagster-hpc completion fish > ~/.config/fish/completions/dagster-hpc.fish",
}
Complete = Callable[[click.Context, click.Parameter, str], "list[CompletionItem]"]


@click.command(short_help="Make bash, zsh or fish complete this command.")
@click.argument("shell", type=click.Choice(list(_INSTALL)))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print what makes a shell complete this command: its words, and tokens, job ids, targets, assets and runs.

    For good: eval "$(dagster-hpc completion bash)" in ~/.bashrc; the same with zsh in ~/.zshrc, after compinit; or
    dagster-hpc completion fish > ~/.config/fish/completions/dagster-hpc.fish.
    """
    from click.shell_completion import get_completion_class

    found = get_completion_class(shell)
    assert found is not None
    click.echo(f"# {_INSTALL[shell]}")
    click.echo(found(ctx.find_root().command, {}, _PROGRAM, _VARIABLE).source())


def complete_job(ctx: click.Context, parameter: click.Parameter, start: str) -> list[CompletionItem]:
    """Tokens and job ids, the newest first; an array by its token once, and its elements once that is typed."""

    def look(ledger: Ledger) -> list[CompletionItem]:
        from click.shell_completion import CompletionItem

        from dagster_hpc.cli.display import printable, subject

        items: dict[str, str] = {}
        for row in ledger.begin_with(start, _MOST):
            about = f"{row.state} {printable(subject(row))}"
            token = row.token if row.array_index is None or start.startswith(row.batch) else row.batch
            for word in (token, row.job_id or ""):
                if word and word.startswith(start):
                    items.setdefault(word, about)
        return [CompletionItem(word, help=about) for word, about in items.items()]

    return _of_ledger(ctx, look)


def complete_known(column: Literal["target", "asset_key", "run_id"]) -> Complete:
    """What stands in a column of the ledger."""

    def complete(ctx: click.Context, parameter: click.Parameter, start: str) -> list[CompletionItem]:
        from click.shell_completion import CompletionItem

        return _of_ledger(ctx, lambda ledger: [CompletionItem(word) for word in ledger.known(column, start, _MOST)])

    return complete


def _of_ledger(ctx: click.Context, look: Callable[[Ledger], list[CompletionItem]]) -> list[CompletionItem]:
    """Nothing where there is no ledger, or none that answers: a shell that completes is no place for a message."""
    from dagster_hpc.cli.lookup import Stop, open_ledger

    given = ctx.find_root().params.get("ledger")
    try:
        return look(open_ledger(given if given is None or "://" in given else f"sqlite:///{given}"))
    except (HPCError, Stop):
        return []
