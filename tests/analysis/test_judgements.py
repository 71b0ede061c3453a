"""Reading judgements: whole ones only, models judged alike only, and the device time of all of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from analysis import judgements
from robustray.errors import UserError
from robustray.verdicts import Shard, judgement_folder, write_shard
from sweeps.record import Record, read
from tests.analysis import made as the

CLEAN, ROBUST = np.repeat([1.0, 0.0], [160, 40]), np.repeat([1.0, 0.0], [90, 110])


def test_verdicts_come_back_in_the_order_of_images(tmp_path: Path) -> None:
    shuffled = np.random.default_rng(1).permutation(200)
    folder = the.judgement(tmp_path, "test", CLEAN[shuffled], ROBUST[shuffled], shards=3)
    found = judgements.read(folder)
    np.testing.assert_array_equal(found.verdicts.clean_correct, CLEAN[shuffled])
    np.testing.assert_array_equal(found.verdicts.robust_correct, ROBUST[shuffled])
    assert found.parts["stages"] == list(the.ATTACKS)


@pytest.mark.parametrize(("until", "shards"), [(1, 1), (3, 2)])
def test_attacks_count_that_are_finished_on_all_images(tmp_path: Path, until: int, shards: int) -> None:
    folder = the.judgement(tmp_path, "test", CLEAN, ROBUST, until=until, shards=shards)
    assert judgements.read(folder).parts["stages"] == list(the.ATTACKS[:until])


@pytest.mark.parametrize("lost", ["apgd-t-0001.parquet", "apgd-ce-0000.parquet"])
def test_a_missing_or_damaged_shard_ends_what_counts(tmp_path: Path, lost: str) -> None:
    folder = the.judgement(tmp_path, "test", CLEAN, ROBUST, shards=2)
    (folder / lost).write_bytes((folder / lost).read_bytes()[:-40])
    before = list(the.ATTACKS[: the.ATTACKS.index(lost[:-13])])
    if before:
        assert judgements.read(folder).parts["stages"] == before
    else:
        with pytest.raises(UserError, match="no attack is finished on all images"):
            judgements.read(folder)


def test_no_judgement_is_the_users_to_mend(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no judgement here"):
        judgements.read(tmp_path)
    (tmp_path / judgements.PARTS).write_text("{")
    with pytest.raises(UserError, match="no readable"):
        judgements.read(tmp_path)


def test_a_judgement_is_found_by_its_folder_its_files_and_its_model(tmp_path: Path) -> None:
    folder = the.judgement(tmp_path / "model" / "judgements", "test", CLEAN, ROBUST)
    (folder / judgements.RESULT).write_text("{}")
    for path in (folder, folder / judgements.PARTS, folder / judgements.RESULT, folder.parent, tmp_path / "model"):
        assert judgements.find(path, "test") == folder
    with pytest.raises(UserError, match="neither a sweep nor a judgement on validation"):
        judgements.find(tmp_path / "model", "validation")
    the.judgement(tmp_path / "model" / "judgements", "test", CLEAN, CLEAN)
    with pytest.raises(UserError, match="has 2 judgements on test; name one"):
        judgements.find(tmp_path / "model", "test")


def test_a_trial_of_a_sweep_means_the_judgement_that_its_record_names(made: Path) -> None:
    judged = read(made).judged
    number, _ = next(key for key in judged if key[1] == "test")
    for at in ("validation", "test"):
        assert judgements.find(made / "trials" / f"{number:04d}", at) == (made / judged[number, at].folder).resolve()
    other = next(n for n, on in judged if on == "validation" and (n, "test") not in judged)
    with pytest.raises(UserError, match="this trial is not judged in full on test; test is read for members alone"):
        judgements.find(made / "trials" / f"{other:04d}", "test")
    with pytest.raises(UserError, match="neither a sweep nor a judgement"):
        judgements.find(made / "trials" / "best", "test")


def test_a_folder_that_was_only_looked_at_is_no_second_judgement(tmp_path: Path) -> None:
    """A sweep looks at a model first, and may then judge it in another order or as a randomised one, in another folder."""
    folder = the.judgement(tmp_path / "judgements", "test", CLEAN, ROBUST)
    the.judgement(tmp_path / "judgements", "test", CLEAN, ROBUST, until=0, parts={"extras": ["square early"]})
    assert judgements.find(tmp_path, "test") == folder


def test_attacks_after_an_early_square_are_asked_about_its_images_too(tmp_path: Path) -> None:
    """Four images: APGD breaks the first, Square the second and third, APGD-T the third and fourth, FAB-T nothing."""
    order = {"attacks": ["apgd-ce", "apgd-t", "fab-t", "square"], "extras": ["square early"]}
    folder = judgement_folder(tmp_path, "test", "standard", order)
    looked = {"clean": [], "apgd-ce": [0], "square": [1, 2], "apgd-t": [2, 3], "fab-t": []}
    asked = {"clean": [0, 1, 2, 3], "apgd-ce": [0, 1, 2, 3], "square": [1, 2, 3], "apgd-t": [1, 2, 3], "fab-t": [1]}
    for stage, rows in asked.items():
        image = np.array(rows, np.int32)
        broken, label = np.isin(image, looked[stage]), np.zeros(len(rows), np.int16)
        write_shard(
            folder, Shard(stage, 0, image, label, broken.astype(np.int16), broken, 1 - broken.astype(np.float32), {})
        )
    found = judgements.read(folder)
    assert found.parts["stages"] == ["apgd-ce", "square", "apgd-t", "fab-t"]
    assert found.verdicts.broken_by.tolist() == ["apgd-ce", "square", "square", "apgd-t"]
    listed = judgements.Judgement(folder, {**found.parts, "stages": list(the.ATTACKS)}, found.verdicts)
    judgements.alike({"early": found, "listed": listed})


@pytest.mark.parametrize(
    ("parts", "until", "said"),
    [
        ({"threat": {"norm": "l2", "eps": 0.5}}, 4, "threat: linf, eps 8/255 and l2, eps 0.5"),
        ({"data": "another"}, 4, "data: made test and another"),
        ({"rows": "ab" * 32}, 4, "list of images: "),
        ({"family": "rand"}, 4, "version: standard and rand"),
        ({"dtype": "bfloat16"}, 4, "dtype: float32"),
        ({}, 2, r"attacks: apgd-ce\+apgd-t\+fab-t\+square and apgd-ce\+apgd-t;"),
    ],
)
def test_what_was_judged_differently_is_refused(tmp_path: Path, parts: dict[str, Any], until: int, said: str) -> None:
    one = judgements.read(the.judgement(tmp_path / "a", "test", CLEAN, ROBUST))
    judgements.alike({"a": one, "b": judgements.read(the.judgement(tmp_path / "b", "test", CLEAN, CLEAN))})
    other = judgements.read(the.judgement(tmp_path / "c", "test", CLEAN, ROBUST, parts=parts, until=until))
    with pytest.raises(UserError, match=f"a and c cannot be compared, they differ in {said}"):
        judgements.alike({"a": one, "c": other})


def test_other_images_or_labels_are_refused_whatever_the_parts_say(tmp_path: Path) -> None:
    one = judgements.read(the.judgement(tmp_path / "a", "test", CLEAN, ROBUST))
    fewer = judgements.read(
        the.judgement(tmp_path / "b", "test", CLEAN[:-1], ROBUST[:-1], parts={"rows": one.parts["rows"]})
    )
    with pytest.raises(UserError, match="they differ in images"):
        judgements.alike({"a": one, "b": fewer})


def test_trials_of_a_sweep_are_all_that_were_judged_in_full(made: Path) -> None:
    snapshot = read(made)
    for split in ("validation", "test"):
        found = judgements.of_sweep(made, snapshot, split)
        assert list(found) == sorted(number for number, on in snapshot.judged if on == split)
        for number, judgement in found.items():
            judged = snapshot.judged[number, split]
            assert judgement.verdicts.clean_accuracy == pytest.approx(judged.clean_accuracy)
            assert judgement.verdicts.robust_accuracy == pytest.approx(judged.robust_accuracy)


def test_verdicts_that_contradict_the_record_are_refused(tmp_path: Path) -> None:
    folder = the.sweep(tmp_path / "s", fix=False)
    snapshot = read(folder)
    (number, _), judged = sorted(snapshot.judged.items())[0]
    (folder / judged.folder / "apgd-t-0000.parquet").unlink()
    with pytest.raises(UserError, match=f"{number:04d}.*verdicts are missing or damaged"):
        judgements.of_sweep(folder, snapshot, "validation")


def test_device_time_counts_every_shard_once(made: Path) -> None:
    """Every shard of the made sweep took as long, those of trials that were skipped after one attack too."""
    seconds = judgements.device_seconds(made, read(made))
    for split in ("validation", "test"):
        shards = len(list(made.glob(f"judgements/*/{split}-*/*.parquet")))
        assert shards > 0
        assert seconds[split] == pytest.approx(the.SECONDS * shards)
    recorded = sum(judged.seconds for judged in read(made).judged.values())
    assert sum(seconds.values()) > recorded  # the record does not know of the skipped ones


def test_device_time_of_a_damaged_or_foreign_file_is_nothing(tmp_path: Path) -> None:
    with Record(tmp_path, the.OBJECTIVES) as record:
        folder = the.judgement(record.judgements(0), "validation", CLEAN, ROBUST, until=1)
        (folder / "apgd-t-0000.parquet").write_bytes(b"PAR1")
        assert judgements.device_seconds(tmp_path, record.snapshot()) == {"validation": 2 * the.SECONDS, "test": 0}
