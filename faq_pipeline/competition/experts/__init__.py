"""The experts that recipes can name. A new one is a file here and a line below, or a plugin."""

from __future__ import annotations

from collections.abc import Iterable

from faq_pipeline.competition.expert import Expert
from faq_pipeline.competition.experts.activation_fidelity import ActivationFidelity
from faq_pipeline.competition.experts.adaptability import Adaptability
from faq_pipeline.competition.experts.answer import AnswerExpert
from faq_pipeline.competition.experts.degeneration import Degeneration
from faq_pipeline.competition.experts.judge import JudgeExpert
from faq_pipeline.competition.experts.length import Length
from faq_pipeline.competition.experts.outlier_coverage import OutlierCoverage
from faq_pipeline.competition.experts.sensitivity import Sensitivity
from faq_pipeline.competition.experts.target_likelihood import TargetLikelihood
from faq_pipeline.competition.experts.teacher_likelihood import TeacherLikelihood
from faq_pipeline.config.registry import Registry

_BUILT_IN: tuple[Expert, ...] = (
    AnswerExpert(),
    TeacherLikelihood(),
    TargetLikelihood(),
    Length(),
    Degeneration(),
    ActivationFidelity(),
    OutlierCoverage(),
    Sensitivity(),
    Adaptability(),
    JudgeExpert(),
)
EXPERTS = Registry(
    "expert",
    "experts",
    {expert.name: expert for expert in _BUILT_IN},
    key="competition.experts",
    has=("name", "needs", "score"),
)


def experts_named(names: Iterable[str]) -> list[Expert]:
    """The experts of those names, by name.

    Raises:
        FaqError: there is no such expert, see `Registry.find`.
    """
    return [EXPERTS.find(name, f"competition.experts.{name}") for name in sorted(names)]
