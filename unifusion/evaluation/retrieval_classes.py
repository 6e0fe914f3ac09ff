"""Classes told from vectors: zero-shot by the words for them, and by a linear probe."""

from __future__ import annotations

import importlib.util
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from unifusion.errors import ConfigError
from unifusion.evaluation.embedding import Embeds, VectorStore, embed_words
from unifusion.evaluation.retrieval_figures import Draws, intervals
from unifusion.evaluation.retrieval_rows import Item
from unifusion.evaluation.retrieval_spaces import Entries
from unifusion.metrics._zero_shot import class_vectors, nearest_class
from unifusion.metrics.confusion_matrix import confusion_matrix
from unifusion.metrics.macro_recall import macro_recall
from unifusion.metrics.per_class import per_class

__all__ = ["LABELS", "TEMPLATES", "check_probe", "class_figures", "label_of", "labels_of", "linear_probe", "prompts_of", "zero_shot"]

LABELS = ("sound", "emotion", "label", "class")
"""Labels that are looked for where none are named."""
TEMPLATES: Mapping[str, tuple[str, ...]] = {
    "sound": ("The sound of {}.", "A recording of {}.", "You can hear {}.", "{}."),
    "emotion": ("The face is {}.", "The voice is {}.", "Somebody feels {}.", "{}."),
    "": ("{}.", "This is {}.", "A clip of {}.", "You can see or hear {}."),
}
"""Label -> prompts for its classes; the last are for any other."""
_SPACES = ("clip", "video", "image", "audio")
_STRENGTHS = (0.001, 0.01, 0.1, 1.0, 10.0)
_FOLDS = 3


def label_of(item: Item, key: str) -> str:
    """An item's class; "" where it has none."""
    value = item.labels.get(key)
    return str(value) if isinstance(value, str | int) and not isinstance(value, bool) else ""


def labels_of(items: Sequence[Item], wanted: Sequence[str] | None) -> list[str]:
    """Labels to classify by: those that were named, else those of `LABELS` with at least two classes.

    Raises:
        ConfigError: a named one has fewer than two classes among the items.
    """
    counts = {key: len({label_of(i, key) for i in items} - {""}) for key in (LABELS if wanted is None else wanted)}
    for key, n in counts.items():
        if wanted is not None and n < 2:
            known = sorted({k for i in items for k, v in i.labels.items() if isinstance(v, str)})
            raise ConfigError(f"the items have {n} classes of {key!r};", remedy=f"name another label: {', '.join(known)}.")
    return [key for key, n in counts.items() if n > 1]


def prompts_of(key: str, classes: Sequence[str], templates: Sequence[str] | None) -> list[list[str]]:
    """Prompts of each class.

    Raises:
        ConfigError: a template has no place for the class, or there is none.
    """
    chosen = list(templates or TEMPLATES.get(key, TEMPLATES[""]))
    if bad := [t for t in chosen if "{}" not in t]:
        raise ConfigError(f"the template {bad[0]!r} has no {{}};", remedy="write one where the class's name stands.")
    return [[t.replace("{}", name.replace("_", " ")) for t in chosen] for name in classes]


def _rows_of(entries: Entries, items: Sequence[Item], key: str) -> tuple[np.ndarray, list[str], list[str], set[str]]:
    """Vectors (n, D), classes, groups and contents of the things in a space that have a class."""
    kept = [(place, items[owners[0]]) for place, owners in enumerate(entries.owners) if label_of(items[owners[0]], key)]
    content = {k for _, item in kept for k in item.media}
    vectors = entries.vectors_ND[[place for place, _ in kept]]
    return vectors, [label_of(item, key) for _, item in kept], [item.group for _, item in kept], content


