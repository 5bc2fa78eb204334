"""What is written for a model: recipes that the catalog reads, and a teacher that may serve it."""

from __future__ import annotations

import json
import os
import shutil
import signal
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

import faq_pipeline as faq
from faq_pipeline.config.quantization import BitPlan
from faq_pipeline.config.recipe import Recipe
from faq_pipeline.errors import FaqError
from faq_pipeline.evaluation.contamination import find_leaks
from faq_pipeline.evaluation.documents import Document, prose_rows
from faq_pipeline.models.weights import count_parameters
from faq_pipeline.quickstart.model_facts import stated_licence, thinking_of
from faq_pipeline.quickstart.prepare import PROSE, prepare
from faq_pipeline.quickstart.quantize_options import QuantizeOptions, with_size
from faq_pipeline.quickstart.seed_presets import seed_presets
from faq_pipeline.quickstart.seeds import DEVELOPMENT
from faq_pipeline.quickstart.written_files import WrittenFiles
from faq_pipeline.regeneration.seeds import load_seeds
from faq_pipeline.regeneration.traces import load_development
from faq_pipeline.settings import REPOSITORY, Settings
from faq_pipeline.store.records import Sample
from faq_pipeline.util.interruption import sigterm_interrupts


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(tmp_path / "home", (REPOSITORY / "data",), "cpu")


def recipe(settings: Settings, options: QuantizeOptions) -> Recipe:
    """The recipe that the catalog reads after preparing with these options."""
    name = prepare(settings.reread(), options).recipe
    return settings.reread().catalog.recipe(name)


def test_integers_are_grouped_and_float_formats_fix_their_own(
    settings: Settings, llama: Path, chats: Path
) -> None:
    def made(scheme: str, method: str | None = None) -> Recipe:
        return recipe(settings, QuantizeOptions(str(llama), seeds=str(chats), scheme=scheme, method=method))

    four, eight, fp8 = made("W4A16"), made("W8A8"), made("FP8_DYNAMIC")
    assert (four.quantization.method, four.quantization.group_size) == ("gptq", 64)  # 128 divides no layer
    assert eight.quantization.group_size == "channel"
    assert (fp8.quantization.method, fp8.quantization.group_size) == ("rtn", None)
    assert not fp8.baselines and not fp8.regeneration.generates  # it looks at no data
    assert made("W4A16", "awq").name == "acme-1m-awq-w4a16"


def test_a_size_makes_a_bit_plan_and_names_the_folder(settings: Settings, llama: Path, chats: Path) -> None:
    changes = with_size({"quantization": {"dampening": 0.2}}, "1.5 MB")
    options = QuantizeOptions(str(llama), seeds=str(chats), changes=changes)
    made = recipe(settings, options)
    assert made.name == "acme-1m-1.5mb" and made.title.startswith("gptq W4A16, bits by layer in 1.5 MB")
    assert made.quantization.plan == BitPlan(size="1.5 MB", bits=[4, 8])
    assert (
        made.quantization.dampening == 0.2 and prepare(settings.reread(), options).folder == "acme-1m-1.5MB"
    )
    with pytest.raises(FaqError, match="--size: 'big' is no size such as 5GB"):
        with_size({}, "big")
    with pytest.raises(FaqError, match="contradict each other"):
        with_size({"quantization": {"plan": None}}, "5GB")
    with pytest.raises(FaqError, match="--scheme W3A16: with --size layers have 4 or 8 bits"):
        prepare(settings, QuantizeOptions(str(llama), scheme="W3A16", changes=changes))
    with pytest.raises(FaqError, match="--size: the bits of FP8_DYNAMIC are fixed by its format"):
        prepare(settings, QuantizeOptions(str(llama), scheme="FP8_DYNAMIC", changes=changes))
    with pytest.raises(FaqError, match="--size: method 'awq' gives all layers the same bits"):
        prepare(settings, QuantizeOptions(str(llama), method="awq", changes=changes))


