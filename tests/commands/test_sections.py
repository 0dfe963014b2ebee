"""Tests of onnxcomp.commands.sections."""

from __future__ import annotations

import click
from click.testing import CliRunner

from onnxcomp.commands.sections import SectionCommand, option


@click.command(cls=SectionCommand)
@click.argument("model")
@option("Speed", "--fast", is_flag=True, help="Be quick.")
@click.option("--output", help="A file.")
@option("Care", "--slow", is_flag=True, help="Be right.")
@option("Speed", "--faster", is_flag=True, help="Be quicker.")
def command(model: str, **options: object) -> None:
    """Do it."""
    click.echo(options)


def test_the_help_has_the_general_options_first_and_each_under_its_heading() -> None:
    text = CliRunner().invoke(command, ["--help"]).output
    places = [
        text.index(word)
        for word in ("Options:", "--output", "--help", "Speed:", "--faster", "Care:", "--slow")
    ]
    assert places == sorted(places)
    assert text.index("Speed:") < text.index("--fast ") < text.index("Care:")
    assert "MODEL" not in text.split("Options:")[1].upper()


def test_the_options_are_what_click_makes_of_them() -> None:
    assert "'slow': True" in CliRunner().invoke(command, ["m", "--slow"]).output
