from __future__ import annotations

from pathlib import Path

import pytest
from ruamel.yaml import YAML

from faq_pipeline.errors import FaqError
from faq_pipeline.evaluation.tasks import TaskFolder

BASE = """\
dataset_path: json
test_split: test
dataset_kwargs:
  data_files: {test: data/rows.jsonl}
output_type: generate_until
doc_to_text: question
doc_to_target: answer
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "tasks"
    (root / "sums/data").mkdir(parents=True)
    (root / "sums/data/rows.jsonl").write_text('{"question": "1 + 1?", "answer": "2"}\n')
    (root / "sums/_base.yaml").write_text(BASE)
    (root / "sums/easy.yaml").write_text("task: easy\ntag: all_sums\ninclude: _base.yaml\n")
    (root / "sums/hard.yaml").write_text(
        "task: hard\ntag: all_sums\ninclude: _base.yaml\nprocess_docs: !function fixes.same\n"
    )
    (root / "sums/fixes.py").write_text("def same(docs):\n    return docs\n")
    (root / "group.yaml").write_text("group: both\ntask: [easy, {task: hard}]\n")
    (root / "broken.yaml").write_text("a: [\n")
    (root / "prose.jsonl").write_text("{}\n")
    return root


def test_a_task_is_all_the_files_that_it_depends_on(folder: Path) -> None:
    digests = TaskFolder(folder).digests(["easy", "hard", "both"])
    assert (len(digests["easy"]), len(digests["hard"]), len(digests["both"])) == (3, 4, 6)


@pytest.mark.parametrize(
    ("file", "moved"),
    [
        ("sums/data/rows.jsonl", {"easy", "hard"}),
        ("sums/_base.yaml", {"easy", "hard"}),
        ("sums/easy.yaml", {"easy"}),
        ("sums/fixes.py", {"hard"}),
        ("prose.jsonl", set()),
        ("broken.yaml", set()),
    ],
)
def test_a_changed_file_moves_the_tasks_that_use_it(folder: Path, file: str, moved: set) -> None:
    before = TaskFolder(folder).digests(["easy", "hard"])
    path = folder / file
    path.write_text(path.read_text() + "\n# changed\n" if path.suffix != ".jsonl" else path.read_text() * 2)
    after = TaskFolder(folder).digests(["easy", "hard"])
    assert {name for name in before if before[name] != after[name]} == moved


def test_digests_do_not_depend_on_where_the_folder_is(folder: Path, tmp_path: Path) -> None:
    before = TaskFolder(folder).digests(["both"])
    folder.rename(tmp_path / "elsewhere")
    assert TaskFolder(tmp_path / "elsewhere").digests(["both"]) == before


def test_copies_name_their_files_absolutely(folder: Path, tmp_path: Path) -> None:
    TaskFolder(folder).resolve(["easy"], tmp_path / "copies")
    copies = {path.name: path for path in (tmp_path / "copies").rglob("*.yaml")}
    assert set(copies) == {"easy.yaml", "_base.yaml"}
    base = YAML(typ="safe").load(copies["_base.yaml"])
    assert base["dataset_kwargs"]["data_files"] == {"test": str(folder / "sums/data/rows.jsonl")}
    assert base["dataset_kwargs"]["cache_dir"].startswith(str(tmp_path / "copies"))
    assert YAML(typ="safe").load(copies["easy.yaml"])["include"] == [str(copies["_base.yaml"])]


@pytest.mark.parametrize("name", ["both", "all_sums"])
def test_lm_eval_loads_groups_and_tags_from_the_copies(folder: Path, tmp_path: Path, name: str) -> None:
    from lm_eval.tasks import TaskManager

    TaskFolder(folder).resolve([name], tmp_path / "copies")
    manager = TaskManager(include_path=str(tmp_path / "copies"), include_defaults=False)
    loaded = manager.load([name])["tasks"]
    assert set(loaded) == {"easy", "hard"}
    assert [len(task.eval_docs) for task in loaded.values()] == [1, 1]
    assert not list(folder.rglob("cache"))


def test_sources_are_merged_with_their_includes(folder: Path) -> None:
    easy, hard = sorted(TaskFolder(folder).sources("both"), key=lambda source: source.name)
    assert (easy.name, hard.name, easy.question, easy.answer) == ("easy", "hard", "question", "answer")
    assert easy.evaluated == [folder / "sums/data/rows.jsonl"]


def test_an_unknown_task_suggests_a_near_one(folder: Path) -> None:
    with pytest.raises(FaqError, match=r"unknown task 'esay' \(did you mean 'easy'\?\)"):
        TaskFolder(folder).digests(["esay"])


def test_a_missing_data_file_is_named_with_its_line(folder: Path) -> None:
    (folder / "sums/data/rows.jsonl").unlink()
    with pytest.raises(FaqError, match=r"_base\.yaml:4: data file 'data/rows\.jsonl' does not exist"):
        TaskFolder(folder).digests(["easy"])
    (folder / "sums/data/rows.jsonl").touch()
    with pytest.raises(FaqError, match=r"_base\.yaml:4: data file 'data/rows\.jsonl' is empty"):
        TaskFolder(folder).digests(["easy"])


def test_patterns_and_lists_of_data_files(folder: Path) -> None:
    (folder / "sums/data/more.jsonl").write_text('{"question": "2?", "answer": "2"}\n')
    text = BASE.replace("{test: data/rows.jsonl}", "{test: ['data/*.jsonl', 'https://example.org/x.jsonl']}")
    (folder / "sums/_base.yaml").write_text(text)
    assert len(TaskFolder(folder).digests(["easy"])["easy"]) == 4


def test_a_broken_task_is_told_by_who_asks_for_it_alone(folder: Path) -> None:
    (folder / "odd.yaml").write_text(f"task: odd\nrepeats: 1{'0' * 5000}\n")
    (folder / "circle.yaml").write_text("task: circle\ninclude: circle.yaml\n")
    assert TaskFolder(folder).digests(["easy"])
    with pytest.raises(FaqError, match=r"odd\.yaml:2: not valid YAML: a number"):
        TaskFolder(folder).digests(["odd"])
    with pytest.raises(FaqError, match=r"circle\.yaml: its 'include' goes in a circle"):
        TaskFolder(folder).digests(["circle"])


def test_a_task_called_yml_is_one(folder: Path, tmp_path: Path) -> None:
    (folder / "sums/easy.yaml").rename(folder / "sums/easy.yml")
    tasks = TaskFolder(folder)
    assert len(tasks.digests(["easy"])["easy"]) == 3
    tasks.resolve(["easy"], tmp_path / "copies")
    assert "easy.yaml" in {path.name for path in (tmp_path / "copies").rglob("*.yaml")}