def test_an_interrupted_call_puts_back_what_it_wrote_and_nothing_else(tmp_path: Path) -> None:
    record, (kept, new, other, same) = WrittenFiles(), (tmp_path / name for name in "knos")
    kept.write_text("1")
    with pytest.raises(KeyboardInterrupt), sigterm_interrupts(), record:
        for path in (kept, new, other, same, kept):
            record.write(path, "2")
        other.write_text("3")
        same.unlink()
        same.write_text("2")  # another call's, which needs it
        os.kill(os.getpid(), signal.SIGTERM)
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"k": "1", "o": "3", "s": "2"}


def test_notes_tell_the_count_that_was_set_and_that_nothing_is_judged(
    settings: Settings, llama: Path, chats: Path
) -> None:
    options = QuantizeOptions(str(llama), seeds=str(chats), changes={"seeds": {"count": 3}}, judged=False)
    notes = " ".join(prepare(settings, options).notes)
    assert "of which 3 are drawn" in notes and "--no-eval" in notes and "judged by" not in notes


def test_python_writes_the_same_files_and_resolves_them(settings: Settings, llama: Path, chats: Path) -> None:
    changes = {"quantization": {"dampening": 0.1}}
    made = faq.init_model(llama, chats, changes=changes, settings=settings)
    cell = faq.resolve(made.member, made.recipe, settings=settings.reread())
    assert cell.recipe.quantization.dampening == 0.1 and cell.target.member.path == llama.resolve()


def test_the_budget_is_what_the_seeds_fill_unless_nothing_is_compared(
    settings: Settings, llama: Path, chats: Path
) -> None:
    compared = recipe(settings, QuantizeOptions(str(llama), seeds=str(chats)))
    alone = recipe(settings, QuantizeOptions(str(llama), seeds=str(chats), baselines=False))
    assert compared.baselines == ["acme-1m-w4a16-raw", "acme-1m-w4a16-chat"] and not alone.baselines
    assert compared.calibration.tokens < alone.calibration.tokens
    raw, chat = (settings.reread().catalog.recipe(name) for name in compared.baselines)
    for one, template in ((raw, "raw"), (chat, "chat")):
        assert one.regeneration.source == "original" and one.calibration.template == template
        assert (one.seeds, one.quantization) == (compared.seeds, compared.quantization)


def test_seeds_without_room_for_a_reply_are_refused(settings: Settings, llama: Path, tmp_path: Path) -> None:
    path = tmp_path / "long.jsonl"
    path.write_text("".join(json.dumps({"prompt": text}) + "\n" for text in ("Why?", "Why? " * 200)))
    notes = " ".join(prepare(settings, QuantizeOptions(str(llama), seeds=str(path))).notes)
    assert f"{path}:2: refused: " in notes and "leave room for a reply" in notes


def test_integer_and_equal_ids_are_replaced(settings: Settings, llama: Path, tmp_path: Path) -> None:
    path = tmp_path / "own.jsonl"
    rows = [{"id": one, "text": f"{n}?", "kind": "text"} for n, one in enumerate([7, "a", "a"])]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    made = recipe(settings, QuantizeOptions(str(llama), seeds=str(path))).seeds.path
    assert made is not None
    assert [seed.id for seed in load_seeds(made, 3)] == ["7", "a", "own-00003"]
    path.write_text(json.dumps({**rows[1], "domian": "x"}))
    with pytest.raises(FaqError, match=r"own\.jsonl:1: unknown key 'domian' \(did you mean 'domain'\?\)"):
        prepare(settings, QuantizeOptions(str(llama), seeds=str(path)))


