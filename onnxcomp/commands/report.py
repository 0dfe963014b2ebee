"""``onnxcomp report``: what runs made, on one page."""

from __future__ import annotations

from pathlib import Path

import click

from onnxcomp.commands import options

MARKDOWN = (".md", ".markdown")


@click.command("report")
@click.argument("paths", metavar="RUN_DIR", nargs=-1, required=True, type=click.Path(path_type=Path))
@options.output
@click.option("--markdown", type=click.Path(path_type=Path), help="The same, shorter, as Markdown.")
@click.option(
    "--target",
    "targets",
    multiple=True,
    metavar="NAME",
    help="Estimate for that target too; default: what each network was finalized for.",
)
@options.data(required=False)
@click.option(
    "--images",
    type=click.IntRange(min=1),
    default=128,
    show_default=True,
    help="Training images of --data that the activations are looked at on.",
)
@click.option(
    "--sensitivity",
    "sensitivities",
    multiple=True,
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="What onnxcomp sensitivity -o wrote; those in RUN_DIR are found.",
)
@click.option(
    "--profile",
    "profiles",
    multiple=True,
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="What onnxcomp profile -o wrote; those in RUN_DIR are found.",
)
@options.threads
def command(
    paths: tuple[Path, ...],
    output: Path,
    markdown: Path | None,
    targets: tuple[str, ...],
    data: str | None,
    images: int,
    sensitivities: tuple[Path, ...],
    profiles: tuple[Path, ...],
    threads: int | None,
) -> None:
    """Write what the runs in RUN_DIR made as one HTML page that needs no network, or as Markdown.

    RUN_DIR is a folder of compress, train or demo, finished or not; several make one table. The page holds
    accuracy, size and latency, training curves, zeros and histograms by layer, sensitivity and profile, and
    what is needed to make the same again. --data adds histograms of the activations.

    \b
    Example:
      onnxcomp report runs/a -o report.html --markdown report.md
      onnxcomp report runs/demo --target xavier -o report.md
    """
    from onnxcomp import files, runtime
    from onnxcomp.data import open_data
    from onnxcomp.page import html
    from onnxcomp.page import markdown as as_markdown
    from onnxcomp.page.report import Wish, gather
    from onnxcomp.report import console

    written = {output: output.suffix.lower() in MARKDOWN}
    if markdown is not None:
        written[markdown] = True
    for path in written:
        files.check_writable(path)
    if not all(written.values()):
        html.require()
    wish = Wish(
        targets=targets,
        sensitivities=sensitivities,
        profiles=profiles,
        data=None if data is None else open_data(data),
        images=images,
        threads=threads or runtime.default_threads(),
    )
    with console.bars("reading runs") as show:
        found = gather(paths, wish, show)
    for line in found.problems:
        options.warn(line)
    for path, plain in written.items():
        text = as_markdown.render(found) if plain else html.render(found)
        with files.atomic_path(path) as temporary:
            temporary.write_text(text, encoding="utf-8")
        click.echo(f"wrote {path}, {path.stat().st_size:,} bytes")
