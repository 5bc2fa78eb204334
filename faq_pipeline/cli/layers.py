"""`faq layers`: the layer report of a checkpoint."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any

import typer

from faq_pipeline.cli.display import out, print_json, table
from faq_pipeline.cli.options import JsonOption
from faq_pipeline.errors import FaqError
from faq_pipeline.exports.source import find_source
from faq_pipeline.quantization.stage import LAYERS
from faq_pipeline.settings import Settings
from faq_pipeline.store.records import QuantizedLayer
from faq_pipeline.store.tables import read_rows

HEADER = ("layer", "weights", "bits", "stored bits", "tokens", "error")


def layers(
    source: Annotated[
        str, typer.Argument(help="Fingerprint of a quantized_checkpoint, its first digits, or member|recipe.")
    ],
    json: JsonOption = False,
) -> None:
    """Show each layer of a checkpoint: bits, calibration tokens, and its error on its calibrated inputs.

    Stored bits of a weight include its share of scales, zero points and the layer's adapter.
    """
    found = find_source(Settings.from_environment(), source).checkpoint
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
        header = [*HEADER, *(["with adapter"] if adapted else []), ""]
        cells = [_cells(row, adapted=adapted) for row in rows]
        out().print(table(f"layers of {found.fingerprint}", header, cells))


def _cells(row: QuantizedLayer, *, adapted: bool) -> list[str]:
    def known(value: Any, form: str) -> str:
        return "not measured" if value is None else format(value, form)

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
