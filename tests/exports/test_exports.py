"""`faq export` in the forms of other tools, read back as those tools read them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from faq_pipeline.activations.moments import input_moments
from faq_pipeline.config.catalog import Catalog
from faq_pipeline.core.cell import Cell
from faq_pipeline.core.resolver import resolve_cell
from faq_pipeline.execution.graph import STAGES
from faq_pipeline.execution.runner import materialize
from faq_pipeline.lineage.uses import cell_setting, record_use
from faq_pipeline.models.loading import load_model, load_tokenizer
from faq_pipeline.quantization.load import load_quantized
from faq_pipeline.store.artifact import Artifact
from faq_pipeline.store.records import Sample, TokenRow
from faq_pipeline.store.store import Store
from faq_pipeline.store.tables import read_rows
from tests.exports.rotation import scores
from tests.orchestration.conftest import Run, faq
from tests.tiny import make_tokenizer

__all__ = ["faq"]

UP_TO_CHECKPOINT = [
    "seed_data",
    "inference_traces",
    "regenerated_corpus",
    "competition_scores",
    "calibration_set",
    "quantized_checkpoint",
]
MORE = """\
name: {name}
extends: tiny-faq
title: {name}
quantization: {{{changes}}}
"""
RECIPES = {
    "w8-groups": "scheme: W8A16, group_size: 32",
    "w3-groups": "scheme: W3A16, group_size: 64, method: rtn",
    "asymmetric": "scheme: W4A16_ASYM, method: rtn, group_size: 32",
    "int8": "scheme: W8A8, method: rtn",
    "adapted": "scheme: W4A16, group_size: 32, compensation: {rank: 4}",
}
LLAMA = """\
name: lama
licence: MIT
memory_budget_gib: 1
development: ../eval/development.jsonl
members:
  - {{name: lama-s, path: ../models/lama-s, parameters: {parameters}}}
