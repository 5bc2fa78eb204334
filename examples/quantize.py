"""Quantize a member with a recipe, see what it was calibrated on, and take the checkpoint out."""

import argparse

import faq_pipeline as faq

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--member", default="kin-2m")
parser.add_argument("--recipe", default="faq-one-gptq-w3a16")
parser.add_argument("--out", default="checkpoint", help="new folder for the checkpoint")
asked = parser.parse_args()

cell = faq.resolve(asked.member, asked.recipe)
for name, planned in faq.plan(cell).items():
    print(f"{planned.cache:4}  {name}")

# The report, and before it all that it is made from. A second time everything is read from the store.
report = faq.materialize(cell, "eval_report")
print("recovery", report.metadata["recovery"], "KL", report.metadata["kl"])

# Tables are lists of dataclasses: here the samples, and the standings of the competition behind them.
samples = faq.read_rows(faq.materialize(cell, "calibration_set"), "samples")
standings = faq.read_rows(faq.materialize(cell, "competition_scores"), "standings")
print(f"{len(samples)} samples out of {sum(one.winner for one in standings)} winners")

# Where a sample came from: its seed, the candidate that won, and those that lost.
found = faq.trace(samples[0].id).samples[0]
print("seed", found.sample.seed_id, "beat", len(found.losers), "other candidates")

# The same recipe with another scheme. What the change does not touch is found in the store.
changes = {"name": f"{asked.recipe}-w8", "quantization": {"scheme": "W8A16"}}
wider = faq.resolve(asked.member, faq.load_recipe(asked.recipe, changes))
checkpoint = faq.materialize(wider, "quantized_checkpoint")
print(f"8 bits take {checkpoint.metadata['ratio']:.2f} of the original size")

print(faq.compare(asked.member).markdown())
print(faq.export_checkpoint(checkpoint, asked.out))
