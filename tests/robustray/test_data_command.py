"""`python -m robustray data`: the list, the check, unpacking and fetching."""

from __future__ import annotations

import hashlib
import io
import pickle
import re
import shutil
import subprocess
import sys
import tarfile
import threading
import zipfile
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import typer
from torchvision import datasets  # type: ignore[import-untyped]
from typer.testing import CliRunner

from robustray.commands.data import data
from robustray.data import Cifar10, ImageFolder, Mnist, Svhn, TinyImageNet, places
from robustray.errors import UserError
from robustray.registry import parts
from tests.robustray.made import made_folder
from tests.robustray.made_folders import drawn, write_images

Run = Callable[..., str]
pytestmark = pytest.mark.usefixtures("alone")


@pytest.fixture
def run() -> Run:
    """Runs the command in this process; errors of the user's come out as they are."""
    app = typer.Typer()
    app.command()(data)

    def command(*arguments: str) -> str:
        done = CliRunner().invoke(app, [str(argument) for argument in arguments])
        if done.exception is not None and not isinstance(done.exception, SystemExit):
            raise done.exception
        assert done.exit_code == 0, done.output
        return done.output

    return command


def refused(run: Run, said: str, *arguments: str) -> None:
    with pytest.raises(UserError, match=said) as caught:
        run(*arguments)
    assert "\n" not in str(caught.value)


def row(output: str, what: str) -> str:
    """The text of the row of that name."""
    return (
        next(line for line in output.splitlines() if line.strip().startswith(what)).strip().removeprefix(what).strip()
    )


def test_the_list_names_every_source_and_where_it_is_expected(run: Run, tmp_path: Path) -> None:
    made_folder(Mnist, tmp_path / "data" / "mnist")
    made_folder(Svhn, tmp_path / "data" / "svhn")
    (tmp_path / "data" / "svhn" / "test_32x32.mat").unlink()
    lines = {line.split()[0]: line for line in run().splitlines()[1:]}
    assert list(lines) == list(parts("data"))
    assert f"found: {tmp_path / 'data' / 'mnist'}" in lines["mnist"]
    assert "test_32x32.mat: no such file" in lines["svhn"]
    assert f"not found, looked in data/cifar10, {tmp_path / 'cache' / 'robustray' / 'cifar10'}" in lines["cifar10"]
    assert "--download" in lines["cifar10"]
    assert "train, test" in lines["npz"]


def test_what_is_said_of_a_source(run: Run, tmp_path: Path) -> None:
    """Counts by class, shape, range, mean and std, identities: as the arrays have them."""
    folder = made_folder(Svhn, tmp_path / "there")
    output = run("svhn", "--set", f"path={tmp_path / 'there'}", "--set", "validation=50")
    source = Svhn(**folder.options)
    assert output.splitlines()[0] == f"svhn: 10 classes, {tmp_path / 'there'}"
    lines = output.splitlines()
    for split in ("train", "validation", "test"):
        images = source.load(split)
        number = next(n for n, line in enumerate(lines) if re.match(rf"  {split} +{len(images)} images 32x32x3", line))
        assert lines[number + 1].split("by class: ")[1] == " ".join(map(str, np.bincount(images.labels, minlength=10)))
        pixels = images.images.reshape(-1, 3) / 255
        mean, std = (" ".join(f"{v:.4f}" for v in values) for values in (pixels.mean(axis=0), pixels.std(axis=0)))
        assert row(output, f"{split} pixels") == f"0 to 255 of 255, mean {mean}, std {std} in [0, 1]"
        assert row(output, f"{split} identity") == source.identity(split)
    assert row(output, "duplicates") == "no test image is in train"
    assert row(output, "checksums") == "0 files as published, not train_32x32.mat, test_32x32.mat"


def test_duplicates_between_train_and_test_are_a_warning(run: Run, tmp_path: Path) -> None:
    """Rows of test, whether their twin is in train or was held out; labels do not matter."""
    images, labels = drawn(60, (5, 4, 3), 3, 0)
    others, _ = drawn(10, (5, 4, 3), 3, 1)
    others[[2, 7]] = images[[0, 59]]
    np.savez(tmp_path / "train.npz", images=images, labels=labels)
    np.savez(tmp_path / "test.npz", images=others, labels=np.zeros(10, np.int64))
    options = ("--set", "train=train.npz", "--set", "test=test.npz", "--set", "validation=20")
    assert "warning: 2 of 10 test images are in train too: rows 2, 7 of test" in run("npz", *options)


