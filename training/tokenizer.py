"""The family's tokenizer: byte-level BPE with single digits, trained on the generated text."""

from __future__ import annotations

import json
from pathlib import Path
from random import Random

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

from training import chat
from training.documents import Documents
from training.settings import Settings

PATTERN = r" ?\p{L}+| ?\p{N}| ?[^\s\p{L}\p{N}]+|\n+|\s"
"""Words, single digits, runs of marks (each with the space before it), line breaks, the rest."""


def train(settings: Settings) -> Tokenizer:
    """Learn the vocabulary from a fixed sample of training documents."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(PATTERN), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=settings.vocabulary,
        special_tokens=[AddedToken(t, special=True, normalized=False) for t in chat.TOKENS],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    documents = Documents(settings, Random(f"{settings.seed}/tokenizer"))
    texts = (next(documents) for _ in range(settings.tokenizer_documents))
    tokenizer.train_from_iterator(texts, trainer)
    return _keep_think_tokens(tokenizer)


def _keep_think_tokens(tokenizer: Tokenizer) -> Tokenizer:
    """Make <think> and </think> ordinary tokens, so that skip_special_tokens keeps them."""
    raw = json.loads(tokenizer.to_str())
    for token in raw["added_tokens"]:
        token["special"] = token["content"] not in (chat.THINK, chat.THINK_END)
    return Tokenizer.from_str(json.dumps(raw))


def save(tokenizer: Tokenizer, folder: Path) -> None:
    """Write the tokenizer with its chat template as a folder that AutoTokenizer loads."""
    from transformers import PreTrainedTokenizerFast

    wrapped = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token=chat.END,
        pad_token=chat.END_OF_TEXT,
        model_max_length=1024,
        clean_up_tokenization_spaces=False,
        padding_side="left",
    )
    wrapped.chat_template = chat.TEMPLATE
    folder.mkdir(parents=True, exist_ok=True)
    wrapped.save_pretrained(str(folder))


def load(folder: Path) -> Tokenizer:
    """The bare tokenizer of a folder, for the workers that feed the trainer."""
    return Tokenizer.from_file(str(folder / "tokenizer.json"))
