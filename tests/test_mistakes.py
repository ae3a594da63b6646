"""Every mistake in the table raises a LampError with place, expected, got and fix, in a few lines."""

import traceback
import warnings

import pytest

from lamp.errors import LampError
from tests.cases.mistakes import Mistake, all_mistakes

MISTAKES = all_mistakes()
LONGEST = 12  # lines of a message


def marks(mistake: Mistake) -> list[str]:
    """What is missing in the error for a mistake; an empty list if it is complete."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            mistake.call()
    except LampError as error:
        text = str(error)
        missing = [f"no {part}" for part in ("expected", "got", "fix") if getattr(error, part) is None]
        missing += [f"does not say {word!r}" for word in (mistake.where, *mistake.words) if word not in text]
        if not isinstance(error, mistake.error):
            missing.append(f"is a {type(error).__name__}, not a {mistake.error.__name__}")
        if len(text.splitlines()) > LONGEST:
            missing.append(f"{len(text.splitlines())} lines long")
        if error.__cause__ is not None or (error.__context__ is not None and not error.__suppress_context__):
            missing.append("another error stands in front of it")
        return missing
    except (Exception, SystemExit) as error:
        return [f"raw {''.join(traceback.format_exception_only(error)).strip()}"]
    return ["silent"]


@pytest.mark.parametrize("mistake", MISTAKES, ids=str)
def test_a_mistake_is_told(mistake):
    missing = marks(mistake)
    assert not missing, f"{mistake}: {'; '.join(missing)}"


def test_names_are_unique_and_many():
    names = [mistake.name for mistake in MISTAKES]
    assert len(names) == len(set(names)) >= 200


def test_what_is_missing_is_seen():
    def raw():
        raise ValueError("x")

    def bare():
        raise LampError("wrong")

    def chained():
        try:
            raw()
        except ValueError as error:
            raise LampError("wrong", expected="a", got="b", fix="c") from error

    assert marks(Mistake("silent", lambda: None, LampError, "")) == ["silent"]
    assert marks(Mistake("raw", raw, ValueError, "")) == ["raw ValueError: x"]
    assert marks(Mistake("bare", bare, TypeError, "here")) == [
        "no expected",
        "no got",
        "no fix",
        "does not say 'here'",
        "is a LampError, not a TypeError",
    ]
    assert marks(Mistake("chained", chained, LampError, "wrong")) == ["another error stands in front of it"]


if __name__ == "__main__":
    answers = [marks(mistake) for mistake in MISTAKES]
    silent = answers.count(["silent"])
    raw = sum(answer[0].startswith("raw") for answer in answers if answer)
    print(f"{answers.count([])} of {len(answers)} mistakes get full marks; {silent} are silent, {raw} get a raw error")