def test_digits_need_no_files(run: Run) -> None:
    output = run("digits")
    assert "digits: 10 classes" in output
    assert "497 images 8x8x1" in output
    refused(run, "digits: cannot be downloaded", "digits", "--download")
    refused(run, "digits: reads no folder", "digits", "--from", ".")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["mnsit"], "there is no data 'mnsit'; did you mean 'mnist'"),
        (["mnist"], "mnist: not found, looked in data/mnist, .*--download"),
        (["mnist", "--set", "validatoin=3"], "validatoin: unknown key; did you mean 'validation'"),
        (["mnist", "--set", "validation"], "must look like validation=2000"),
        (["mnist", "--set", "validation=0"], "validation: must be at least 1, not 0"),
        (["npz"], "data npz: train: is missing"),
        (["mnist", "--from", "nowhere"], "nowhere: no such file or folder"),
        (["mnist", "--from", "empty"], "train-images-idx3-ubyte: no such file"),
        (["mnist", "--from", "text.txt"], "text.txt: neither a folder nor an archive; known archives: .*.zip"),
        (["mnist", "--from", "text.zip"], "text.zip: not a readable archive"),
        (["mnist", "--from", "empty", "--download"], "exclude each other"),
        (["--download"], "which source"),
        (["tiny_imagenet", "--download"], "cannot be downloaded; get tiny-imagenet-200.zip"),
    ],
)
def test_mistakes(run: Run, tmp_path: Path, arguments: list[str], said: str) -> None:
    (tmp_path / "empty").mkdir()
    for name in ("text.txt", "text.zip"):
        (tmp_path / name).write_text("text")
    refused(run, said, *arguments)
    assert not [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]


@pytest.mark.parametrize("kind", ["folder", "zip", "gztar", "xztar"])
def test_from_a_folder_or_an_archive(run: Run, tmp_path: Path, kind: str) -> None:
    """A folder is read where it lies, an archive is unpacked whole to where the source looks; images are the same."""
    folder = made_folder(TinyImageNet, tmp_path / "made" / "tiny-imagenet-200")
    expected = TinyImageNet(**folder.options).identity("train")
    if kind == "folder":
        output = run("tiny_imagenet", "--set", "validation=50", "--from", "made")
        assert not (tmp_path / "cache" / "robustray" / "tiny_imagenet").exists()
        assert TinyImageNet(path="made", validation=50).identity("train") == row(output, "train identity") == expected
        return
    archive = shutil.make_archive(str(tmp_path / "archive"), kind, tmp_path / "made")
    output = run("tiny_imagenet", "--set", "validation=50", "--from", archive)
    assert row(output, "train identity") == expected
    assert TinyImageNet().home() == tmp_path / "cache" / "robustray" / "tiny_imagenet"
    assert TinyImageNet(validation=50).identity("train") == expected
    refused(run, "is there already", "tiny_imagenet", "--from", archive)