"""


class Site:
    """A home in which `faq export` finds checkpoints of the tiny family and of a Llama."""

    def __init__(self, data: Path, home: Path) -> None:
        self.data, self.home, self.store = data, home, Store(home / "store")

    def cell(self, recipe: str, member: str = "tiny-s") -> Cell:
        catalog = Catalog((self.data,))
        return resolve_cell(catalog, member, catalog.recipe(recipe), "cpu", self.home / "digests")

    def make(self, recipe: str, member: str = "tiny-s") -> Artifact:
        cell = self.cell(recipe, member)
        for stage in UP_TO_CHECKPOINT:
            made = materialize(stage, cell, STAGES, self.store).artifact
            record_use(self.store, cell.partition, stage, made.fingerprint, {}, cell_setting(cell))
        return made

    def calibration(self, recipe: str) -> Artifact:
        found = self.store.get("calibration_set", self.make(recipe).manifest.upstream["calibration_set"])
        assert found is not None
        return found


@pytest.fixture(scope="module")
def site(tiny_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Site:
    import shutil

    data = Path(shutil.copytree(tiny_data, tmp_path_factory.mktemp("exports") / "data"))
    for name, changes in RECIPES.items():
        (data / f"recipes/{name}.yaml").write_text(MORE.format(name=name, changes=changes))
    (data / "families/lama.yaml").write_text(LLAMA.format(parameters=make_llama(data / "models/lama-s")))
    (data / "recipes/lama-rtn.yaml").write_text(
        "name: lama-rtn\nextends: tiny-faq\ntitle: Rounded\nfamilies: [lama]\n"
        "regeneration: {source: self}\nquantization: {method: rtn, group_size: 32}\n"
    )
    return Site(data, tmp_path_factory.mktemp("exports-home"))


def make_llama(folder: Path) -> int:
    from transformers import LlamaConfig, LlamaForCausalLM

    make_tokenizer(folder)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=512,
        hidden_size=128,
        intermediate_size=128,
        num_hidden_layers=1,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=32,
        max_position_embeddings=512,
        tie_word_embeddings=False,
        bos_token_id=None,
        eos_token_id=2,
        pad_token_id=0,
    )
    model = LlamaForCausalLM(config).to(torch.bfloat16)
    model.save_pretrained(folder)
    return sum(p.numel() for p in model.parameters())


def read_gguf(folder: Path) -> tuple[gguf.GGUFReader, dict[str, np.ndarray[Any, Any]]]:
    (path,) = folder.glob("*.gguf")
    reader = gguf.GGUFReader(path)
    return reader, {t.name: gguf.quants.dequantize(t.data, t.tensor_type) for t in reader.tensors}


def value(reader: gguf.GGUFReader, key: str) -> Any:
    field = reader.get_field(key)
    assert field is not None, key
    return field.contents()


# --- calibration sets ---


def test_text_is_what_the_quantizer_saw(site: Site, faq: Run, tmp_path: Path) -> None:
    calibration = site.calibration("tiny-faq")
    done = faq(
        site.data, "export", calibration.fingerprint, str(tmp_path / "x"), "--to", "text", home=site.home
    )
    assert done.code == 0, done
    rows = [json.loads(line) for line in (tmp_path / "x/calibration.jsonl").read_text().splitlines()]
    samples = read_rows(calibration.file("samples.parquet"), Sample)
    assert {row["id"]: row["text"] for row in rows} == {one.id: one.text for one in samples}
    whole = (tmp_path / "x/calibration.txt").read_text()
    assert all(row["text"] in whole for row in rows) and "<|im_start|>" in whole


def test_a_cell_is_named_by_member_and_recipe(site: Site, faq: Run, tmp_path: Path) -> None:
    calibration = site.calibration("tiny-faq")
    done = faq(site.data, "export", "tiny-s|tiny-faq", str(tmp_path / "x"), "--to", "parquet", home=site.home)
    assert done.code == 0, done
    table = pq.read_table(tmp_path / "x/calibration.parquet").to_pylist()
    rows = read_rows(calibration.file("rows.parquet"), TokenRow)
    assert [row["input_ids"] for row in table] == [row.input_ids for row in rows]
    assert all(len(row["attention_mask"]) == len(row["input_ids"]) for row in table)


def test_messages_render_to_the_text(site: Site, faq: Run, tmp_path: Path) -> None:
    site.make("tiny-faq")
    done = faq(
        site.data, "export", "tiny-s|tiny-faq", str(tmp_path / "x"), "--to", "messages", home=site.home
    )
    assert "the chat template renders each to the calibration set's text" in " ".join(done.out.split()), done
    texts = {s.id: s.text for s in read_rows(site.calibration("tiny-faq").file("samples.parquet"), Sample)}
    tokenizer = load_tokenizer(site.cell("tiny-faq").target)
    for line in (tmp_path / "x/messages.jsonl").read_text().splitlines():
        row = json.loads(line)
        assert {turn["role"] for turn in row["messages"]} == {"user", "assistant"}
        rendered = tokenizer.apply_chat_template(row["messages"], tokenize=False)
        assert str(rendered).rstrip() == texts[row["id"]].rstrip()


def test_an_imatrix_holds_the_second_moments(site: Site, faq: Run, tmp_path: Path) -> None:
    calibration = site.calibration("tiny-faq")
    done = faq(site.data, "export", "tiny-s|tiny-faq", str(tmp_path / "x"), "--to", "imatrix", home=site.home)
    assert done.code == 0, done
    reader = gguf.GGUFReader(tmp_path / "x/imatrix.gguf")
    assert value(reader, "general.type") == "imatrix"
    rows = [row.input_ids for row in read_rows(calibration.file("rows.parquet"), TokenRow)]
    assert value(reader, "imatrix.chunk_count") == len(rows)
    model = load_model(site.cell("tiny-faq").target, "cpu")
    moments = input_moments(model, rows, lambda _: None)
    tensors = {t.name: t.data for t in reader.tensors}
    assert len(tensors) == 2 * len(moments)
    for ours, theirs in {
        "model.layers.1.self_attn.q_proj": "blk.1.attn_q",
        "model.layers.0.mlp.down_proj": "blk.0.ffn_down",
    }.items():
        sums, counts = tensors[f"{theirs}.weight.in_sum2"], tensors[f"{theirs}.weight.counts"]
        assert counts.item() == sum(map(len, rows))
        np.testing.assert_allclose(sums[0] / counts[0], moments[ours].mean.numpy(), rtol=1e-5)


# --- checkpoints ---


@pytest.mark.parametrize("recipe", ["tiny-faq", "w8-groups", "w3-groups"])
def test_a_gguf_holds_the_weights_of_the_checkpoint(
    recipe: str, site: Site, faq: Run, tmp_path: Path
) -> None:
    checkpoint = site.make(recipe)
    done = faq(
        site.data, "export", checkpoint.fingerprint, str(tmp_path / "x"), "--to", "gguf", home=site.home
    )
    assert done.code == 0, done
    reader, tensors = read_gguf(tmp_path / "x")
    kinds = {t.name: t.tensor_type.name for t in reader.tensors}
    assert kinds["blk.0.attn_q.weight"] == ("Q8_0" if recipe == "w8-groups" else "Q4_0")
    assert kinds["blk.0.attn_norm.weight"] == "F32" and kinds["token_embd.weight"] == "BF16"
    ours = load_quantized(checkpoint.file("checkpoint"), site.cell(recipe).target.member, "cpu").state_dict()
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.QWEN3, 2)
    compared = 0
    for name, tensor in ours.items():
        theirs = names.get_name(name, try_suffixes=(".weight",))
        if name == "lm_head.weight" or not name.endswith(".weight"):
            continue  # tied to the embedding; or a scale
        as_bf16 = torch.from_numpy(tensors[theirs].copy()).to(torch.bfloat16)
        assert torch.equal(as_bf16.reshape(tensor.shape), tensor.to(torch.bfloat16)), name
        compared += 1
    assert compared == len(tensors) == 24
    assert value(reader, "qwen3.attention.head_count_kv") == 1
    assert value(reader, "tokenizer.ggml.tokens")[1] == "<|im_start|>"
    assert value(reader, "tokenizer.ggml.pre") == "gpt-2"


def test_a_llama_attends_as_ours_does(site: Site, faq: Run, tmp_path: Path) -> None:
    """llama.cpp pairs neighbouring rows of a head where transformers pairs its halves."""
    site.make("lama-rtn", "lama-s")
    done = faq(site.data, "export", "lama-s|lama-rtn", str(tmp_path / "x"), "--to", "gguf", home=site.home)
    assert done.code == 0, done
    _, tensors = read_gguf(tmp_path / "x")
    folder = site.make("lama-rtn", "lama-s").file("checkpoint")
    ours = load_quantized(folder, site.cell("lama-rtn", "lama-s").target.member, "cpu").float().state_dict()
    inputs = torch.randn(5, 128, generator=torch.Generator().manual_seed(0))
    q, k = (ours[f"model.layers.0.self_attn.{name}_proj.weight"] for name in "qk")
    their_q, their_k = (torch.from_numpy(tensors[f"blk.0.attn_{name}.weight"].copy()) for name in "qk")
    expected = scores(inputs @ q.T, inputs @ k.T, 32, halves=True)
    found = scores(inputs @ their_q.T, inputs @ their_k.T, 32, halves=False)
    assert torch.allclose(found, expected, rtol=2e-2, atol=2e-3)
    unpermuted = scores(inputs @ q.T, inputs @ k.T, 32, halves=False)
    assert not torch.allclose(unpermuted, expected, rtol=2e-2, atol=2e-3)
    assert "output.weight" in tensors


@pytest.mark.parametrize(
    ("recipe", "said"),
    [
        ("asymmetric", "only symmetric integers have an equal in GGUF"),
        ("int8", "llama.cpp cannot round activations"),
        ("adapted", "no equal of the checkpoint's adapter"),
    ],
)
def test_what_gguf_has_no_equal_of_is_refused(
    recipe: str, said: str, site: Site, faq: Run, tmp_path: Path
) -> None:
    site.make(recipe)
    done = faq(site.data, "export", f"tiny-s|{recipe}", str(tmp_path / "x"), "--to", "gguf", home=site.home)
    assert said in done.mistake and "--to imatrix" in done.mistake
    assert not (tmp_path / "x").exists()


# --- mistakes ---


def test_mistakes_are_one_line(site: Site, faq: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calibration = site.calibration("tiny-faq").fingerprint

    def mistake(*arguments: str) -> str:
        return faq(site.data, "export", *arguments, home=site.home).mistake

    out = str(tmp_path / "x")
    assert "holds no checkpoint" in mistake(calibration, out)
    assert "holds no checkpoint" in mistake(calibration, out, "--to", "gguf")
    assert "without calibration data" in mistake("tiny-s|w3-groups", out, "--to", "text")
    assert "nothing" in mistake("tiny-s|nothing", out, "--to", "text")
    (tmp_path / "full").mkdir()
    (tmp_path / "full/file").touch()
    assert "not empty" in mistake(calibration, str(tmp_path / "full"), "--to", "text")
    monkeypatch.setitem(__import__("sys").modules, "gguf", None)
    assert "pip install 'faq-pipeline[gguf]'" in mistake(calibration, out, "--to", "imatrix")


def test_a_damaged_set_is_not_exported(site: Site, faq: Run, tmp_path: Path) -> None:
    import shutil

    home = Path(shutil.copytree(site.home, tmp_path / "home"))
    calibration = site.calibration("tiny-faq")
    file = home / "store/calibration_set" / calibration.fingerprint / "rows.parquet"
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    done = faq(site.data, "export", calibration.fingerprint, str(tmp_path / "x"), "--to", "text", home=home)
    assert "damaged" in done.mistake and not (tmp_path / "x").exists()
