"""Publication of checkpoints: the gate, the model card, the destinations and the record of publications."""
