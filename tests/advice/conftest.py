"""`faq` in this process."""

from tests.orchestration.conftest import faq  # noqa: F401 - a fixture
