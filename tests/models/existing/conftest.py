"""Engines over the models, made once."""

import pytest

from tests.existing import MODELS, folder_of
from unifusion.engine import Engine


@pytest.fixture(scope="session")
def folders(tmp_path_factory):
    """Name of a model -> its folder."""
    parent = tmp_path_factory.mktemp("existing")
    return lambda name: folder_of(name, str(parent))


@pytest.fixture(scope="session")
def engines(folders):
    """Name of a model -> an engine over it."""
    made = {}

    def get(name):
        if name not in made:
            made[name] = Engine.from_pretrained(folders(name))
        return made[name]

    return get


@pytest.fixture(params=sorted(MODELS))
def name(request):
    """Each model in turn."""
    return request.param


@pytest.fixture
def engine(engines, name):
    """An engine over each model in turn."""
    return engines(name)
