"""A template file with a fault is refused, and the message names file and key."""

from __future__ import annotations

import pytest
import yaml

from unifusion.errors import PromptError
from unifusion.prompts import load_template

GOOD = {
    "name": "mine",
    "description": "A test.",
    "task": "emotion",
    "fields": ["labels", "emotion"],
    "phrasings": ["Which of {{ labels | join(', ') }}?"],
    "answer": "{{ emotion }}",
    "parser": "label",
    "parser_options": {"aliases": {"happy": ["joy"]}},
}


def load(tmp_path, text):
    """Load a template from its text."""
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    return load_template(path)


def test_the_good_one_loads(tmp_path):
    assert load(tmp_path, yaml.safe_dump(GOOD)).source.fields == ("labels", "emotion")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"fields": ["labels"]}, r"key 'fields': declares \['labels'\], the texts use \['emotion', 'labels'\]"),
        ({"fields": ["labels", "emotion", "extra"]}, "key 'fields'"),
        ({"fields": ["labels", "emotion", "emotion"]}, "key 'fields'"),
        ({"parser": "lable"}, "key 'parser': no answer parser 'lable'; did you mean 'label'"),
        ({"parser_options": {"alias": {}}}, "key 'parser_options': parser 'label' has no option 'alias'; did you mean 'aliases'"),
        ({"parser_options": {"aliases": ["happy"]}}, "key 'parser_options': parser 'label' cannot use"),
        ({"task": "emotions"}, "key 'task': no task 'emotions'; did you mean 'emotion'"),
        ({"name": "other"}, "key 'name': 'other' differs from the file's stem"),
        ({"phrasing": ["x"]}, "key 'phrasing': there is no such key; did you mean 'phrasings'"),
        ({"phrasings": []}, "key 'phrasings': is missing or empty"),
        ({"phrasings": "Which?"}, "key 'phrasings': found 'Which\\?'; give a list of texts"),
        ({"phrasings": ["Which {{ labels }}", True]}, "key 'phrasings'.*give a list of texts"),
        ({"phrasings": ["Which {{ labels }}", "What?"]}, r"key 'phrasings': 'What\?' reads \[\], the first phrasing reads \['labels'\]"),
        ({"phrasings": ["{{ labels"]}, "key 'phrasings'.*not a valid template"),
        ({"phrasings": ["{{ labels | shout }}"]}, "key 'phrasings'.*not a valid template"),
        ({"held_out_phrasings": GOOD["phrasings"]}, "is written twice"),
        ({"phrasings": ["{{ labels }} {{ range(9) }}"]}, "key 'fields'"),
        ({"description": None}, "key 'description': found None; give a text"),
        ({"answer": True}, "key 'answer': found True"),
    ],
)
def test_a_fault_names_file_and_key(tmp_path, change, message):
    with pytest.raises(PromptError, match=message) as caught:
        load(tmp_path, yaml.safe_dump({**GOOD, **change}))
    assert "mine.yaml" in str(caught.value)


@pytest.mark.parametrize("key", ["name", "description", "task", "fields", "phrasings", "parser"])
def test_a_missing_key_is_named(tmp_path, key):
    with pytest.raises(PromptError, match=f"key '{key}': is missing"):
        load(tmp_path, yaml.safe_dump({k: v for k, v in GOOD.items() if k != key}))


@pytest.mark.parametrize(
    "text", ["", "- a\n- b", "name: [", "name: mine\nname: mine", "x: !!python/object/apply:os.getcwd []", "? [a]\n: b"]
)
def test_what_is_not_a_plain_mapping_is_refused(tmp_path, text):
    with pytest.raises(PromptError, match=r"mine\.yaml"):
        load(tmp_path, text)
