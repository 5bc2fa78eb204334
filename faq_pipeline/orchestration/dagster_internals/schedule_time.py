"""What a schedule that is evaluated manually raises when it is asked for its time."""

from dagster._check import CheckError

__all__ = ["CheckError"]
