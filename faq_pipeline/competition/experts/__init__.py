"""The experts that recipes can name. A new one is a file here and a line below."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from faq_pipeline.competition.expert import Expert
from faq_pipeline.competition.experts.activation_fidelity import ActivationFidelity
from faq_pipeline.competition.experts.answer import Answer
from faq_pipeline.competition.experts.degeneration import Degeneration
from faq_pipeline.competition.experts.judge import Judge
from faq_pipeline.competition.experts.length import Length
from faq_pipeline.competition.experts.outlier_coverage import OutlierCoverage
from faq_pipeline.competition.experts.sensitivity import Sensitivity
from faq_pipeline.competition.experts.target_likelihood import TargetLikelihood
from faq_pipeline.competition.experts.teacher_likelihood import TeacherLikelihood
from faq_pipeline.errors import FaqError

EXPERTS: dict[str, Expert] = {
    expert.name: expert
    for expert in (
        Answer(),
        TeacherLikelihood(),
        TargetLikelihood(),
        Length(),
        Degeneration(),
        ActivationFidelity(),
        OutlierCoverage(),
        Sensitivity(),
        Judge(),
    )
}


def experts_named(names: Iterable[str]) -> list[Expert]:
    """The experts of those names, by name.

    Raises:
        FaqError: there is no such expert; names the known ones.
    """
    return [_named(name) for name in sorted(names)]


def _named(name: str) -> Expert:
    if name in EXPERTS:
        return EXPERTS[name]
    near = difflib.get_close_matches(name, EXPERTS, n=1)
    mend = f"did you mean {near[0]!r}? " if near else ""
    raise FaqError(
        f"unknown expert {name!r}",
        mend=f"{mend}known: {', '.join(sorted(EXPERTS))}",
        key=f"competition.experts.{name}",
    )
