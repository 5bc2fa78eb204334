"""An importance matrix of a calibration set, which llama-quantize reads with `--imatrix`.

Source of the form: `tools/imatrix` of llama.cpp, its GGUF files: for every weight the sums of squares of
its inputs by column (`in_sum2`) and over how many tokens (`counts`), and their quotient is what counts.
"""

from __future__ import annotations

from pathlib import Path

from faq_pipeline.activations.trace_moments import measuring
from faq_pipeline.exports.calibration_files import rows_of
from faq_pipeline.exports.gguf_names import TensorNames, gguf_package
from faq_pipeline.exports.source import Source
from faq_pipeline.util.progress import Progress

FILE = "imatrix.gguf"


def write_imatrix(source: Source, folder: Path, progress: Progress) -> list[str]:
    """Write `imatrix.gguf`: second moments of the unquantized target on the calibration set's rows.

    Loads the target on the cell's device and sends every row through it.

    Returns:
        Lines for the user.

    Raises:
        FaqError: the package `gguf` is missing, or llama.cpp has no names for the target's layers.
    """
    import numpy as np

    from faq_pipeline.activations.moments import input_moments

    gguf, cell, rows = gguf_package(), source.cell, rows_of(source)
    config = cell.target.config
    names = TensorNames(str(config.get("model_type", "")), int(config.get("num_hidden_layers", 0)))
    progress.start("rows through the target", len(rows))
    with measuring(cell) as model:
        moments = input_moments(model, (row.input_ids for row in rows), progress.advance)
    writer = gguf.GGUFWriter(folder / FILE, arch="")
    writer.kv_data[0].clear()  # an imatrix names no architecture
    writer.add_type(gguf.GGUFType.IMATRIX)
    writer.add_array(gguf.Keys.IMatrix.DATASETS, [f"{source.calibration.fingerprint} {cell.recipe.title}"])
    writer.add_uint32(gguf.Keys.IMatrix.CHUNK_COUNT, len(rows))
    writer.add_uint32(gguf.Keys.IMatrix.CHUNK_SIZE, max(len(row.input_ids) for row in rows))
    inputs = names.of_inputs(moments)
    for name, modules in inputs.items():
        sums = np.stack([moments[module].squares.cpu().float().numpy() for module in modules])
        counts = np.array([[moments[module].tokens] for module in modules], dtype=np.float32)
        writer.add_tensor(f"{name}.in_sum2", sums)
        writer.add_tensor(f"{name}.counts", counts)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return [f"{len(inputs)} weights in {FILE}; for llama-quantize --imatrix"]
