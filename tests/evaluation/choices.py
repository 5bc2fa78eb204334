"""A multiple-choice task of two options."""

from __future__ import annotations

CHOICES = """\
task: choices
dataset_path: json
dataset_kwargs: {data_files: {test: choices.jsonl}}
test_split: test
output_type: multiple_choice
doc_to_text: "{{question}}"
doc_to_target: "{{label}}"
doc_to_choice: ["seven", "town"]
metric_list: [{metric: acc}, {metric: acc_norm}]
"""