def zero_shot(
    embedder: Embeds, spaces: Mapping[str, Entries], items: Sequence[Item], key: str, store: VectorStore, draws: Draws, *,
    templates: Sequence[str] | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Tell the class of each thing by the words for the classes, in every space of clips.

    Args:
        embedder: embeds the prompts.
        spaces: of the items.
        items: the items; those without the label are left out.
        key: the label.
        store: of the embedder.
        draws: resamples.
        templates: prompts with {} for the class; None takes `TEMPLATES`.

    Returns:
        `label`, `classes`, `templates`, and `spaces`: space -> figures.
    """
    classes = sorted({label_of(i, key) for i in items} - {""})
    prompts = prompts_of(key, classes, templates)
    flat = embed_words(embedder, [p for own in prompts for p in own], store)
    classes_VD = class_vectors(flat.reshape(len(classes), len(prompts[0]), -1))
    out: dict[str, Any] = {}
    for space in (s for s in _SPACES if s in spaces):
        vectors, truth, groups, _ = _rows_of(spaces[space], items, key)
        if truth:
            told_N, _ = nearest_class(vectors, classes_VD, np.array([classes.index(t) for t in truth]))
            out[space] = class_figures([classes[i] for i in told_N], truth, groups, classes, draws)
    used = list(templates or TEMPLATES.get(key, TEMPLATES[""]))
    return {"label": key, "classes": classes, "templates": used, "spaces": out}


def class_figures(
    told: Sequence[str], truth: Sequence[str], groups: Sequence[str], classes: Sequence[str], draws: Draws
) -> dict[str, Any]:  # fmt: skip
    """Accuracy with its interval, mean recall, each class, confusion, chance and the most frequent class."""
    right = np.array([a == b for a, b in zip(told, truth, strict=True)], dtype=np.float64)
    often, count = Counter(truth).most_common(1)[0]
    accuracy = intervals({"accuracy": right}, list(groups), draws)["accuracy"]
    by_class = per_class(list(told), list(truth), labels=list(classes))
    return {
        "n": len(truth), "groups": len(set(groups)), "accuracy": accuracy, "macro_recall": macro_recall(list(told), list(truth)),
        "chance": 1 / len(classes), "majority": {"class": often, "accuracy": count / len(truth)},
        "classes": [{"class": name, **one} for name, one in by_class.items()],
        "confusion": confusion_matrix(list(told), list(truth), labels=list(classes))[:, :-1].tolist(),
    }  # fmt: skip


def check_probe() -> None:
    """Refuse a probe that cannot be trained.

    Raises:
        ConfigError: scikit-learn is missing.
    """
    if importlib.util.find_spec("sklearn") is None:
        raise ConfigError("a linear probe needs scikit-learn, which is not installed;", remedy="pip install 'unifusion-x[eval]'.")


def linear_probe(
    train: tuple[Mapping[str, Entries], Sequence[Item]], test: tuple[Mapping[str, Entries], Sequence[Item]], key: str, draws: Draws
) -> dict[str, Any]:  # fmt: skip
    """Logistic regression on the vectors of other rows (extra `eval`), in every space of clips.

    The vectors are standardised by the training rows. The strength of the penalty is chosen on these alone, by three-fold
    cross-validation that keeps groups whole; with fewer than three groups it is 1. Training rows whose clip is among the test rows are
    left out.

    Args:
        train: spaces and items to learn from.
        test: spaces and items to tell.
        key: the label.
        draws: resamples.

    Returns:
        `label`, and `spaces`: space -> figures with `trained_on` (rows), `in_both` (training rows left out), `unseen` (test rows of a class
        without training rows, which are wrong) and `C`.

    Raises:
        ConfigError: scikit-learn is missing.
    """
    check_probe()
    out: dict[str, Any] = {}
    for space in (s for s in _SPACES if s in train[0] and s in test[0]):
        vectors, truth, groups, there = _rows_of(test[0][space], test[1], key)
        kept = [i for i, owners in enumerate(train[0][space].owners) if not there & {*train[1][owners[0]].media}]
        left = Entries(
            space=space, names=tuple(train[0][space].names[i] for i in kept), vectors_ND=train[0][space].vectors_ND[kept],
            owners=tuple(train[0][space].owners[i] for i in kept),
        )  # fmt: skip
        known_ND, labels, own, _ = _rows_of(left, train[1], key)
        if not truth or len(set(labels)) < 2:
            continue
        model, strength = _fitted(known_ND, labels, own, draws.seed)
        told = [str(t) for t in model.predict(vectors.astype(np.float64))]
        found = class_figures(told, truth, groups, sorted({*labels, *truth}), draws)
        more = {"trained_on": len(labels), "in_both": len(train[0][space]) - len(kept), "unseen": sum(t not in labels for t in truth)}
        out[space] = {**found, **more, "C": strength}
    return {"label": key, "spaces": out}


def _fitted(vectors_ND: np.ndarray, labels: Sequence[str], groups: Sequence[str], seed: int) -> tuple[Any, float]:
    """The probe, and the strength that was chosen."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GridSearchCV, GroupKFold
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    probe = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000, C=1.0, random_state=seed))
    vectors = vectors_ND.astype(np.float64)
    if len(set(groups)) < _FOLDS:
        return probe.fit(vectors, labels), 1.0
    # A fold whose other rows have one class alone cannot be fitted, and counts as wrong.
    search = GridSearchCV(probe, {"logisticregression__C": list(_STRENGTHS)}, cv=GroupKFold(_FOLDS), error_score=0.0)
    search.fit(vectors, labels, groups=list(groups))
    return search.best_estimator_, float(search.best_params_["logisticregression__C"])
