"""A page: sections filled into templates, everything escaped, and a policy that forbids the rest.

Names of files, layers and groups are of unknown origin. The templates escape whatever they are
given, and the page's own ``Content-Security-Policy`` allows one style sheet, by its hash, and
pictures that are part of the page: no script, no request, no form.
"""

from __future__ import annotations

import os
import time
from base64 import b64encode
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from importlib.resources import files
from pathlib import Path
from typing import Any

from filterdb._version import __version__
from filterdb.errors import FilterDBError, MissingExtraError
from filterdb.extras import require
from filterdb.figures.saving import write_whole
from filterdb.figures.style import LOOKS
from filterdb.report.words import capital, compact, percent, several
from filterdb.words import counted

Progress = Callable[[int, int, str], None]
"""Called with: parts done, parts in all, the part at work."""


@dataclass(frozen=True, slots=True)
class Section:
    """A part of a page.

    Attributes
    ----------
    id
        Its anchor.
    title
        Its heading.
    body
        Its content, as markup.
    """

    id: str
    title: str
    body: str


@dataclass(frozen=True, slots=True)
class Page:
    """A page on its way.

    Attributes
    ----------
    title
        The one main heading, and the title of the window.
    kicker
        What kind of page it is, above the heading.
    parts
        In order; the first one has its heading, of the id ``verdict-title``, in its body.
    """

    title: str
    kicker: str
    parts: tuple[Section, ...]


Context = Mapping[str, Any]


def filled(id_: str, title: str, template: str, context: Context) -> Section:
    """A part of a page from its template."""
    text = environment().get_template(f"{template}.html.jinja")
    return Section(id_, title, text.render(id=id_, title=title, data=context))


def section(
    id_: str, title: str, template: str, make: Callable[[], Context | None]
) -> Section | None:
    """A part of a page; one that fails says why, and the page goes on.

    Parameters
    ----------
    id_, title
        As in :class:`Section`.
    template
        Its name, without suffix.
    make
        Gives what the template is filled with, or None where there is nothing to say.

    Raises
    ------
    MissingExtraError
        Something has to be installed first: then no part of that kind can be made.
    """
    try:
        context = make()
        return None if context is None else filled(id_, title, template, context)
    except MissingExtraError:
        raise
    except (FilterDBError, ValueError) as error:
        return filled(id_, title, "failed", {"reason": str(error)})
    except Exception as error:
        reason = f"{type(error).__name__}: {error}. Please report this."
        return filled(id_, title, "failed", {"reason": reason})


def prepare() -> None:
    """Make sure, before the work, that a page can be filled in and its pictures drawn.

    Raises
    ------
    MissingExtraError
        jinja2 or matplotlib is not installed.
    """
    require("jinja2", extra="report")
    require("matplotlib", extra="report")


def render_page(page: Page) -> str:
    """The page as HTML.

    Raises
    ------
    MissingExtraError
        jinja2 is not installed.
    """
    style = style_sheet()
    digest = b64encode(sha256(style.encode()).digest()).decode()
    policy = (
        f"default-src 'none'; style-src 'sha256-{digest}'; img-src data:; base-uri 'none'; "
        "form-action 'none'"
    )
    text: str = (
        environment()
        .get_template("page.html.jinja")
        .render(page=page, style=style, policy=policy, version=__version__, written=today())
    )
    return text


def style_sheet() -> str:
    """The style sheet, in the colours of the figures, so that these have no seam."""
    template = environment().from_string(template_text("style.css.jinja"))
    # In a <style> element nothing is decoded: "<" would end it, and there is none.
    text: str = template.render(looks=LOOKS).strip()
    return text


def template_text(name: str) -> str:
    """A file of the package's templates."""
    return (files("filterdb.report") / "templates" / name).read_text("utf-8")


@lru_cache(maxsize=1)
def environment() -> Any:
    """Templates that escape everything and take no name for granted."""
    jinja2 = require("jinja2", extra="report")
    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(template_text),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        finalize=visible,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "thousands": lambda value: f"{value:,}",
        "compact": compact,
        "counted": counted,
        "several": several,
        "share": percent,
        "capital": capital,
        "cell": lambda value: percent(value).replace("less than ", "<").replace("more than ", ">"),
        "divergence": lambda value: "–" if value is None else f"{value:.3f}",
    }
    return environment


def visible(value: Any) -> Any:
    """Text with a sign for what cannot be seen: control characters, turned writing directions."""
    if type(value) is not str or value.isprintable():
        return value
    return "".join(
        letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in value
    )


def today() -> str:
    """The day, in UTC, as ISO 8601; that of ``SOURCE_DATE_EPOCH`` where a build sets it."""
    seconds = os.environ.get("SOURCE_DATE_EPOCH", "")
    moment = int(seconds) if seconds.isdecimal() else time.time()
    return time.strftime("%Y-%m-%d", time.gmtime(moment))


def write_report(html: str, path: str | os.PathLike[str]) -> Path:
    """Write a page, whole or not at all; a file of that name is replaced.

    Parameters
    ----------
    html
        From :func:`~filterdb.report.network_report` or :func:`~filterdb.report.database_report`.
    path
        Where to; its folder must be there.

    Raises
    ------
    OSError
        It cannot be written.
    """
    path = Path(path)
    write_whole(html.encode(), path)
    return path


def kept(sections: Iterable[Section | None]) -> tuple[Section, ...]:
    """The sections that there are."""
    return tuple(part for part in sections if part is not None)
