"""`faq layers`: the layer report of a checkpoint."""

from __future__ import annotations

from dataclasses import asdict
from itertools import compress, takewhile
from pathlib import Path
from typing import Annotated, Any

import typer

from faq_pipeline.cli.display import out, print_json, table, wrapped
from faq_pipeline.cli.options import JsonOption
from faq_pipeline.config.family import Family
from faq_pipeline.errors import FaqError
from faq_pipeline.exports.source import find_source
from faq_pipeline.lineage.uses import partitions_that_use
from faq_pipeline.models.weights import find_weights
from faq_pipeline.quantization.carried_plan import carried_bits
from faq_pipeline.quantization.layers import not_ignored
from faq_pipeline.quantization.stage import LAYERS, PLAN_COSTS
from faq_pipeline.settings import Settings
from faq_pipeline.store.artifact import Artifact
from faq_pipeline.store.records import PlannedLayer, QuantizedLayer
from faq_pipeline.store.tables import read_rows

UNMEASURED = "not measured"
HEADER = ("layer", "weights", "bits", "stored bits", "tokens", "error")


def layers(
    source: Annotated[
        str,
        typer.Argument(
            help="Folder that faq quantize made, fingerprint of a quantized_checkpoint, its first digits, or"
            " member|recipe."
        ),
    ],
    carry_to: Annotated[
        str | None,
        typer.Option(help="Another member of the family: print bits for its layers, from this plan's costs."),
    ] = None,
    average_bits: Annotated[
        float | None, typer.Option(min=1, max=16, help="Mean bits of a weight, with --carry-to.")
    ] = None,
    json: JsonOption = False,
) -> None:
    """Show each layer of a checkpoint: bits, calibration tokens, and its error on its calibrated inputs.

    The last line sums up: bits are a mean over weights, the error a mean over layers.

    Stored bits of a weight include its share of scales, zero points and the layer's adapter.

    With --carry-to, print YAML for `quantization.layer_bits` of another member's recipe.
    """
    if (carry_to is None) != (average_bits is None):
        raise FaqError("--carry-to and --average-bits go together")
    settings = Settings.from_environment()
    found = find_source(settings, source).checkpoint
    if carry_to is not None and average_bits is not None:
        _carry(settings, found, carry_to, average_bits, as_json=json)
        return
    file = found.file(LAYERS)
    if not file.is_file():
        raise FaqError(
            f"{found.fingerprint} has no layer report: an earlier version made it",
            file=found.path,
            hint="remove the artifact and run its recipe again",
        )
    rows = read_rows(file, QuantizedLayer)
    if json:
        print_json({"fingerprint": found.fingerprint, "layers": [asdict(row) for row in rows]})
    else:
        adapted = any(row.compensated_error is not None for row in rows)
        header, cells = _shortened([_cells(row, adapted=adapted) for row in rows], adapted=adapted)
        out().print(table(f"layers of {found.fingerprint}", header, cells))
        if unmeasured := [name for name in HEADER[1:] if name not in header]:
            wrapped(f"not measured by this method: {', '.join(unmeasured)}")
        wrapped(_total(rows))


def _total(rows: list[QuantizedLayer]) -> str:
    """All layers in a line. Bits are a mean over weights, the error is one over layers."""
    weights = sum(row.weights for row in rows)
    if not weights:
        return "total: no layers"
    bits = sum(row.bits * row.weights for row in rows) / weights
    said = [f"{len(rows)} layers", f"{weights:,} weights", f"{bits:.2f} bits a weight on average"]
    stored = [row.stored_bits * row.weights for row in rows if row.stored_bits is not None]
    if len(stored) == len(rows):
        said[-1] += f" ({sum(stored) / weights:.2f} stored)"
    errors = [row.error for row in rows if row.error is not None]
    if errors:
        said.append(f"mean error of a layer {sum(errors) / len(errors):.3g}, largest {max(errors):.3g}")
    if nearest := sum(row.fallback for row in rows):
        said.append(f"{nearest} rounded to nearest")
    return f"total: {', '.join(said)}"


def _carry(settings: Settings, plan: Artifact, member: str, average_bits: float, *, as_json: bool) -> None:
    """Print the bits of another member's layers."""
    from faq_pipeline.models.architecture import architecture_of

    file: Path = plan.file(PLAN_COSTS)
    if not file.is_file():
        raise FaqError(
            f"{plan.fingerprint} has no costs of a bit plan",
            file=plan.path,
            hint="name one whose recipe has quantization.plan; earlier versions kept no costs",
        )
    name, _, rev8 = member.partition("@")
    family, of_now = settings.catalog.member(name)
    _check_family(settings, plan, family, member)
    weights = find_weights(settings.catalog.revision(of_now, rev8), settings.digests)
    ignored = plan.manifest.identity["quantization"]["ignore"]
    layers = not_ignored(architecture_of(weights), ignored)
    bits = carried_bits(read_rows(file, PlannedLayer), layers, average_bits)
    sizes = {layer.module: layer.rows * layer.columns for layer in layers}
    mean = sum(sizes[module] * own for module, own in bits.items()) / sum(sizes.values())
    if as_json:
        print_json({"fingerprint": plan.fingerprint, "average_bits": mean, "layer_bits": bits})
        return
    typer.echo(f"# for {weights.partition}: {mean:.3f} bits a weight, from the plan of {plan.fingerprint}")
    typer.echo("layer_bits:")
    for module, own in bits.items():
        typer.echo(f"  {module}: {own}")


def _shortened(cells: list[list[str]], *, adapted: bool) -> tuple[list[str], list[list[str]]]:
    """Header and cells for 80 columns: names without a common `model.`, no column that says nothing."""
    split = zip(*(row[0].split(".") for row in cells), strict=False)
    shared = [names[0] for names in takewhile(lambda names: len(set(names)) == 1, split)][:-1]
    begin = "".join(f"{name}." for name in shared)
    first = f"layer in {begin[:-1]}" if shared else HEADER[0]
    header = [first, *HEADER[1:], *(["with adapter"] if adapted else []), ""]
    named = [[row[0].removeprefix(begin), *row[1:]] for row in cells]
    informative = [any(row[column] not in ("", UNMEASURED) for row in named) for column in range(len(header))]
    return list(compress(header, informative)), [list(compress(row, informative)) for row in named]


def _check_family(settings: Settings, plan: Artifact, family: Family, member: str) -> None:
    """The plan is of a member of the same family, as far as runs were recorded."""
    cells = partitions_that_use(settings.store, {plan.fingerprint}, [plan.manifest.stage])
    names = {cell.partition("@")[0] for cell in cells}
    if names and names.isdisjoint(own.name for own in family.members):
        raise FaqError(
            f"the plan is of {', '.join(sorted(names))}, and {member} is of family {family.name!r}",
            hint="a plan can be carried between members of one family",
        )


def _cells(row: QuantizedLayer, *, adapted: bool) -> list[str]:
    def known(value: Any, form: str) -> str:
        return UNMEASURED if value is None else format(value, form)

    return [
        row.module,
        f"{row.weights:,}",
        str(row.bits),
        known(row.stored_bits, ".2f"),
        known(row.tokens, ","),
        known(row.error, ".3g"),
        *(["" if row.compensated_error is None else format(row.compensated_error, ".3g")] if adapted else []),
        "rounded to nearest" if row.fallback else "",
    ]
