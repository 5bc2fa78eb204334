"""A family's tokenizer: byte-level BPE with single digits, trained on the generated text."""

from __future__ import annotations

import json
from pathlib import Path
from random import Random

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, processors, trainers

from training.chat import Chat
from training.documents import Documents
from training.settings import Settings

PATTERN = r" ?\p{L}+| ?\p{N}| ?[^\s\p{L}\p{N}]+|\n+|\s"
"""Words, single digits, runs of marks (each with the space before it), line breaks, the rest."""


def train(settings: Settings) -> Tokenizer:
    """Learn the vocabulary from a fixed sample of training documents."""
    chat = settings.chat
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
        special_tokens=[AddedToken(t, special=True, normalized=False) for t in chat.tokens],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    documents = Documents(settings, settings.mix, Random(f"{settings.seed}/tokenizer"))
    texts = (next(documents) for _ in range(settings.tokenizer_documents))
    tokenizer.train_from_iterator(texts, trainer)
    if chat.begin:
        tokenizer.post_processor = processors.TemplateProcessing(
            single=f"{chat.begin} $A",
            pair=f"{chat.begin} $A {chat.begin} $B",
            special_tokens=[(chat.begin, chat.id_of(chat.begin))],
        )
    return _keep_thinking(tokenizer, chat)


def _keep_thinking(tokenizer: Tokenizer, chat: Chat) -> Tokenizer:
    """Make the marks of thinking ordinary tokens, so that skip_special_tokens keeps them."""
    raw = json.loads(tokenizer.to_str())
    for token in raw["added_tokens"]:
        token["special"] = token["content"] not in (chat.think, chat.think_end)
    return Tokenizer.from_str(json.dumps(raw))


def save(tokenizer: Tokenizer, settings: Settings, folder: Path) -> None:
    """Write the tokenizer with its chat template as a folder that AutoTokenizer loads."""
    from transformers import PreTrainedTokenizerFast

    chat = settings.chat
    begin = {"bos_token": chat.begin} if chat.begin else {}
    wrapped = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token=chat.end,
        pad_token=chat.end_of_text,
        model_max_length=settings.architecture.positions,
        clean_up_tokenization_spaces=False,
        padding_side="left",
        **begin,
    )
    wrapped.chat_template = chat.template
    folder.mkdir(parents=True, exist_ok=True)
    wrapped.save_pretrained(str(folder))


def load(folder: Path) -> Tokenizer:
    """The bare tokenizer of a folder, for the workers that feed the trainer."""
    return Tokenizer.from_file(str(folder / "tokenizer.json"))