class Served(BaseHTTPRequestHandler):
    """An OpenAI-compatible server that lists one model."""

    name = ""

    def do_GET(self) -> None:
        body = json.dumps({"object": "list", "data": [{"id": type(self).name, "object": "model"}]}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Served) as listening:
        Thread(target=listening.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{listening.server_port}/v1"
        listening.shutdown()


def test_a_teacher_in_a_folder_of_equal_name_is_another_model(
    settings: Settings, llamas: Path, chats: Path, tmp_path: Path
) -> None:
    small, large = (tmp_path / name / "final" for name in ("small", "large"))
    shutil.copytree(llamas / "acme-1M", small)
    shutil.copytree(llamas / "acme-2M", large)
    spec = recipe(settings, QuantizeOptions(str(small), seeds=str(chats), teacher=str(large))).regeneration
    assert (spec.source, spec.teacher) == ("teacher", "large-final")
    spec = recipe(settings, QuantizeOptions(str(small), seeds=str(chats), teacher=str(small))).regeneration
    assert spec.source == "self"


def test_a_family_file_of_ours_follows_the_model_in_the_folder(
    settings: Settings, llamas: Path, chats: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "final"
    for name in ("acme-1M", "acme-2M"):
        shutil.copytree(llamas / name, folder, dirs_exist_ok=True)
        (folder / "README.md").write_text(f"---\nlicense: {name}\n---\n")
        made = prepare(settings.reread(), QuantizeOptions(str(folder), seeds=str(chats)))
        _, member = settings.reread().catalog.member(made.member)
        assert (member.parameters, member.licence) == (count_parameters(folder), name)


def test_a_server_teaches_if_it_says_which_model_it_is(
    settings: Settings, llamas: Path, chats: Path, server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = QuantizeOptions(str(llamas / "acme-1M"), seeds=str(chats), teacher=server)
    monkeypatch.setattr(Served, "name", str(llamas / "acme-2M"))
    spec = recipe(settings, options).regeneration
    assert (spec.source, spec.teacher, spec.engine) == ("teacher", "acme-2m", "endpoint")
    assert spec.endpoint is not None and spec.endpoint.base_urls == [server]
    monkeypatch.setattr(Served, "name", "acme-1m")
    assert recipe(settings, options).regeneration.source == "self"
    monkeypatch.setattr(Served, "name", "something-else")
    with pytest.raises(FaqError, match="serves 'something-else': no model"):
        prepare(settings.reread(), options)


def test_a_server_s_password_is_written_nowhere(settings: Settings, llama: Path, chats: Path) -> None:
    with pytest.raises(FaqError, match="a URL holds no password") as caught:
        prepare(
            settings,
            QuantizeOptions(str(llama), seeds=str(chats), teacher="http://me:hunter2@127.0.0.1:1/v1"),
        )
    assert "hunter2" not in str(caught.value) and not settings.own_data.exists()


def test_tasks_of_one_s_own_lie_in_one_folder(settings: Settings, llama: Path, chats: Path) -> None:
    folder = REPOSITORY / "data/eval/kin"
    options = QuantizeOptions(str(llama), seeds=str(chats), tasks=[str(folder / "kin_demo.yaml")])
    spec = recipe(settings, options).evaluation
    assert (spec.tasks, spec.include) == (["kin_demo"], folder)
    assert (
        recipe(settings, QuantizeOptions(str(llama), seeds=str(chats), tasks=["gsm8k"])).evaluation.include
        is None
    )
    with pytest.raises(FaqError, match="task files lie in one folder"):
        prepare(settings.reread(), QuantizeOptions(str(llama), tasks=[*options.tasks, "gsm8k"]))


def test_a_teacher_of_another_tokenizer_is_refused(
    settings: Settings, llama: Path, tmp_path: Path, chats: Path
) -> None:
    with pytest.raises(FaqError, match="has another base tokenizer"):
        prepare(settings, QuantizeOptions(str(llama), seeds=str(chats), teacher="kin-4m"))


def test_refused_rows_of_a_rare_reason_are_shown_first(
    settings: Settings, llama: Path, tmp_path: Path
) -> None:
    """Many rows of one reason, in earlier lines, do not hide the others."""
    rows = [json.dumps({"prompt": f"How many are {i} and {i}?"}) for i in range(10)]
    rows += [rows[i] for i in range(8)]  # lines 11 to 18
    rows += ['{"prompt": ', json.dumps({"prompt": 7}), '{"prompt" "b"}', json.dumps({"answer": "7"})]
    seeds = tmp_path / "seeds.jsonl"
    seeds.write_text("".join(f"{row}\n" for row in rows), encoding="utf-8")
    notes = prepare(settings, QuantizeOptions(str(llama), seeds=str(seeds))).notes
    told = [note.removeprefix(f"{seeds}:") for note in notes if note.startswith(str(seeds))]
    assert [line.partition(":")[0] for line in told[:-1]] == ["11", "19", "20", "21", "22"]  # by line
    assert told[0] == "11: refused: the same text as line 1" and told[-1] == " 7 more rows refused"


def test_a_snapshot_of_the_hub_s_cache_is_called_as_its_repository(
    settings: Settings, llama: Path, tmp_path: Path, chats: Path
) -> None:
    place = tmp_path / "models--acme--acme-7B" / "snapshots" / ("a" * 40)
    shutil.copytree(llama, place)
    assert prepare(settings, QuantizeOptions(str(place), seeds=str(chats))).member == "acme-7b"


def test_a_broken_folder_beside_the_model_does_not_disturb(
    settings: Settings, llama: Path, tmp_path: Path, chats: Path
) -> None:
    shutil.copytree(llama, tmp_path / "models/mine")
    shutil.copytree(llama, tmp_path / "models/broken")
    (tmp_path / "models/broken/model.safetensors").write_bytes(b"no weights")
    prepared = prepare(settings, QuantizeOptions(str(tmp_path / "models/mine"), seeds=str(chats)))
    assert any(note.startswith("teacher: the model itself") for note in prepared.notes)


@pytest.mark.parametrize(
    ("template", "marks"),
    [
        ("{% if enable_thinking %}<think>{% endif %}</think>", ("<think>", {"enable_thinking": True})),
        ("[THINK]{{ reasoning }}[/THINK]", ("[THINK]", {})),
        ("<reason>{{ reasoning }}</reason>", ("<reason>", {})),
        ("<reasoning>{{ reasoning }}</reasoning>", ("<reasoning>", {})),
        ("{{ messages }}", ("", {})),
    ],
)
def test_thinking_marks_are_found_in_the_template(template: str, marks: tuple[str, dict[str, bool]]) -> None:
    found = thinking_of(template)
    assert (found.open, found.template_kwargs) == marks
    assert not found.open or found.close in template


@pytest.mark.parametrize(
    ("card", "licence"),
    [
        ("---\nlicense: apache-2.0\n---\n# A model\n", "apache-2.0"),
        ("---\nlicense: other\nlicense_name: acme\n---\n", "acme"),
        ("# A model\n", "unknown"),
        ("---\n: [\n---\n", "unknown"),
        ("---\ndate: 2024-02-31\n---\n", "unknown"),
    ],
)
def test_the_licence_is_what_the_card_states(tmp_path: Path, card: str, licence: str) -> None:
    (tmp_path / "README.md").write_text(card)
    assert stated_licence(tmp_path) == licence


def test_the_shipped_prompts_are_many_distinct_and_apart(settings: Settings) -> None:
    shipped = settings.catalog.recipe("general-faq-gptq-w4a16-g128")
    settings.catalog.check_baselines(shipped)
    general = seed_presets()["general"].path
    assert general is not None and shipped.seeds.path == general and shipped.evaluation.prose == PROSE
    seeds = load_seeds(general, 256)
    prompts, prose = load_development(DEVELOPMENT), prose_rows(PROSE)
    assert len({seed.domain for seed in seeds}) >= 12 and len(prompts) >= 128 and len(prose) >= 64
    assert {seed.licence for seed in seeds} == {"Apache-2.0"}
    documents = [Document(one.id, one.text) for one in prompts]
    documents += [Document(one.id, one.text) for one in prose]
    samples = [Sample(one.id, one.id, one.id, one.domain, 0, 0, 1, one.text) for one in seeds]
    assert not [leak for leak in find_leaks(samples, documents) if leak.blocking]
