import pickle
from pathlib import Path

import pytest

from kos_ray.model.job import Spec
from kos_ray.model.payload import BlobRef, inline, referring
from kos_ray.model.wire import to_plain
from kos_ray.worker.packets import pack
from kos_ray.worker.prepare import Preparer
from kos_ray.worker.results import pack_exception


def write_spec(directory: Path, name: str, spec: Spec) -> None:
    (directory / "specs").mkdir(exist_ok=True)
    (directory / "specs" / f"{name}.spec").write_bytes(pack(to_plain(spec)))


def test_a_spec_is_loaded_once(tmp_path):
    write_spec(tmp_path, "1", Spec(entry="os.path:join", timeout_ms=5))
    preparer = Preparer(tmp_path)
    ready = preparer.spec("1")
    assert ready.call("a", "b") == "a/b"
    assert ready.timeout_us == 5000
    (tmp_path / "specs" / "1.spec").unlink()
    assert preparer.spec("1") is ready


def test_commands_have_nothing_to_call(tmp_path):
    write_spec(tmp_path, "1", Spec(command=("true",)))
    assert Preparer(tmp_path).spec("1").call is None


@pytest.mark.parametrize("spec", [Spec(function=pickle.dumps(5)), Spec(entry="os:name")])
def test_what_cannot_be_called_is_refused(tmp_path, spec):
    write_spec(tmp_path, "1", spec)
    with pytest.raises(TypeError, match="cannot be called"):
        Preparer(tmp_path).spec("1")


def test_no_payload_means_no_arguments(tmp_path):
    assert Preparer(tmp_path).arguments(b"", ()) == ((), {})


def test_arguments_from_a_blob_file(tmp_path):
    ref = BlobRef("ab" * 32, 10)
    (tmp_path / "blobs").mkdir()
    (tmp_path / "blobs" / ref.hash).write_bytes(pickle.dumps(((1,), {"b": 2})))
    assert Preparer(tmp_path).arguments(referring(ref), ()) == ((1,), {"b": 2})


def test_a_persistent_id_of_another_kind_is_refused(tmp_path):
    data = inline(b"\x80\x05\x8c\x04file\x8c\x01x\x86Q.")
    with pytest.raises(pickle.UnpicklingError, match="unknown persistent id"):
        Preparer(tmp_path).arguments(data, (b"",))


def test_what_a_failed_parent_raised_is_no_value(tmp_path):
    prepare = Preparer(tmp_path)
    raised = pack_exception(ValueError("x"))
    assert raised
    assert prepare.value((raised, inline(pickle.dumps(1)), b"")) == [None, 1, None]
