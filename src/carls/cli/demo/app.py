"""The commands `carls demo ...`, one for each problem."""

from __future__ import annotations

import typer

from carls.cli.demo.films.command import movielens
from carls.cli.demo.graphs.command import cora, digits
from carls.cli.demo.icons.command import icons
from carls.cli.demo.noisy.command import noisy_labels
from carls.cli.demo.normalization.command import dynamic_normalization
from carls.cli.demo.school.command import school

app = typer.Typer(help="A bank, a trainer and a maker learn together on real data.", no_args_is_help=True)
for command in (digits, cora, dynamic_normalization, movielens, noisy_labels, icons, school):
    app.command()(command)
