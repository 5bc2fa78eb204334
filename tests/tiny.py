"""A tiny family with random weights, made in a second: for tests that need real files, not skill."""

from __future__ import annotations

import json
from pathlib import Path

TEMPLATE = """\
{%- for message in messages -%}
<|im_start|>{{ message.role }}
{% if message.reasoning_content %}<think>
{{ message.reasoning_content }}
</think>

{% endif %}{{ message.content }}<|im_end|>
{% endfor -%}
{%- if add_generation_prompt -%}
<|im_start|>assistant
{% endif -%}
"""

WORDS = (
    "Question Answer the a is of and to Read passage reason about it step by user assistant system"
    " Mira has 12 apples gives 5 away then she 7 remain 3 + 4 = 7 . , : ? ! so river town harvest"
)


def make_tokenizer(folder: Path, *, vocabulary: int = 384, template: str = TEMPLATE) -> None:
    """A byte-level BPE with ChatML marks and `<think>`, saved for `AutoTokenizer`."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    base = Tokenizer(models.BPE())
    base.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    base.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=["<|endoftext|>", "<|im_start|>", "<|im_end|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    base.train_from_iterator([WORDS] * 4, trainer)
    base.add_tokens([AddedToken("<think>", normalized=False), AddedToken("</think>", normalized=False)])
    fast = PreTrainedTokenizerFast(tokenizer_object=base, eos_token="<|im_end|>", pad_token="<|endoftext|>")
    fast.chat_template = template
    fast.save_pretrained(folder)


def make_member(
    folder: Path,
    *,
    hidden: int = 128,
    layers: int = 2,
    seed: int = 0,
    template: str = TEMPLATE,
    end_weight: float = 1,
) -> int:
    """A random Qwen3 with tokenizer in `folder`; returns its parameter count.

    Args:
        end_weight: times the end mark's embedding, which is its output weight too. Random weights
            end a reply at one token in 500; with 12, half of the sampled replies end within 24.
    """
    import torch
    from transformers import AutoTokenizer, Qwen3Config, Qwen3ForCausalLM

    make_tokenizer(folder, template=template)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    torch.manual_seed(seed)
    config = Qwen3Config(
        vocab_size=512,
        hidden_size=hidden,
        intermediate_size=2 * hidden,
        num_hidden_layers=layers,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=64,
        max_position_embeddings=512,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    model = Qwen3ForCausalLM(config).to(torch.bfloat16)
    with torch.no_grad():
        model.get_input_embeddings().weight[tokenizer.eos_token_id] *= end_weight
    model.save_pretrained(folder)
    return sum(p.numel() for p in model.parameters())


def make_seeds(path: Path, count: int = 12, *, questions: bool = True) -> None:
    """Half questions with terse answers, half prose, over three domains; or prose alone.

    Random weights answer no question, so where a question has one usable candidate it has no winner. The
    prose is long enough that a sample of it alone fills half of the recipe's token budget.
    """
    rows = []
    for i in range(count):
        question = questions and i % 2 == 0
        rows.append(
            {
                "id": f"s{i}",
                "kind": "question" if question else "text",
                "text": f"Mira has {i + 12} apples and gives 5 away. How many remain?"
                if question
                else f"The river town had {i} harvests. Mira gives apples to the town and then she is away."
                " So the apples of the town remain: 3 of Mira and 4 of the river."
                " Then the town is by the river.",
                **({"answer": str(i + 7)} if question else {}),
                "domain": ("sums", "prose", "trade")[i % 3],
                "source": "tests",
                "licence": "Apache-2.0",
            }
        )
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def make_family(root: Path) -> Path:
    """A data folder with family `tiny` (members tiny-s, tiny-l), seeds, tasks and one recipe."""
    for kind in ("families", "recipes", "models", "seeds", "eval"):
        (root / kind).mkdir(parents=True, exist_ok=True)
    small = make_member(root / "models/tiny-s", seed=0)
    large = make_member(root / "models/tiny-l", layers=3, seed=1, end_weight=12)
    make_seeds(root / "seeds/mixed.jsonl")
    make_seeds(root / "seeds/prose.jsonl", questions=False)
    questions = [
        {"id": f"q{i}", "question": f"What is {i} + {i}?", "answer": str(2 * i), "task": "sums"}
        for i in range(8)
    ]
    for name in ("test", "development"):
        (root / f"eval/{name}.jsonl").write_text("".join(json.dumps(q) + "\n" for q in questions))
    prose = [
        {"id": f"p{i}", "text": f"The town of Mira had {i} apples, so the river is away."} for i in range(6)
    ]
    (root / "eval/prose.jsonl").write_text("".join(json.dumps(p) + "\n" for p in prose))
    (root / "eval/tiny_sums.yaml").write_text(TASK)
    (root / "families/tiny.yaml").write_text(FAMILY.format(small=small, large=large))
    (root / "recipes/tiny-faq.yaml").write_text(RECIPE)
    return root


TASK = """\
task: tiny_sums
dataset_path: json
dataset_kwargs:
  data_files:
    test: test.jsonl
test_split: test
output_type: generate_until
doc_to_text: question
doc_to_target: answer
generation_kwargs:
  until: ["<|im_end|>"]
  do_sample: false
filter_list:
  - name: answer
    filter:
      - function: regex
        regex_pattern: 'Answer: *(.+)'
      - function: take_first
metric_list:
  - metric: exact_match
    aggregation: mean
    higher_is_better: true
    ignore_case: true
"""

FAMILY = """\
name: tiny
licence: Apache-2.0
memory_budget_gib: 1
development: ../eval/development.jsonl
members:
  - name: tiny-s
    path: ../models/tiny-s
    parameters: {small}
  - name: tiny-l
    path: ../models/tiny-l
    parameters: {large}
"""

RECIPE = """\
name: tiny-faq
title: FAQ on the tiny family
families: [tiny]
seeds:
  path: ../seeds/mixed.jsonl
  count: 8
regeneration:
  source: teacher
  candidates: 2
  sampling:
    temperature: 1.0
    max_new_tokens: 24
competition:
  experts:
    length: 1.0
calibration:
  tokens: 128
  sequence_length: 128
quantization:
  method: gptq
  scheme: W4A16
  group_size: channel
evaluation:
  tasks: [tiny_sums]
  include: ../eval
  max_new_tokens: 24
  prose: ../eval/prose.jsonl
  traces: 4
"""


def make_llama(
    folder: Path, *, hidden: int = 64, layers: int = 2, seed: int = 0, end_weight: float = 12
) -> Path:
    """A random Llama with tokenizer, chat template and a model card that states a licence.

    Args:
        hidden: a multiple of 64; heads are 32 wide at 64, else 64, as inference kernels have them.
        end_weight: as of `make_member`; a wider model takes less, so that as many replies end.
    """
    import torch
    from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

    make_tokenizer(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    torch.manual_seed(seed)
    heads = max(2, hidden // 64)
    config = LlamaConfig(
        vocab_size=512,
        hidden_size=hidden,
        intermediate_size=2 * hidden,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=heads // 2,
        max_position_embeddings=512,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    model = LlamaForCausalLM(config).to(torch.bfloat16)  # type: ignore[arg-type]
    with torch.no_grad():  # else hardly a reply ends; see make_member
        model.get_input_embeddings().weight[tokenizer.eos_token_id] *= end_weight * (64 / hidden) ** 0.5
    model.save_pretrained(folder)
    (folder / "README.md").write_text("---\nlicense: mit\n---\n\n# A llama\n")
    return folder
