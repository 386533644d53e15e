"""What the name of a handler's function stands for, and what of it is known."""

import importlib
import sys

import pytest

from tango_beam.errors import RefusedError
from tango_beam.models import handler
from tests.models.test_handler import LABELS, STATED


@pytest.mark.parametrize(
    ("name", "complaint"),
    [
        ("handler:made_handlers", "expected handler:package.module:function, found"),
        ("handler:no_such.module:f", "No module named 'no_such'; PYTHONPATH names the folders"),
        ("handler:made_handlers:middle", "expected a function middle in .*, found first, last$"),
        ("handler:made_handlers:first", "that returns a HandlerTier, found KeyError: 'weights'"),
        ("handler:made_handlers:last", "HandlerTier, found TypeError: last.* missing 1 required"),
    ],
)
def test_a_name_that_stands_for_no_function_is_refused(tmp_path, monkeypatch, name, complaint):
    source = "def last(a): pass\ndef _own(): pass\ndef first(): return {}['weights']\n"
    (tmp_path / "made_handlers.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "made_handlers", raising=False)
    with pytest.raises(RefusedError, match=complaint):
        handler.tier_of(name)


def test_a_fingerprint_covers_the_modules_source_the_name_and_the_labels(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)

    def of(source, name="first", labels=None):
        (tmp_path / "changing_handlers.py").write_text(source)
        monkeypatch.delitem(sys.modules, "changing_handlers", raising=False)
        importlib.invalidate_caches()
        return handler.fingerprint(f"handler:changing_handlers:{name}", labels)

    usual = of("WEIGHTS = 'one'\n")
    assert usual == of("WEIGHTS = 'one'\n")
    others = [of("WEIGHTS = 'other, and longer'\n"), of("WEIGHTS = 'one'\n", "last")]
    others += [of("WEIGHTS = 'one'\n", labels=LABELS), of("WEIGHTS = 'one'\n", labels=LABELS[::-1])]
    assert len({usual, *others}) == 5


def test_a_module_that_changed_since_launch_is_not_loaded():
    name = "handler:tests.models.test_handler:loudness"
    assert handler.load(name, revision=handler.fingerprint(name)).labels == STATED
    with pytest.raises(ValueError, match="expected the module with which the job was launched"):
        handler.load(name, revision="0" * 64)
