"""``onnxcomp targets``: where networks can go, and what each technique buys there."""

from __future__ import annotations

import click

from onnxcomp.commands import options
from onnxcomp.completion import values


@click.command("targets")
@click.argument("name", required=False, shell_complete=values.targets)
@options.as_json
def command(name: str | None, as_json: bool) -> None:
    """List the targets with what INT8, zeros and fewer channels really buy there, or say all of target NAME.

    Gains are those of the hardware's rates, at best: a network gets less. NAME may be a .yaml file of your
    own: it says "like: orin" and what differs.

    \b
    Example:
      onnxcomp targets
      onnxcomp targets xavier
    """
    from onnxcomp.deploy.targets import TARGETS, get_target
    from onnxcomp.report import targets as rows
    from onnxcomp.report.console import table, to_json

    if as_json:
        click.echo(to_json(get_target(name) if name else list(TARGETS.values())))
    elif name:
        table(f"target {get_target(name).name}", ("what", "value"), rows.facts(get_target(name)))
    else:
        table("", rows.COLUMNS, [rows.row(target) for target in TARGETS.values()], optional=("device",))
        click.echo("gains are those of the hardware's rates; a network gets less: onnxcomp estimate")
