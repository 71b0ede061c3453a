"""Tests of the package. Contracts are told in full where they are broken, as assertions of tests are."""

import pytest

pytest.register_assert_rewrite("robustray.testing")
