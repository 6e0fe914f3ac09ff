"""What happens in the search tab. Knows the indexes and the visits, nothing of Gradio."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from unifusion.errors import ConfigError, MediaError, UniFusionError

from .drawing import notice
from .handlers import UNEXPECTED, WAITING, one_line
from .results import Hit, answer_html, found_html
from .visits import Choice, Visit, Visits

if TYPE_CHECKING:
    from unifusion.retrieval.ask import Retrieved
    from unifusion.retrieval.embedding import Query

    from .previews import Previews
    from .shelf import Shelf

__all__ = ["MOST", "Finder", "Hits", "SearchView"]

LOG = logging.getLogger(__name__)
MOST = 12
"""Windows that a page shows at once."""
_BUSY = "The last search or question is still being worked on; wait for it."


@dataclass(frozen=True, kw_only=True)
class SearchView:
    """What the search tab shows, all of it safe HTML. None leaves a part as it is."""

    found: str | None = None
    answer: str | None = None
    notice: str = ""


@dataclass(frozen=True, kw_only=True)
class Hits:
    """What a tab has found last."""

    index: str
    retrieved: Retrieved


@dataclass(kw_only=True)
class Finder:
    """The search tab's actions.

    Args:
        shelf: the indexes.
        previews: what is played of them.
        visits: whose finds are held.
    """

    shelf: Shelf
    previews: Previews
    visits: Visits

    def search(self, key: str, index: str, words: str, like: Choice | None, k: int) -> SearchView:
        """Find windows by words, by a clip, or by both; a mistake becomes a notice and what was found before stays.

        Args:
            key: whose search.
            index: name of an index.
            words: what was typed.
            like: a clip that is to be alike.
            k: how many windows.
        """
        visit = self.visits.get(key)
        with _alone(visit) as free:
            if not free:
                return SearchView(notice=notice(_BUSY))
            try:
                asker = self.shelf.asker(index)
                retrieved = asker.find(_query(words, like), k=min(max(int(k), 1), MOST))
                hits = self._shown(retrieved)
            except UniFusionError as error:
                return SearchView(notice=notice(self._without_places(one_line(error, like), visit)))
            except Exception:  # a fault of ours ends no visit: it is logged whole, and the page says that something went wrong
                LOG.exception("a search failed")
                return SearchView(notice=notice(UNEXPECTED))
            visit.hits = Hits(index=index, retrieved=retrieved)
            return SearchView(found=found_html(hits, retrieved), answer="", notice=_judged(retrieved))

    def ask(self, key: str, question: str) -> Iterator[SearchView]:
        """Answer over what this tab has found last; a mistake becomes a notice."""
        visit = self.visits.get(key)
        with _alone(visit) as free:
            if not free:
                yield SearchView(notice=notice(_BUSY))
                return
            try:
                hits = visit.hits
                if not isinstance(hits, Hits):
                    raise ConfigError("Nothing was searched yet;", remedy="search first, then ask over what was found.")
                if not question.strip():
                    raise ConfigError("The question is empty;", remedy="write what you want to know.")
                yield SearchView(answer="", notice=notice(WAITING, alert=False))
                asked = self.shelf.asker(hits.index).over(question, hits.retrieved)
                yield SearchView(answer=answer_html(asked, hits.retrieved))
            except UniFusionError as error:
                yield SearchView(answer="", notice=notice(self._without_places(one_line(error, None), visit)))
            except Exception:  # a fault of ours ends no visit: it is logged whole, and the page says that something went wrong
                LOG.exception("a question over an index failed")
                yield SearchView(answer="", notice=notice(UNEXPECTED))

    def _shown(self, retrieved: Retrieved) -> list[Hit]:
        """Windows with what is played of them; one whose file is gone is told of in its place."""
        hits = []
        for found in retrieved.found:
            try:
                hits.append(Hit(found=found, preview=self.previews.of(found)))
            except MediaError as error:
                hits.append(Hit(found=found, problem=" ".join(str(error).replace(found.path, Hit(found=found).name).split())))
        return hits

    def _without_places(self, text: str, visit: Visit) -> str:
        """A message without where files and indexes lie on the server."""
        for found in visit.hits.retrieved.found if isinstance(visit.hits, Hits) else ():
            text = text.replace(found.path, Hit(found=found).name)
        for name, folder in self.shelf.folders.items():
            text = text.replace(str(folder), name)
        return text


def _query(words: str, like: Choice | None) -> Query | list[Query]:
    """What is searched for.

    Raises:
        ConfigError: nothing is.
    """
    words = words.strip()
    if not words and like is None:
        raise ConfigError("There is nothing to search for;", remedy="write some words, or choose a clip on the left and tick the box.")
    if like is None:
        return words
    return [words, like.media] if words else like.media


def _judged(retrieved: Retrieved) -> str:
    """What people should know of a search before they look."""
    if not retrieved.found:
        return notice("The index is empty.", alert=False)
    if retrieved.relevant is False:
        return notice(f"Nothing relevant was found: no window has a score of {retrieved.threshold:.3f} or more.", alert=False)
    return notice(retrieved.notes[0][:1].upper() + retrieved.notes[0][1:] + ".", alert=False) if retrieved.notes else ""


@contextmanager
def _alone(visit: Visit) -> Iterator[bool]:
    """Hold a visit while something is done for it; False where something is being done already."""
    free = visit.busy.acquire(blocking=False)
    try:
        yield free
    finally:
        if free:
            visit.busy.release()