def test_from_a_folder_of_archives(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """train.tar.xz beside test.tar.xz, into $ROBUSTRAY_DATA where it is set; the images are decoded."""
    monkeypatch.setenv(places.ROOT, str(tmp_path / "mine"))
    images, labels = drawn(30, (5, 4, 3), 2, 0)
    for split, rows in (("train", slice(20)), ("test", slice(20, None))):
        write_images(tmp_path / "made" / split, images[rows], labels[rows], lambda row, label: f"{label}/{row}.png")
        shutil.make_archive(str(tmp_path / "archives" / split), "xztar", tmp_path / "made", split)
    output = run("image_folder", "--set", "validation=5", "--from", "archives")
    assert f"image_folder: 2 classes, {tmp_path / 'mine' / 'image_folder'}" in output
    assert len(list((tmp_path / "cache" / "robustray" / "decoded").iterdir())) == 2
    np.testing.assert_array_equal(ImageFolder().read("test").labels, np.sort(labels[20:], kind="stable"))


def test_an_archive_that_has_one_folder_more(run: Run, tmp_path: Path) -> None:
    images, labels = drawn(30, (5, 4, 3), 2, 0)
    for split in ("train", "test"):
        write_images(tmp_path / "made" / "pictures" / split, images, labels, lambda row, label: f"{label}/{row}.png")
    archive = shutil.make_archive(str(tmp_path / "archive"), "gztar", tmp_path / "made")
    run("image_folder", "--set", "validation=5", "--from", archive)
    assert (tmp_path / "cache" / "robustray" / "image_folder" / "train").is_dir()


def test_an_archive_of_something_else_leaves_nothing(run: Run, tmp_path: Path) -> None:
    made_folder(Mnist, tmp_path / "made")
    archive = shutil.make_archive(str(tmp_path / "archive"), "gztar", tmp_path / "made")
    refused(run, "archive.tar.gz/cifar-10-batches-py/data_batch_1: no such file", "cifar10", "--from", archive)
    whole = Path(archive).read_bytes()
    Path(archive).write_bytes(whole[: len(whole) // 2])
    refused(run, "archive.tar.gz: not a readable archive", "mnist", "--from", archive)
    assert not list((tmp_path / "cache" / "robustray").iterdir())


@pytest.mark.parametrize("kind", ["up", "absolute", "link", "zip"])
def test_an_archive_that_leads_elsewhere(run: Run, tmp_path: Path, kind: str) -> None:
    """Nothing is written outside of the folder."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    path = tmp_path / ("bad.zip" if kind == "zip" else "bad.tar")
    up = "../" * 3 + "elsewhere/harm"
    if kind == "zip":
        with zipfile.ZipFile(path, "w") as file:
            file.writestr(up, "harm")
    else:
        with tarfile.open(path, "w") as tar:
            if kind == "link":
                link = tarfile.TarInfo("link")
                link.type, link.linkname = tarfile.SYMTYPE, str(elsewhere)
                tar.addfile(link)
            member = tarfile.TarInfo({"up": up, "absolute": str(elsewhere / "harm"), "link": "link/harm"}[kind])
            member.size = 4
            tar.addfile(member, io.BytesIO(b"harm"))
    refused(run, r"bad\.", "image_folder", "--from", str(path))
    assert not list(elsewhere.iterdir())
    assert not list((tmp_path / "cache" / "robustray").iterdir())


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The address at which this machine serves `tmp_path` to itself."""
    monkeypatch.setenv("no_proxy", "*")
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(tmp_path))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_download_of_mnist(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, site: str) -> None:
    """torchvision's own downloader, sent to this machine: nothing leaves it."""
    made_folder(Mnist, tmp_path / "made")
    files = sorted((tmp_path / "made").iterdir())
    sums = [(file.name, hashlib.md5(file.read_bytes()).hexdigest()) for file in files]
    monkeypatch.setattr(datasets.MNIST, "mirrors", [f"{site}/nowhere/"])
    monkeypatch.setattr(datasets.MNIST, "resources", sums)
    refused(run, "MNIST could not be fetched .*the same command tries again", "mnist", "--download")
    monkeypatch.setattr(datasets.MNIST, "mirrors", [f"{site}/made/"])
    output = run("mnist", "--set", "validation=50", "--download")
    home = tmp_path / "cache" / "robustray" / "mnist"
    assert f"mnist: 10 classes, {home}" in output
    assert Mnist().home() == home
    assert Mnist().identity("train") == Mnist(path="made").identity("train")
    monkeypatch.setattr(datasets.MNIST, "mirrors", [])
    assert run("mnist", "--set", "validation=50", "--download").startswith("mnist: 10 classes"), "it is there already"


def test_download_of_cifar10_and_svhn(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, site: str) -> None:
    """The archive of one, the two files of the other; checksums are told, and what differs is named."""
    made_folder(Cifar10, tmp_path / "cifar")
    inside = tmp_path / "cifar" / "cifar-10-batches-py"
    (inside / "batches.meta").write_bytes(pickle.dumps({"label_names": [str(label) for label in range(10)]}))
    archive = Path(shutil.make_archive(str(tmp_path / "cifar-10-python"), "gztar", inside.parent, inside.name))

    def md5(path: Path) -> str:
        return hashlib.md5(path.read_bytes()).hexdigest()

    cls = datasets.CIFAR10
    for name, value in {
        "url": f"{site}/{archive.name}",
        "tgz_md5": md5(archive),
        "train_list": [[name, md5(inside / name)] for name, _ in cls.train_list],
        "test_list": [[name, md5(inside / name)] for name, _ in cls.test_list],
        "meta": {**cls.meta, "md5": md5(inside / "batches.meta")},
    }.items():
        monkeypatch.setattr(cls, name, value)
    output = run("cifar10", "--set", "validation=50", "--download")
    assert row(output, "checksums") == "6 files as published"
    assert Cifar10().identity("train") == Cifar10(path="cifar").identity("train")
    batch = tmp_path / "cache" / "robustray" / "cifar10" / "cifar-10-batches-py" / "data_batch_2"
    batch.write_bytes(batch.read_bytes().replace(b"a batch", b"b batch"))
    assert row(run("cifar10", "--set", "validation=50"), "checksums") == "5 files as published, not data_batch_2"

    made_folder(Svhn, tmp_path / "svhn")
    names = {split: tmp_path / "svhn" / f"{split}_32x32.mat" for split in ("train", "test")}
    split_list = {split: [f"{site}/svhn/{path.name}", path.name, md5(path)] for split, path in names.items()}
    monkeypatch.setattr(datasets.SVHN, "split_list", split_list)
    output = run("svhn", "--set", "validation=50", "--set", "path=chosen", "--download")
    assert row(output, "checksums") == "2 files as published"
    assert sorted(path.name for path in (tmp_path / "chosen").iterdir()) == ["test_32x32.mat", "train_32x32.mat"]


def test_the_command_line(tmp_path: Path) -> None:
    """As a user meets it: exit codes, one line of error."""

    def command(*arguments: str) -> subprocess.CompletedProcess[str]:
        line = [sys.executable, "-m", "robustray", "data", *arguments]
        return subprocess.run(line, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)

    listed = command()
    assert listed.returncode == 0, listed.stderr
    assert "cifar10" in listed.stdout
    wrong = command("mnist")
    assert wrong.returncode == 2
    assert wrong.stderr.startswith("error: mnist: not found")
    assert len(wrong.stderr.strip().splitlines()) == 1
