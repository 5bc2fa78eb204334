"""The experts that recipes can name. A new one is a file here and a line below."""

from __future__ import annotations

from collections.abc import Iterable

from faq_pipeline.competition.expert import Expert
from faq_pipeline.competition.experts.activation_fidelity import ActivationFidelity
from faq_pipeline.competition.experts.answer import AnswerExpert
from faq_pipeline.competition.experts.degeneration import Degeneration
from faq_pipeline.competition.experts.judge import JudgeExpert
from faq_pipeline.competition.experts.length import Length
from faq_pipeline.competition.experts.outlier_coverage import OutlierCoverage
from faq_pipeline.competition.experts.sensitivity import Sensitivity
from faq_pipeline.competition.experts.target_likelihood import TargetLikelihood
from faq_pipeline.competition.experts.teacher_likelihood import TeacherLikelihood
from faq_pipeline.errors import FaqError, nearest_and_known

EXPERTS: dict[str, Expert] = {
    expert.name: expert
    for expert in (
        AnswerExpert(),
        TeacherLikelihood(),
        TargetLikelihood(),
        Length(),
        Degeneration(),
        ActivationFidelity(),
        OutlierCoverage(),
        Sensitivity(),
        JudgeExpert(),
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
    raise FaqError(
        f"unknown expert {name!r}",
        hint=nearest_and_known(name, sorted(EXPERTS)),
        key=f"competition.experts.{name}",
    )
