"""``onnxcomp view``: Netron on a network."""

from __future__ import annotations

from pathlib import Path

import click

from onnxcomp.commands import options

MANY = 1000  # nodes; the page of 1,412 (DenseNet201 in INT8) came after 53 s on two busy cores


@click.command("view")
@click.argument("path", metavar="MODEL", type=click.Path(path_type=Path))
@click.option("--port", type=click.IntRange(1, 65535), help="To serve at; default: a free one.")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to serve at; 0.0.0.0: all.")
@click.option("--browser/--no-browser", default=True, show_default=True, help="Open the browser.")
def command(path: Path, port: int | None, host: str, browser: bool) -> None:
    """Show MODEL in Netron, with marks on the nodes that onnxcomp added.

    Each added node says which pass added it, its role, and its sparsity or scale; each layer says its
    sparsity and precision. MODEL itself stays as it is, and no other host is asked for anything. Ctrl-C
    ends it. Needs the package netron: pip install 'onnxcomp[view]'.

    \b
    Example:
      onnxcomp view c.onnx
      onnxcomp view c.onnx --no-browser --port 8080
    """
    import signal

    from onnxcomp.interrupts import Interrupted
    from onnxcomp.view.browser import open_in_background
    from onnxcomp.view.network import shown
    from onnxcomp.view.page import folder
    from onnxcomp.view.server import Server, Site
    from onnxcomp.visible import visible

    netron = folder()
    network = shown(path)
    try:
        with Server(Site(netron, path.name, network.data), host, port or 0) as server:
            if network.unmarked:
                options.warn(f"shown without marks: {network.unmarked}")
            if network.nodes > MANY:
                options.warn("Netron places the nodes in the browser: of so many that takes a minute or more")
            where = f"{visible(str(path))} is at {server.url} until Ctrl-C"
            click.echo(f"{where}; onnxcomp added {network.added:,} of its {network.nodes:,} nodes")
            if browser:
                open_in_background(server.url, lambda reason: options.warn(f"no browser is opened: {reason}"))
            server.serve_forever()
    except Interrupted as stop:
        if stop.number != signal.SIGINT:
            raise
        click.echo("ended")
